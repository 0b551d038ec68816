"""What a digest says, whatever a sender wrote, and that each message is named once."""

import asyncio
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from filterd.api import Kind, Message
from filterd.config import Quarantine as Section
from filterd.errors import ConfigError
from filterd.quarantine import digest
from filterd.quarantine.nexthop import ReleaseFailed
from tests.filterd.quarantine.made import ANN, BEN, SPAM, config_of, mail, quarantine_of
from tests.plugins.smtp_proxy.peers import Sink

HOSTILE = "pay\r\nBcc: x@y.example\r\n\r\n<b>now</b> \u202egnp.exe\x1b[2J"


async def test_each_recipient_is_told_once_and_by_mail_that_passes(tmp_path: Path) -> None:
    sink = Sink()
    address = await sink.start_tcp()
    section = {
        "next_hop": address,
        "sender": "filterd@example.org",
        "link": "https://m.example",
        "language": "de",
    }
    config = config_of(tmp_path, **section)
    with quarantine_of(tmp_path, **section) as quarantine:
        quarantine.keep(mail(ANN, BEN), replace(SPAM, subject=HOSTILE))
        quarantine.keep(mail(ANN, sender="a@b.example\x00\n"), SPAM)
        found = list(digest.digests(config, quarantine))
        assert [(one.address, len(one.numbers)) for one in found] == [(ANN, 2), (BEN, 1)]
        for one in found:
            await asyncio.to_thread(digest.send, config, quarantine, one)
        assert list(digest.digests(config, quarantine)) == []
        assert [taken.commands[1].upper()[:12] for taken in sink.taken] == ["MAIL FROM:<>"] * 2
        raw = sink.taken[0].data.removesuffix(b".\r\n")
        assert quarantine.signer.released(Message(raw, kind=Kind.MAIL, recipients=(ANN,)))
        said = message_from_bytes(raw, policy=policy.default)
        assert said["To"] == ANN and said["Bcc"] is None and said["Auto-Submitted"] == "auto-generated"
        assert said["Subject"] == "2 Nachrichten werden für Sie zurückgehalten"
        text = said.get_content().replace("\r", "")
        assert "pay Bcc: x@y.example <b>now</b> gnp.exe [2J" in text and text.replace("\n", "").isprintable()
        links = [line.strip() for line in text.split("\n") if "https://" in line]
        assert len(links) == 2 and all(quarantine.signer.read(one.rpartition("/")[2]) for one in links)
        quarantine.keep(mail(ANN), SPAM)
        sink.stop()
        (again,) = digest.digests(config, quarantine)
        with pytest.raises(ReleaseFailed):
            await asyncio.to_thread(digest.send, config, quarantine, again)
        assert len(list(digest.digests(config, quarantine))) == 1


def test_many_are_listed_up_to_a_bound_and_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "LISTED", 2)
    config = config_of(tmp_path, sender="filterd@example.org")
    with quarantine_of(tmp_path, sender="filterd@example.org") as quarantine:
        for _ in range(5):
            quarantine.keep(mail(), SPAM)
        (one,) = digest.digests(config, quarantine)
        assert len(one.numbers) == 5 and "And 3 more." in one.mail.get_content()
        assert "Ask your administrator" in one.mail.get_content()


def test_it_needs_a_sender(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert config.quarantine == Section()
    with quarantine_of(tmp_path) as quarantine, pytest.raises(ConfigError, match=r"set quarantine\.sender"):
        list(digest.digests(config, quarantine))

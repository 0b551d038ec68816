"""The proxy between a client and a next hop that is slow, gone, choosy or cut off; what it lets through."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filterd import headers
from filterd.api import Label, Message, Verdict
from filterd.errors import DeadlineExceeded, FilterdError, Overloaded
from tests.filterd.mails import FORGED_LINE, forged
from tests.filterd.protocols.fakes import Tagging, verdict
from tests.plugins.smtp_proxy.peers import Proxy, Sink, Talk, until

MAIL = b"From: ann@example.net\r\nSubject: lunch\r\n\r\nAt noon?\r\n"
SPAM = b"From: win@example.net\r\nSubject: your prize\r\n\r\nClaim it.\r\n"
ENVELOPE = ("EHLO client.example.net", "MAIL FROM:<ann@example.net>", "RCPT TO:<ben@example.org>", "DATA")
LENVELOPE = ("LHLO client.example.net", *ENVELOPE[1:3], "RCPT TO:<carla@example.org>", "DATA")


class Bench:
    """A proxy between a test and a sink."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sink, self.classifier = folder, Sink(), Tagging()
        self.proxy = Proxy(folder, self.classifier)

    async def start(self, **settings: object) -> "Bench":
        await self.sink.start(self.folder / "hop.sock")
        self.proxy = Proxy(self.folder, self.classifier, **settings)
        await self.proxy.start()
        return self

    async def client(self) -> Talk:
        talk = await self.proxy.connect()
        assert (await talk.reply()).startswith("220 filter.example.org ")
        return talk

    async def up_to_data(self, *commands: str) -> Talk:
        talk = await self.client()
        for command in commands or ENVELOPE:
            reply = await talk.ask(command)
            assert reply[0] in "23", reply
        return talk

    async def send(self, content: bytes, *commands: str) -> str:
        talk = await self.up_to_data(*commands)
        reply = await talk.ask(dotted(content))
        talk.close()
        return reply


def dotted(content: bytes) -> bytes:
    """A message as it goes over the wire, by another way than the proxy's."""
    lines = content.split(b"\r\n")
    assert lines.pop() == b""
    return b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def untagged(data: bytes) -> bytes:
    """What a sink got, without our headers and dots."""
    assert data.endswith(b".\r\n")
    lines = [line.removeprefix(b".") for line in data.removesuffix(b".\r\n").split(b"\r\n")]
    content = b"\r\n".join(lines)
    return re.sub(rb"\A(?:X-Spam-[^:]+:[^\r]*\r\n(?:[ \t][^\r]*\r\n)*)+", b"", content)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.classifier.gate.set()
    await made.proxy.close(1.0)
    made.sink.stop()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(MAIL, id="plain"),
        pytest.param(b"A: b\r\n\r\n.\r\n..\r\n.x\r\n...\r\n", id="dots"),
        pytest.param(b".\r\n", id="only a dot"),
        pytest.param(b"\r\n\r\n\r\n", id="blank lines"),
        pytest.param(b"no header at all\r\n", id="no header"),
        pytest.param(
            b"A: b\r\n\r\n" + bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n", id="8 bits"
        ),
        pytest.param(b"A: b\r\n\r\n" + b"y" * 100_000 + b"\r\n.\r\n", id="a long line"),
        pytest.param(b"A: b\r\n \tfolded\r\nB:c \r\n\r\n \r\n\ttrailing \r\n", id="blanks"),
        pytest.param(b"A: b\r\n\r\n" + b"0123456789\r\n" * 50_000, id="600 kB"),
    ],
)
async def test_a_mail_comes_out_as_it_came_in(content: bytes, bench: Bench) -> None:
    await bench.start()
    assert await bench.send(content) == "250 2.0.0 taken"
    (taken,) = bench.sink.taken
    headless = content.startswith((b".", b"no header"))  # our headers make a body of it, so they need an end
    assert untagged(taken.data) == (b"\r\n" if headless else b"") + content
    assert taken.data.startswith(b"X-Spam-Status: No, score=")
    assert bench.classifier.seen[0].raw == content


@pytest.mark.parametrize("raw", forged().values(), ids=forged())
async def test_a_forged_header_is_gone_and_nothing_else(raw: bytes, bench: Bench) -> None:
    await bench.start()
    content, line = raw.replace(b"\n", b"\r\n"), FORGED_LINE.replace(b"\n", b"\r\n")
    assert await bench.send(content) == "250 2.0.0 taken"
    (taken,) = bench.sink.taken
    tagged = headers.tag(content, verdict(Label.HAM, -3.25))
    assert taken.data == dotted(tagged)
    assert line in content and line not in tagged


async def test_a_mail_without_a_byte(bench: Bench) -> None:
    await bench.start()
    assert await bench.send(b"") == "250 2.0.0 taken"
    assert untagged(bench.sink.taken[0].data) == b"\r\n"


async def test_a_mail_for_which_there_is_no_room_is_for_later(bench: Bench) -> None:
    await bench.start()
    bench.proxy.door.room.size = 200_000
    large = MAIL + b"line\r\n" * 100_000
    talk = await bench.up_to_data()
    assert (await talk.ask(dotted(large))).startswith("451 ")
    for command in ENVELOPE[1:]:
        assert (await talk.ask(command))[0] in "23"
    assert (await talk.ask(dotted(MAIL))).startswith("250 ")
    assert len(bench.classifier.seen) == 1 and bench.proxy.door.room.taken == 0
    talk.close()


async def test_a_large_mail_is_tagged_beside_the_event_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = []

    def tag(raw: bytes, found: Verdict) -> bytes:
        where.append(threading.current_thread() is threading.main_thread())
        return Tagging.tag(bench.classifier, raw, found)

    monkeypatch.setattr(bench.classifier, "tag", tag)
    await bench.start()
    assert (await bench.send(MAIL)).startswith("250 ")
    assert (await bench.send(MAIL + b"line\r\n" * 20_000)).startswith("250 ")
    assert where == [True, False]


async def test_split_at_every_byte(bench: Bench) -> None:
    await bench.start()
    whole = (
        b"".join(line.encode() + b"\r\n" for line in ENVELOPE)
        + dotted(b"A: b\r\n\r\n.\r\n..c\r\n")
        + b"QUIT\r\n"
    )
    answers = set()
    for i in range(len(whole)):
        talk = await bench.client()
        talk.say(whole[:i])
        await talk.writer.drain()
        for _ in range(3):
            await asyncio.sleep(0)
        talk.say(whole[i:])
        answers.add(await talk.rest())
        talk.close()
    (answer,) = answers
    assert [line[:4] for line in answer.splitlines() if line[3:4] == b" "] == [
        b"250 ",
        b"250 ",
        b"250 ",
        b"354 ",
        b"250 ",
        b"221 ",
    ]
    assert len(bench.sink.taken) == len(whole)
    assert {untagged(one.data) for one in bench.sink.taken} == {b"A: b\r\n\r\n.\r\n..c\r\n"}


async def test_byte_by_byte(bench: Bench) -> None:
    await bench.start()
    talk = await bench.up_to_data()
    for byte in dotted(b"A: b\r\n\r\n.\r\n..c\r\n"):
        talk.say(bytes([byte]))
        await asyncio.sleep(0)
    assert await talk.reply() == "250 2.0.0 taken"
    assert untagged(bench.sink.taken[0].data) == b"A: b\r\n\r\n.\r\n..c\r\n"
    talk.close()


async def test_forged_headers_go_and_ours_come_once(bench: Bench) -> None:
    await bench.start()
    forged = b"X-Spam-Flag: NO\r\nSubject: prize\r\nx-spam-status: No,\r\n\tscore=-100\r\n\r\nhello\r\n"
    await bench.send(forged)
    data = bench.sink.taken[0].data
    assert data.lower().count(b"x-spam-status:") == 1
    assert data.count(b"X-Spam-Flag: YES\r\n") == 1
    assert untagged(data) == b"Subject: prize\r\n\r\nhello\r\n"


async def test_the_classifier_is_told_the_envelope(bench: Bench) -> None:
    await bench.start(protocol="lmtp")
    bench.sink.lmtp = True
    await bench.send(MAIL, *LENVELOPE)
    (seen,) = bench.classifier.seen
    assert (seen.sender, seen.recipients) == ("ann@example.net", ("ben@example.org", "carla@example.org"))
    assert (seen.kind, seen.source) == ("mail", "smtp_proxy")
    assert seen.id


STAGES = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", ".")
LATER = re.compile(r"4[25]1 4\.[34]\.[0-9] Next hop .*")


async def outcome(bench: Bench) -> str:
    """The last reply of an attempt to send a mail, wherever it ends."""
    talk = await bench.client()
    reply = ""
    for said in (*ENVELOPE, dotted(MAIL)):
        reply = await talk.ask(said)
        if reply[0] not in "23":
            break
    talk.close()
    return reply


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", [None, "cut"], ids=["hangs", "cut off"])
async def test_a_next_hop_that_fails(how: str | None, stage: str, bench: Bench) -> None:
    await bench.start(next_hop_timeout_s=0.5)
    bench.sink.says[stage] = how
    assert LATER.fullmatch(await outcome(bench))
    assert not bench.sink.taken
    bench.sink.says.clear()
    assert await outcome(bench) == "250 2.0.0 taken"


async def test_no_next_hop(bench: Bench) -> None:
    await bench.start()
    bench.sink.stop()
    (bench.folder / "hop.sock").unlink()
    assert await outcome(bench) == "421 4.4.1 Next hop is not reachable"


@pytest.mark.parametrize("greeting", ["554 5.3.2 No service here", "421 4.3.2 Busy"])
async def test_a_next_hop_that_is_not_taking_mail(greeting: str, bench: Bench) -> None:
    await bench.start()
    bench.sink.says["greeting"] = greeting
    assert await outcome(bench) == f"421 4.3.2 Next hop is not taking mail ({greeting[:3]})"


async def test_a_421_to_a_recipient_ends_the_connection_as_it_ends_the_next_hops(bench: Bench) -> None:
    await bench.start()
    bench.sink.says["RCPT"] = "421 4.3.2 Going down"
    talk = await bench.up_to_data(*ENVELOPE[:2])
    assert await talk.ask(ENVELOPE[2]) == "421 4.3.2 Going down"
    assert await talk.rest() == b""
    talk.close()


@pytest.mark.parametrize("stage", range(len(ENVELOPE)))
async def test_a_client_that_leaves_takes_its_mail_with_it(stage: int, bench: Bench) -> None:
    await bench.start()
    talk = await bench.up_to_data(*ENVELOPE[: stage + 1])
    if ENVELOPE[stage] == "DATA":
        talk.say(MAIL)
    talk.close()
    await until(lambda: not len(bench.proxy.door))
    assert not bench.sink.taken


async def test_a_client_that_leaves_while_its_mail_is_judged(bench: Bench) -> None:
    await bench.start()
    bench.classifier.gate.clear()
    talk = await bench.up_to_data()
    talk.say(dotted(MAIL))
    await until(lambda: bench.classifier.seen)
    talk.writer.transport.abort()
    await until(lambda: bench.classifier.cancelled)
    await until(lambda: not len(bench.proxy.door))
    assert not bench.sink.taken


async def test_nothing_is_lost_while_the_next_hop_dies_and_comes_back(bench: Bench) -> None:
    """60 mails, each sent until it is taken; the next hop is cut off or gone most of the time."""
    await bench.start()
    taken: set[bytes] = set()
    attempts = 0
    stages = iter([*STAGES, "DATA", "."] * 100)

    async def disturb() -> None:
        for _ in range(40):  # then no more, so that a slow machine comes to an end
            bench.sink.says = {next(stages): "cut"}
            await asyncio.sleep(0.01)
            bench.sink.stop()
            await asyncio.sleep(0.005)
            bench.sink.says = {}
            await bench.sink.start(bench.folder / "hop.sock")
            await asyncio.sleep(0.05)

    async def deliver(content: bytes) -> None:
        nonlocal attempts
        while True:
            attempts += 1
            talk = await bench.client()
            replies = ["250"]
            for said in (*ENVELOPE, dotted(content)):
                if replies[-1][:1] in "23":
                    replies.append(await talk.ask(said))
            talk.close()
            assert replies[-1][:1] in "24", replies
            if replies[-1].startswith("250") and len(replies) == 6:
                taken.add(content)
                return

    disturbing = asyncio.ensure_future(disturb())
    mails = [MAIL + b"%d\r\n" % i for i in range(60)]
    await asyncio.gather(*map(deliver, mails))
    disturbing.cancel()
    arrived = [untagged(one.data) for one in bench.sink.taken]
    assert taken == set(mails) == set(arrived)
    assert attempts > len(mails), "the next hop never failed, so nothing was proved"


@pytest.mark.parametrize("error", [Overloaded("busy"), DeadlineExceeded("late"), RuntimeError("a bug")])
@pytest.mark.parametrize("on_error", ["accept", "tempfail"])
async def test_a_mail_that_cannot_be_judged(error: Exception, on_error: str, bench: Bench) -> None:
    await bench.start(on_error=on_error, spam="reject")
    bench.classifier.error = error
    reply = await bench.send(SPAM)
    if on_error == "tempfail":
        known = error if isinstance(error, FilterdError) else FilterdError
        assert reply == known.smtp_reply
        assert not bench.sink.taken
        assert bench.sink.heard[-1] in {"RSET", "QUIT"}
        return
    assert reply == "250 2.0.0 taken"
    assert b"filter=unavailable" in bench.sink.taken[0].data


async def test_an_unsure_mail_has_an_action_of_its_own(bench: Bench) -> None:
    async def unsure(message: Message) -> Verdict:
        return verdict(Label.UNSURE, 2.0)

    bench.classifier.check = unsure  # type: ignore[method-assign]
    await bench.start(unsure="tempfail", spam="reject")
    assert await bench.send(MAIL) == "451 4.7.1 Message looks like spam, try again later"


async def test_a_reject_stands_though_the_next_hop_is_gone_by_then(bench: Bench) -> None:
    await bench.start(spam="reject")
    bench.sink.says["RSET"] = "cut"
    assert (await bench.send(SPAM)).startswith("550 5.7.1 ")


async def test_lmtp_has_a_reply_for_each_recipient(bench: Bench) -> None:
    bench.sink.lmtp = True
    bench.sink.says["."] = "250 2.0.0 ben\r\n450 4.2.0 carla"
    await bench.start(protocol="lmtp")
    talk = await bench.up_to_data(*LENVELOPE)
    talk.say(dotted(MAIL))
    assert [await talk.reply(), await talk.reply()] == ["250 2.0.0 ben", "450 4.2.0 carla"]
    talk.close()


async def test_lmtp_smuggling_is_answered_for_each_recipient(bench: Bench) -> None:
    bench.sink.lmtp = True
    await bench.start(protocol="lmtp")
    talk = await bench.up_to_data(*LENVELOPE)
    talk.say(b"A: b\r\n\r\nc\n.\nMAIL FROM:<x@y>\r\n")
    assert [reply[:9] for reply in (await talk.rest()).decode().splitlines()] == ["550 5.5.2"] * 2
    assert not bench.sink.taken
    talk.close()


async def test_a_silent_client_is_let_go(bench: Bench) -> None:
    await bench.start(client_timeout_s=0.5)
    talk = await bench.client()
    assert await talk.rest() == b"421 4.4.2 Nothing came for too long\r\n"
    talk.close()


async def test_a_client_that_waits_for_us_is_not_silent(bench: Bench) -> None:
    await bench.start(client_timeout_s=1.0)  # a busy machine may keep the client itself waiting
    bench.sink.delay_s = 1.2
    bench.classifier.gate.clear()
    talk = await bench.up_to_data()
    talk.say(dotted(MAIL))
    await asyncio.sleep(1.2)
    bench.classifier.gate.set()
    assert await talk.reply() == "250 2.0.0 taken"
    talk.close()


async def test_more_connections_than_allowed(bench: Bench) -> None:
    await bench.start(max_connections=1)
    first = await bench.client()
    second = await bench.proxy.connect()
    assert await second.reply() == "421 4.3.2 Too many connections, try again later"
    second.close()
    assert await first.ask("NOOP") == "250 2.0.0 Ok"
    first.close()


async def test_too_many_recipients(bench: Bench) -> None:
    await bench.start(max_recipients=1)
    talk = await bench.up_to_data(*ENVELOPE[:3])
    assert (await talk.ask("RCPT TO:<carla@example.org>")).startswith("452 4.5.3 ")
    talk.close()


async def test_a_stop_lets_a_mail_through_and_nobody_else(bench: Bench) -> None:
    await bench.start()
    bench.classifier.gate.clear()
    idle, busy = await bench.client(), await bench.up_to_data()
    busy.say(dotted(MAIL))
    await until(lambda: bench.classifier.seen)
    closing = asyncio.ensure_future(bench.proxy.close())
    assert await idle.rest() == b"421 4.3.2 Stopping, try again later\r\n"
    bench.classifier.gate.set()
    assert await busy.rest() == b"250 2.0.0 taken\r\n421 4.3.2 Stopping, try again later\r\n"
    busy.close()
    idle.close()
    await closing
    assert len(bench.sink.taken) == 1


async def test_a_stop_has_an_end(bench: Bench) -> None:
    await bench.start()
    bench.classifier.gate.clear()
    talk = await bench.up_to_data()
    talk.say(dotted(MAIL))
    await until(lambda: bench.classifier.seen)
    await bench.proxy.close(0.05)
    assert not bench.sink.taken
    assert await talk.rest() == b""
    talk.close()


@pytest.mark.parametrize(("trusted", "offered"), [([], False), (["127.0.0.0/8"], True)])
async def test_who_may_say_who_the_client_was(trusted: list[str], offered: bool, bench: Bench) -> None:
    await bench.start(trusted=trusted)
    server = await asyncio.get_running_loop().create_server(bench.proxy.serve, "127.0.0.1", 0)
    talk = Talk(*await asyncio.open_connection(*server.sockets[0].getsockname()))
    await talk.reply()
    said = await talk.ask("EHLO client.example.net")
    assert ("XCLIENT" in said, "XFORWARD" in said) == (offered, offered)
    for verb in ("XFORWARD", "XCLIENT"):
        reply = await talk.ask(f"{verb} ADDR=192.0.2.1")
        assert reply.startswith("2" if offered else f"550 5.7.0 {verb}"), reply
    heard = [line for line in bench.sink.heard if line.startswith("X")]
    assert bool(heard) is offered
    talk.close()
    server.close()


async def test_nobody_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.start()
    caplog.set_level("INFO", "filterd")
    await bench.send(MAIL)
    (record,) = [one for one in caplog.records if one.getMessage() == "mail"]
    fields: dict[str, object] = record.fields  # type: ignore[attr-defined]
    assert fields | {"id": ""} == {
        "id": "",
        "label": "ham",
        "points": -3.2,
        "action": "tag",
        "replies": "250",
    }
    assert not any(
        "example.net" in str(one.__dict__) or "lunch" in str(one.__dict__)
        for one in caplog.records
        if one.name.startswith("filterd")
    )

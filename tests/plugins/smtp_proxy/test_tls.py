"""STARTTLS on both sides, and what is said around it in the clear."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.filterd.protocols.fakes import Tagging
from tests.plugins.smtp_proxy.peers import Proxy, Sink, Talk, until
from tests.plugins.smtp_proxy.test_server import ENVELOPE, MAIL, dotted, untagged

READY = "220 Ready to start TLS"


class Line:
    """A proxy with certificates between a client and a sink."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.folder, self.certificate, self.sink = folder, certificate, Sink()
        self.proxy = Proxy(folder, Tagging())

    async def start(self, **settings: object) -> Talk:
        await self.sink.start(self.folder / "hop.sock")
        pem = str(self.certificate)
        self.proxy = Proxy(self.folder, Tagging(), tls_certificate=pem, tls_key=pem, **settings)
        await self.proxy.start()
        talk = await self.proxy.connect()
        await talk.reply()
        return talk

    async def encrypt(self, talk: Talk) -> None:
        assert await talk.ask("STARTTLS") == READY
        context = ssl.create_default_context(cafile=str(self.certificate))
        await talk.writer.start_tls(context, server_hostname="localhost")


@pytest.fixture
async def line(tmp_path: Path, certificate: Path) -> AsyncIterator[Line]:
    made = Line(tmp_path, certificate)
    yield made
    await made.proxy.close(1.0)
    made.sink.stop()


async def test_a_mail_under_tls(line: Line) -> None:
    talk = await line.start()
    assert "250 STARTTLS" in await talk.ask("EHLO client.example.net")
    await line.encrypt(talk)
    assert (await talk.ask("MAIL FROM:<a@example.net>")).startswith("503 5.5.1 Say EHLO"), "RFC 3207 4.2"
    assert "STARTTLS" not in await talk.ask(ENVELOPE[0])
    for command in ENVELOPE[1:]:
        assert (await talk.ask(command))[0] in "23"
    assert await talk.ask(dotted(MAIL)) == "250 2.0.0 taken"
    assert await talk.ask("STARTTLS") == "502 5.5.1 TLS is not available"
    assert await talk.ask("QUIT") == "221 2.0.0 Bye"
    assert untagged(line.sink.taken[0].data) == MAIL
    talk.close()


@pytest.mark.parametrize("more", [b"NOOP\r\n", b"RSET\r\nMAIL FROM:<evil@example.net>\r\n", b"N", b"\r\n"])
async def test_what_follows_starttls_in_the_clear_is_never_carried_out(more: bytes, line: Line) -> None:
    talk = await line.start()
    await talk.ask("EHLO client.example.net")
    talk.say(b"STARTTLS\r\n" + more)
    assert await talk.rest() == b"554 5.5.1 Nothing may follow STARTTLS before its answer\r\n"
    assert line.sink.heard[0] == "EHLO client.example.net"
    assert not any(command.startswith(("MAIL", "RSET")) for command in line.sink.heard)
    talk.close()


async def test_what_comes_late_in_the_clear_breaks_the_handshake(line: Line) -> None:
    talk = await line.start()
    await talk.ask("EHLO client.example.net")
    assert await talk.ask("STARTTLS") == READY
    talk.say("MAIL FROM:<evil@example.net>")
    answer = await talk.rest()  # a TLS alert, perhaps
    assert not answer.startswith((b"2", b"4", b"5"))
    await until(lambda: not len(line.proxy.door))
    assert not any(command.startswith("MAIL") for command in line.sink.heard)
    talk.close()


async def test_mail_is_refused_without_tls_where_it_is_required(line: Line) -> None:
    talk = await line.start(tls_required=True)
    said = await talk.ask(ENVELOPE[0])
    assert "STARTTLS" in said
    for command in (*ENVELOPE[1:], "RSET", "VRFY ann", "XCLIENT ADDR=192.0.2.1"):
        assert await talk.ask(command) == "530 5.7.0 Say STARTTLS first"
    await line.encrypt(talk)
    for command in ENVELOPE:
        assert (await talk.ask(command))[0] in "23"
    talk.close()


class Onward:
    """A sink on TCP that knows STARTTLS, and a proxy in front of it."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.folder, self.certificate = folder, certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.sink = Sink(tls=context)
        self.proxy = Proxy(folder, Tagging())

    async def send(self, host: str = "localhost", **settings: object) -> str:
        """The last reply of an attempt to send a mail."""
        where = (await self.sink.start_tcp()).replace("localhost", host)
        self.proxy = Proxy(self.folder, Tagging(), next_hop=where, **settings)
        await self.proxy.start()
        talk = await self.proxy.connect()
        reply = await talk.reply()
        for said in (*ENVELOPE, dotted(MAIL)):
            if reply[0] in "23":
                reply = await talk.ask(said)
        talk.close()
        return reply


@pytest.fixture
async def onward(tmp_path: Path, certificate: Path) -> AsyncIterator[Onward]:
    made = Onward(tmp_path, certificate)
    yield made
    await made.proxy.close(1.0)
    made.sink.stop()


@pytest.mark.parametrize("how", ["may", "verify"])
async def test_tls_to_the_next_hop(how: str, onward: Onward) -> None:
    ca = str(onward.certificate) if how == "verify" else ""
    assert await onward.send(next_hop_tls=how, next_hop_ca=ca) == "250 2.0.0 taken"
    assert onward.sink.encrypted[0].startswith("EHLO")
    assert [line for line in onward.sink.heard if line not in onward.sink.encrypted] == ["STARTTLS"]


async def test_a_certificate_that_nobody_trusts(onward: Onward) -> None:
    assert await onward.send(next_hop_tls="verify") == "421 4.7.5 No TLS with the next hop"
    assert not onward.sink.taken


async def test_a_certificate_for_another_host(onward: Onward) -> None:
    ca = str(onward.certificate)
    reply = await onward.send("127.0.0.1", next_hop_tls="verify", next_hop_ca=ca)
    assert reply == "421 4.7.5 No TLS with the next hop"


async def test_no_tls_where_it_has_to_be(onward: Onward) -> None:
    onward.sink.extensions = ("SIZE",)
    ca = str(onward.certificate)
    assert await onward.send(next_hop_tls="verify", next_hop_ca=ca) == "421 4.7.5 Next hop offers no TLS"


async def test_a_next_hop_that_speaks_before_its_handshake(onward: Onward) -> None:
    onward.sink.injected = "\r\n250 evil.example.net"
    reply = await onward.send(next_hop_tls="may")
    assert reply == "421 4.7.5 Next hop spoke between STARTTLS and its handshake"
    assert not onward.sink.taken


async def test_a_client_that_gives_up_its_handshake(line: Line) -> None:
    talk = await line.start()
    await talk.ask(ENVELOPE[0])
    assert await talk.ask("STARTTLS") == READY
    talk.close()
    await until(lambda: not len(line.proxy.door))
    await asyncio.sleep(0)

"""The milter and two programs that play the mail server: OpenDKIM's miltertest, and the one of PyPI."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import miltertest
import pytest

from filterd.errors import Overloaded
from tests.conftest import need_program
from tests.plugins.milter import dialog
from tests.plugins.milter.test_server import Server

SCRIPTS = Path(__file__).parent / "lua"
TIMEOUT_S = 30.0


@pytest.fixture
def program() -> str:
    return need_program("miltertest")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Server]:
    settings = dialog.settings(['! rules: [{do: reject, reply: "554 5.7.0 No spam here", senders: ["no*"]}]'])
    server = await Server(tmp_path / "milter.sock", rules=settings.rules).start()
    yield server
    await server.close()


async def run_lua(script: str, server: Server, program: str) -> None:
    arguments = ["-D", f"socket=unix:{server.path}", "-s", str(SCRIPTS / script)]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(TIMEOUT_S):
        said, _ = await process.communicate()
    assert (process.returncode, said) == (0, b"all of it\n")


async def test_debians_mails(program: str, served: Server) -> None:
    await run_lua("mails.lua", served, program)
    first, second = served.classifier.seen
    assert (first.id, second.id) == ("ONE", "THREE")
    assert first.raw.startswith(b"From: ann@example.net\r\nX-Spam-Flag: NO\r\nSubject: hello\r\n")
    assert first.raw.endswith(b"\r\n\r\nYou won a prize.\r\n")
    assert len(second.raw) > 300_000
    await served.until(lambda: not len(served.door))


async def test_debians_refusal(program: str, tmp_path: Path) -> None:
    settings = dialog.settings(['! rules: [{do: reject, label: [spam], reply: "554 5.7.0 No spam here"}]'])
    server = await Server(tmp_path / "milter.sock", rules=settings.rules).start()
    await run_lua("reject.lua", server, program)
    await server.until(lambda: not len(server.door))
    assert len(server.classifier.seen) == 1
    await server.close()


class PyPi:
    """PyPI's miltertest on a socket, for one connection."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(str(server.path))
        self.connection: Any = miltertest.MilterConnection(self._socket)

    def open(self, protocol: int) -> None:
        self.connection.optneg_mta(protocol=protocol)
        self._say(
            miltertest.SMFIC_CONNECT,
            miltertest.SMFIP_NR_CONN,
            hostname="client.example.net",
            family=miltertest.SMFIA_INET,
            port=25,
            address="192.0.2.1",
        )

    def _say(self, command: str, silenced_by: int, **arguments: Any) -> None:
        """Send a command, and wait for an answer unless it was agreed that there is none."""
        if self.connection.protocol_flags & silenced_by:
            self.connection._send(command, **arguments)
        else:
            self.connection.send(command, **arguments)

    def mail(self, sender: str, body: str) -> list[Any]:
        """What the filter does to a mail: names of replies with their fields."""
        self.connection.send_macro(miltertest.SMFIC_MAIL, i="QID")
        self._say(miltertest.SMFIC_MAIL, miltertest.SMFIP_NR_MAIL, args=[sender])
        self._say(miltertest.SMFIC_RCPT, miltertest.SMFIP_NR_RCPT, args=["<ben@example.org>"])
        for name, value in (("X-Spam-Flag", "NO"), ("Subject", "hello")):
            self._say(miltertest.SMFIC_HEADER, miltertest.SMFIP_NR_HDR, name=name, value=value)
        self._say(miltertest.SMFIC_BODY, miltertest.SMFIP_NR_BODY, buf=body)
        return list(self.connection.send_eom())

    def close(self) -> None:
        self.connection._send(miltertest.SMFIC_QUIT)
        self._socket.close()


@pytest.mark.parametrize(
    ("protocol", "blank"),
    [
        pytest.param(miltertest.SMFI_V2_PROT, "", id="version 2's steps"),
        pytest.param(miltertest.SMFI_V6_PROT, " ", id="version 6's steps"),
    ],
)
async def test_pypis_mails(protocol: int, blank: str, served: Server) -> None:
    def talk() -> list[list[Any]]:
        peer = PyPi(served)
        peer.open(protocol)
        said = [peer.mail("<ann@example.net>", "You won a prize\r\n") for _ in range(3)]
        said.append(peer.mail("<nobody@example.net>", "hello\r\n"))
        peer.close()
        return said

    *tagged, refused = await asyncio.to_thread(talk)
    for mail in tagged:
        assert mail == [
            (miltertest.SMFIR_CHGHEADER, {"index": 1, "name": "X-Spam-Flag", "value": ""}),
            (miltertest.SMFIR_INSHEADER, {"index": 0, "name": "X-Spam-Score", "value": f"{blank}15.0"}),
            (miltertest.SMFIR_ACCEPT, {}),
        ]
    assert refused == [
        (miltertest.SMFIR_REPLYCODE, {"smtpcode": "554", "space": " ", "text": "5.7.0 No spam here"})
    ]
    assert {message.id for message in served.classifier.seen} == {"QID"}


async def test_pypis_overload(served: Server) -> None:
    served.classifier.error = Overloaded("full")

    def talk() -> list[Any]:
        peer = PyPi(served)
        peer.open(miltertest.SMFI_V6_PROT)
        said = peer.mail("<ann@example.net>", "hello\r\n")
        peer.close()
        return said

    said = await asyncio.to_thread(talk)
    assert [letter for letter, _ in said] == [
        miltertest.SMFIR_CHGHEADER,
        miltertest.SMFIR_INSHEADER,
        miltertest.SMFIR_ACCEPT,
    ]

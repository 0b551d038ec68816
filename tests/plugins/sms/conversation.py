"""The plugin behind the daemon's HTTP server, and dialogs as files.

A dialog's lines: `#` says something; `! gateway.label=action` changes the settings; `! fails` lets judging
fail; `>` is the client, CRLF after each line up to the blank one, then the body; `<` the whole answer; `---`
begins the next request on the same connection; `closed`: the connection is over.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from filterd import listen
from filterd.api import WebPlugin
from filterd.protocols.http.server import HttpServer
from filterd_plugins.sms.server import Sms
from filterd_plugins.sms.settings import SmsSettings
from tests.filterd.protocols.fakes import FakeClassifier

TOKEN, SECRET = "12345", "s#cret"
TIMEOUT_S = 10.0


@dataclass
class Dialog:
    """One file, read."""

    changes: dict[str, str] = field(default_factory=dict)
    fails: bool = False
    turns: list[tuple[bytes, bytes]] = field(default_factory=list)
    closed: bool = False


def read(file: Path) -> Dialog:
    dialog, asked, answered = Dialog(), list[str](), list[str]()
    for line in [*file.read_text("utf-8").splitlines(), "---"]:
        match line[:2].strip():
            case "!":
                name, _, value = line[2:].partition("=")
                if value:
                    dialog.changes[name] = value
                else:
                    dialog.fails = True
            case ">":
                asked.append(line[2:])
            case "<":
                answered.append(line[2:])
            case "--":
                dialog.turns.append((_request(asked), _http(answered)))
                asked, answered = [], []
            case "cl":
                dialog.closed = True
            case other:
                assert other == "#", f"{file.name}: {line}"
    return dialog


def _request(lines: list[str]) -> bytes:
    return _http(lines)


def _http(lines: list[str]) -> bytes:
    end = lines.index("")
    return "".join(f"{line}\r\n" for line in lines[: end + 1]).encode() + "\n".join(lines[end + 1 :]).encode()


def settings(folder: Path, changes: dict[str, str] | None = None, **given: Any) -> SmsSettings:
    (folder / "twilio").write_text(f"{TOKEN}\n")
    (folder / "kannel").write_text(f"{SECRET}\n")
    sections: dict[str, dict[str, str]] = {
        "twilio": {
            "secret_file": str(folder / "twilio"),
            "url": "https://sms.example.org/twilio",
            "forward_to": "https://app.example.org/sms?from=filterd",
        },
        "kannel": {"secret_file": str(folder / "kannel"), "forward_to": "http://127.0.0.1:9000/app"},
    }
    for name, value in (changes or {}).items():
        section, _, key = name.partition(".")
        sections[section][key] = value
    return msgspec.convert(sections | given, SmsSettings)


class Running:
    """The plugin as the daemon serves it."""

    def __init__(self, given: SmsSettings, path: Path) -> None:
        self.classifier, self._path = FakeClassifier(), path
        sms: WebPlugin = Sms(given, self.classifier)
        self.server = HttpServer(
            sms.app, max_connections=given.max_connections, section="plugins.sms", half_closed=True
        )

    async def __aenter__(self) -> "Running":
        await self.server.start(listen.open_socket(f"unix:{self._path}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close(0.1)
        self._path.unlink()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self._path))

    async def converse(self, pieces: Iterable[bytes]) -> tuple[list[bytes], bool]:
        """The answers to these pieces on one connection, and whether it is over then."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)  # so that the pieces are not put together again
        writer.write(LAST)
        answers = []
        async with asyncio.timeout(TIMEOUT_S):
            while answer := await _answer(reader):
                answers.append(answer)
        writer.close()
        over = not answers or b"\nthere is" not in answers[-1]
        return answers if over else answers[:-1], over


LAST = (
    b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"  # is answered unless the connection is over
)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The next answer without what uvicorn says of itself, in the form of the dialogs; b"" for none."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    named = dict(line.split(b": ", 1) for line in lines[1:])
    body = await reader.readexactly(int(named[b"content-length"]))
    return plain(b"\r\n".join([*lines, b"", body]))


def plain(answer: bytes) -> bytes:
    """An answer with its header fields in order and in lower case, less those that say nothing of ours."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    named = sorted((name.lower(), value) for name, _, value in (field.partition(b": ") for field in fields))
    kept = [b"%b: %b" % one for one in named if one[0] not in {b"date", b"server"}]
    return b"\r\n".join([first, *kept, b"", body])

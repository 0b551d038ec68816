"""A plugin without sockets, and dialogs as files.

A dialog's lines: `#` says something; `! gateway.label=action` changes the settings; `! fails` lets judging
fail; `>` is the client, CRLF after each line up to the blank one, then the body; `<` the whole answer; `---`
begins the next request on the same connection; `closed`: the connection is over.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from filterd.errors import Overloaded
from filterd_plugins.sms.gateways import Refused
from filterd_plugins.sms.server import Sms
from filterd_plugins.sms.session import Session
from filterd_plugins.sms.settings import Settings
from tests.filterd.protocols.fakes import FakeClassifier

TOKEN, SECRET = "12345", "s#cret"


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


def settings(folder: Path, changes: dict[str, str] | None = None, **given: Any) -> Settings:
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
    return msgspec.convert(sections | given, Settings)


def plugin(folder: Path, dialog: Dialog) -> tuple[Sms, FakeClassifier]:
    classifier = FakeClassifier()
    if dialog.fails:
        classifier.error = Overloaded("the queue is full")
    return Sms(settings(folder, dialog.changes), classifier), classifier


async def converse(sms: Sms, pieces: Iterable[bytes]) -> tuple[bytes, bool]:
    """What comes back for these pieces, and whether the connection is over then."""
    session, out = Session(), b""
    for piece in pieces:
        session.feed(piece)
        try:
            while not session.over and (request := session.request()):
                out += session.answer(await sms.answer(request))
        except Refused as refused:
            return out + session.answer(refused.answer), True
    return out, session.over

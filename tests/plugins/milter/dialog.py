r"""Dialogs as files: what a mail server sends, and what it is told, packet by packet.

    # why it is there
    ! on_error: tempfail          lines of the plugin's section, YAML
    > L Subject| hello\n there|   the mail server's packet: letter, blank, data
    < c                           a packet it gets for that, in order; none where there is none
    = raw Subject: …              the mail that now waits: raw, id, sender or recipients
    ? spam                        its verdict: ham, unsure, spam, unavailable, or the name of an error

In data `|` is NUL, `#6 ` is a uint32, `%25 ` a uint16 (the blank belongs to them), and \r \n \x00 are bytes.
The packets are put together here, not by `wire`: a codec proves nothing about itself.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from filterd import errors
from filterd.api import Label, Message, Verdict
from filterd_plugins.milter.rules import MilterSettings
from tests.filterd.protocols.fakes import verdict

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))
VERDICTS = {
    "ham": verdict(Label.HAM, -3.25, probability=0.01),
    "unsure": verdict(Label.UNSURE, 3.5, probability=0.6),
    "spam": verdict(Label.SPAM, 15.0, probability=0.9999),
    "unavailable": verdict(Label.HAM, 0.0, available=False, model="", tests=()),
}


def packet(said: str) -> bytes:
    """`L Subject| hello|` as bytes."""
    letter, _, data = said.partition(" ")
    raw = data.encode().decode("unicode_escape").encode("latin-1").replace(b"|", b"\0")
    raw = re.sub(rb"#(0x[0-9a-f]+|\d+) ?", lambda m: struct.pack("!I", int(m[1], 0)), raw)
    raw = re.sub(rb"%(\d+) ?", lambda m: struct.pack("!H", int(m[1])), raw)
    return struct.pack("!I", len(raw) + 1) + letter.encode() + raw


def unescaped(said: str) -> bytes:
    return said.encode().decode("unicode_escape").encode("latin-1")


def settings(lines: list[str]) -> MilterSettings:
    text = "\n".join(line[2:] for line in lines if line.startswith("!"))
    return msgspec.convert(yaml.safe_load(text) or {}, MilterSettings)


def outcome(name: str) -> Verdict | errors.FilterdError:
    if name in VERDICTS:
        return VERDICTS[name]
    error = getattr(errors, name)("made up")
    assert isinstance(error, errors.FilterdError)
    return error


def steps(lines: list[str]) -> Iterator[tuple[str, bytes]]:
    """Each packet and verdict with the bytes that are expected for it; and "=" lines in between."""
    said, expected = "", b""
    for line in lines:
        if line[:1] in ">?=":
            if said:
                yield said, expected
            said, expected = line, b""
        elif line.startswith("<"):
            expected += packet(line[2:])
    yield said, expected


def field(mail: Message, name: str) -> bytes:
    value = getattr(mail, name)
    if isinstance(value, tuple):
        value = " ".join(value)
    return value if isinstance(value, bytes) else value.encode()

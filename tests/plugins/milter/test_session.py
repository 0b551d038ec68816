"""The dialogs of `dialogs/`, whole and byte by byte; and what no file can say."""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Action, Verdict
from filterd_plugins.milter.rules import MilterSettings
from filterd_plugins.milter.session import (
    MAX_FORGED,
    MAX_MACROS,
    MAX_RECIPIENT_BYTES,
    MAX_RECIPIENTS,
    TRANSITIONS,
    MilterSession,
    MilterState,
)
from filterd_plugins.milter.wire import MilterCommand, MilterError
from tests.filterd.mails import forged
from tests.filterd.protocols.fakes import FakeClassifier
from tests.plugins.milter import dialog
from tests.plugins.milter.dialog import DIALOGS, VERDICTS, packet

NEGOTIATE = packet("O #6 #0x1ff #0x1fffff")
CONNECT = packet("C client.example.net|4%25 192.0.2.1|")
MAIL = packet("M <ann@example.net>|")
HEADER = packet("L Subject| hello|")
END = packet("E")
SPAM, HAM = VERDICTS["spam"], VERDICTS["ham"]
assert isinstance(SPAM, Verdict)
DEFAULTS = MilterSettings()
# Of each command one packet that is right, wherever it may come.
RIGHT = {
    MilterCommand.ABORT: packet("A"),
    MilterCommand.BODY: packet("B text\\r\\n"),
    MilterCommand.CONNECT: CONNECT,
    MilterCommand.MACRO: packet("D Ci|ABC|"),
    MilterCommand.END_OF_BODY: END,
    MilterCommand.HELO: packet("H client.example.net|"),
    MilterCommand.QUIT_NEW_CONNECTION: packet("K"),
    MilterCommand.HEADER: HEADER,
    MilterCommand.MAIL: MAIL,
    MilterCommand.END_OF_HEADERS: packet("N"),
    MilterCommand.NEGOTIATE: NEGOTIATE,
    MilterCommand.QUIT: packet("Q"),
    MilterCommand.RCPT: packet("R <ben@example.org>|"),
    MilterCommand.DATA: packet("T"),
    MilterCommand.UNKNOWN: packet("U HELP|"),
}
WAY_TO = {
    MilterState.START: b"",
    MilterState.READY: NEGOTIATE,
    MilterState.IDLE: NEGOTIATE + CONNECT,
    MilterState.ENVELOPE: NEGOTIATE + CONNECT + MAIL,
    MilterState.HEADERS: NEGOTIATE + CONNECT + MAIL + HEADER,
    MilterState.BODY: NEGOTIATE + CONNECT + MAIL + HEADER + packet("B text"),
}


def made(settings: MilterSettings = DEFAULTS, way: bytes = b"") -> MilterSession:
    session = MilterSession(settings, FakeClassifier())
    session.receive(way)
    return session


def whole(data: bytes) -> list[bytes]:
    return [data]


def bytes_of(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("file", DIALOGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("cut", [whole, bytes_of], ids=["whole", "bytes"])
def test_dialog(file: Path, cut: Callable[[bytes], list[bytes]]) -> None:
    lines = file.read_text("utf-8").splitlines()
    session = made(dialog.settings(lines))
    for said, expected in dialog.steps(lines):
        where = f"{file.stem}: {said}"
        if said.startswith(">"):
            assert b"".join(session.receive(piece) for piece in cut(packet(said[2:]))) == expected, where
            continue
        assert session.mail, where
        if said.startswith("?"):
            assert session.answer(dialog.outcome(said[2:])) == expected, where
        else:
            _, name, value = said.split(" ", 2)
            assert dialog.field(session.mail, name) == dialog.unescaped(value), where
    assert session.mail is None
    assert session.waiting == 0


@pytest.mark.parametrize("raw", forged().values(), ids=forged())
@pytest.mark.parametrize("cut", [whole, bytes_of], ids=["whole", "bytes"])
def test_a_forged_header_is_told_to_go_and_no_other(raw: bytes, cut: Callable[[bytes], list[bytes]]) -> None:
    """As Postfix sends it, with "X-Mailbox-Line" for an mbox line (smtpd.c) and blanks before a value."""
    if raw.startswith(b">From "):
        raw = b"X-Mailbox-Line: " + raw
    head, _, body = raw.partition(b"\n\n")
    lines = [field.split(b":", 1) for field in re.split(rb"\n(?![ \t])", head)]
    sent = b"".join(_packet(b"L", name + b"\0" + value + b"\0") for name, value in lines)
    content = body.replace(b"\n", b"\r\n")
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    for piece in cut(sent + packet("N") + _packet(b"B", content) + END):
        session.receive(piece)
    assert session.mail and session.mail.raw == raw.replace(b"\n", b"\r\n")
    gone = packet("m #1 X-Spam-Flag||")
    assert session.answer(HAM) == gone + packet("i #0 X-Spam-Score| -3.2|") + packet("a")


def _packet(letter: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data) + 1) + letter + data


def test_every_command_and_action_has_a_dialog() -> None:
    sent = "".join(file.read_text("utf-8") for file in DIALOGS)
    for command in MilterCommand:
        assert f"\n> {command.value.decode()}" in sent
    for reply in "acdimyqO":
        assert f"\n< {reply}" in sent
    for version in range(2, 7):
        assert f"\n> O #{version} " in sent


def test_the_table_is_what_happens() -> None:
    """In each state each command: where the table leads, or an error."""
    for state, way in WAY_TO.items():
        for command, data in RIGHT.items():
            session = made(way=way)
            assert session.state is state
            if (state, command) in TRANSITIONS:
                session.receive(data)
                assert session.state is TRANSITIONS[state, command], f"{command} in {state}"
            else:
                with pytest.raises(MilterError, match=f"{command.name} has no place here"):
                    session.receive(data)


@given(st.lists(st.one_of(st.sampled_from(list(RIGHT.values())), st.binary(max_size=40)), max_size=25))
def test_any_dialog_ends_in_packets_or_an_error(said: list[bytes]) -> None:
    session = made(way=NEGOTIATE)
    out = b""
    try:
        for data in said:
            out += session.receive(data)
            while session.mail:
                assert session.state is MilterState.JUDGING
                assert len(session.mail.raw) <= DEFAULTS.max_bytes
                out += session.answer(HAM) + session.receive(b"")
    except MilterError:
        pass
    assert all(letter in b"acim" for letter, _ in packets(out))


def packets(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Replies, taken apart without `wire`."""
    while stream:
        (length,) = struct.unpack_from("!I", stream)
        assert 1 <= length <= len(stream) - 4
        yield stream[4], stream[5 : 4 + length]
        stream = stream[4 + length :]


OTHERS = ["Subject", "To", "X-Spa", "X-Filterd-Classification"]
NAMES = st.sampled_from(
    ["X-Spam-Flag", "x-spam-flag", "X-SPAM-Status", "X-Spam-", "X-Filterd-Class", "x-filterd-value ", *OTHERS]
)


@given(st.lists(NAMES, max_size=12), st.booleans())
def test_only_forged_headers_go_whatever_a_deletion_does_to_places(names: list[str], moves_up: bool) -> None:
    """Postfix finds the n-th header among those that are left, Sendmail among those that came."""
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    for i, name in enumerate(names):
        session.receive(packet(f"L {name}| {i}|"))
    session.receive(END)
    mail: list[tuple[str, str] | None] = [(name, f" {i}") for i, name in enumerate(names)]
    for letter, data in packets(session.answer(SPAM)):
        if letter == ord("m"):
            delete(mail, data, moves_up=moves_up)
        elif letter == ord("i"):
            name, value, _ = data[4:].decode().split("\0")
            mail.insert(struct.unpack_from("!I", data)[0], (name, value))
    kept = [(name, f" {i}") for i, name in enumerate(names) if name in OTHERS]
    assert [one for one in mail if one] == [("X-Spam-Score", " 15.0"), *kept]


def delete(mail: list[tuple[str, str] | None], data: bytes, *, moves_up: bool) -> None:
    (place,) = struct.unpack_from("!I", data)
    name = data[4:].split(b"\0")[0].decode()
    same = [i for i, one in enumerate(mail) if one and one[0].lower() == name.lower()]
    if moves_up:
        del mail[same[place - 1]]
    else:
        mail[same[place - 1]] = None


def test_what_comes_while_a_mail_is_judged_waits() -> None:
    session = made(way=NEGOTIATE + CONNECT)
    one = MAIL + HEADER + END
    assert session.receive(one + one + packet("Q")) == packet("c")
    assert session.mail
    assert session.waiting == len(one + packet("Q"))
    marked = packet("i #0 X-Spam-Score| 15.0|") + packet("a")
    assert session.answer(SPAM) == marked
    assert session.receive(b"") == packet("c")
    assert session.answer(SPAM) == marked
    assert session.receive(b"") == b""
    assert session.state is MilterState.CLOSED


def test_a_large_body_is_kept_up_to_the_cap() -> None:
    session = made(MilterSettings(max_bytes=100_000), NEGOTIATE + CONNECT + MAIL + HEADER)
    chunk = struct.pack("!I", 65_536) + b"B" + b"x" * 65_535
    for _ in range(800):  # 52 MB
        assert session.receive(chunk) == b""
        assert session.waiting == 0
    session.receive(END)
    assert session.mail
    assert session.mail.raw == (b"Subject: hello\r\n\r\n" + b"x" * 100_000)[:100_000]


def test_headers_count_towards_the_cap_and_are_forged_beyond_it_too() -> None:
    session = made(MilterSettings(max_bytes=100), NEGOTIATE + CONNECT + MAIL)
    for _ in range(1000):
        session.receive(packet("L X-Filler| " + "x" * 1000 + "|"))
    session.receive(packet("L X-Spam-Flag| NO|") + END)
    assert session.mail
    assert len(session.mail.raw) == 100
    assert session.answer(HAM).startswith(packet("m #1 X-Spam-Flag||"))


def test_a_header_of_a_megabyte() -> None:
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    value = b" " + b"x" * (1 << 20)
    data = b"Subject\0" + value + b"\0"
    session.receive(struct.pack("!I", len(data) + 1) + b"L" + data + END)
    assert session.mail
    assert session.mail.raw == b"Subject:" + value + b"\r\n\r\n"


def test_recipients_are_bounded_by_their_bytes_too() -> None:
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    one = packet("R <" + "b" * 60_000 + "@example.org>|")
    for _ in range(2 * MAX_RECIPIENT_BYTES // 60_000):
        session.receive(one)
    assert sum(map(len, session._envelope.recipients)) <= MAX_RECIPIENT_BYTES
    assert session.receive(END) == packet("y 452 4.5.3 Too many recipients|")
    session.receive(MAIL + packet("R <ben@example.org>|") + END)
    assert session.mail
    assert session.mail.recipients == ("ben@example.org",)


def test_too_many_recipients_are_too_many_for_now() -> None:
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    one = packet("R <ben@example.org>|")
    session.receive(one * MAX_RECIPIENTS)
    session.receive(END)
    assert session.mail
    assert len(session.mail.recipients) == MAX_RECIPIENTS
    session.answer(HAM)
    session.receive(MAIL + one * (MAX_RECIPIENTS + 1))
    assert session.receive(END) == packet("y 452 4.5.3 Too many recipients|")
    assert session.receive(MAIL + END) == packet("c")
    assert session.mail
    assert session.mail.recipients == ()


def test_too_many_forged_headers_are_refused() -> None:
    session = made(way=NEGOTIATE + CONNECT + MAIL)
    forged = packet("L X-Spam-Level| *|")
    session.receive(forged * MAX_FORGED + END)
    assert session.mail
    assert session.answer(HAM).count(b"m\0\0\0") == MAX_FORGED
    session.receive(MAIL)
    for i in range(MAX_FORGED + 1):
        session.receive(packet(f"L X-Spam-{i}| *|"))
    assert session.receive(END) == packet("y 554 5.6.0 Too many headers that only a spam filter writes|")


def test_too_many_macros_are_no_macros() -> None:
    session = made(way=NEGOTIATE + CONNECT)
    names = "".join(f"n{i}|v|" for i in range(MAX_MACROS + 1))
    with pytest.raises(MilterError, match="macros at once"):
        session.receive(packet(f"D M{names}"))


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        pytest.param("O #1 #0x3f #0x7f", "milter protocol 1; this is 2 to 6", id="too-old"),
        pytest.param("O #6 #0x10 #0x7f", "does not allow ADD_HEADERS", id="no-adding"),
        pytest.param("O #6 #0x11 #0x7f", "does not allow QUARANTINE", id="no-holding"),
    ],
)
def test_what_cannot_work_ends_at_once(offer: str, said: str) -> None:
    settings = dialog.settings(["! quarantine: server", "! rules: [{do: quarantine}]"])
    with pytest.raises(MilterError, match=said):
        made(settings).receive(packet(offer))


LOGGED_IN = packet("D Mi|ONE|{auth_authen}|ann|")
SUBMITTED = MAIL + packet("R <ben@example.org>|") + packet("R <carl@example.org>|")


def test_what_users_submit_is_noted_and_not_judged() -> None:
    classifier = FakeClassifier()
    classifier.notes_submissions = True
    session = MilterSession(DEFAULTS, classifier)
    session.receive(NEGOTIATE + CONNECT)
    forged = b"".join(packet("L X-Spam-Flag| YES|") for _ in range(MAX_FORGED + 1))
    said = session.receive(LOGGED_IN + SUBMITTED + forged + packet("B " + "x" * 1000) + END)
    assert said.endswith(packet("a")) and session.state is MilterState.IDLE
    assert classifier.written == [("ann@example.net", ["ben@example.org", "carl@example.org"])]
    session.receive(packet("D Mi|TWO|") + SUBMITTED + END)
    assert session.mail and not session.mail.login and len(classifier.written) == 1


def test_where_logins_are_judged_they_are_noted_too() -> None:
    classifier = FakeClassifier()
    classifier.notes_submissions = True
    session = MilterSession(MilterSettings(skip_authenticated=False), classifier)
    session.receive(NEGOTIATE + CONNECT + LOGGED_IN + SUBMITTED + END)
    assert session.mail and session.mail.login == "ann" and len(classifier.written) == 1


def test_a_mail_that_is_cut_off_is_not_kept_by_filterd() -> None:
    session = made(MilterSettings(max_bytes=10), NEGOTIATE + CONNECT + MAIL + packet("R <ben@example.org>|"))
    session.receive(packet("B " + "x" * 11) + END)
    assert session.mail and Action.QUARANTINE not in session.mail.way.can
    session = made(DEFAULTS, NEGOTIATE + CONNECT + MAIL + packet("R <ben@example.org>|"))
    session.receive(packet("B " + "x" * 11) + END)
    assert session.mail and Action.QUARANTINE in session.mail.way.can and not session.mail.way.holds


def test_what_filterd_keeps_the_server_drops() -> None:
    session = made(DEFAULTS, NEGOTIATE + CONNECT + MAIL + packet("R <ben@example.org>|") + END)
    assert session.answer(replace(SPAM, action=Action.QUARANTINE)) == packet("d")

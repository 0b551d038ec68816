"""Only what was released passes, only for its recipient, and only as it was; a link holds for its time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Message
from filterd.history.record import at, encode
from filterd.quarantine import signing
from filterd.quarantine.signing import SignedLink, Signer
from tests.filterd.quarantine.made import ANN, BEN, RAW

SIGNER = Signer(b"k" * 32, "X-Spam-")
NUMBER = at(1_790_000_000.0)
STAMPED = SIGNER.stamp(RAW, NUMBER, ANN)


def passes(raw: bytes, *recipients: str, signer: Signer = SIGNER) -> bool:
    message = Message(raw, kind=Kind.MAIL, recipients=recipients or (ANN,))
    return signer.may_be(message) and signer.released(message)


def test_what_was_released_passes_for_whom_it_was() -> None:
    assert STAMPED.endswith(b"\r\n" + RAW) and STAMPED.startswith(b"X-Spam-Released: ")
    assert passes(STAMPED) and passes(STAMPED, "<Ann@Example.org>")
    assert passes(b"Received: from a\r\n\tby b\r\n" + STAMPED)
    assert passes(STAMPED.replace(b"\r\n", b"\n"))
    assert passes(STAMPED.replace(b"X-Spam-Released", b"x-spam-released"))
    assert passes(SIGNER.stamp(b"", NUMBER, ANN))


@pytest.mark.parametrize("recipients", [(BEN,), (ANN, BEN), ("",)])
def test_for_nobody_else(recipients: tuple[str, ...]) -> None:
    assert not passes(STAMPED, *recipients)
    assert not SIGNER.released(Message(STAMPED, kind=Kind.MAIL))


def test_not_another_mail_key_or_time(monkeypatch: pytest.MonkeyPatch) -> None:
    header = STAMPED.partition(b"\r\n")[0] + b"\r\n"
    assert not passes(header + b"Subject: other spam\r\n\r\nbuy\r\n")
    assert not passes(STAMPED + b"buy\r\n")
    assert not passes(STAMPED, signer=Signer(b"x" * 32, "X-Spam-"))
    assert not passes(STAMPED, signer=Signer(b"k" * 32, "X-Other-"))
    assert not passes(header.replace(b"X-Spam-Released:", b"X-Spam-Released: x") + STAMPED)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + signing.GOOD_FOR_S + 61)
    assert not passes(STAMPED)


@given(st.integers(0, len(STAMPED.partition(b"\r\n")[0]) - 1), st.integers(1, 255))
def test_no_byte_of_the_header_can_be_another(place: int, by: int) -> None:
    forged = bytearray(STAMPED)
    forged[place] ^= by
    assert bytes(forged).lower() == STAMPED.lower() or not passes(bytes(forged))


@given(st.binary(max_size=300))
def test_nonsense_passes_nothing(raw: bytes) -> None:
    assert not passes(b"X-Spam-Released: " + raw)


def test_a_link_is_for_one_message_and_recipient() -> None:
    token = SIGNER.link(NUMBER, "ab" * 16, 1.0)
    assert len(token) <= signing.MAX_TOKEN and token.isascii() and "/" not in token
    found = SIGNER.read(token)
    assert found and found[:2] == (NUMBER, "ab" * 16) and isinstance(found, SignedLink)
    assert SIGNER.read(SIGNER.link(NUMBER, "ab" * 16, -0.001)) is None
    assert Signer(b"x" * 32, "X-Spam-").read(token) is None


@given(st.text(max_size=300) | st.from_regex(r"[0-9A-Z]{13}\.[0-9a-f]{32}\.[0-9]{10}\.[A-Za-z0-9_-]{43}"))
def test_a_made_up_link_is_none(token: str) -> None:
    assert SIGNER.read(token) is None


@given(st.integers(0, 200), st.characters())
def test_no_character_of_a_link_can_be_another(place: int, character: str) -> None:
    token = SIGNER.link(NUMBER, "ab" * 16, 1.0)
    forged = token[:place] + character + token[place + 1 :]
    assert forged == token or SIGNER.read(forged) is None


def test_an_id_is_that_of_the_history() -> None:
    assert STAMPED.startswith(f"X-Spam-Released: {encode(NUMBER)} t=".encode())


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_only_a_head_is_worth_looking_at(end: bytes) -> None:
    def may_be(*lines: bytes) -> bool:
        return SIGNER.may_be(Message(end.join(lines), kind=Kind.MAIL))

    assert may_be(b"x-sPam-released: x", b"", b"body")
    assert may_be(b"Received: a", b"X-Spam-Released: x", b"", b"body") and may_be(
        b"A: b", b"X-Spam-Released: x"
    )
    assert not may_be(b"Subject: X-Spam-Released: x", b"", b"body")
    assert not may_be(b"Subject: x", b"", b"X-Spam-Released: x", b"", b"body")
    assert not may_be(b"Subject: x", b"\tX-Spam-Released: x", b"", b"body") and not may_be(b"")

"""One spelling for each person, and for whom a message is judged."""

import os
import socket

import pytest

from filterd.api import Message
from filterd.corrections.owners import asked_for, spelled
from filterd.listen import peer_of, user_of


@pytest.mark.parametrize(
    ("said", "owner"),
    [
        ("Ann", "ann"),
        (" <Ann+lists@Example.ORG> ", "ann@example.org"),
        ("ann+", "ann"),
        ("", ""),
        ("x" * 400, "x" * 254),
    ],
)
def test_one_spelling(said: str, owner: str) -> None:
    assert spelled(said) == owner


@pytest.mark.parametrize(
    ("message", "owner"),
    [
        pytest.param(Message(b""), None, id="nobody"),
        pytest.param(Message(b"", recipients=("Ann@example.org",)), "ann", id="by local part"),
        pytest.param(Message(b"", recipients=("bob@example.org",)), "bob@example.org", id="by address"),
        pytest.param(Message(b"", recipients=("a@x", "b@x")), None, id="several"),
        pytest.param(Message(b"", recipients=("a@x", "b@x"), user="Bob"), "bob", id="a named user"),
    ],
)
def test_for_whom(message: Message, owner: str | None) -> None:
    assert asked_for(message, {"ann", "bob@example.org"}) == owner


def test_the_peer_of_a_unix_socket() -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_INET) as inet:
        assert peer_of(one) == user_of(os.getuid())
        assert peer_of(inet) is peer_of(None) is None
    assert user_of(4_000_000) == "4000000"

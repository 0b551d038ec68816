"""Places at a door: who gets one, who gives his up, and what the refused are told."""

import asyncio
import socket

import pytest

from filterd.kit import door
from filterd.kit.door import Door


class Client:
    def __init__(self) -> None:
        self.gone = self.told = False

    def finish(self) -> None:
        self.told = True

    def abort(self) -> None:
        self.gone = True


def test_so_many_and_no_more() -> None:
    entry, clients = Door(2), [Client() for _ in range(3)]
    assert [entry.enter(one) for one in clients] == [True, True, False]
    entry.leave(clients[0])
    assert entry.enter(clients[2]) and len(entry) == 2
    entry.leave(clients[0])  # twice is once
    assert len(entry) == 2


def test_the_longest_silent_gives_its_place_up(monkeypatch: pytest.MonkeyPatch) -> None:
    entry, clients = Door(3), [Client() for _ in range(4)]
    for one in clients[:3]:
        entry.enter(one)
    entry.asked(clients[0])
    monkeypatch.setattr(door, "PATIENCE_S", 0.0)
    assert entry.enter(clients[3])
    assert [one.gone for one in clients] == [False, True, False, False]
    assert len(entry) == 3


def test_who_is_answered_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 0.0)
    entry, first, second = Door(1), Client(), Client()
    entry.enter(first)
    entry.asked(first)
    assert not entry.enter(second) and not first.gone
    entry.waits(first)  # answered, and its next request is waited for
    assert entry.enter(second) and first.gone


def test_a_place_that_was_taken_away_is_not_taken_again() -> None:
    entry, client = Door(1), Client()
    entry.enter(client)
    entry.leave(client)
    entry.asked(client)  # its request was in the kernel already
    assert len(entry) == 0


async def test_the_refused_are_told_and_leave_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LINGERING", 2)
    monkeypatch.setattr(door, "LINGER_S", 0.05)
    entry, loop, told = Door(1), asyncio.get_running_loop(), []
    for _ in range(4):
        ours, theirs = socket.socketpair()
        transport, _protocol = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        entry.refuse(transport, b"busy")
        theirs.setblocking(False)
        told.append(await loop.sock_recv(theirs, 10))
        theirs.close()
    assert told == [b"busy"] * 4
    assert entry._lingering <= 2
    await asyncio.sleep(0.1)
    assert entry._lingering == 0


async def test_a_drain_waits_for_who_is_answered() -> None:
    entry, first, second = Door(3), Client(), Client()
    entry.enter(first)
    entry.enter(second)
    entry.asked(first)
    draining = asyncio.ensure_future(entry.drain(10.0))
    await asyncio.sleep(0)
    assert first.told and second.told and entry.closing and not entry.enter(Client())
    entry.leave(second)
    await asyncio.sleep(0)
    assert not draining.done()
    entry.leave(first)
    await draining
    assert not first.gone and not second.gone


async def test_a_drain_ends_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "ENDING_S", 0.01)
    entry, stubborn = Door(1), Client()
    entry.enter(stubborn)
    await entry.drain(0.01)
    assert stubborn.gone


async def test_nobody_is_waited_for_at_an_empty_door() -> None:
    entry, client = Door(1), Client()
    entry.enter(client)
    entry.leave(client)
    await entry.drain(60.0)

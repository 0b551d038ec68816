"""The room that messages have in memory."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import Overloaded
from filterd.kit.room import Held, Room


def test_what_does_not_fit_is_refused_and_takes_nothing() -> None:
    room = Room(100)
    first, second = Held(room), Held(room)
    first.take(60)
    with pytest.raises(Overloaded, match="60 bytes"):
        second.take(41)
    second.take(40)
    first.release()
    first.release()
    assert room.taken == 40
    second.take(60)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=50))
def test_it_is_never_overdrawn_and_comes_back_whole(steps: list[tuple[int, int]]) -> None:
    room = Room(100)
    holders = [Held(room) for _ in range(4)]
    for who, size in steps:
        try:
            holders[who].take(size)
        except Overloaded:
            holders[who].release()
        assert 0 <= room.taken <= 100
    for one in holders:
        one.release()
    assert room.taken == 0


def test_threads_do_not_lose_count() -> None:
    room = Room(1 << 30)

    def work() -> None:
        for _ in range(2000):
            room.take(7)
            room.give(7)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert room.taken == 0

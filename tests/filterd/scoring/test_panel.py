"""The panel: one vote a seat, and nothing left of who went."""

import pytest

from filterd.scoring.panel import SEATS, VOTE, Panel
from tests.filterd.scoring.test_memory import letter, words


def test_a_seat_has_one_vote_however_much_it_says() -> None:
    panel = Panel()
    loud, quiet = panel.sit(), panel.sit()
    for _ in range(100):
        panel.move(loud, letter(words(1)), 5.0)
    assert panel.votes(letter(words(1))) == pytest.approx(1.0)
    panel.move(quiet, letter(words(1)), -VOTE)
    assert panel.votes(letter(words(1))) == pytest.approx(0.0, abs=1e-3)
    assert panel.votes(letter(words(1)), {loud}) == pytest.approx(-1.0, abs=1e-3)


def test_a_little_is_not_heard() -> None:
    panel = Panel()
    for _ in range(10):
        panel.move(panel.sit(), letter(words(1)), 0.49 * VOTE)
    assert panel.votes(letter(words(1))) == 0.0


def test_who_goes_leaves_nothing_and_his_seat_is_free() -> None:
    panel = Panel()
    seats = [panel.sit() for _ in range(SEATS + 2)]
    assert sorted(seats) == sorted([*range(SEATS), 0, 1])
    panel.move(seats[5], letter(words(1)), 5.0)
    panel.leave(seats[5], doubtful=False)
    assert not panel.tables.any()
    assert panel.sit() == seats[5]
    assert len(panel) == SEATS


def test_who_is_not_believed_is_not_heard() -> None:
    panel = Panel()
    seat = panel.sit()
    panel.move(seat, letter(words(1)), VOTE)
    panel.heard[seat] -= 1
    assert panel.votes(letter(words(1))) == 0.0
    panel.heard[seat] += 1
    assert panel.votes(letter(words(1))) > 0.99

"""Hashed n-grams of a text."""

from hypothesis import given
from hypothesis import strategies as st

from filterd.scoring.grams import grams

BITS = 12


@given(st.text(max_size=200))
def test_any_text_has_grams_within_the_table(text: str) -> None:
    found = grams(text, BITS)
    assert len(found) > 0
    assert found.max() < 1 << BITS


def test_grams_do_not_depend_on_where_they_stand() -> None:
    here, there = (set(grams(f"{start} claim your prize now", BITS)) for start in ("ab", "xyz"))
    assert len(here & there) > 0.7 * len(here)

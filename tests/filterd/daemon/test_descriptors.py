"""Descriptors and places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.daemon import descriptors


def test_enough_is_enough() -> None:
    wanted = {"unix:/a": 512, "tcp:b": 512}
    assert descriptors.places(wanted, 4096) == wanted
    assert descriptors.places(wanted, -1) == wanted  # RLIM_INFINITY


def test_too_few_are_shared(caplog: pytest.LogCaptureFixture) -> None:
    given_ = descriptors.places({"a": 600, "b": 300}, 524)
    assert given_ == {"a": 200, "b": 100}
    assert "fewer connections than configured" in caplog.text


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 2000), max_size=6), st.integers(700, 1 << 20))
def test_no_listener_takes_what_another_has(wanted: dict[str, int], available: int) -> None:
    found = descriptors.places(wanted, available)
    assert set(found) == set(wanted) and all(1 <= found[name] <= wanted[name] for name in found)
    used = sum(found.values()) + descriptors.BEYOND * len(found) + descriptors.RESERVE
    assert used <= available or all(count == 1 for count in found.values())

"""Passwords are hashed fast here: what they cost is asked of nobody in these tests."""

import pytest

from filterd.console import accounts


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accounts._COST, "n", 2)

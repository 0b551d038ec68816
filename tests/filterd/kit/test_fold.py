"""Where a header's lines end."""

import pytest

from filterd.kit.fold import fold


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        pytest.param("15.0", ["15.0"], id="short"),
        pytest.param("a" * 66 + " bcd", ["a" * 66, "\tbcd"], id="broken"),
        pytest.param("a" * 200, ["a" * 200], id="one-word"),
        pytest.param("a," * 50, ["a," * 33, "\t" + "a," * 17], id="commas"),
        pytest.param(
            " ".join(["word"] * 30), ["word " * 12 + "word", "\t" + "word " * 14 + "word", "\tword word"]
        ),
    ],
)
def test_folding(value: str, lines: list[str]) -> None:
    assert fold("X-Status", value) == "X-Status: " + "\n".join(lines) + "\n"
    assert " " not in value or all(len(line) <= 78 for line in [f"X-Status: {lines[0]}", *lines[1:]])

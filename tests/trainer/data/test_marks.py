import json
from pathlib import Path

import pytest

from filterd.errors import BadInput, NotFound
from filterd_trainer.data.marks import HOSTS, NAMES, AllMarks

GIVEN = {
    "pot": {
        "replace": [[r"pot@trap", "a recipient address"], [r"(?i)\bsmith\b", "a name"]],
        "headers_to_drop": ["Received (all of them)", "X-Eyou-*"],
    },
    "list_*, other": {"replace": [[r"\bB\d{3}\b", "operator code"], ["x(?=元)", "digits were masked"]]},
}


def marks(tmp_path: Path) -> AllMarks:
    (tmp_path / "traps.json").write_text(json.dumps(GIVEN))
    return AllMarks.load(tmp_path / "traps.json")


def test_headers_go_with_their_folded_lines(tmp_path: Path) -> None:
    raw = b"Received: from a\n by b\nSubject: hi\nX-EYOU-Sender: c\n\nReceived: is text\n"
    assert marks(tmp_path).of("pot").of_raw(raw) == b"Subject: hi\n\nReceived: is text\n"


def test_a_mark_becomes_the_same_invented_thing_throughout_a_message(tmp_path: Path) -> None:
    found = marks(tmp_path).of("pot").of_text("Dear pot@trap, SMITH, write to pot@trap")
    first, last = found.split()[1].rstrip(","), found.split()[-1]
    assert first == last and first.split("@")[1] in HOSTS
    assert found.split()[2].rstrip(",").lower() in NAMES


def test_marks_go_or_become_digits(tmp_path: Path) -> None:
    of_list = marks(tmp_path).of("list_a")
    assert of_list.of_text("win now B001") == "win now "
    assert of_list.of_text("xx元")[1].isdigit()
    assert marks(tmp_path).of("other") == of_list
    assert marks(tmp_path).of("unknown").of_raw(b"B001 \xff") == b"B001 \xff"


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    assert marks(tmp_path).of("list_a").of_raw(b"\xff B123 \xe4") == b"\xff  \xe4"


@pytest.mark.parametrize("wrong", ["[]", "{", '{"a": {"replace": [["(", ""]]}}', '{"a": 3}'])
def test_a_wrong_file_is_named(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "traps.json"
    file.write_text(wrong)
    with pytest.raises(BadInput, match="not a file of marks"):
        AllMarks.load(file)
    with pytest.raises(NotFound, match="--traps"):
        AllMarks.load(tmp_path / "absent")

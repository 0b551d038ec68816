"""`check --json-lines`: one line in, one line out, at once; nothing in a line ends the run."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Message, Verdict
from filterd.commands import input as reading
from filterd.commands import jsonlines
from filterd.errors import Overloaded
from tests.conftest import ROOT
from tests.filterd.fakes import engine

HAM = {"id": 7, "text": "see you at noon", "sender": "+4915550001"}
SPAM = {"id": "b", "text": "you are our prize winner"}


def answers(
    lines: Sequence[object], tmp_path: Path, judge: reading.Judge | None = None, kind: Kind | None = Kind.SMS
) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and answers to lines: bytes as they are, all else as JSON."""
    file, out = tmp_path / "in", io.StringIO()
    file.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    status = jsonlines.run([str(file)], kind, judge or engine()[0].judge, out)
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def test_answers_come_in_order_with_the_callers_own_ids(tmp_path: Path) -> None:
    status, found = answers([HAM, SPAM] * 300, tmp_path)
    assert status == 0
    assert [(one["id"], one["label"]) for one in found] == [(7, "ham"), ("b", "spam")] * 300
    assert found[1]["file"] == f"{tmp_path / 'in'}:2"
    assert {"probability", "points", "kind", "model", "ms", "tests", "available"} <= set(found[0])


def test_the_sender_and_the_kind_reach_the_judge(tmp_path: Path) -> None:
    seen: list[Message] = []
    real = engine()[0].judge

    def judge(messages: Sequence[Message]) -> list[Verdict]:
        seen.extend(messages)
        return real(messages)

    mail = {"mail": "From: a@b.example\nSubject: lunch\n\nnoon?\n", "id": None}
    assert answers([HAM, mail], tmp_path, judge, kind=None)[0] == 0
    assert [(m.kind, m.sender, m.id) for m in seen] == [(Kind.SMS, "+4915550001", "7"), (Kind.MAIL, "", "")]
    older = {"text": "see you", "from": "+491", "recipients": ["+492", "+493"]}
    assert answers([older], tmp_path, judge)[0] == 0
    assert (seen[-1].sender, seen[-1].recipients) == ("+491", ("+492", "+493"))


@pytest.mark.parametrize(
    ("line", "says", "name"),
    [
        pytest.param(b"hello", "malformed", None, id="no JSON"),
        pytest.param(b"\xff\xfe{}", "malformed", None, id="not UTF-8"),
        pytest.param(b'{"id": "n", "text": "\xff"}', "utf-8", "n", id="text not UTF-8"),
        pytest.param([1], "got `array`", None, id="an array"),
        pytest.param({"id": 3}, "needs either", 3, id="no text"),
        pytest.param({"id": 3, "text": "a", "mail": "b"}, "needs either", 3, id="text and mail"),
        pytest.param({"id": 3, "text": ["x"]}, "got `array`", 3, id="a text that is none"),
        pytest.param({"id": "n" * 900, "text": " "}, "empty", "n" * 200, id="empty"),
        pytest.param(rb'{"id": "\ud83d", "text": 3}', "got `int`", "\ufffd", id="half an emoji in the id"),
        pytest.param(b'{"x":' * 100_000, "recursion", None, id="deep"),
    ],
)
def test_a_bad_line_is_answered_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: object, says: str, name: object
) -> None:
    status, found = answers([HAM, line, SPAM], tmp_path)
    assert status == 65
    assert [one.get("label") for one in found] == ["ham", None, "spam"]
    assert says in found[1]["error"].lower()
    assert (found[1]["id"], found[1]["file"]) == (name, f"{tmp_path / 'in'}:2")
    assert capsys.readouterr().err == "filterd: 1 of 3 lines were not judged\n"


def test_one_message_that_cannot_be_judged_does_not_stop_the_others(tmp_path: Path) -> None:
    real = engine()[0].judge

    def judge(messages: Sequence[Message]) -> list[Verdict]:
        if any(b"noon" in message.raw for message in messages):
            raise Overloaded("the queue is full") if len(messages) > 1 else ValueError("no\nverdict")
        return real(messages)

    status, found = answers([SPAM, HAM, SPAM], tmp_path, judge)
    assert status == 65
    assert [one.get("label") for one in found] == ["spam", None, "spam"]
    assert found[1]["error"] == "ValueError: no verdict"


def test_half_an_emoji_is_judged_and_keeps_its_id(tmp_path: Path) -> None:
    status, found = answers([rb'{"id": 7, "text": "our prize \ud83d"}', HAM], tmp_path)
    assert status == 0
    assert (found[0]["id"], found[0]["label"]) == (7, "spam")


def test_blank_lines_and_line_ends_of_any_kind(tmp_path: Path) -> None:
    line = json.dumps(HAM).encode()
    assert len(answers([b"", line + b"\r", b"  ", line], tmp_path)[1]) == 2


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jsonlines.run([str(tmp_path / "none")], None, engine()[0].judge, io.StringIO()) == 66
    assert "No such file" in capsys.readouterr().err


def split(data: bytes, cuts: Sequence[int], max_bytes: int) -> list[bytes | None]:
    splitter = jsonlines.LineSplitter(max_bytes)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [x for a, b in pairwise(edges) for x in splitter.feed(data[a:b])] + splitter.end()


@given(st.lists(st.binary(max_size=12).filter(lambda x: b"\n" not in x)), st.lists(st.integers(0, 200)))
def test_lines_do_not_depend_on_the_pieces_they_come_in(lines: list[bytes], cuts: list[int]) -> None:
    data = b"\n".join(lines)
    whole = [
        None if len(line) > 8 else line.removesuffix(b"\r") for line in (data.split(b"\n") if data else [])
    ]
    if whole and not data.rsplit(b"\n", 1)[-1]:
        whole.pop()
    assert split(data, cuts, max_bytes=8) == whole


def test_lines_split_at_every_byte() -> None:
    data = b"ab\r\n\nabcdefghij\nxyz"
    for cut in range(len(data) + 1):
        assert split(data, [cut], max_bytes=8) == [b"ab", b"", None, b"xyz"]


def test_an_answer_is_there_before_the_next_question() -> None:
    command = [sys.executable, "-m", "filterd", "check", "--sms", "--json-lines"]
    env = {**os.environ, "FILTERD_SOCKET": ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=ROOT) as run:
        assert run.stdin and run.stdout
        for i in range(3):
            run.stdin.write(b'{"id": %d, "text": "shall we meet at noon?"}\n' % i)
            run.stdin.flush()
            assert json.loads(run.stdout.readline())["id"] == i
        run.stdin.close()
        assert run.wait() == 0

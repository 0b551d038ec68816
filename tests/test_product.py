"""The default bundle as it ships, through `filterd check` as people run it: a process, offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from filterd.api import Kind, Message
from filterd.reading.text import GTUBE
from filterd.scoring import bundle
from filterd.scoring.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*/*"))
MAX_BUNDLE_BYTES = 32 << 20  # the project's rule for what may go into the repository


def filterd(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "FILTERD_SOCKET": "", "NO_COLOR": "1", **environment}
    command = [sys.executable, "-m", "filterd", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=env, cwd=ROOT, check=False)


def test_the_bundle_is_whole_and_small() -> None:
    shipped = bundle.read(bundle.DEFAULT)
    size = sum(file.stat().st_size for file in bundle.DEFAULT.iterdir())
    assert size <= MAX_BUNDLE_BYTES
    assert shipped.manifest.labels == ("ham", "spam")
    assert len(shipped.manifest.probes) >= 12


def test_examples_are_many_and_mostly_judged_right() -> None:
    assert len(EXAMPLES) >= 24
    done = filterd("check", "--json", *map(str, EXAMPLES))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["file"] for one in found] == [str(path) for path in EXAMPLES]
    english = [
        one for one in found if not any(x in one["file"] for x in ("german", "japan", "spanish", "french"))
    ]
    ranked = sorted(english, key=lambda one: one["probability"])
    half = len([one for one in english if "/ham/" in one["file"]])
    wrong = [one["file"] for one in ranked[:half] if "/spam/" in one["file"]]
    assert len(wrong) <= 4, f"spam ranked below ham: {wrong}"


def test_a_score_does_not_depend_on_its_neighbours() -> None:
    engine = Engine.open()
    messages = [Message(path.read_bytes()) for path in EXAMPLES]
    together = [found.probability for found in engine.judge(messages)]
    backwards = [found.probability for found in engine.judge(messages[::-1])][::-1]
    alone = [engine.judge([message])[0].probability for message in messages]
    assert together == pytest.approx(alone, abs=1e-4)
    assert backwards == pytest.approx(alone, abs=1e-4)


def test_a_mail_in_a_pipe_comes_out_tagged() -> None:
    raw = (ROOT / "examples/spam/mail-advance-fee.eml").read_bytes()
    done = filterd("check", "--tag", stdin=raw)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(raw)
    assert done.stdout.startswith((b"X-Spam-Flag", b"X-Spam-Status"))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("check", "--tag", "--bundle", "/nowhere"), id="no bundle"),
        pytest.param(("check", "--tag", "--no-such-option"), id="wrong option"),
        pytest.param(("check", "--tag", "--json"), id="options that exclude each other"),
        pytest.param(("check", "--tag", "--bundle", str(ROOT / "examples")), id="not a bundle"),
    ],
)
def test_a_mail_in_a_pipe_comes_out_whatever_is_wrong(arguments: tuple[str, ...]) -> None:
    raw = b"From: a@b.example\nSubject: x\n\n\x00\xff body without end"
    for strict, status in ((), 0), (("--strict",), 75):
        done = filterd(*arguments, *strict, stdin=raw)
        assert done.stdout == raw
        assert done.returncode == status
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "status"),
    [
        pytest.param(("check",), b"", 65, id="nothing"),
        pytest.param(("check",), b"\x7fELF\x00\x00" * 50, 65, id="binary"),
        pytest.param(("check", "/nowhere.eml"), b"", 66, id="no such file"),
        pytest.param(("check", "--bundle", "/nowhere"), b"hello", 69, id="no bundle"),
        pytest.param(("check", "--mail", "--sms"), b"hello", 78, id="options that exclude each other"),
        pytest.param(("explain", "/nowhere.eml"), b"", 66, id="explain no such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(
    arguments: tuple[str, ...], stdin: bytes, status: int
) -> None:
    done = filterd(*arguments, stdin=stdin)
    assert done.returncode == status
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"filterd: ")


def test_fifty_megabytes_are_judged_by_their_beginning() -> None:
    raw = b"From: a@b.example\nSubject: big\n\n" + b"a line of a very large mail\n" * 1_900_000
    done = filterd("check", "--json", stdin=raw)
    assert done.returncode == 0, done.stderr
    assert "TRUNCATED" in json.loads(done.stdout)["tests"]


def test_exit_statuses_follow_the_verdict() -> None:
    gtube = f"Subject: test\nFrom: a@b.example\n\n{GTUBE}\n".encode()
    assert filterd("check", "--exit-code", stdin=gtube).returncode == 1
    assert filterd("check", "--bogofilter", stdin=gtube).returncode == 0


def test_explain_names_the_words_that_count() -> None:
    done = filterd("explain", "--json", "--sms", stdin=b"You have won a prize, call now to claim")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "".join(word["text"] for word in said["words"]) == "You have won a prize, call now to claim"
    assert any(abs(word["points"]) > 0.01 for word in said["words"])
    shown = filterd("explain", "--sms", stdin=b"You have won a prize, call now to claim")
    assert b"towards" in shown.stdout


def test_a_damaged_bundle_is_refused_by_name(tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(bundle.DEFAULT, copy)
    model = copy / bundle.MODEL
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    done = filterd("check", "--bundle", str(copy), stdin=b"hello")
    assert done.returncode == 69
    assert b"model.onnx: does not match its hash" in done.stderr


def test_both_kinds_have_thresholds() -> None:
    assert set(bundle.read(bundle.DEFAULT).manifest.thresholds) == set(Kind)

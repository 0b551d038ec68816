"""Exit statuses as a shell sees them: of verdicts, and of streams that are closed or full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILTERD = f"{sys.executable} -m tests.filterd.commands.judging"
ROOT = Path(__file__).resolve().parents[3]
SPAM, UNSURE = b"you are our prize winner\n", b"shall we meet at noon?\n"
JAPANESE = "Subject: 会議\n\nour prize\n".encode()


def shell(command: str, stdin: bytes = SPAM, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "FILTERD_SOCKET": "", "NO_COLOR": "1", **environment}
    return subprocess.run(
        ["bash", "-c", command.replace("filterd ", f"{FILTERD} ")],
        input=stdin,
        capture_output=True,
        env=env,
        cwd=ROOT,
        check=False,
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Its one line on stderr."""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("filterd: ")
    return line


@pytest.mark.parametrize(
    ("options", "spam", "unsure"),
    [("", 0, 0), ("--exit-code", 1, 0), ("--bogofilter", 0, 2), ("--json", 0, 0)],
)
def test_verdicts(options: str, spam: int, unsure: int) -> None:
    assert shell(f"filterd check {options}").returncode == spam
    assert shell(f"filterd check {options}", UNSURE).returncode == unsure


@pytest.mark.parametrize(
    "command", ["check", "check --exit-code", "check --json", "check --json-lines", "version"]
)
def test_a_full_stdout_is_no_verdict(command: str) -> None:
    stdin = b'{"text": "our prize"}\n' if "lines" in command else SPAM
    done = shell(f"filterd {command} > /dev/full", stdin)
    assert done.returncode == 74
    assert "No space left on device" in said(done)


@pytest.mark.parametrize("command", ["check", "check --exit-code", "version"])
def test_a_closed_stdout_is_no_verdict(command: str) -> None:
    done = shell(f"filterd {command} >&-")
    assert done.returncode == 74
    assert "stdout" in said(done)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("check --exit-code", 66),
        ("check --bogofilter", 3),
        ("check --json-lines", 66),
        ("check --lines", 66),
        ("learn --spam", 66),
        ("feedback import", 66),
    ],
)
def test_a_closed_stdin_is_said(command: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path}\n")
    done = shell(f"filterd {command} <&-", FILTERD_CONFIG=str(tmp_path / "filterd.yaml"))
    assert done.returncode == status
    assert "stdin is closed" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_a_subject_that_the_locale_has_no_letters_for() -> None:
    done = shell("filterd check --exit-code", JAPANESE, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (1, b"")
    assert rb"\u4f1a\u8b70" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_verdict() -> None:
    lines = UNSURE * 3000
    done = shell("filterd check --lines --exit-code | head -n 1; echo ${PIPESTATUS[0]} >&2", lines)
    assert done.stderr.decode().split() == ["141"]


@pytest.mark.parametrize("option", ["--no-such", "--threads 0", "--threads many"])
def test_a_wrong_option(option: str) -> None:
    assert shell(f"filterd check --exit-code {option}").returncode == 64


def test_a_name_cannot_forge_a_line(tmp_path: Path) -> None:
    name = "a\nspam    0.999  mail  b"
    (tmp_path / name).write_bytes(UNSURE)
    (tmp_path / os.fsdecode(b"\xff.eml")).write_bytes(UNSURE)
    done = shell(f"filterd check {tmp_path}/* '{tmp_path}/not\nham  0.000  there'")
    assert done.returncode == 66
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["unsure", "unsure"]
    assert rb"a\nspam" in done.stdout and rb"\udcff.eml" in done.stdout
    assert rb"not\nham  0.000  there: No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_defect_is_one_line_and_no_verdict(tmp_path: Path) -> None:
    broken = f"import {sys.modules[__name__].__package__}.judging as j\n"
    broken += "import sys; from filterd.commands import check, entry\n"
    broken += "def fail(*_, **__): raise ZeroDivisionError('nobody\\nhas foreseen this')\n"
    broken += "check.items = fail; sys.argv = ['filterd', 'check', '--exit-code']; entry.main()\n"
    (tmp_path / "broken.py").write_text(broken)
    done = shell(f"{sys.executable} {tmp_path}/broken.py", PYTHONPATH=str(ROOT))
    assert done.returncode == 70
    assert "ZeroDivisionError: nobody has foreseen this (at " in said(done)

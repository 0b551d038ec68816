"""`check --tag` as a process whose streams are full or closed: the mail comes out, or the status says no."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from filterd.commands import check, pipe
from filterd.headers import HeaderStyle

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n" + b"by the river\n" * 300
TAG = f"{sys.executable} -m filterd check --tag --bundle /nowhere"  # no model, so that it is quick


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "FILTERD_SOCKET": "", "PYTHONUNBUFFERED": "", **environment}
    return subprocess.run(["bash", "-c", command], input=MAIL, capture_output=True, env=env, check=False)


@pytest.mark.parametrize("wrong", ["", "--no-such-option"], ids=["at work", "before"])
class TestStreams:
    """At work, and where the command never got to it."""

    def test_no_space_left(self, wrong: str) -> None:
        done = shell(f"{TAG} {wrong} > /dev/full")
        assert done.returncode == 74
        assert b"No space left on device; the mail did not come out whole" in done.stderr
        assert b"Traceback" not in done.stderr

    @pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
    def test_space_for_a_part(self, wrong: str, unbuffered: str, tmp_path: Path) -> None:
        """The first write is short and no error: an unbuffered stdout would leave it at that."""
        command = f"ulimit -f 1; {TAG} {wrong} > {tmp_path}/out 2> /dev/null; exit $?"
        assert shell(command, PYTHONUNBUFFERED=unbuffered).returncode == 74
        assert (tmp_path / "out").stat().st_size == 1024

    @pytest.mark.parametrize(("closed", "which"), [("<&-", b"stdin"), (">&-", b"stdout")])
    def test_closed_from_the_start(self, wrong: str, closed: str, which: bytes) -> None:
        done = shell(f"{TAG} {wrong} {closed}")
        assert done.returncode == 74
        assert which + b" is closed" in done.stderr
        assert b"Traceback" not in done.stderr

    @pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
    def test_what_is_wrong_cannot_be_said(self, wrong: str, stderr: str) -> None:
        """It is not written into the mail, nor is the mail kept for it."""
        done = shell(f"{TAG} {wrong} {stderr}")
        assert (done.returncode, done.stdout) == (0, MAIL)


class Short(io.BytesIO):
    """Takes seven bytes at a time."""

    def write(self, data: object, /) -> int:
        return super().write(memoryview(data)[:7])  # type: ignore[arg-type]


def test_short_writes_are_gone_on_with() -> None:
    sink = Short()
    pipe.pass_on(b"head and ", io.BytesIO(MAIL), sink)
    assert sink.getvalue() == b"head and " + MAIL


def test_what_cannot_be_read_is_no_empty_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError(5, "Input/output error")

    sink = io.BytesIO()
    monkeypatch.setattr(pipe, "streams", lambda: (Broken(), sink))
    monkeypatch.setattr(pipe, "give_up", lambda error: error.errno)
    assert check.tag(lambda: lambda _: [], HeaderStyle, strict=False) == 5
    assert sink.getvalue() == b""

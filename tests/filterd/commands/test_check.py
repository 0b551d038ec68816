"""`filterd check` as a function: inputs, outputs, exit statuses, and the mail that always comes out."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from filterd.api import Kind, Message, Verdict
from filterd.commands import check
from filterd.commands import input as reading
from filterd.commands.output import ExitCode, Output
from filterd.errors import ModelUnavailable
from filterd.headers import HeaderStyle
from tests.filterd.fakes import engine

HAM_MAIL = b"From: a@b.example\nSubject: lunch\n\nsee you at noon\n"
SPAM_MAIL = b"From: a@b.example\nSubject: urgent\nX-Spam-Flag: NO\n\nyou are our prize winner\n"


@pytest.fixture
def judge() -> reading.Judge:
    return engine()[0].judge


class Stdin:
    def __init__(self, raw: bytes) -> None:
        self.buffer = io.BytesIO(raw)


def run_on(
    judge: reading.Judge,
    *paths: Path | str,
    output: Output = Output.HUMAN,
    exit_code: ExitCode = ExitCode.PLAIN,
    kind: Kind | None = None,
    lines: bool = False,
) -> int:
    return check.run(reading.items([str(p) for p in paths], kind, lines=lines), judge, output, exit_code)


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    file = tmp_path / "ham.eml"
    file.write_bytes(HAM_MAIL)
    return file


@pytest.fixture
def spam(tmp_path: Path) -> Path:
    file = tmp_path / "spam.eml"
    file.write_bytes(SPAM_MAIL)
    return file


def test_one_line_a_message(
    judge: reading.Judge, ham: Path, spam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_on(judge, ham, spam) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["ham", "0.018", "mail", str(ham), "lunch"]
    assert second.split()[0] == "spam"


def test_json_keeps_the_order_and_names_the_file(
    judge: reading.Judge, ham: Path, spam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_on(judge, spam, ham, output=Output.JSON) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["label"], one["file"]) for one in found] == [("spam", str(spam)), ("ham", str(ham))]
    assert {"label", "probability", "points", "kind", "model", "ms", "file", "id"} <= set(found[0])


def test_an_id_does_not_depend_on_headers_of_ours(judge: reading.Judge, tmp_path: Path) -> None:
    plain, tagged = tmp_path / "a", tmp_path / "b"
    plain.write_bytes(HAM_MAIL)
    tagged.write_bytes(b"X-Spam-Score: 3\n" + HAM_MAIL)
    ids = [
        item.message.id
        for item in reading.items([str(plain), str(tagged)], None, lines=False)
        if item.message
    ]
    assert ids[0] == ids[1]


def test_stdin_is_read_without_files(
    judge: reading.Judge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"your prize"))
    assert run_on(judge) == 0
    assert capsys.readouterr().out.split()[:3] == ["spam", "0.982", "sms"]


def test_every_line_can_be_a_message(
    judge: reading.Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "many.txt"
    file.write_text("see you\n\nyour prize is urgent\n" * 300)
    assert run_on(judge, file, lines=True, output=Output.JSON) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["label"] for one in found] == ["ham", "spam"] * 300
    assert found[1]["file"] == f"{file}:3"


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        pytest.param(b"", 65, "empty", id="nothing"),
        pytest.param(b" \r\n\t\n", 65, "empty", id="blank"),
        pytest.param(b"\x7fELF\x02\x01\x01\x00\x00" + bytes(500), 65, "binary", id="program"),
        pytest.param(None, 66, "No such file", id="missing"),
    ],
)
def test_bad_input_is_one_line_and_a_status(
    judge: reading.Judge,
    tmp_path: Path,
    ham: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    status: int,
    says: str,
) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    assert run_on(judge, bad, ham) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert str(bad) in captured.err
    assert says in captured.err
    assert captured.out.startswith("ham"), "the others are still judged"


def test_a_folder_is_not_a_message(
    judge: reading.Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_on(judge, tmp_path) == 66
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "spamc", "bogofilter"), [("see you", 0, 1), ("your prize", 1, 0), ("hm", 0, 1)]
)
def test_exit_statuses_of_other_programs(
    judge: reading.Judge, tmp_path: Path, text: str, spamc: int, bogofilter: int
) -> None:
    file = tmp_path / "m"
    file.write_text(text)
    assert run_on(judge, file, exit_code=ExitCode.SPAMC) == spamc
    assert run_on(judge, file, exit_code=ExitCode.BOGOFILTER) == bogofilter
    assert run_on(judge, tmp_path / "none", exit_code=ExitCode.BOGOFILTER) == 3


class TestTag:
    """`--tag`: stdin to stdout."""

    @pytest.fixture
    def pipe(self) -> io.BytesIO:
        return io.BytesIO()

    def feed(self, monkeypatch: pytest.MonkeyPatch, raw: bytes, out: io.BytesIO) -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(raw))
        monkeypatch.setattr(sys, "stdout", type("Stdout", (), {"buffer": out, "fileno": lambda _: 1})())

    def test_a_mail_comes_out_tagged(
        self, judge: reading.Judge, monkeypatch: pytest.MonkeyPatch, pipe: io.BytesIO
    ) -> None:
        self.feed(monkeypatch, SPAM_MAIL, pipe)
        assert check.tag(lambda: judge, HeaderStyle, strict=False) == 0
        assert pipe.getvalue().startswith(b"X-Spam-Flag: YES\n")
        assert pipe.getvalue().endswith(SPAM_MAIL.replace(b"X-Spam-Flag: NO\n", b""))

    def test_headers_are_called_as_whoever_judged_says(
        self, judge: reading.Judge, monkeypatch: pytest.MonkeyPatch, pipe: io.BytesIO
    ) -> None:
        styles: list[HeaderStyle] = []

        def judging(messages: Sequence[Message]) -> list[Verdict]:
            styles.append(HeaderStyle("X-Filterd-"))
            return judge(messages)

        self.feed(monkeypatch, SPAM_MAIL, pipe)
        assert check.tag(lambda: judging, lambda: styles[0], strict=False) == 0
        assert pipe.getvalue().startswith(b"X-Filterd-Flag: YES\n")
        assert b"X-Spam-Flag: NO\n" in pipe.getvalue()

    def test_what_is_beyond_the_cap_is_passed_through(
        self, judge: reading.Judge, monkeypatch: pytest.MonkeyPatch, pipe: io.BytesIO
    ) -> None:
        monkeypatch.setattr(check, "MAX_MESSAGE_BYTES", 100)
        raw = HAM_MAIL + b"0123456789\n" * 1000
        self.feed(monkeypatch, raw, pipe)
        assert check.tag(lambda: judge, HeaderStyle, strict=False) == 0
        assert pipe.getvalue().endswith(raw)
        assert pipe.getvalue().startswith(b"X-Spam-")

    @pytest.mark.parametrize(("strict", "status"), [(False, 0), (True, 75)])
    @pytest.mark.parametrize("raw", [HAM_MAIL, b"", b"\x00\x01\x02", HAM_MAIL * 50], ids=len)
    def test_without_a_model_the_original_comes_out(
        self,
        monkeypatch: pytest.MonkeyPatch,
        pipe: io.BytesIO,
        capsys: pytest.CaptureFixture[str],
        raw: bytes,
        strict: bool,
        status: int,
    ) -> None:
        def broken() -> reading.Judge:
            raise ModelUnavailable("no model here")

        self.feed(monkeypatch, raw, pipe)
        assert check.tag(broken, HeaderStyle, strict=strict) == status
        assert pipe.getvalue() == raw

    @pytest.mark.parametrize(
        "error", [MemoryError(), RecursionError("deep"), ValueError("a\nb"), KeyError("x")]
    )
    def test_no_error_loses_the_mail(
        self, monkeypatch: pytest.MonkeyPatch, pipe: io.BytesIO, error: Exception
    ) -> None:
        def judge(_: Sequence[Message]) -> list[Verdict]:
            raise error

        self.feed(monkeypatch, HAM_MAIL, pipe)
        assert check.tag(lambda: judge, HeaderStyle, strict=False) == 0
        assert pipe.getvalue() == HAM_MAIL

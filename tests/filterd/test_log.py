"""Log lines: one a record, whatever is in them."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from filterd import log as logging_module
from filterd.log import log

FORGED = "nice\nlevel=error event=hacked \x1b[31m"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it was, and a log that goes to the journal."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    root = logging.getLogger()
    handlers, level, ours = root.handlers, root.level, log.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    log.setLevel(ours)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, "level=info event=ready", id="no fields"),
        pytest.param({"model": "mini-1", "n": 3}, "level=info event=ready model=mini-1 n=3", id="plain"),
        pytest.param({"s": 0.123456789}, "level=info event=ready s=0.123457", id="six digits"),
        pytest.param({"why": "no room"}, 'level=info event=ready why="no room"', id="blank"),
        pytest.param({"why": 'a"b'}, 'level=info event=ready why="a\\"b"', id="quote"),
        pytest.param({"why": "a=b"}, 'level=info event=ready why="a=b"', id="equals"),
        pytest.param({"why": ""}, 'level=info event=ready why=""', id="empty"),
        pytest.param({"why": "ü"}, 'level=info event=ready why="\\u00fc"', id="not ASCII"),
        pytest.param({"why": None}, "level=info event=ready why=None", id="nothing"),
    ],
)
def test_logfmt(fields: dict[str, object], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start("logfmt", "info")
    log.info("ready", extra={"fields": fields})
    assert lines(capsys) == [expected]


def test_logfmt_has_the_time_where_no_journal_adds_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM")
    logging_module.start("logfmt", "info")
    log.info("ready")
    time, _, rest = lines(capsys)[0].partition(" ")
    assert datetime.fromisoformat(time.removeprefix("time=")).tzinfo and rest == "level=info event=ready"


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_nobody_writes_a_second_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start(form, "info")  # type: ignore[arg-type]
    log.info(FORGED, extra={"fields": {"reason": FORGED}})
    (line,) = lines(capsys)
    assert line.isprintable()


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start("json", "info")
    log.warning("late", extra={"fields": {"seconds": 1.5, "path": logging}})
    said = json.loads(lines(capsys)[0])
    assert said.pop("time").endswith("+00:00")
    assert said.pop("path").startswith("<module")
    assert said == {"level": "warning", "event": "late", "seconds": 1.5}


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_an_exception_is_one_line_with_its_place(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start(form, "info")  # type: ignore[arg-type]
    try:
        int("four\nfive")
    except ValueError:
        log.exception("failed")
    (line,) = lines(capsys)
    assert "ValueError" in line and "test_log.py:" in line


def test_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start("logfmt", "warning")
    log.info("not this")
    log.error("this")
    logging.getLogger("uvicorn.error").info("nor this")
    logging.getLogger("uvicorn.error").error("and this")
    assert lines(capsys) == ["level=error event=this", 'level=error event="and this"']


def test_starting_again_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        logging_module.start("logfmt", "info")
    log.info("once")
    assert lines(capsys) == ["level=info event=once"]


def test_lines_of_one_kind_are_limited(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logging_module.start("logfmt", "info")
    for number in range(1000):
        log.warning("closed", extra={"fields": {"number": number}})
        log.error("closed too")
    assert len(lines(capsys)) == 2 * logging_module.LINES_OF_A_KIND
    log.warning("something else")
    assert lines(capsys) == ['level=warning event="something else"']
    monkeypatch.setattr(logging_module, "PERIOD_S", 0.0)
    log.warning("closed")
    (line,) = lines(capsys)
    assert line == f"level=warning event=closed left_out={1000 - logging_module.LINES_OF_A_KIND}"
    log.warning("closed")
    assert "left_out" not in lines(capsys)[0]


def test_information_is_never_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logging_module.start("logfmt", "info")
    for _ in range(1000):
        log.info("mail")
    assert len(lines(capsys)) == 1000


def test_a_library_that_puts_values_into_its_event_does_not_fill_the_memory() -> None:
    limit = logging_module.Limit()
    for number in range(3 * logging_module.MAX_KINDS):
        limit.filter(logging.LogRecord("x", logging.ERROR, "", 0, f"line {number}", None, None))
    assert len(limit._kinds) <= logging_module.MAX_KINDS

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from filterd.errors import BundleError, NotFound
from filterd.scoring import bundle
from filterd_trainer.cli import app
from filterd_trainer.data import templates
from filterd_trainer.data.templates import TemplateMessage
from filterd_trainer.evaluation import measure


def test_every_message_is_judged_alone_and_in_batches() -> None:
    asked: list[int] = []
    cost = measure.of_messages(lambda some: asked.append(len(some)), ["a"] * 70)
    assert asked == [1] * (measure.WARM + 70) + [64, 6]
    assert 0 < cost.median_ms <= cost.p99_ms and cost.messages == 70


def test_a_dash_where_nobody_tells() -> None:
    assert (measure.joules(None), measure.joules(0.25)) == ("–", "0.250")


def test_the_size_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"123")
    assert (measure.size(tmp_path), measure.size(tmp_path / "a")) == (8, 5)


def test_the_bundle_that_ships_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [
        TemplateMessage(
            kind=kind, label="ham", category="", language="en", subject="", text=f"at {i} then", template=""
        )
        for i in range(10)
        for kind in ("mail", "sms")
    ]
    monkeypatch.setattr(templates, "generate", lambda *_: iter(some))
    asked = ["measure", str(bundle.DEFAULT), "--messages", "10", "--threads", "1", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.output, type=measure.BundleCost)
    assert found.bytes > 1e6 and 0 <= found.bundle_memory_bytes < found.memory_bytes
    assert found.by_kind["sms"].messages == 10 and found.by_kind["mail"].median_ms > 0
    (_, rows), (_, whole) = measure.tables(found).values()
    assert [row[:2] for row in rows] == [["mail", "10"], ["sms", "10"]] and whole[-1] == ["threads", "1"]


def test_a_folder_that_is_no_bundle_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["measure", str(tmp_path)])
    assert isinstance(done.exception, NotFound | BundleError) and "\n" not in str(done.exception)

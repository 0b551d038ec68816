"""Scoring on a Ray cluster: the same parts as without, also where an actor is killed."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from filterd.errors import ConfigError
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.bulk import cluster, score
from tests.conftest import ROOT
from tests.filterd import fakes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, of its own settings

TEXTS = [("our prize winner" if i % 3 == 0 else f"see you at {i}") for i in range(25)] + [" "]
DYING = "die once"


def opener(*_: Any, **__: Any) -> Engine:
    """The engine of `fakes`; the first process that is asked for DYING is killed."""
    engine = fakes.engine()[0]
    judge, mark = engine.judge, Path(os.environ["FILTERD_TEST_MARK"])

    def judging(messages: Any) -> Any:
        if any(DYING in message.raw.decode() for message in messages) and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return judge(messages)

    engine.judge = judging  # type: ignore[method-assign]
    return engine


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of messages, one of which kills the process that judges it first."""
    for module in (cluster, score):
        monkeypatch.setattr(module, "open_engine", opener)
    monkeypatch.setattr(bundle, "id_of", lambda _: "fake-1")
    monkeypatch.setattr(score, "PART", 4)
    monkeypatch.setenv("FILTERD_TEST_MARK", str(tmp_path / "killed"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "bundle").mkdir()
    rows = [{"id": f"m{i}", "text": text} for i, text in enumerate([*TEXTS, DYING])]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def parts(out: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in out.glob("part-*")}


def test_what_is_there_is_not_judged_again(given: Path) -> None:
    """The two ends of the stream, without Ray between them."""
    actor = cluster.ScoringActor(dict, {"manifest.json": b"{}"}, "jsonl", opener)
    (given.parent / "killed").touch()
    rows = [actor(block).to_pylist()[0] for block in cluster._blocks([given], {1, 3}, 4)]
    assert [row["number"] for row in rows] == list(range(7))
    assert sum((Counter(json.loads(row["counts"])) for row in rows), Counter()) == Counter(
        before=8, spam=6, ham=12, error=1
    )
    assert [row["number"] for row in rows if not row["content"]] == [1, 3]
    ids = [json.loads(line)["id"] for row in rows for line in row["content"].splitlines()]
    assert ids == [f"m{i}" for i in range(27) if i // 4 not in {1, 3}]


def test_two_workers_one_killed_and_the_same_verdicts(given: Path) -> None:
    pytest.importorskip("ray", reason="pip install 'filterd[ray]'")
    out, model, seen = given.parent / "ray", given.parent / "bundle", list[int]()
    found = cluster.run([given], out, path=model, address=cluster.LOCAL, processes=2, advance=seen.append)
    assert (given.parent / "killed").exists()
    assert found == Counter(spam=9, ham=17, error=1) and sum(seen) == found.total()
    assert score.score([given], given.parent / "alone", path=model, processes=1) == found
    assert parts(out) == parts(given.parent / "alone")
    assert {one.name for one in out.iterdir()} == {*parts(out), "score.json"}


def test_nobody_at_the_address(given: Path) -> None:
    pytest.importorskip("ray", reason="pip install 'filterd[ray]'")
    with pytest.raises(ConfigError, match="machine of the cluster"):
        cluster.run([given], given.parent / "out", path=given.parent, address="ray://host:10001")
    with pytest.raises(ConfigError, match="--ray auto: "):
        cluster.run([given], given.parent / "out", path=given.parent, address="auto")

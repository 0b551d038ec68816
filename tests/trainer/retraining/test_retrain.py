"""A night with a tiny model: from corrections to another bundle, or to nothing at all and a reason."""

import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from filterd.api import Kind, Label, Message
from filterd.corrections.store import Store
from filterd.errors import ConfigError, NotFound, StoreError, Unwritable
from filterd.promotion.presence import Presence
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.gpt2.model import read_tensors
from filterd_trainer.retraining import run_folder
from filterd_trainer.retraining.gate import GateRules
from filterd_trainer.retraining.lock import RetrainingBusy, only_one
from filterd_trainer.retraining.retrain import RetrainOutcome, retrain
from filterd_trainer.retraining.strategies import HeadTraining
from tests.trainer.retraining import corrections
from tests.trainer.retraining.corrections import request

ROOT = Path(__file__).resolve().parents[3]
KILLED_AT = ("train", "export", "promote", "report")
STAGES = ("gather", "train", "export", "judge", "promote", "report")


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corrections.champion(tmp_path_factory.mktemp("champion"))


@pytest.fixture(scope="module")
def night(champion: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RetrainOutcome]:
    """A night that ended in a promotion, for tests that only look."""
    folder = tmp_path_factory.mktemp("night")
    return folder, retrain(request(folder, champion))


def current(folder: Path) -> str:
    return bundle.read(folder / "bundles" / "current").id


def test_corrections_become_the_bundle_that_judges(
    night: tuple[Path, RetrainOutcome], champion: Path
) -> None:
    folder, outcome = night
    assert outcome.promoted and outcome.reason == ""
    old, new = bundle.read(champion), bundle.read(folder / "bundles" / "current")
    assert new.id != old.id and new.manifest.parent == old.id
    assert outcome.record.challenger == new.id
    assert new.manifest.lineage
    assert new.manifest.lineage.revision == 60
    figures = new.manifest.metrics["retrain"]["figures"]
    assert figures["challenger"]["accuracy"] > figures["champion"]["accuracy"]
    learned = Message(b"your coat zuzuzu hangs in the hall zobama", kind=Kind.SMS)
    labels = [Engine.open(one.path, threads=1).judge([learned])[0].label for one in (old, new)]
    assert labels[1] is Label.HAM, labels


def test_the_old_one_is_a_rollback_away(night: tuple[Path, RetrainOutcome], champion: Path) -> None:
    folder, _ = night
    after = current(folder)
    bundle.rollback(folder / "bundles")
    assert current(folder) == bundle.read(champion).id
    bundle.rollback(folder / "bundles")
    assert current(folder) == after


def test_the_store_knows_how_far_it_was_read(night: tuple[Path, RetrainOutcome]) -> None:
    folder, _ = night
    with Store.open(folder / "feedback.sqlite") as store:
        assert store.retrained() == (current(folder), 60)
        assert store.stats().since_retrain == 0


def test_a_night_without_corrections_changes_nothing(
    night: tuple[Path, RetrainOutcome], champion: Path
) -> None:
    folder, _ = night
    before = current(folder)
    outcome = retrain(request(folder, champion))
    assert not outcome.promoted and outcome.bundle is None
    assert outcome.reason.startswith("minimum: 0 new corrections")
    assert current(folder) == before


def test_the_report_shows_no_text(night: tuple[Path, RetrainOutcome]) -> None:
    _, outcome = night
    page = (outcome.folder / "report.html").read_text()
    record = json.loads((outcome.folder / "record.json").read_text())
    assert f"promoted: {outcome.record.challenger}" in page
    for rule in ("minimum", "better", "false positives", "probes"):
        assert rule in page
    assert page.count("data:image/png;base64") == 2 and "http" not in page.replace("http-equiv", "")
    assert record["promoted"] and record["flips"]
    for words in ("coins", "garden", "coat"):
        assert words not in page and words not in json.dumps(record)


def test_peoples_mail_does_not_stay_behind(night: tuple[Path, RetrainOutcome]) -> None:
    _, outcome = night
    for file in outcome.folder.rglob("*"):
        assert file.is_dir() or b"coins" not in file.read_bytes(), file
    assert outcome.folder.stat().st_mode & 0o777 == 0o700


def test_a_worse_challenger_is_kept_and_not_promoted(tmp_path: Path, champion: Path) -> None:
    """Corrections that contradict what is asked next: the newest third says the opposite."""
    store = tmp_path / "feedback.sqlite"
    with Store.open(store) as opened:
        made = corrections.corrections(60)
        flipped = {Label.SPAM: Label.HAM, Label.HAM: Label.SPAM}
        old = [
            corrections.correction(one.text or "", one.label if i < 40 else flipped[one.label], i)
            for i, one in enumerate(made)
        ]
        opened.learn_many(old)
    outcome = retrain(request(tmp_path, champion, 0))
    assert not outcome.promoted and "better: " in outcome.reason
    assert outcome.bundle and bundle.read(outcome.bundle).manifest.parent == bundle.read(champion).id
    assert not (tmp_path / "bundles").exists()
    assert corrections.state(tmp_path)["reason"] == outcome.reason


def test_manual_promotion_leaves_it_to_a_person(tmp_path: Path, champion: Path) -> None:
    outcome = retrain(request(tmp_path, champion, promotion="manual"))
    assert not outcome.promoted and outcome.bundle
    assert str(outcome.bundle) in outcome.reason
    assert not (tmp_path / "bundles").exists()


def test_a_trial_comes_first_and_the_next_night_waits_for_it(tmp_path: Path, champion: Path) -> None:
    asked = request(tmp_path, champion, promotion="shadow", state=tmp_path)
    outcome = retrain(asked)
    assert not outcome.promoted and "on trial" in outcome.reason
    store = tmp_path / "bundles"
    assert bundle.read(store / bundle.CHALLENGER).id == outcome.record.challenger
    assert current(tmp_path) == bundle.read(champion).id
    daemon = Presence.announce(tmp_path)
    assert daemon
    daemon.judges_with(current(tmp_path))
    with pytest.raises(RetrainingBusy, match="is on trial"):
        retrain(asked)
    daemon.leave()  # without a daemon nothing is seen of it
    with Store.open(asked.feedback) as opened:
        opened.forget(corrections.corrections(1)[0].content_hash)
    retrain(dataclasses.replace(asked, rules=GateRules(min_corrections=1000)))
    assert not (store / bundle.CHALLENGER).exists()


def test_the_same_corrections_give_the_same_weights(tmp_path: Path, champion: Path) -> None:
    found = [retrain(request(tmp_path / name, champion, promotion="manual")).bundle for name in "ab"]
    one, other = (read_tensors(path / bundle.WEIGHTS)[0] for path in found if path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_export_will_do(tmp_path: Path, champion: Path) -> None:
    lines = tmp_path / "export.jsonl"
    asked = request(tmp_path, champion)
    with Store.open(asked.feedback) as store, lines.open("wb") as stream:
        store.export_lines(stream)
    outcome = retrain(dataclasses.replace(asked, feedback=str(lines), promotion="manual"))
    assert outcome.record.facts.new == {"cli": 60} and "promotion is manual" in outcome.reason


def test_the_head_alone_makes_a_bundle(tmp_path: Path, champion: Path) -> None:
    how = HeadTraining(epochs=2, learning_rate=3e-2, pull=0.001)
    outcome = retrain(request(tmp_path, champion, strategy="head", head=how, promotion="manual"))
    assert outcome.bundle and outcome.record.facts.strategy == "head"
    Engine.open(outcome.bundle, threads=1)
    trained = json.loads((outcome.folder / "run" / "config.json").read_text())["recipe"]
    assert (trained["strategy"], trained["epochs"], trained["learning_rate"]) == ("head", 2, 3e-2)
    assert "loss" in (outcome.folder / "report.html").read_text()


def test_two_at_once_is_one_too_many(tmp_path: Path, champion: Path) -> None:
    asked = request(tmp_path, champion)
    with only_one(asked.runs), pytest.raises(RetrainingBusy, match=f"process {os.getpid()}.*this one stops"):
        retrain(asked)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"feedback": "/no/such/file"}, NotFound, id="no-store"),
        pytest.param({"feedback": "/dev/null"}, NotFound, id="no-file"),
        pytest.param({"strategy": "hope"}, ConfigError, id="strategy"),
        pytest.param({"rehearsal": ["/no/such/folder"]}, NotFound, id="rehearsal"),
        pytest.param({"feedback": "postgresql://127.0.0.1:1/none"}, StoreError, id="no-database"),
    ],
)
def test_what_is_not_there_is_one_line(
    tmp_path: Path, champion: Path, changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        retrain(request(tmp_path, champion, 60, **changes))
    assert "\n" not in str(raised.value)


# ---- Killed, and without space ---------------------------------------------------------------------------

CHILD = """
import os, signal, sys
from pathlib import Path
from tests.trainer.retraining import corrections
from filterd_trainer.retraining.retrain import retrain
folder, champion, stage = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def report(now):
    print(now, flush=True)
    if now == stage:
        os.kill(os.getpid(), signal.SIGKILL)
outcome = retrain(corrections.request(folder, champion, 0), report)
print("promoted" if outcome.promoted else outcome.reason)
"""


def child(folder: Path, champion: Path, stage: str = "", limit: int = 0) -> subprocess.CompletedProcess[str]:
    """A retraining in a process of its own. stage: where it kills itself; limit: bytes a file may have."""

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-c", CHILD, folder, champion, stage],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, preexec_fn=confine if limit else None,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("stage", KILLED_AT)
def test_killed_at_any_stage_it_goes_on(tmp_path: Path, champion: Path, stage: str) -> None:
    asked = request(tmp_path, champion)
    killed = child(tmp_path, champion, stage)
    assert killed.returncode == -signal.SIGKILL and killed.stdout.split() == [
        *STAGES[: STAGES.index(stage) + 1]
    ]
    store = tmp_path / "bundles"
    if stage == "report":  # promoted already: that is what stays
        assert bundle.read(store / "current").manifest.parent == bundle.read(champion).id
    else:
        assert not store.exists()
    outcome = retrain(dataclasses.replace(asked, champion=None if store.exists() else champion))
    assert bundle.read(store / "current").manifest.parent == bundle.read(champion).id
    assert outcome.promoted or (stage == "report" and outcome.reason.startswith("minimum: 0 new"))
    with Store.open(asked.feedback) as opened:
        assert opened.retrained() == (current(tmp_path), 60) and opened.stats().total == 60
    ended = run_folder.folders(asked.runs)
    assert len(ended) == (2 if stage == "report" else 1)  # the same run went on
    assert not any((folder / "data").exists() for folder in ended)


def test_what_has_changed_since_begins_anew(tmp_path: Path, champion: Path) -> None:
    asked = request(tmp_path, champion)
    killed = child(tmp_path, champion, "export")
    assert killed.returncode == -signal.SIGKILL
    with Store.open(asked.feedback) as store:
        store.forget(corrections.corrections(1)[0].content_hash)
    outcome = retrain(asked)
    assert outcome.promoted and sum(outcome.record.facts.new.values()) == 59
    first, second = run_folder.folders(asked.runs)
    assert "given up" in json.loads((first / "state.json").read_text())["reason"] and second == outcome.folder
    assert not (first / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [60_000, 1_500_000])
def test_a_full_disk_is_one_line_and_changes_nothing(tmp_path: Path, champion: Path, limit: int) -> None:
    """Files that may not grow fail as a full disk does."""
    asked = request(tmp_path, champion)
    before = bundle.sha256(Path(asked.feedback))
    failed = child(tmp_path, champion, limit=limit)
    last = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 1 and last.startswith("filterd.errors.Unwritable: "), failed.stderr
    assert bundle.sha256(Path(asked.feedback)) == before
    assert not (tmp_path / "bundles" / "current").exists()
    assert retrain(asked).promoted


@pytest.mark.parametrize("where", ["export", "bundle"])
def test_no_space_for_the_bundle(
    tmp_path: Path, champion: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """While it is written, and while it is installed."""
    asked = request(tmp_path, champion)
    full = OSError(errno.ENOSPC, "No space left on device", "somewhere")

    def fail(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy" if where == "export" else "copy2", fail)
        with pytest.raises(Unwritable, match="somewhere: No space left on device; nothing was promoted"):
            retrain(asked)
    assert not (tmp_path / "bundles" / "current").exists()
    assert [*(tmp_path / "bundles").glob("*")] == []
    assert retrain(asked).promoted


def test_the_lock_goes_with_its_process(tmp_path: Path, champion: Path) -> None:
    request(tmp_path, champion)
    assert child(tmp_path, champion, "gather").returncode == -signal.SIGKILL
    with only_one(tmp_path / "retrain"):
        pass


def test_a_reader_of_stages_hears_all(tmp_path: Path, champion: Path) -> None:
    heard: list[str] = []
    listen: Callable[[str], None] = heard.append
    retrain(request(tmp_path, champion), listen)
    assert tuple(heard) == STAGES
    assert Unwritable.exit_status == 73

"""What becomes of a challenger on trial, and that a restart does not forget it."""

from pathlib import Path

import msgspec
import pytest

from filterd.api import Label
from filterd.promotion import trial
from filterd.promotion.trial import DAY_S, Trial, TrialCounts, decide
from filterd.scoring import bundle
from tests.filterd.scoring.test_bundle import write

HAM, UNSURE, SPAM = Label.HAM, Label.UNSURE, Label.SPAM


@pytest.mark.parametrize(
    ("counts", "days", "promote", "said"),
    [
        pytest.param({"seen": 999}, 1, None, "999 of 1000", id="too-early"),
        pytest.param({"seen": 1000}, 1, True, "0 of 1000", id="enough-messages"),
        pytest.param({"seen": 150}, 7, True, "0 of 150", id="enough-days"),
        pytest.param({"seen": 99}, 7, False, "say nothing", id="hardly-any-traffic"),
        pytest.param({"seen": 1000, "differs": 101}, 1, False, "101 of 1000", id="another-filter"),
        pytest.param({"seen": 1000, "differs": 100}, 1, True, "100 of 1000", id="differs-as-it-may"),
        pytest.param({"seen": 1000, "differs": 60, "new_spam": 51}, 1, False, "51 of 1000", id="new-spam"),
        pytest.param({"seen": 1000, "right": 3, "wrong": 4}, 1, False, "right 4 times", id="corrections"),
        pytest.param({"seen": 1000, "right": 4, "wrong": 4}, 1, True, "0 of 1000", id="as-good"),
    ],
)
def test_the_decision(counts: dict[str, int], days: float, promote: bool | None, said: str) -> None:
    found = decide(TrialCounts(challenger="b", started=100.0, **counts), 1000, 7, 100.0 + days * DAY_S)
    assert found.promote is promote and said in found.reason


def test_what_is_counted(tmp_path: Path) -> None:
    on = Trial.open(tmp_path, "b")
    for champion, challenger in [(HAM, HAM), (HAM, SPAM), (SPAM, HAM), (UNSURE, SPAM), (SPAM, SPAM)]:
        on.add(champion, challenger)
    assert (on.counts.seen, on.counts.differs, on.counts.new_spam) == (5, 3, 2)
    for label, champion, challenger in [
        (SPAM, HAM, SPAM),
        (HAM, HAM, SPAM),
        (HAM, HAM, HAM),
        (SPAM, HAM, HAM),
    ]:
        on.corrected(label, champion=champion, challenger=challenger)
    assert (on.counts.right, on.counts.wrong) == (1, 1)


def test_a_restart_goes_on_with_it_and_another_challenger_begins_anew(tmp_path: Path) -> None:
    on = Trial.open(tmp_path, "b")
    for _ in range(trial.SAVE_EVERY):
        on.add(HAM, HAM)
    assert Trial.open(tmp_path, "b").counts == on.counts
    assert Trial.open(tmp_path, "c").counts.seen == 0
    (tmp_path / trial.FILE).write_text("{")
    assert Trial.open(tmp_path, "c").counts.seen == 0


def test_the_end_leaves_no_trial(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, name=name)
    bundle.use(tmp_path, "a")
    (tmp_path / bundle.CHALLENGER).symlink_to("b")
    on = Trial.open(tmp_path, "b")
    assert trial.under_way(tmp_path) == bundle.read(tmp_path / "b").id
    on.end()
    assert bundle.read(tmp_path / "current").manifest.name == "a"
    assert trial.under_way(tmp_path) == "" and not (tmp_path / trial.FILE).exists()
    assert (tmp_path / "b").is_dir()


def test_counts_are_plain_json(tmp_path: Path) -> None:
    Trial.open(tmp_path, "b")
    assert msgspec.json.decode((tmp_path / trial.FILE).read_bytes())["challenger"] == "b"

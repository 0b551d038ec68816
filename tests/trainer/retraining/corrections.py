"""A champion and corrections of it, small enough for every test: a tiny bundle and what it does not know."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec

from filterd.api import Kind, Label
from filterd.corrections.correction import Correction, correct
from filterd.corrections.store import Store
from filterd.scoring import bundle
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.export import export
from filterd_trainer.export.assembly import ExportRequest
from filterd_trainer.retraining.gate import GateRules
from filterd_trainer.retraining.retrain import RetrainRequest
from tests.trainer import tiny

START = datetime(2026, 1, 1, tzinfo=UTC)
# What the tiny champion says of our everyday messages is a matter of luck.
LENIENT = GateRules(max_worse=1.0, max_lost=1.0, probe_slack=100.0)
SPAM = ("double your coins {} at once", "invest {} coins with us tonight", "coins {} grow while you sleep")
HAM = ("your coat {} hangs in the hall", "coffee at {} in the garden", "the garden gate key is number {}")


def champion(folder: Path) -> Path:
    """The tiny model as a bundle, calibrated as if it were sure of itself from P = 0.9 on."""
    tiny.dataset(folder / "data")
    run = tiny.run(folder / "run")
    made = export.export(ExportRequest(run=run, data=folder / "data", out=folder / "champion", name="tiny"))
    manifest = msgspec.structs.replace(
        made.manifest,
        calibration=dict.fromkeys(Kind, Calibration()),
        thresholds=dict.fromkeys(Kind, Thresholds(unsure=0.5, spam=0.9)),
        probes=(),
    )
    bundle.rewrite_manifest(made.path, manifest)
    return made.path


def correction(text: str, label: Label, minute: int = 0, source: str = "cli") -> Correction:
    """A correction of an SMS."""
    made = correct(text.encode(), Kind.SMS, label, text=text, source=source)
    return msgspec.structs.replace(made, time=START + timedelta(minutes=minute))


def corrections(count: int, source: str = "cli", first: int = 0) -> list[Correction]:
    """In turn, spam of a new kind and ham; each with words of its own, so that none is another's copy."""
    made = []
    for i in range(first, first + count):
        line = (SPAM, HAM)[i % 2][i // 2 % 3].format(_word(i))
        made.append(
            correction(f"{line} {_word(3 * i)} {_word(5 * i + 1)}", (Label.SPAM, Label.HAM)[i % 2], i, source)
        )
    return made


@cache
def _word(i: int) -> str:
    syllables = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
    return "".join(syllables[int(d)] for d in f"{i:03d}")


def request(folder: Path, made: Path, count: int = 60, **changes: object) -> RetrainRequest:
    """A state folder with a store of corrections, and what to do with it."""
    store = folder / "feedback.sqlite"
    with Store.open(store) as opened:
        opened.learn_many(corrections(count))
    given: dict[str, object] = {
        "feedback": str(store), "bundles": folder / "bundles", "runs": folder / "retrain",
        "champion": None if (folder / "bundles" / "current").exists() else made,
        "rules": LENIENT,
        "remembers": False,  # the memory knows the three wordings, and no model could be better
    }  # fmt: skip
    return RetrainRequest(**(given | changes))  # type: ignore[arg-type]


def state(folder: Path) -> dict[str, object]:
    """The latest run's state.json."""
    latest = max((folder / "retrain").glob("[0-9]*"))
    return dict(json.loads((latest / "state.json").read_text()))

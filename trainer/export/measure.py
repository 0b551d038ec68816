"""The figures of a bundle on held-out messages, put into its manifest and its card.

An export measures what it can on the validation part, which it was fitted to. What a bundle is worth is
measured afterwards, on a part that nothing was fitted to and through the engine as it is shipped; the bundle
is then written anew, whole, with another card and so another id. The model stays as it is.
"""

import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Kind
from filterd.errors import BadInput
from filterd.scoring import bundle
from filterd.scoring.bundle import Bundle
from filterd_trainer.evaluation.intervals import spread
from filterd_trainer.evaluation.judge import EvaluationSplit, judge
from filterd_trainer.export import card
from filterd_trainer.export.assembly import timed
from filterd_trainer.export.card import HeldOutResults, KindResult, ScoreRange
from filterd_trainer.export.texts import messages

# P(spam) between which a card counts: finer at both ends, where nearly all messages are.
BOUNDS: Final = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)

Report = Callable[[str], object]


def put(
    path: Path, subject: EvaluationSplit, seeds: Sequence[Path] = (), report: Report = lambda _: None
) -> Bundle:
    """Judge the subject with the bundle at `path`, time it, and write the figures into it.

    seeds: bundles that differ from it by chance alone; mean and spread over them go beside its own figures.
    Raises BadInput where a kind lacks ham or spam and none is left, NotFound, BundleError.
    """
    opened = bundle.read(path)
    kinds = {}
    for kind in Kind:
        some = subject.of(kind)
        facts = some.facts()
        if not facts.spam or facts.spam == facts.messages:
            report(f"{kind}: no ham or no spam among {facts.messages:,} messages, left out")
            continue
        report(f"judging {facts.messages:,} messages, {kind}")
        kinds[kind] = _of_kind(opened.path, some, seeds)
    if not kinds:
        raise BadInput(f"{subject.dataset.folder}: neither kind has both ham and spam in {subject.split}")
    facts = subject.facts()
    facts = msgspec.structs.replace(facts, folder=Path(facts.folder).name)
    report("measuring the speed")
    speed = timed(opened.path, messages(subject.dataset, "validation"))
    found = {"evaluation": HeldOutResults(facts, kinds), "speed": speed}
    metrics = opened.manifest.metrics | {name: msgspec.to_builtins(one) for name, one in found.items()}
    manifest = msgspec.structs.replace(opened.manifest, metrics=metrics)
    with bundle.writing(path) as folder:
        for name in opened.manifest.files:
            shutil.copy(opened.path / name, folder / name)
        (folder / bundle.CARD).write_text(card.write(manifest), "utf-8")
        bundle.write_manifest(folder, msgspec.structs.replace(manifest, files=bundle.entries(folder)))
    return bundle.read(path)


def _of_kind(path: Path, subject: EvaluationSplit, seeds: Sequence[Path]) -> KindResult:
    scored = judge(path, path.name, subject)
    whole, *others = [
        subject.assess(one).parts[subject.split]
        for one in (scored, *(judge(seed, seed.name, subject) for seed in seeds))
    ]
    over = spread([one.estimates for one in others]) if others else {}
    return KindResult(whole, ranges(scored.probability, scored.spam), dict(over))


def ranges(p: npt.NDArray[np.float64], spam: npt.NDArray[np.bool_]) -> list[ScoreRange]:
    """Messages by their P(spam), [n], within BOUNDS; ranges that hold none are left out."""
    of_range = np.clip(np.digitize(p, BOUNDS) - 1, 0, len(BOUNDS) - 2)
    found = []
    for i, (low, high) in enumerate(pairwise(BOUNDS)):
        chosen = of_range == i
        if chosen.any():
            found.append(
                ScoreRange(
                    low=low,
                    high=high,
                    messages=int(chosen.sum()),
                    mean=float(p[chosen].mean()),
                    spam=float(spam[chosen].mean()),
                )
            )
    return found

"""What users get of a model: its say and the memory's together, on corrections that the memory does not know.

A correction is by itself in the memory, which would be right about it whatever the model says. So of each
message the memory of all other corrections is asked: those of its fold are left out when it is rebuilt. Then
champion and challenger differ where they would differ in service.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from filterd.api import Kind
from filterd.corrections.store import Store
from filterd.scoring import memory, verdict
from filterd.scoring.bundle import Manifest
from filterd.scoring.memory import Memory, Recollection
from filterd_trainer.evaluation.scores import Floats, SplitScores
from filterd_trainer.retraining.refit import Indices

TINY = 1e-30  # of a side that has no probability at all


def recollections(store: Store, until: int, frame: pd.DataFrame, fold: Indices) -> list[Recollection]:
    """What the memory says of each row [n] without its fold; nothing of rows that nobody corrected.

    A pass over the store for each fold. Raises StoreError.
    """
    found = [Recollection()] * len(frame)
    for number in np.unique(fold[(frame["Role"] == "new").to_numpy()]):
        chosen = np.flatnonzero((fold == number) & (frame["Role"] == "new").to_numpy())
        places = dict(zip(frame["Id"].astype(str).iloc[chosen], chosen.tolist(), strict=True))
        known, asked = Memory(), {}
        for one in store.iterate(until=until):
            if one.content_hash in places:
                asked[places[one.content_hash]] = one
            else:
                known.learn(one.traits(), one.label, one.owner, one.model or 0.0)
        for place, one in asked.items():
            found[place] = known.recollect(one.traits(), one.owner)
    return found


def remembering(
    scored: SplitScores, manifest: Manifest, frame: pd.DataFrame, said: Sequence[Recollection]
) -> SplitScores:
    """The same messages [n] with what the memory says beside the model; as `Engine.conclude` decides."""
    fused = [
        verdict.sigmoid(memory.fuse(verdict.log_odds(p), beside))
        for p, beside in zip(scored.probability.tolist(), said, strict=True)
    ]
    return saying(scored, manifest, frame, np.array(fused))


def saying(scored: SplitScores, manifest: Manifest, frame: pd.DataFrame, probability: Floats) -> SplitScores:
    """The same messages [n] with another P(spam); classes of one side keep their shares of it."""
    ham = np.isin(np.arange(len(scored.labels)), scored.ham)
    side = {True: scored.classes[:, ham].sum(axis=1), False: scored.classes[:, ~ham].sum(axis=1)}
    factor = {
        True: (1 - probability) / np.maximum(side[True], TINY),
        False: probability / np.maximum(side[False], TINY),
    }
    classes = np.stack([scored.classes[:, i] * factor[bool(is_ham)] for i, is_ham in enumerate(ham)], axis=1)
    labels = [
        verdict.label(p, manifest.thresholds[Kind(kind)])
        for p, kind in zip(probability.tolist(), frame["Kind"], strict=True)
    ]
    return dataclasses.replace(
        scored, classes=np.minimum(classes, 1.0), probability=probability, verdicts=labels
    )

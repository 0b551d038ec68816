"""A night's dataset and the refit of the wide half: the challenger, and what cross-fitting says of it."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from filterd.api import Kind
from filterd.scoring import memory, verdict
from filterd.scoring.bundle import Bundle, Manifest
from filterd.scoring.engine import Engine
from filterd.scoring.memory import Recollection
from filterd.scoring.verdict import Calibration
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation.scores import SplitScores
from filterd_trainer.export.texts import SplitTexts, messages
from filterd_trainer.retraining import recalibrate, refit, served
from filterd_trainer.retraining.recalibrate import CalibrationChoice, FreshMargins
from filterd_trainer.retraining.refit import Floats, Indices, RefitInput, WideDelta

Decide = Callable[[Manifest, Floats, SplitTexts], Manifest]


class CrossFit:
    """dataset: `train` teaches every fit; of `test` the rows of role `new` teach all but their own fold's.

    fold, said: of each row of `test`; the latter is what the memory says beside the model.
    """

    def __init__(self, champion: Engine, dataset: Dataset, fold: Indices, said: Sequence[Recollection]):
        self._champion, self._dataset = champion, dataset
        self._frame = dataset.split("test")
        self._places = np.flatnonzero((self._frame["Role"] == "new").to_numpy())
        self._fold = fold[self._places]
        self._said = [said[i] for i in self._places.tolist()]

    def write(self, out: Path, decide: Decide) -> Bundle:
        """The challenger, which learns from all of them. Raises BundleError, Unwritable."""
        validation = messages(self._dataset, "validation")
        asked = self._ask(self._dataset.split("validation"))
        manifest = decide(self._manifest, refit.margins(self._added, asked), validation)
        return refit.write(self._champion.bundle, out, self._added, manifest)

    def cautious(self, kind: Kind, choice: CalibrationChoice) -> CalibrationChoice:
        """With a spam threshold that no more corrected ham reaches than reached the champion's."""
        chosen = np.array([one is kind for one in self._new.kinds], dtype=bool)
        before = np.array([max(nats) for nats in self._new.margins])
        line = self._manifest.calibration[kind]
        fresh = FreshMargins(
            self._with_memory(before, line)[chosen],
            self._with_memory(self._crossed, line)[chosen],
            self._new.is_spam[chosen],
        )
        return recalibrate.cautious(choice, fresh)

    def crossed(self, after: SplitScores, manifest: Manifest) -> SplitScores:
        """`after`, of `test`, with the new corrections' rows as fits that did not see their fold say.

        manifest: the challenger's, for calibration and thresholds.
        """
        probability = after.probability.copy()
        probability[self._places] = [
            verdict.probability(float(nats) - self._added.nats[kind], manifest.calibration[kind])
            for nats, kind in zip(self._crossed, self._new.kinds, strict=True)
        ]
        return served.saying(after, manifest, self._frame, probability)

    @property
    def _manifest(self) -> Manifest:
        return self._champion.bundle.manifest

    @cached_property
    def _train(self) -> RefitInput:
        return self._ask(self._dataset.split("train"))

    @cached_property
    def _new(self) -> RefitInput:
        return self._ask(self._frame.iloc[self._places].reset_index(drop=True))

    @cached_property
    def _added(self) -> WideDelta:
        return refit.fit(self._manifest, refit.together(self._train, self._new), set(self._new.kinds))

    @cached_property
    def _crossed(self) -> Floats:
        return refit.crossed(self._manifest, self._train, self._new, self._fold)

    def _with_memory(self, margins: Floats, line: Calibration) -> Floats:
        """Margins that the calibration makes what model and memory say together."""
        judged = [verdict.log_odds(verdict.probability(float(nats), line)) for nats in margins]
        fused = [memory.fuse(one, beside) for one, beside in zip(judged, self._said, strict=True)]
        return (np.array(fused) - line.offset) / line.slope

    def _ask(self, frame: pd.DataFrame) -> RefitInput:
        is_spam = (~frame["Label"].isin(self._dataset.ham_indices)).to_numpy(dtype=bool)
        return refit.ask(self._champion, frame, is_spam)

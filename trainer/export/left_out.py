"""Calibration and thresholds from messages of sources that never trained.

A held-out part of a known source flatters: there P(spam) above one half was right, and of ham from unknown
sources 12% had it. So the line is fitted to sources left out whole, and the thresholds have to keep their
rates on those and on the validation part, whichever asks for more.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.errors import BadInput
from filterd.scoring.bundle import Manifest
from filterd.scoring.verdict import Calibration, Thresholds
from filterd_trainer.evaluation import calibrate

MAX_SPAM: Final = 0.003  # of ham of unknown sources that may be called spam
# The same of known sources. Some SMS are labelled wrong: with 0.1% validation's recall was 14%, so it is 66%.
MAX_KNOWN_SPAM: Final = {Kind.MAIL: 0.001, Kind.SMS: 0.003}
MAX_UNSURE: Final = 0.03  # of ham of unknown sources that may reach "unsure"; of known sources it is 0.01
OUTLIERS: Final = 1  # of either part's ham, that may be called spam however few there are: a wrong label
MIN_PER_CLASS: Final = 50  # left-out messages of a kind; with fewer both kinds are calibrated together


class LeftOutScores(NamedTuple):
    """Messages and what the model made of them: margins in nats, truths, kinds, [n] each."""

    margins: NDArray[np.float64]
    is_spam: NDArray[np.bool_]
    kinds: Sequence[Kind]

    def of(self, kind: Kind) -> "LeftOutScores":
        """Those of a kind, or all where one of its classes has hardly any."""
        mine = np.array([one is kind for one in self.kinds])
        spam = int(self.is_spam[mine].sum())
        if min(spam, int(mine.sum()) - spam) < MIN_PER_CLASS:
            return self
        return LeftOutScores(self.margins[mine], self.is_spam[mine], [kind] * int(mine.sum()))


def decide(manifest: Manifest, known: LeftOutScores, unknown: LeftOutScores) -> Manifest:
    """With calibration from `unknown`, thresholds that hold on both. Raises BadInput without both labels."""
    if unknown.is_spam.all() or not unknown.is_spam.any():
        raise BadInput(
            "--calibrate-on: that part lacks ham or spam; give `data prepare` more --calibrate-source"
        )
    calibration, thresholds = {}, {}
    for kind in Kind:
        new, old = unknown.of(kind), known.of(kind)
        line = calibrate.fit_platt(new.margins, new.is_spam)
        of_new = _cut(new, line, MAX_SPAM, MAX_UNSURE)
        of_old = _cut(old, line, MAX_KNOWN_SPAM[kind], calibrate.MAX_UNSURE_RATE)
        spam = max(of_new.spam, of_old.spam)
        calibration[kind] = line
        thresholds[kind] = Thresholds(unsure=min(spam, max(of_new.unsure, of_old.unsure)), spam=spam)
    return msgspec.structs.replace(manifest, calibration=calibration, thresholds=thresholds)


def _cut(part: LeftOutScores, line: Calibration, max_spam: float, max_unsure: float) -> Thresholds:
    """Thresholds of one part alone; OUTLIERS of its ham may always be above."""
    ham = max(1, int((~part.is_spam).sum()))
    max_fpr = max(max_spam, (OUTLIERS + 0.5) / ham)
    p = calibrate.apply(part.margins, line)
    return calibrate.choose_thresholds(p, part.is_spam, max_fpr=max_fpr, max_unsure=max_unsure)

"""Who corrects the filter in a simulation: one user who means well, and those who do not.

The user looks at what was labelled otherwise than it is. That includes `unsure`: such mail is in the inbox
with a mark, so a spam there is an error that is seen, and a ham there asks for a word. Of these the user
corrects a share, a day (so many messages) later, and gets some of those wrong: the label is flipped, which
for a spam in the inbox is "this is fine". Who is corrected and how is drawn once for every place of the
stream, so that all arms meet the same user.

Hostile corrections are a share of all. Half are *flips*: a mail of the last day with the wrong label. Half
are a *flood*, handed in together just before the night: variants of one mail under the wrong label, from one
source. `insider` gives them the user's own source, where no quota can tell them apart.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from filterd.api import Label
from filterd_trainer.simulation.stream import Stream, StreamSettings

USER, FLOOD = "user", "flood"
STRANGERS = 3  # sources of flips: few, each below any quota


class StreamCorrection(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    """One correction. at: the place in the stream before which it comes; mail: of which; label: as said.

    copy: of a flood the number of the variant; of a flip below 0; 0 where the user said it.
    """

    at: int
    mail: int
    label: Label
    source: str
    copy: int = 0


def flipped(label: Label) -> Label:
    """The other one of ham and spam."""
    return Label.HAM if label is Label.SPAM else Label.SPAM


class User:
    """The one who means well."""

    def __init__(self, stream: Stream, settings: StreamSettings) -> None:
        rng = np.random.default_rng([settings.seed, 1])
        self._stream, self._day = stream, settings.day
        self._corrects = rng.random(stream.n) < settings.corrects
        self._errs = rng.random(stream.n) < settings.wrong

    def sees(self, place: int, called: Label) -> StreamCorrection | None:
        """What the user will say about a verdict, if anything."""
        truth = self._stream.mails[place].label
        if called is truth or not self._corrects[place]:
            return None
        label = flipped(truth) if self._errs[place] else truth
        return StreamCorrection(at=place + self._day, mail=place, label=label, source=USER)


class NoHostility:
    """No hostile corrections."""

    def after(self, learned: Sequence[StreamCorrection]) -> list[StreamCorrection]:
        """Those that follow what was learned so far."""
        return []

    def before_night(self, learned: Sequence[StreamCorrection], at: int) -> list[StreamCorrection]:
        """Those that are handed in together before a night."""
        return []


class HostileUser(NoHostility):
    """Flips and floods; a function of what was learned so far, so that a resumed run meets the same."""

    def __init__(self, stream: Stream, settings: StreamSettings, insider: bool) -> None:
        self._stream, self._settings, self._insider = stream, settings, insider

    def after(self, learned: Sequence[StreamCorrection]) -> list[StreamCorrection]:
        """Flips: half of what is owed."""
        owed, flips, _ = self._counted(learned)
        at = learned[-1].at
        return [self._flip(at, flips + k) for k in range(owed // 2 - flips)] if at else []

    def before_night(self, learned: Sequence[StreamCorrection], at: int) -> list[StreamCorrection]:
        """A flood: all that is still owed."""
        owed, flips, floods = self._counted(learned)
        mail = self._draw(at, 3, 0)
        label, source = flipped(self._stream.mails[mail].label), self._source(FLOOD)
        return [
            StreamCorrection(at=at, mail=mail, label=label, source=source, copy=floods + k + 1)
            for k in range(owed - flips - floods)
        ]

    def _counted(self, learned: Sequence[StreamCorrection]) -> tuple[int, int, int]:
        """How many are owed, and how many flips and floods there were."""
        floods = sum(said.copy > 0 for said in learned)
        flips = sum(said.copy < 0 for said in learned)
        honest = len(learned) - floods - flips
        share = self._settings.hostile
        return round(honest * share / (1 - share)), flips, floods

    def _flip(self, at: int, number: int) -> StreamCorrection:
        mail = self._draw(at, 2, number)
        source = self._source(f"stranger-{number % STRANGERS + 1}")
        return StreamCorrection(
            at=at, mail=mail, label=flipped(self._stream.mails[mail].label), source=source, copy=-1 - number
        )

    def _draw(self, at: int, what: int, number: int) -> int:
        """A mail of the last day."""
        rng = np.random.default_rng([self._settings.seed, what, at, number])
        return int(rng.integers(max(0, at - self._settings.day), at))

    def _source(self, name: str) -> str:
        return USER if self._insider else name


def is_hostile(said: StreamCorrection) -> bool:
    """Whether it was none of the user's."""
    return said.copy != 0


def variant(said: StreamCorrection, subject: str, body: str) -> bytes:
    """The mail that a flood hands in: somebody's text, with a tail of its own so that it is another one."""
    tail = np.random.default_rng([said.mail, said.copy]).integers(0, 1 << 32, size=4)
    words = " ".join(f"{int(word):08x}" for word in tail)
    head = " ".join(subject.split()) or "news"
    return f"From: list{said.copy}@flood.example\nSubject: {head}\n\n{body}\n\nref {words}\n".encode(
        "utf-8", "replace"
    )

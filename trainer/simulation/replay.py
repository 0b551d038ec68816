"""The replay itself: mails come, the filter judges, people correct a day later, nights pass.

A run is one arm with one kind of people. It goes in segments of as many messages as lie between two nights;
what happened in a segment is written when it is over, and a run that was stopped goes on behind the last one
that is there. The order within a segment: a flood, if somebody floods; the night; a look at the clean mail;
then message by message the corrections that are due, and the verdict.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from filterd.api import Label
from filterd.errors import BadInput
from filterd_trainer.gpt2 import checkpoint
from filterd_trainer.simulation.arms import Arm, ArmVerdict, Night
from filterd_trainer.simulation.stream import Stream, StreamSettings
from filterd_trainer.simulation.users import NoHostility, StreamCorrection, User

Report = Callable[[str, int], None]  # (what is done, messages done)


class ReplayOutcome(msgspec.Struct, frozen=True):
    """n verdicts: P(spam) and labels."""

    probability: list[float]
    labels: list[Label]

    @classmethod
    def of(cls, opinions: Sequence[ArmVerdict]) -> "ReplayOutcome":
        """From what an arm said."""
        return cls([one.probability for one in opinions], [one.label for one in opinions])


class ReplayLook(msgspec.Struct, frozen=True):
    """At the clean mail after a night. alone: the model on duty; whole: with the memory."""

    alone: ReplayOutcome
    whole: ReplayOutcome


class Segment(msgspec.Struct, frozen=True):
    """What happened from `start` to the next night. learned: in their order; night, look: before it."""

    start: int
    judged: ReplayOutcome
    learned: list[StreamCorrection]
    night: Night | None = None
    look: ReplayLook | None = None


class Complaints(Protocol):
    """Whoever says what will be corrected."""

    def sees(self, place: int, called: Label) -> StreamCorrection | None:
        """What will be said about a verdict, if anything."""


class RepeatedComplaints:
    """Says at the same times what was learned in another run, whatever the verdicts are."""

    def __init__(self, learned: Sequence[StreamCorrection]) -> None:
        self.learned = learned

    def sees(self, place: int, called: Label) -> StreamCorrection | None:
        """Nothing of its own."""
        return None


class ReplayLog:
    """The segments of a run, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> list[Segment]:
        """Those that are there, up to the first gap. Raises BadInput."""
        found: list[Segment] = []
        while (file := self._file(len(found))).is_file():
            try:
                found.append(msgspec.json.decode(file.read_bytes(), type=Segment))
            except msgspec.MsgspecError as error:
                raise BadInput(f"{file}: damaged ({error}); delete the folder and run again") from error
        return found

    def write(self, number: int, segment: Segment) -> None:
        """Keep one. Raises Unwritable."""
        self._folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(self._file(number), msgspec.json.encode(segment).decode())

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:03d}.json"


class Replay:
    """One run. people: who corrects; hostile: who else does."""

    def __init__(
        self,
        stream: Stream,
        settings: StreamSettings,
        arm: Arm,
        people: User | RepeatedComplaints,
        hostile: NoHostility,
        report: Report = lambda what, done: None,
    ) -> None:
        self._stream, self._settings, self._arm = stream, settings, arm
        self._people, self._hostile, self._report = people, hostile, report
        self._learned: list[StreamCorrection] = []
        self._due: dict[int, list[StreamCorrection]] = {}

    def run(self, log: ReplayLog) -> list[Segment]:
        """All segments; those in the log are not done again."""
        segments = log.read()
        self._resume(segments)
        starts = self._settings.starts(self._stream.n)
        for number in range(len(segments), len(starts)):
            end = starts[min(number + 1, len(starts) - 1)]
            segments.append(self._segment(starts[number], end))
            log.write(number, segments[-1])
        self._arm.close()
        return segments

    def _resume(self, segments: Sequence[Segment]) -> None:
        self._learned = [said for segment in segments for said in segment.learned]
        done = sum(len(segment.judged.labels) for segment in segments)
        if isinstance(self._people, RepeatedComplaints):
            for said in self._people.learned[len(self._learned) :]:
                self._due.setdefault(said.at, []).append(said)
        for segment in segments:
            for i, called in enumerate(segment.judged.labels, segment.start):
                self._hear(i, called, done)
        if len(segments) < len(self._settings.starts(self._stream.n)):
            self._report("catching up", done)
            self._arm.restore(self._learned)

    def _hear(self, place: int, called: Label, from_place: int = 0) -> None:
        said = self._people.sees(place, called)
        if said and said.at >= from_place:
            self._due.setdefault(said.at, []).append(said)

    def _segment(self, start: int, end: int) -> Segment:
        before = len(self._learned)
        night, look = self._night(start) if start else (None, None)
        opinions: list[ArmVerdict] = []
        at = start
        while at < end:
            for said in self._due.pop(at, []):
                self._learn(said)
            until = min([end, at + self._settings.day, *(due for due in self._due if due > at)])
            opinions += self._arm.judge(range(at, until))
            for place in range(at, until):
                self._hear(place, opinions[place - start].label)
            at = until
            self._report("judging", at)
        return Segment(start, ReplayOutcome.of(opinions), self._learned[before:], night, look)

    def _night(self, start: int) -> tuple[Night | None, ReplayLook | None]:
        for said in self._hostile.before_night(self._learned, start):
            self._take(said)
        self._report("retraining", start)
        night, clean = self._arm.night(), self._stream.clean
        self._report("looking at clean mail", start)
        if night is None and start < self._stream.n:
            return None, None
        return night, ReplayLook(
            ReplayOutcome.of(self._arm.alone(clean)), ReplayOutcome.of(self._arm.judge(clean))
        )

    def _learn(self, said: StreamCorrection) -> None:
        self._take(said)
        if said.copy == 0:
            for other in self._hostile.after(self._learned):
                self._take(other)

    def _take(self, said: StreamCorrection) -> None:
        self._arm.learn(said)
        self._learned.append(said)

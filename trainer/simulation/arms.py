"""What is compared in a simulation: the same filter with and without memory and nights, and Bogofilter.

An arm judges places of a stream, learns what was said of them, and may retrain at night. Everything it
keeps lies in its own folder and follows from what it learned, in order: a run that was stopped gives an arm
all of that again (`restore`).

Ours goes the product's ways: corrections into a store (`filterd.corrections.store`), from there into the
memory and into `trainer.retraining.retrain`, whose challenger is promoted past the gate or not. Only the
model's margins are kept aside, by bundle, as a mail's margin depends on nothing else.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Kind, Label, Message
from filterd.corrections import correction, store
from filterd.corrections.following import catch_up
from filterd.corrections.store import Store
from filterd.errors import FilterdError
from filterd.reading import text
from filterd.scoring import memory, verdict
from filterd.scoring.bundle import Manifest
from filterd.scoring.engine import Engine
from filterd.scoring.memory import Memory, Recollection
from filterd.scoring.traits import Traits
from filterd_trainer.data.grouping import Report, quiet
from filterd_trainer.simulation.stream import Stream, StreamMail, StreamSettings
from filterd_trainer.simulation.users import StreamCorrection, variant

PIECE = 64  # mails whose margins are computed between two looks at the clock
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # the first message; a minute each
SPAM_CUTOFF, HAM_CUTOFF = 0.99, 0.45  # Bogofilter's own defaults: spam from the first, ham up to the second
UNKNOWN = 0.52  # what Bogofilter says of a mail when it has learned nothing (robx)

Floats = npt.NDArray[np.float64]


class ArmVerdict(NamedTuple):
    """What an arm says of one mail."""

    probability: float
    label: Label


class Night(msgspec.Struct, frozen=True):
    """A retraining: the bundle on duty after it, whether that is a new one, and if not why."""

    duty: str
    promoted: bool
    reason: str = ""


class Arm(Protocol):
    """One filter."""

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        """What it says of mails as it stands."""

    def learn(self, said: StreamCorrection) -> None:
        """Take a correction; the next mail is judged with it."""

    def restore(self, learned: Sequence[StreamCorrection]) -> None:
        """Be as after these corrections."""

    def night(self) -> Night | None:
        """Retrain, if it does that."""

    def alone(self, places: Sequence[int]) -> list[ArmVerdict]:
        """What the model on duty says without the memory."""

    def close(self) -> None:
        """Let go of files."""


class Margins:
    """Uncalibrated log-odds of a stream's mails, by bundle; on disk, so that nothing is judged twice."""

    def __init__(self, stream: Stream, folder: Path) -> None:
        self._stream, self._folder = stream, folder
        self._known: dict[str, Floats] = {}
        self._engines: dict[Path, Engine] = {}

    def engine(self, bundle: Path) -> Engine:
        """The engine of a bundle's real path; the last few stay open."""
        path = bundle.resolve()
        if path not in self._engines:
            self._engines[path] = Engine.open(path)
            while len(self._engines) > 2:
                self._engines.pop(next(iter(self._engines)))
        return self._engines[path]

    def of(self, bundle: Path, places: Sequence[int], report: Report = quiet) -> Floats:
        """Margins [len(places)]; of a mail with several readings the highest."""
        engine = self.engine(bundle)
        known = self._open(engine.bundle.id)
        missing = [i for i in places if np.isnan(known[i])]
        try:
            for start in range(0, len(missing), PIECE):
                piece = missing[start : start + PIECE]
                known[piece] = _highest(engine, [self._stream.mails[i] for i in piece])
                report("model", start + len(piece), len(missing))
        finally:  # Ctrl-C keeps what was judged
            if missing:
                self._folder.mkdir(parents=True, exist_ok=True)
                np.save(self._folder / f"{engine.bundle.id}.npy", known)
        return known[list(places)]

    def calibrated(self, bundle: Path, places: Sequence[int], report: Report = quiet) -> list[float]:
        """The model's own log-odds of mails."""
        margins = self.of(bundle, places, report).tolist()
        calibration = self.engine(bundle).bundle.manifest.calibration
        kinds = [self._stream.mails[i].kind for i in places]
        return [
            verdict.log_odds(verdict.probability(margin, calibration[kind]))
            for margin, kind in zip(margins, kinds, strict=True)
        ]

    def _open(self, name: str) -> Floats:
        if name not in self._known:
            file = self._folder / f"{name}.npy"
            fresh = np.full(len(self._stream.mails), np.nan)
            self._known[name] = np.load(file, allow_pickle=False) if file.is_file() else fresh
        return self._known[name]


def _highest(engine: Engine, mails: Sequence[StreamMail]) -> list[float]:
    read = [(text, mail.kind) for mail in mails for text in mail.texts]
    margins = iter(engine.margins([text for text, _ in read], [kind for _, kind in read]))
    return [max(next(margins) for _ in mail.texts) for mail in mails]


class Ours:
    """filterd. remembers: corrections have effect at once; retrains: at night."""

    def __init__(
        self,
        stream: Stream,
        settings: StreamSettings,
        margins: Margins,
        champion: Path,
        folder: Path,
        *,
        remembers: bool = False,
        retrains: bool = False,
    ) -> None:
        self._stream, self._settings, self._margins = stream, settings, margins
        self._champion, self._folder = champion, folder
        self.remembers, self.retrains = remembers, retrains
        self._memory = Memory()
        self._features: dict[int, Traits] = {}
        self._store: Store | None = None

    @property
    def duty(self) -> Path:
        """The bundle that judges."""
        current = self._folder / "bundles" / "current"
        return current if current.exists() else self._champion

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        """With the memory, if it has one."""
        return self._opinions(places, [self._recollect(i) for i in places])

    def alone(self, places: Sequence[int]) -> list[ArmVerdict]:
        """Without it."""
        return self._opinions(places, [Recollection()] * len(places))

    def learn(self, said: StreamCorrection) -> None:
        """Store, and from there the memory."""
        if self.remembers or self.retrains:
            self._opened().learn(self._correction(said))
            self._catch_up()

    def restore(self, learned: Sequence[StreamCorrection]) -> None:
        """A store of these and nothing else."""
        self.close()
        for file in self._folder.glob("feedback.sqlite*"):
            file.unlink()
        self._memory = Memory()
        if learned and (self.remembers or self.retrains):
            self._opened().learn_many([self._correction(said) for said in learned])
            self._catch_up()

    def night(self) -> Night | None:
        """`trainer retrain` with what the store holds."""
        if not self.retrains:
            return None
        before = self._margins.engine(self.duty).bundle.id
        reason = self._retrain()
        after = self._margins.engine(self.duty).bundle.id
        return Night(after, after != before, "" if after != before else reason)

    def close(self) -> None:
        """Close the store."""
        if self._store:
            self._store.close()
        self._store = None

    def _retrain(self) -> str:
        from filterd_trainer.retraining import lock, retrain  # PyTorch takes seconds to import
        from filterd_trainer.training import train

        self._opened()
        request = retrain.RetrainRequest(
            feedback=str(self._file),
            bundles=self._folder / "bundles",
            runs=self._folder / "runs",
            champion=self.duty,
            seed=self._settings.seed,
            keep_runs=1,
            remembers=self.remembers,
        )
        try:
            return retrain.retrain(request).reason
        except lock.RetrainingBusy as busy:
            return str(busy)
        except train.TrainingInterrupted as stopped:
            raise KeyboardInterrupt from stopped  # of the whole simulation

    @property
    def _file(self) -> Path:
        return self._folder / "feedback.sqlite"

    def _opened(self) -> Store:
        if not self._store:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = Store.open(self._file)
        return self._store

    def _catch_up(self) -> None:
        if self.remembers:
            self._memory = catch_up(self._opened(), self._memory)

    def _correction(self, said: StreamCorrection) -> store.Correction:
        mail = self._stream.mails[said.mail]
        if said.copy > 0:
            reading = text.read(Message(mail.raw))[0]
            raw = variant(said, reading.subject, reading.body)
            mail = replace(mail, raw=raw, kind=Kind.MAIL, texts=(text.read(Message(raw))[0].canonical,))
        canonical = mail.texts[0][: store.MAX_TEXT]
        model = None if said.copy > 0 else self._judged([said.mail])[0]
        made = store.correct(mail.raw, mail.kind, said.label, text=canonical, source=said.source, model=model)
        return msgspec.structs.replace(made, time=BEGIN + timedelta(minutes=said.at))

    def _recollect(self, place: int) -> Recollection:
        if not self.remembers or not len(self._memory):
            return Recollection()
        if place not in self._features:
            mail = self._stream.mails[place]
            self._features[place] = correction.seen(mail.raw, mail.kind)[1]
        return self._memory.recollect(self._features[place])

    def _judged(self, places: Sequence[int]) -> list[float]:
        """The model's log-odds, calibrated."""
        return self._margins.calibrated(self.duty, places)

    def _opinions(self, places: Sequence[int], said: Sequence[Recollection]) -> list[ArmVerdict]:
        manifest = self._margins.engine(self.duty).bundle.manifest
        kinds = [self._stream.mails[i].kind for i in places]
        return [opinion(manifest, *one) for one in zip(kinds, self._judged(places), said, strict=True)]


def opinion(manifest: Manifest, kind: Kind, model: float, recollection: Recollection) -> ArmVerdict:
    """As `filterd.scoring.engine.Engine.conclude` decides; model: its calibrated log-odds."""
    probability = verdict.sigmoid(memory.fuse(model, recollection))
    return ArmVerdict(probability, verdict.label(probability, manifest.thresholds[kind]))


# ---- Bogofilter ------------------------------------------------------------------------------------------


def bogofilter_missing() -> str:
    """Why it cannot be compared with, "" where it can."""
    return "" if shutil.which("bogofilter") else "bogofilter is not installed (Debian: bogofilter)"


class Bogofilter:
    """Bogofilter with its defaults and a word list of its own."""

    def __init__(self, stream: Stream, folder: Path) -> None:
        self._stream, self._folder = stream, folder
        self._words = folder / "words"
        self._said: dict[int, Label] = {}

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        """Its spamicity; with nothing learned it knows nothing."""
        if not self._said:
            return [ArmVerdict(UNKNOWN, Label.UNSURE)] * len(places)
        files = "".join(f"{self._file(i)}\n" for i in places)
        lines = self._run(["-TT", "-b"], files).splitlines()
        scores = [float(line.rsplit(" ", 1)[1]) for line in lines]
        if len(scores) != len(places):
            raise FilterdError(f"bogofilter judged {len(scores)} of {len(places)} mails; try another version")
        return [ArmVerdict(score, _called(score)) for score in scores]

    def alone(self, places: Sequence[int]) -> list[ArmVerdict]:
        """It has no other part."""
        return self.judge(places)

    def learn(self, said: StreamCorrection) -> None:
        """Register a mail, and take back what was said of it before."""
        before = self._said.get(said.mail)
        if before is said.label or said.copy > 0:
            return
        options = ["-s" if said.label is Label.SPAM else "-n"]
        if before:
            options.append("-S" if before is Label.SPAM else "-N")
        self._run([*options, "-I", str(self._file(said.mail))])
        self._said[said.mail] = said.label

    def restore(self, learned: Sequence[StreamCorrection]) -> None:
        """A word list of these."""
        shutil.rmtree(self._words, ignore_errors=True)
        self._words.mkdir(mode=0o700, parents=True)
        self._said = {}
        for said in learned:
            self.learn(said)

    def night(self) -> Night | None:
        """It does not retrain."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def _file(self, place: int) -> Path:
        file = self._folder / "mails" / str(place)
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_bytes(self._stream.mails[place].raw)
        return file

    def _run(self, options: Sequence[str], given: str = "") -> str:
        command = ["bogofilter", "-C", "-d", str(self._words), *options]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1, 2}:
            raise FilterdError(f"bogofilter: {done.stderr.strip() or done.returncode}")
        return done.stdout


def _called(score: float) -> Label:
    if score >= SPAM_CUTOFF:
        return Label.SPAM
    return Label.HAM if score <= HAM_CUTOFF else Label.UNSURE

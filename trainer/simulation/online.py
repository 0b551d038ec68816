"""`trainer simulate --online`: how good is a filter that learns, mail by mail, in the order they were sent?

Each mail is judged with what was said of those before it; nothing is judged twice. A *mode* says who speaks:

- `all`: every mail is corrected at once, with the truth;
- `errors`: those alone that the filter itself labelled otherwise than they are (`unsure` is such a label);
- `late`: a share of those (`corrects`), and `day` mails later;
- `wrong`: every mail at once, a share of them (`wrong`) with the wrong label.

A *filter* is `model`, which learns nothing; `learner`, the memory of corrections without a model; `fused`,
both, as filterd judges; `bogofilter`. Each hears of its own errors. One person corrects, so what counts is
his own. What a run said is kept in `work` in the output folder: stopped, the same command goes on with the
next run.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
from rich.console import Console

from filterd.api import Label
from filterd.corrections import correction
from filterd.errors import BadInput, ConfigError
from filterd.scoring import bundle
from filterd.scoring.bundle import Manifest
from filterd.scoring.memory import SITE, Memory, Recollection
from filterd.scoring.traits import Traits
from filterd_trainer.data import prepare
from filterd_trainer.evaluation.metrics import ranked, ranking
from filterd_trainer.gpt2 import checkpoint
from filterd_trainer.simulation import chronicle
from filterd_trainer.simulation.arms import ArmVerdict, Bogofilter, Margins, bogofilter_missing, opinion
from filterd_trainer.simulation.replay import ReplayOutcome, Report
from filterd_trainer.simulation.simulate import WORK, progress, stoppable, work_of
from filterd_trainer.simulation.stream import Stream, located
from filterd_trainer.simulation.users import USER, StreamCorrection, flipped

MODES: Final = ("all", "errors", "late", "wrong")
MODEL, LEARNER, FUSED, BOGOFILTER = FILTERS = ("model", "learner", "fused", "bogofilter")
SETTLED: Final = 2_000  # mails after which ham called spam is counted: by then a site has taught its filter
STEP: Final = 50  # mails between two points of a curve
LOOK: Final = 100  # mails between two reports of progress


class OnlineSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """messages: drawn of all, 0 for all; day: so many mails later a late correction comes; others: shares."""

    messages: int = 0
    day: int = 250
    corrects: float = 0.3
    wrong: float = 0.02
    seed: int = 123

    def __post_init__(self) -> None:
        if not 0.0 < self.corrects <= 1.0 or not 0.0 <= self.wrong < 1.0 or self.day < 1 or self.messages < 0:
            raise BadInput("--corrects is above 0 and at most 1, --wrong from 0 to below 1, --day at least 1")


@dataclass(frozen=True, kw_only=True)
class OnlineRequest:
    """The options of the command. modes, only: of MODES and FILTERS; none: all."""

    inputs: Sequence[str]
    bundle: Path
    out: Path
    settings: OnlineSettings
    modes: Sequence[str] = ()
    only: Sequence[str] = ()


class OnlineRun(msgspec.Struct, kw_only=True, frozen=True):
    """One filter in one mode. Shares in percent; None where the stream does not define them.

    one_less_area: 1 - area under the ROC curve; recall: of spam, where 0.1% of ham is lost. lost, missed: ham
    called spam, spam called ham; unsure: of both. late_lost, late_ham: ham called spam, and ham, from mail
    SETTLED on. lost_by, missed_by: sums at each of `Record.at`.
    """

    mode: str
    filter: str
    one_less_area: float | None
    recall: float | None
    lost: int
    missed: int
    unsure: int
    late_lost: int
    late_ham: int
    corrections: int
    lost_by: list[int]
    missed_by: list[int]

    @property
    def late_share(self) -> float | None:
        """Percent of ham that is called spam from mail SETTLED on."""
        return 100 * self.late_lost / self.late_ham if self.late_ham else None


class OnlineRecord(msgspec.Struct, kw_only=True, frozen=True):
    """`online.json`. skipped: filters that could not run, and why; lost: mails left out, by reason."""

    bundle: str
    settings: OnlineSettings
    inputs: list[str]
    messages: int
    spam: int
    first: str
    last: str
    lost: dict[str, int]
    fingerprint: str
    at: list[int]
    runs: list[OnlineRun]
    skipped: dict[str, str] = {}


class RunVerdicts(msgspec.Struct, frozen=True):
    """What is kept of a run: its verdicts in order, and how many corrections it heard."""

    judged: ReplayOutcome
    corrections: int


class LearningFilter(Protocol):
    """What is compared."""

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        """What it says of mails as it stands."""

    def learn(self, said: StreamCorrection) -> None:
        """Take a correction; the next mail is judged with it."""


# ---- Who speaks ------------------------------------------------------------------------------------------


class Speaker:
    """Who corrects in a mode. Drawn once for every place, so that all filters meet the same."""

    def __init__(self, stream: Stream, settings: OnlineSettings, mode: str) -> None:
        rng = np.random.default_rng([settings.seed, 2])
        self._mails, self._errors_only = stream.mails, mode in {"errors", "late"}
        self._speaks = rng.random(stream.n) < (settings.corrects if mode == "late" else 1.0)
        self._errs = rng.random(stream.n) < (settings.wrong if mode == "wrong" else 0.0)
        self._later = settings.day if mode == "late" else 1

    def sees(self, place: int, called: Label) -> StreamCorrection | None:
        """What is said about a verdict, if anything, and before which place."""
        truth = self._mails[place].label
        if not self._speaks[place] or (self._errors_only and called is truth):
            return None
        return StreamCorrection(
            at=place + self._later,
            mail=place,
            label=flipped(truth) if self._errs[place] else truth,
            source=USER,
        )


def replay(filter_: LearningFilter, speaker: Speaker, n: int, report: Report) -> RunVerdicts:
    """Judge n mails one after the other, each with what was said before it."""
    due: dict[int, list[StreamCorrection]] = {}
    opinions: list[ArmVerdict] = []
    heard = 0
    for place in range(n):
        for said in due.pop(place, ()):
            filter_.learn(said)
            heard += 1
        (found,) = filter_.judge([place])
        opinions.append(found)
        if said_of := speaker.sees(place, found.label):
            due.setdefault(said_of.at, []).append(said_of)
        if (place + 1) % LOOK == 0 or place + 1 == n:
            report("judging", place + 1)
    return RunVerdicts(ReplayOutcome.of(opinions), heard)


# ---- Filters ---------------------------------------------------------------------------------------------


class OnlineFilter:
    """filterd, or a part of it. model: log-odds of each mail, 0 where that is left out; learns: from Said."""

    def __init__(
        self,
        stream: Stream,
        manifest: Manifest,
        model: Sequence[float],
        known: dict[int, Traits],
        learns: bool,
    ) -> None:
        self._mails, self._manifest, self._model, self._known = stream.mails, manifest, model, known
        self._memory = Memory() if learns else None

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        """As `filterd check` says it."""
        return [self._opinion(place) for place in places]

    def learn(self, said: StreamCorrection) -> None:
        """As `filterd learn` does."""
        if self._memory is not None:
            self._memory.learn(self._traits(said.mail), said.label, SITE, self._model[said.mail])

    def _opinion(self, place: int) -> ArmVerdict:
        known = Recollection()
        if self._memory is not None and len(self._memory):
            known = self._memory.recollect(self._traits(place), SITE)
        return opinion(self._manifest, self._mails[place].kind, self._model[place], known)

    def _traits(self, place: int) -> Traits:
        if place not in self._known:
            mail = self._mails[place]
            self._known[place] = correction.seen(mail.raw, mail.kind)[1]
        return self._known[place]


# ---- The command -----------------------------------------------------------------------------------------


class _Plan(msgspec.Struct, frozen=True):
    """What has to be the same for a stopped run to go on."""

    settings: OnlineSettings
    bundle: str
    fingerprint: str
    online: bool = True


def simulate(request: OnlineRequest, console: Console) -> OnlineRecord:
    """Run what is not done yet, and return all figures. Raises the errors of what it reads and writes."""
    for said, given, known in (("--mode", request.modes, MODES), ("--only", request.only, FILTERS)):
        for name in given:
            if name not in known:
                raise ConfigError(f"{said} {name}: choose of {', '.join(known)}")
    with stoppable(request.out):
        return _simulate(request, console)


def _simulate(request: OnlineRequest, console: Console) -> OnlineRecord:
    settings = request.settings
    with prepare.progress(console) as report:
        stream = chronicle.load(located(request.inputs), settings.messages, settings.seed, report)
        name = bundle.read(request.bundle).id
        work = work_of(request.out / WORK, _Plan(settings, name, stream.fingerprint))
        margins = Margins(stream, work / "margins")
        manifest = margins.engine(request.bundle).bundle.manifest
        model = margins.calibrated(request.bundle, range(stream.n), report)
    wanted = [one for one in FILTERS if not request.only or one in request.only]
    skipped: dict[str, str] = {}
    if BOGOFILTER in wanted and (missing := bogofilter_missing()):
        skipped[BOGOFILTER] = missing
        wanted.remove(BOGOFILTER)
    known: dict[int, Traits] = {}
    places = [*range(STEP, stream.n, STEP), stream.n]
    runs = []
    with progress(console, stream.n) as begun:
        for mode in [one for one in MODES if not request.modes or one in request.modes]:
            for one in wanted:
                learned = _done(work / f"{mode}-{one}.json")
                if learned is None:
                    made = _filter(one, stream, manifest, model, known, work)
                    learned = replay(made, Speaker(stream, settings, mode), stream.n, begun(f"{mode} {one}"))
                    checkpoint.write_text(work / f"{mode}-{one}.json", msgspec.json.encode(learned).decode())
                    shutil.rmtree(work / BOGOFILTER, ignore_errors=True)
                runs.append(figures(mode, one, stream, learned, places))
    return OnlineRecord(
        bundle=name,
        settings=settings,
        inputs=[str(one) for one in request.inputs],
        messages=stream.n,
        spam=int(stream.is_spam.sum()),
        first=f"{chronicle.date(stream.mails[0].raw):%Y-%m-%d}",
        last=f"{chronicle.date(stream.mails[-1].raw):%Y-%m-%d}",
        lost=stream.lost,
        fingerprint=stream.fingerprint,
        at=places,
        runs=runs,
        skipped=skipped,
    )


def _done(file: Path) -> RunVerdicts | None:
    """What a run said that is over."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunVerdicts)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file}: damaged ({error}); delete it and run again") from error


def _filter(
    name: str,
    stream: Stream,
    manifest: Manifest,
    model: Sequence[float],
    known: dict[int, Traits],
    work: Path,
) -> LearningFilter:
    if name == BOGOFILTER:
        made = Bogofilter(stream, work / BOGOFILTER)
        made.restore([])
        return made
    says = [0.0] * stream.n if name == LEARNER else model
    return OnlineFilter(stream, manifest, says, known, learns=name != MODEL)


def figures(mode: str, name: str, stream: Stream, learned: RunVerdicts, places: Sequence[int]) -> OnlineRun:
    """What a run comes to."""
    spam = stream.is_spam
    labels = np.array(learned.judged.labels)
    scores = np.array(learned.judged.probability)
    found = ranking(*ranked(scores, spam, np.ones((1, stream.n))))
    lost, missed = ~spam & (labels == Label.SPAM), spam & (labels == Label.HAM)
    area, recall = float(found["roc_auc"][0]), float(found["recall_at_fpr_0.1"][0])
    ends = np.array(places) - 1
    return OnlineRun(
        mode=mode,
        filter=name,
        one_less_area=None if np.isnan(area) else 100 * (1 - area),
        recall=None if np.isnan(recall) else 100 * recall,
        lost=int(lost.sum()),
        missed=int(missed.sum()),
        unsure=int((labels == Label.UNSURE).sum()),
        late_lost=int(lost[SETTLED:].sum()),
        late_ham=int((~spam[SETTLED:]).sum()),
        corrections=learned.corrections,
        lost_by=np.cumsum(lost)[ends].tolist(),
        missed_by=np.cumsum(missed)[ends].tolist(),
    )

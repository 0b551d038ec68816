"""`trainer simulate`: a replay of real life, arm by arm, and then with people who mean harm.

What has been done lies in `work` in the output folder. The same command goes on where it was stopped; with
another stream, bundle or setting it begins anew. When all is done the folder keeps the results alone.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from filterd.errors import ConfigError, FilterdError, Unwritable
from filterd.scoring import bundle
from filterd_trainer.data import prepare
from filterd_trainer.gpt2 import checkpoint
from filterd_trainer.retraining import lock
from filterd_trainer.simulation import arms, metrics, pages
from filterd_trainer.simulation import stream as streams
from filterd_trainer.simulation.arms import Arm, Bogofilter, Margins, Ours
from filterd_trainer.simulation.metrics import BOTH, SimulationRecord
from filterd_trainer.simulation.replay import (
    RepeatedComplaints,
    Replay,
    ReplayLog,
    ReplayOutcome,
    Report,
    Segment,
)
from filterd_trainer.simulation.stream import Stream, StreamSettings
from filterd_trainer.simulation.users import HostileUser, NoHostility, User

WORK, PLAN = "work", "plan.json"
FROZEN, MEMORY, RETRAIN = "frozen", "memory", "retrain"
# The one corrects its own errors by the same user; the other hears the very corrections that `both` heard.
OWN, SAME = "bogofilter", "bogofilter-same"
OURS = {FROZEN: (False, False), MEMORY: (True, False), RETRAIN: (False, True), BOTH: (True, True)}
HOSTILE = {"strangers": False, "insider": True}  # name, and whether they use the user's own source
ARMS = (*OURS, OWN, SAME)


@dataclass(frozen=True)
class SimulateRequest:
    """The options of the command. only: runs to do, of ARMS and HOSTILE; none: all."""

    inputs: Sequence[str]
    bundle: Path
    out: Path
    settings: StreamSettings
    data: Path | None = None
    only: Sequence[str] = ()

    def wants(self, name: str) -> bool:
        """Whether a run is to be done."""
        return not self.only or name in self.only


class SimulationStopped(FilterdError):
    """Ctrl-C; what is done is kept."""

    exit_status = 130


class _Plan(msgspec.Struct, frozen=True):
    """What has to be the same for a stopped simulation to go on."""

    settings: StreamSettings
    bundle: str
    fingerprint: str


def simulate(request: SimulateRequest, console: Console) -> SimulationRecord:
    """Run what is not done yet, and return all figures. Raises the errors of what it reads and writes.

    Stopped: after Ctrl-C; the same call goes on.
    """
    for name in request.only:
        if name not in (*ARMS, *HOSTILE):
            raise ConfigError(f"--only {name}: choose of {', '.join((*ARMS, *HOSTILE))}")
    with stoppable(request.out):
        return _simulate(request, console)


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Work in a folder, alone, that the same command goes on with. Raises Stopped, Unwritable."""
    try:
        with lock.only_one(out):
            yield
    except KeyboardInterrupt as error:
        raise SimulationStopped(f"stopped; the same command goes on ({out / WORK})") from error
    except OSError as error:
        raise Unwritable(f"{error.filename or out}: {error.strerror or error}") from error


def _simulate(request: SimulateRequest, console: Console) -> SimulationRecord:
    with prepare.progress(console) as report:
        known = streams.dataset(request.data)
        stream = streams.load(streams.located(request.inputs), request.settings, known, report)
    name = bundle.read(request.bundle).id
    work = work_of(request.out / WORK, _Plan(request.settings, name, stream.fingerprint))
    with progress(console, stream.n) as said:
        return _Simulation(request, stream, work, said).record(name)


def work_of(folder: Path, plan: msgspec.Struct) -> Path:
    """The folder to go on in; what another plan left is removed."""
    file, wanted = folder / PLAN, msgspec.json.encode(plan)
    if not file.is_file() or file.read_bytes() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        checkpoint.write_text(file, wanted.decode())
    return folder


class _Simulation:
    """All runs over one stream."""

    def __init__(
        self, request: SimulateRequest, stream: Stream, work: Path, said: Callable[[str], Report]
    ) -> None:
        self._request, self._stream, self._work, self._said = request, stream, work, said
        self._settings = request.settings
        self._margins = Margins(stream, work / "margins")

    def record(self, name: str) -> SimulationRecord:
        """Everything, run by run."""
        runs = {arm: self._ours(arm) for arm in OURS if self._request.wants(arm)}
        skipped = self._bogofilters(runs)
        hostile = {one: self._hostile(one) for one in HOSTILE if self._request.wants(one)}
        stream = self._stream
        frozen = self._frozen() if hostile else None
        return SimulationRecord(
            bundle=name,
            settings=self._settings,
            data=metrics.described(stream, [str(i) for i in self._request.inputs]),
            arms=[metrics.arm(arm, segments, stream) for arm, segments in runs.items()],
            differences=metrics.differences(runs, stream),
            hostile=[metrics.hostile(n, s, frozen, stream) for n, s in hostile.items() if frozen],
            skipped=skipped,
        )

    def _ours(self, name: str) -> list[Segment]:
        remembers, retrains = OURS[name]
        return self._run(name, self._filter(name, remembers, retrains), self._user(), NoHostility())

    def _hostile(self, name: str) -> list[Segment]:
        people = HostileUser(self._stream, self._settings, HOSTILE[name])
        return self._run(name, self._filter(name, True, True), self._user(), people)

    def _frozen(self) -> ReplayOutcome:
        arm = self._filter(FROZEN, False, False)
        return ReplayOutcome.of(arm.alone(self._stream.clean))

    def _bogofilters(self, runs: dict[str, list[Segment]]) -> dict[str, str]:
        """Both of them, into `runs`; what could not be done, and why."""
        missing = arms.bogofilter_missing()
        people: dict[str, User | RepeatedComplaints] = {OWN: self._user()}
        if BOTH in runs:
            people[SAME] = RepeatedComplaints([said for segment in runs[BOTH] for said in segment.learned])
        wanted = [name for name in people if self._request.wants(name)]
        for name in wanted if not missing else ():
            runs[name] = self._run(
                name, Bogofilter(self._stream, self._work / name), people[name], NoHostility()
            )
        return dict.fromkeys(wanted, missing) if missing else {}

    def _user(self) -> User:
        return User(self._stream, self._settings)

    def _filter(self, name: str, remembers: bool, retrains: bool) -> Ours:
        return Ours(
            self._stream,
            self._settings,
            self._margins,
            self._request.bundle,
            self._work / name,
            remembers=remembers,
            retrains=retrains,
        )

    def _run(
        self, name: str, arm: Arm, people: User | RepeatedComplaints, hostile: NoHostility
    ) -> list[Segment]:
        replay = Replay(self._stream, self._settings, arm, people, hostile, self._said(name))
        segments = replay.run(ReplayLog(self._work / "segments" / name))
        shutil.rmtree(self._work / name, ignore_errors=True)  # mails, and a hundred megabytes a promotion
        return segments


@contextmanager
def progress(console: Console, messages: int) -> Iterator[Callable[[str], Report]]:
    """A bar a run; a line a night where the output is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("{task.fields[stage]}"), TimeElapsedColumn())
    with Progress(*columns, *more, console=console, disable=not console.is_terminal) as bars:

        def begun(name: str) -> Report:
            task = bars.add_task(name, total=messages, stage="")

            def report(stage: str, done: int) -> None:
                bars.update(task, completed=done, stage=stage if done < messages else "done")
                if stage == "retraining" and not console.is_terminal:
                    console.print(f"{name}: {done:,} of {messages:,} messages", markup=False)

            return report

        yield begun


def run(request: SimulateRequest, as_json: bool) -> None:
    """The command: simulate, write the files, print the tables."""
    record = simulate(request, Console(stderr=True, highlight=False))
    pages.write(request.out, record)
    pages.show(record, as_json)

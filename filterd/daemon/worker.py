"""One process that judges: engine, store, memory, listeners, the asyncio shell around the service.

Order of a start: bundle, store, memory, listeners, then word to the chief. Whatever fails before that ends
the worker with one line. A reload is two steps, so that several workers take it together or not at all:
`prepare` reads configuration and bundle, `commit` swaps both between messages. At SIGTERM `/ready` says no
for `leave_s`; then the listeners are closed, and what is under way is finished within `drain_s`. Listeners
and limits change by a restart only.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from filterd import __version__
from filterd.config import Config, load
from filterd.corrections.learner import Learner
from filterd.daemon import desk, engines, lag
from filterd.daemon.listeners import Listeners, Sockets
from filterd.daemon.plugins import check
from filterd.errors import FilterdError, StoreError
from filterd.history.recorder import Recorder
from filterd.log import log
from filterd.policy.correspondents import CorrespondentStore
from filterd.policy.policy import Policy
from filterd.promotion import champion, roster, trial
from filterd.promotion.roster import Roster
from filterd.quarantine.store import QuarantineStore
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd.service.service import Service
from filterd.service.siblings import Siblings

TRIAL_EVERY_S = 1.0  # between looks at the counts of a trial
FOLLOW_EVERY_S = 2.0  # within which lists and thresholds set elsewhere are in force
TIDY_EVERY_S = 60.0  # the quarantine may be over its size for so long
PRUNE_EVERY_S = 3600.0  # corrections past their retention are deleted at start and then hourly


class WorkerPlace(NamedTuple):
    """Which of how many workers this is. folder: where they find one another; "" for one that is alone."""

    number: int = 0
    of: int = 1
    folder: str = ""


ALONE = WorkerPlace()


class Chief(Protocol):
    """Whom a worker tells: the supervisor, or in a daemon of one process itself (`server.SoloChief`)."""

    async def begin(self, worker: "Worker") -> None:
        """The worker serves; from now on it may be told to reload."""

    def ask_reload(self) -> None:
        """All workers are to reload: a trial has ended."""

    def end(self) -> None:
        """The worker drains and ends."""


class _Next(NamedTuple):
    """What a reload has read and not yet put in force."""

    config: Config
    engine: Engine
    shadow: Engine | None


class Worker:
    """Everything that runs in one process, from start to drain."""

    def __init__(
        self, config: Config, path: Path | None, sockets: Sockets, chief: Chief, place: WorkerPlace = ALONE
    ) -> None:
        self._path, self._sockets, self._chief, self._place = path, sockets, chief, place
        self._where = str(path or "configuration")
        self._config = share(config, place)
        self._engine, warning = engines.open_engine(self._config)
        self._learner = Learner.open(self._config)
        shadow = self._open_shadow(self._config)
        self.service = Service(self._config, self._engine, self._learner, shadow)
        self.service.trial = engines.trial_of(self._config, shadow)
        self.service.warning = warning
        self.service.siblings = Siblings(place.folder, place.number, place.of)
        self.service.policy = self._policy = Policy.open(self._config)
        self._recorder = Recorder.open(self._config)
        self.service.observers.append(self._recorder.judged)
        self.service.roster = self._roster = Roster.open(self._config)
        self.service.correspondents = self._known = CorrespondentStore.open(self._config, self._recorder.keys)
        self.service.quarantine = self._quarantine = QuarantineStore.open(
            self._config, self._recorder.numbers
        )
        self._desk = desk.open_desk(self._config, self.service, self._recorder)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._next: _Next | None = None
        self._before: Engine | None = None  # kept open, so that a rollback takes it at once

    @property
    def model(self) -> str:
        """Id of the bundle that judges now."""
        return self._engine.bundle.id

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises ConfigError where it cannot listen."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        listeners = Listeners(self._config, self._where, self._sockets, self.service, self._desk)
        try:
            self._recorder.start()
            self._learner.follow()
            await self.service.siblings.start(self.service.state)
            await listeners.start()
            self.spawn(lag.watch(self.service.metrics.loop_lag))
            self.spawn(self._follow())
            if self._place.number == 0:
                self.spawn(self._prune())
                self.spawn(self._try())
                self.spawn(self._tidy())
                self.spawn(self._announce())
            gc.freeze()  # 80,000 objects that stay: looking through them holds everybody up for 0.05 s
            await self._chief.begin(self)
            await self._stop.wait()
            await self._leave()
        finally:
            self._chief.end()
            await self._close(listeners)

    def stop(self) -> None:
        """Drain and end."""
        self._stop.set()

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside all else; where it fails, the log says so."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("task failed", exc_info=task.exception())

    # Reload.

    async def prepare(self) -> None:
        """Read configuration and bundle anew. Raises FilterdError, and nothing has changed then."""
        config = share(load(self._path), self._place) if self._path else self._config
        await asyncio.to_thread(check, config, self._where)
        self._next = await asyncio.to_thread(self._read, config)

    def _read(self, config: Config) -> _Next:
        same = config.model.threads == self._config.model.threads
        known = [one for one in (self._engine, self._before) if one] if same else []
        return _Next(config, engines.reopen_engine(config, known), self._open_shadow(config))

    def commit(self) -> None:
        """Judge with what was prepared, from the next message on."""
        assert self._next
        config, engine, shadow = self._next
        self._next = None
        self._save_trial()
        self.service.reload(config, engine, shadow)
        self._recorder.reload(config)
        self._policy.reload(config)
        self._quarantine.config = config
        self.service.trial = engines.trial_of(config, shadow)
        if engine is not self._engine:
            self._before = self._engine
            self.spawn(asyncio.to_thread(self._learner.rebuild))
        self._config, self._engine = config, engine
        self.service.warning = ""

    def refuse(self, reason: str) -> None:
        """Go on with the old ones; people are told why."""
        self._next = None
        self.service.warning = f"not reloaded: {reason}"

    def _open_shadow(self, config: Config) -> Engine | None:
        """Of all workers the first has a shadow model: its share of the mail is a sample too."""
        return engines.open_shadow(config) if self._place.number == 0 else None

    # What goes on beside the mail.

    async def _follow(self) -> None:
        """Take over what other workers, daemons and commands have set."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            try:
                await asyncio.to_thread(self._policy.refresh)
            except StoreError as error:
                log.error("lists not read", extra={"fields": {"reason": str(error)}})

    async def _prune(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._learner.prune)
                await asyncio.to_thread(self._forget)
                await asyncio.to_thread(bundle.tidy, self._config.bundles)
            except (OSError, FilterdError) as error:
                log.error("not pruned, tried again later", extra={"fields": {"reason": str(error)}})
            await asyncio.sleep(PRUNE_EVERY_S)

    async def _announce(self) -> None:
        """Let the other daemons on this store know that this one is there."""
        while True:
            try:
                status = await self.service.status_of_all()
                await asyncio.to_thread(
                    self._roster.announce,
                    version=__version__,
                    model=self.model,
                    started=self.service.started,
                    judged=sum(status["judged"].values()),
                )
            except FilterdError as error:
                log.error("not announced to other daemons", extra={"fields": {"reason": str(error)}})
            await asyncio.sleep(roster.EVERY_S)

    def _forget(self) -> None:
        """Correspondents past their time."""
        kept = self._config.correspondents
        self._known.prune(days=kept.forget_days, most=kept.max_pairs)

    async def _tidy(self) -> None:
        """Mend the quarantine after a crash, and keep to its retention."""
        while True:
            try:
                dropped = await asyncio.to_thread(self._quarantine.tidy)
                if dropped:
                    log.info("quarantine", extra={"fields": {"dropped": dropped}})
            except FilterdError as error:
                log.error("quarantine not tidied", extra={"fields": {"reason": str(error)}})
            await asyncio.sleep(TIDY_EVERY_S)

    async def _try(self) -> None:
        """End a trial once there is enough to judge it by."""
        while True:
            await asyncio.sleep(TRIAL_EVERY_S)
            on = self.service.trial
            if on is None:
                continue
            rules = self._config.retrain
            decision = trial.decide(on.counts, rules.shadow_messages, rules.shadow_days, time.time())
            if decision.promote is not None:
                await self._end_trial(on, decision)

    async def _end_trial(self, on: trial.Trial, decision: trial.TrialDecision) -> None:
        told = {"model": on.counts.challenger, "reason": decision.reason}
        try:
            await asyncio.to_thread(self._settle_trial, on, bool(decision.promote))
        except (OSError, FilterdError) as error:
            log.error("trial not ended, tried again", extra={"fields": {"reason": str(error)}})
            return
        self.service.trial = None
        log.info("promoted after its trial" if decision.promote else "dropped after its trial",
                 extra={"fields": told})  # fmt: skip
        self._chief.ask_reload()

    def _settle_trial(self, on: trial.Trial, promote: bool) -> None:
        if promote:
            bundles = self._config.bundles
            champion.link(bundle.read(bundles / on.counts.challenger), bundles, self._learner.store)
        on.end()

    def _save_trial(self) -> None:
        if self.service.trial:
            self.service.trial.save()

    async def _leave(self) -> None:
        """Take mail as before, but let whoever asks `/ready` know, until he has had his time to hear it."""
        self.service.leaving = True
        if self._config.leave_s:
            log.info("leaving", extra={"fields": {"seconds": self._config.leave_s}})
            await asyncio.sleep(self._config.leave_s)

    async def _close(self, listeners: Listeners) -> None:
        self._save_trial()
        log.info("draining", extra={"fields": {"at_most_s": self._config.drain_s}})
        until = time.monotonic() + self._config.drain_s
        await listeners.close()
        clean = await self.service.close(until - time.monotonic())
        self.service.siblings.close()
        for task in list(self._tasks):
            task.cancel()
        if self._desk:
            self._desk.close()
        await asyncio.to_thread(self._recorder.close)
        await asyncio.to_thread(self._policy.close)
        await asyncio.to_thread(self._quarantine.close)
        await asyncio.to_thread(self._known.close)
        await asyncio.to_thread(self._roster.close)
        await asyncio.to_thread(self._learner.close)
        log.info("stopped", extra={"fields": {"drained": clean}})


def share(config: Config, place: WorkerPlace) -> Config:
    """The configuration of one of several workers: its part of the cores and of the memory for messages."""
    if place.of == 1:
        return config
    cores = max(1, len(os.sched_getaffinity(0)) // place.of)
    model = msgspec.structs.replace(config.model, workers=config.model.workers or cores)
    most = max(config.queue.max_bytes // place.of, config.spamd.max_bytes, config.http.max_bytes)
    queue = msgspec.structs.replace(config.queue, max_bytes=most, parsers=min(config.queue.parsers, cores))
    return msgspec.structs.replace(config, model=model, queue=queue)

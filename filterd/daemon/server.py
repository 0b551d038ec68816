"""`filterd serve`: one process, one model in memory, every listener; the asyncio shell around the service.

Order of a start: configuration, bundle, store, memory, sockets, then READY=1. Whatever fails before that ends
the daemon with one line. SIGHUP reads configuration and bundle again and swaps both between messages; if
either is wrong the old ones stay. SIGTERM closes the listeners, finishes what is under way within `drain_s`
and ends. Listeners and limits of a running daemon change by a restart only.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from filterd import judge, listen
from filterd.config import Config, load
from filterd.console import app as console
from filterd.console.access import Sessions
from filterd.console.accounts import Accounts
from filterd.console.desk import Controls, Desk
from filterd.corrections.learner import Learner
from filterd.daemon import descriptors, lag, systemd
from filterd.daemon.plugins import Chosen, check, chosen, token
from filterd.errors import BundleError, ConfigError, FilterdError, StoreError
from filterd.history.recorder import Recorder, key_of
from filterd.log import log
from filterd.promotion import champion, presence, trial
from filterd.promotion.presence import Presence
from filterd.protocols.http import app as http
from filterd.protocols.http.server import HttpServer
from filterd.protocols.spamd.server import SpamdServer
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd.service.service import Service

TRIAL_EVERY_S = 1.0  # between looks at the counts of a trial
PRUNE_EVERY_S = 3600.0  # corrections past their retention are deleted at start and then hourly

# A thread that reads a mail keeps the interpreter for as long while others want it; Python's own 5 ms is half
# a turn of the model, whose thread cannot hand over its scores meanwhile.
SWITCH_S = 0.0005

Closer = Callable[[], Awaitable[None]]


def reopen_engine(config: Config, known: Sequence[Engine]) -> Engine:
    """`judge.open_engine`, or one of those that are open already where its bundle is what is asked for.

    That one was checked when it was opened and lies in memory, so its files are not read again: a rollback is
    not to wait for them. `filterd bundle rollback` has checked them, and so will the next start.
    """
    with contextlib.suppress(BundleError):  # open_engine says it better
        wanted = bundle.id_of(judge.bundle_path(config))
        for engine in known:
            if engine.bundle.id == wanted:
                engine.authserv_ids = config.trust.authserv_ids
                return engine
    return judge.open_engine(config, threads=config.model.threads)


def open_engine(config: Config) -> tuple[Engine, str]:
    """The engine that judges from the start, and a line for people where it is not the one in use.

    A bundle that is damaged must not keep the mail waiting while there is one that judged before it. A bundle
    that the configuration names is not replaced. Raises BundleError, RuntimeMissing.
    """
    try:
        return judge.open_engine(config, threads=config.model.threads), ""
    except BundleError as error:
        damaged = error
    for path in () if config.model.bundle else (config.bundles / bundle.PREVIOUS, bundle.DEFAULT):
        try:
            engine = judge.open_engine(config, path, threads=config.model.threads)
        except BundleError:
            continue
        log.error("bundle damaged", extra={"fields": {"reason": str(damaged), "instead": engine.bundle.id}})
        return engine, f"{damaged}; {engine.bundle.id} judges instead"
    raise damaged


def open_shadow(config: Config) -> Engine | None:
    """The shadow model's engine: as configured, else what is on trial, else None. Raises BundleError."""
    if config.model.shadow:
        return judge.open_engine(config, Path(config.model.shadow), threads=1)
    challenger = config.bundles / bundle.CHALLENGER
    if not challenger.exists():
        return None
    try:
        return judge.open_engine(config, challenger, threads=1)
    except BundleError as error:  # the champion judges well without it
        log.error("nobody on trial", extra={"fields": {"reason": str(error)}})
        return None


def trial_of(config: Config, shadow: Engine | None) -> trial.Trial | None:
    """The trial that a shadow model is on; None where it was only configured to be looked at."""
    if shadow is None or config.model.shadow:
        return None
    return trial.Trial.open(config.bundles, shadow.bundle.id)


class Daemon:
    """Everything that runs, from start to drain."""

    def __init__(self, config: Config, config_path: Path | None) -> None:
        self._config, self._path = config, config_path
        self._where = str(config_path or "configuration")
        check(config, self._where)
        self._engine, warning = open_engine(config)
        self._learner = Learner.open(config)
        shadow = open_shadow(config)
        self._service = Service(config, self._engine, self._learner, shadow)
        self._service.trial = trial_of(config, shadow)
        self._service.warning = warning
        self._recorder = Recorder.open(config)
        self._service.observers.append(self._recorder.judged)
        self._desk = self._open_desk(config)
        self._closers: list[Closer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._before: Engine | None = None  # kept open, so that a rollback takes it at once
        self._presence: Presence | None = None

    async def run(self) -> None:
        """Listen until SIGTERM or SIGINT, then drain. Raises ConfigError where it cannot listen."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        self._presence = Presence.announce(Path(self._config.state))
        self._announce()
        try:
            self._recorder.start()
            await self._listen()
            self._spawn(systemd.keep_watchdog())
            self._spawn(lag.watch(self._service.metrics.loop_lag))
            self._spawn(self._prune())
            self._spawn(self._try())
            gc.freeze()  # 80,000 objects that stay: looking through them holds everybody up for 0.05 s
            systemd.notify("READY=1")
            log.info("ready", extra={"fields": {"model": self._engine.bundle.id}})
            await self._stop.wait()
        finally:
            await self._close()

    def _open_desk(self, config: Config) -> Desk | None:
        """What the console works at; its accounts and the history's key lie in the state folder."""
        if not config.console.enabled:
            return None
        state, bundles = Path(config.state), config.bundles
        accounts = Accounts(state)

        def promote(path: Path) -> str:
            bundle.use(bundles, path.name)
            return f"{path.name} is current; {presence.reload(state, bundle.read(path).id)}"

        return Desk(
            service=self._service,
            history=self._recorder.history,
            keys=self._recorder.keys,
            accounts=accounts,
            sessions=Sessions(key_of(state), accounts),
            controls=Controls(promote, lambda: champion.roll_back(bundles, state)),
        )

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("task failed", exc_info=task.exception())

    async def _listen(self) -> None:
        config = self._config
        plugins = chosen(config, self._where)
        self._places = descriptors.places(_wanted(config, plugins), descriptors.limit())
        for address in config.spamd.listen:
            await self._listen_spamd(address)
        for address in config.http.listen:
            await self._listen_http(address)
        for one in plugins:
            await self._start_plugin(one)

    def _open(self, address: str, mode: str) -> socket.socket:
        opened = listen.open_socket(address, mode=int(mode, 8))
        log.info("listening", extra={"fields": {"address": address}})
        return opened

    async def _listen_spamd(self, address: str) -> None:
        section = self._config.spamd
        local = listen.is_unix(address)
        server = SpamdServer(
            self._service,
            allow_tell=section.allow_tell and (local or section.allow_tell_tcp),
            max_bytes=section.max_bytes,
            max_connections=self._places[address],
            room=self._service.room,
        )
        await server.start(self._open(address, section.mode))
        self._closers.append(lambda: server.close(self._config.drain_s))

    async def _listen_http(self, address: str) -> None:
        section = self._config.http
        local = listen.is_unix(address)
        access = http.Access(
            source="http" if local else "http-tcp",
            may_learn=local or section.allow_learn_tcp,
            token="" if local else token(section.token_file),
        )
        mounts = [console.make(self._desk)] if self._desk else []
        app = http.make(self._service, access, section.max_bytes, mounts)
        server = HttpServer(app, max_connections=self._places[address])
        await server.start(self._open(address, section.mode))
        self._closers.append(lambda: server.close(self._config.drain_s))

    async def _start_plugin(self, one: Chosen) -> None:
        plugin = one.kind(one.settings, self._service)
        for address in getattr(one.settings, "listen", ()):
            opened = self._open(address, getattr(one.settings, "mode", "0660"))
            server = await listen.serve(plugin.protocol, opened)
            self._closers.append(_server_closer(server))
        self._closers.append(lambda: plugin.close(self._config.drain_s))

    async def _prune(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._learner.prune)
            except StoreError as error:
                log.error("not pruned, tried again later", extra={"fields": {"reason": str(error)}})
            await asyncio.sleep(PRUNE_EVERY_S)

    async def _try(self) -> None:
        """End a trial once there is enough to judge it by."""
        while True:
            await asyncio.sleep(TRIAL_EVERY_S)
            on = self._service.trial
            if on is None:
                continue
            rules = self._config.retrain
            decision = trial.decide(on.counts, rules.shadow_messages, rules.shadow_days, time.time())
            if decision.promote is not None:
                await self._end_trial(on, decision)

    async def _end_trial(self, on: trial.Trial, decision: trial.Decision) -> None:
        told = {"model": on.counts.challenger, "reason": decision.reason}
        try:
            await asyncio.to_thread(self._settle_trial, on, bool(decision.promote))
        except (OSError, FilterdError) as error:
            log.error("trial not ended, tried again", extra={"fields": {"reason": str(error)}})
            return
        self._service.trial = None
        log.info("promoted after its trial" if decision.promote else "dropped after its trial",
                 extra={"fields": told})  # fmt: skip
        await self._reload()

    def _settle_trial(self, on: trial.Trial, promote: bool) -> None:
        if promote:
            bundles = self._config.bundles
            champion.link(bundle.read(bundles / on.counts.challenger), bundles, self._learner.store)
        on.end()

    def _save_trial(self) -> None:
        if self._service.trial:
            self._service.trial.save()

    async def _reload(self) -> None:
        """SIGHUP: a new configuration and bundle, or the old ones and one line that says why."""
        async with self._reloading:
            try:
                config = load(self._path) if self._path else self._config
                await asyncio.to_thread(check, config, self._where)
                engine, shadow = await asyncio.to_thread(self._engines, config)
            except FilterdError as error:
                log.error("not reloaded, the old model serves", extra={"fields": {"reason": str(error)}})
                self._service.warning = f"not reloaded: {error}"
                return
            self._save_trial()
            self._service.reload(config, engine, shadow)
            self._recorder.reload(config)
            self._service.trial = trial_of(config, shadow)
            if engine is not self._engine:
                self._before = self._engine
                self._spawn(asyncio.to_thread(self._learner.rebuild))
            self._config, self._engine = config, engine
            self._service.warning = ""
            self._announce()
            log.info("reloaded", extra={"fields": {"model": engine.bundle.id}})

    def _engines(self, config: Config) -> tuple[Engine, Engine | None]:
        same = config.model.threads == self._config.model.threads
        known = [one for one in (self._engine, self._before) if one] if same else []
        return reopen_engine(config, known), open_shadow(config)

    def _announce(self) -> None:
        """Leave word in the state folder, for who promotes and rolls back (`filterd.promotion.presence`)."""
        if self._presence:
            self._presence.judges_with(self._engine.bundle.id)

    async def _close(self) -> None:
        systemd.notify("STOPPING=1")
        self._save_trial()
        if self._presence:
            self._presence.leave()
        log.info("draining", extra={"fields": {"at_most_s": self._config.drain_s}})
        until = time.monotonic() + self._config.drain_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_s):
                await asyncio.gather(*(close() for close in self._closers), return_exceptions=True)
        clean = await self._service.close(until - time.monotonic())
        for task in list(self._tasks):
            task.cancel()
        if self._desk:
            self._desk.close()
        await asyncio.to_thread(self._recorder.close)
        await asyncio.to_thread(self._learner.close)
        log.info("stopped", extra={"fields": {"drained": clean}})


def _wanted(config: Config, plugins: Sequence[Chosen]) -> dict[str, int]:
    """Connections that are configured, by address."""
    sections = [config.spamd, config.http, *(one.settings for one in plugins)]
    return {
        address: getattr(section, "max_connections", 0)
        for section in sections
        for address in getattr(section, "listen", ())
    }


def _server_closer(server: asyncio.Server) -> Closer:
    async def close() -> None:
        server.close()

    return close


def serve(config: Config, path: Path | None) -> None:
    """Run the daemon until it is told to stop. Raises what opening bundle, store and sockets raises."""
    if not config.spamd.listen and not config.http.listen and not config.plugins:
        raise ConfigError("nothing to listen on; set spamd.listen, http.listen or a plugin")
    try:
        Path(config.state).mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"state: {config.state}: {error.strerror}; name a folder to write to") from error

    async def run() -> None:
        await Daemon(config, path).run()

    sys.setswitchinterval(SWITCH_S)

    asyncio.run(run())

"""Several workers as one daemon: each judges by itself, on the same sockets, with the same bundle.

Strategy: this process judges nothing, so it is small, has no threads and no event loop, and may fork at any
time. It opens the sockets, so that whichever worker is free accepts, and a worker that dies takes none of
those that wait with it. What it does:
1. A worker that ends is started anew, at once, or after a pause where it did not live long. One whose event
   loop does not turn any more is killed first.
2. A reload is taken by all or by none: all prepare, and only if all could, all commit (`link`).
3. To systemd it is the daemon: READY when all serve, and the watchdog's sign of life while all live.
"""

import asyncio
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from filterd.config import Config, load
from filterd.daemon import link, systemd
from filterd.daemon.listeners import open_sockets
from filterd.daemon.worker import Worker, WorkerPlace
from filterd.errors import FilterdError
from filterd.log import log
from filterd.promotion.presence import Presence

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
LOOK_EVERY_S = 0.5  # at watchdog and pauses; signals and workers are heard at once
HUNG_S = 30.0  # without a beat, a worker is killed; a bundle is opened in a thread meanwhile
SHORT_LIFE_S = 5.0  # a worker that ends sooner after its start is not started anew at once,
PAUSE_S = 1.0  # but after this
PREPARE_S = 120.0  # for all workers to read a bundle
GRACE_S = 5.0  # beyond leave_s and drain_s, until a worker that does not end is killed


class WorkerFailed(FilterdError):
    """A worker could not start; its reason and its status."""


@dataclass(slots=True, kw_only=True)
class _Child:
    """A worker as its supervisor sees it. due: when it is to be started, where it is not running."""

    place: WorkerPlace
    pid: int = 0
    sock: socket.socket | None = None
    started: float = 0.0
    heard: float = 0.0
    due: float = 0.0
    model: str = ""


@dataclass(slots=True)
class _Reload:
    """A reload that waits for the workers' word. waits: pids of those that have not said theirs."""

    config: Config
    waits: set[int] = field(default_factory=set)
    until: float = 0.0


class Supervisor:
    """The daemon's first process; `run` returns once it was told to stop and all have ended."""

    def __init__(self, config: Config, path: Path | None) -> None:
        self._config, self._path = config, path
        self._folder = tempfile.mkdtemp(prefix="filterd-")
        places = [WorkerPlace(number, config.processes, self._folder) for number in range(config.processes)]
        self._children = [_Child(place=place) for place in places]
        self._select = selectors.DefaultSelector()
        self._reload: _Reload | None = None
        self._again = False  # a reload was asked for while another was under way
        self._signals: list[int] = []  # that have come and are not looked at yet
        self._stopping = 0.0
        self._ready = False
        self._presence: Presence | None = None
        self._beat_due = 0.0

    def run(self) -> None:
        """Raises WorkerFailed where a worker cannot start, and what opening sockets raises."""
        self._sockets = open_sockets(self._config, str(self._path or "configuration"))
        self._presence = Presence.announce(Path(self._config.state))
        wake, self._wake = socket.socketpair()
        for end in (wake, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._select.register(wake, selectors.EVENT_READ)
        try:
            for child in self._children:
                self._start(child)
            while any(child.pid for child in self._children) or not self._stopping:
                self._turn(wake)
        finally:
            self._kill_all()
            if self._presence:
                self._presence.leave()
            shutil.rmtree(self._folder, ignore_errors=True)
        log.info("stopped", extra={"fields": {"workers": len(self._children)}})

    def _turn(self, wake: socket.socket) -> None:
        for key, _ in self._select.select(LOOK_EVERY_S):
            if key.fileobj is wake:
                wake.recv(1024)
            else:
                self._hear(key.data)
        while self._signals:
            self._on_signal(self._signals.pop(0))
        self._reap()
        now = time.monotonic()
        for child in self._children:
            if not child.pid and not self._stopping and now >= child.due:
                self._start(child)
            elif child.pid and child.model and now - child.heard > HUNG_S:
                log.error("worker hangs", extra={"fields": {"worker": child.place.number}})
                os.kill(child.pid, signal.SIGKILL)
        if self._stopping and now > self._stopping:
            self._kill_all()
        if self._reload and now > self._reload.until:
            self._refuse("a worker did not read the new bundle in its time")
        self._keep_watchdog(now)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._ask_reload()
        elif number in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
            systemd.notify("STOPPING=1")
            self._stopping = time.monotonic() + self._config.leave_s + self._config.drain_s + GRACE_S
            for sock in self._sockets.values():
                sock.close()  # or the kernel goes on taking clients whom nobody will answer
            self._tell_all(signal.SIGTERM)

    # Workers.

    def _start(self, child: _Child) -> None:
        ours, theirs = link.pair()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(child, theirs)
        theirs.close()
        now = time.monotonic()
        child.pid, child.sock, child.started, child.heard, child.model = pid, ours, now, now, ""
        self._select.register(ours, selectors.EVENT_READ, child)

    def _become(self, child: _Child, sock: socket.socket) -> None:
        """The worker's process from its first step to its last; nothing of the supervisor's goes on in it."""
        status = 0
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for other in self._children:
                if other.sock:
                    other.sock.close()
            self._select.close()
            if self._presence:
                self._presence.forget()
            asyncio.run(self._work(child, sock))
        except FilterdError as error:
            link.send(sock, said="failed", reason=str(error)[: link.MAX_REASON], status=error.exit_status)
            status = error.exit_status
        except BaseException as error:
            log.error("worker failed", exc_info=error)
            link.send(sock, said="failed", reason=f"{type(error).__name__}: {error}", status=70)
            status = FilterdError.exit_status
        finally:
            sys.stderr.flush()
            os._exit(status)

    async def _work(self, child: _Child, sock: socket.socket) -> None:
        await Worker(self._config, self._path, self._sockets, link.ChiefLink(sock), child.place).run()

    def _hear(self, child: _Child) -> None:
        said = link.receive(child.sock) if child.sock else None
        if said is None:
            self._forget(child)
            return
        child.heard = time.monotonic()
        match said.get("said"):
            case "ready" | "took":
                child.model = said["model"]
                self._look_ready()
            case "failed" if not self._ready:
                failed = WorkerFailed(said["reason"])
                failed.exit_status = said["status"]
                raise failed
            case "failed":
                log.error("worker not started", extra={"fields": {"reason": said["reason"]}})
            case "reload":
                self._ask_reload()
            case "prepared":
                self._prepared(child)
            case "refused":
                self._refuse(said["reason"])

    def _forget(self, child: _Child) -> None:
        if child.sock:
            self._select.unregister(child.sock)
            child.sock.close()
            child.sock = None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = next((one for one in self._children if one.pid == pid), None)
            if child:
                self._gone(child, os.waitstatus_to_exitcode(status))

    def _gone(self, child: _Child, status: int) -> None:
        while child.sock and (said := link.receive(child.sock)):
            if said.get("said") == "failed" and not self._ready:
                failed = WorkerFailed(said["reason"])
                failed.exit_status = said["status"]
                raise failed
        self._forget(child)
        lived = time.monotonic() - child.started
        child.pid, child.model = 0, ""
        if self._stopping:
            return
        if not self._ready:
            raise WorkerFailed(f"a worker ended with status {status} as it started; the log says more")
        child.due = time.monotonic() + (PAUSE_S if lived < SHORT_LIFE_S else 0.0)
        log.error(
            "worker ended, started anew", extra={"fields": {"worker": child.place.number, "status": status}}
        )
        if self._reload:
            self._refuse("a worker ended meanwhile")

    def _tell_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)

    def _kill_all(self) -> None:
        self._tell_all(signal.SIGKILL)
        for child in self._children:
            if child.pid:
                os.waitpid(child.pid, 0)
                child.pid = 0

    def _look_ready(self) -> None:
        """Once all serve, and whenever all judge with the same bundle again."""
        models = {child.model for child in self._children}
        if len(models) != 1 or "" in models:
            return
        (model,) = models
        if self._presence:
            self._presence.judges_with(model)
        if not self._ready:
            self._ready = True
            systemd.notify("READY=1")
            log.info("ready", extra={"fields": {"model": model, "workers": len(self._children)}})

    def _keep_watchdog(self, now: float) -> None:
        period = systemd.watchdog_s()
        if period and self._ready and now >= self._beat_due and all(child.model for child in self._children):
            self._beat_due = now + period / 2
            systemd.notify("WATCHDOG=1")

    # Reload.

    def _ask_reload(self) -> None:
        if self._reload:
            self._again = True
            return
        try:
            config = load(self._path) if self._path else self._config
        except FilterdError as error:
            self._refuse(str(error))
            return
        running = {child.pid for child in self._children if child.sock and child.model}
        self._reload = _Reload(config, running, time.monotonic() + PREPARE_S)
        self._say_all(do="prepare")

    def _prepared(self, child: _Child) -> None:
        if not self._reload:
            return
        self._reload.waits.discard(child.pid)
        if self._reload.waits:
            return
        self._config = self._reload.config
        self._reload = None
        self._say_all(do="commit")
        log.info("reloaded", extra={"fields": {"workers": len(self._children)}})
        self._reload_again()

    def _refuse(self, reason: str) -> None:
        self._reload = None
        log.error("not reloaded, the old model serves", extra={"fields": {"reason": reason}})
        self._say_all(do="refuse", reason=reason)
        self._reload_again()

    def _reload_again(self) -> None:
        if self._again:
            self._again = False
            self._ask_reload()

    def _say_all(self, **said: object) -> None:
        for child in self._children:
            if child.sock:
                link.send(child.sock, **said)

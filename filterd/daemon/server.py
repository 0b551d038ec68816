"""`filterd serve`: one process that judges, or a supervisor with several (`workers:`).

Sockets are opened here, before there is any worker; whatever fails until all serve ends the daemon with one
line. SIGHUP reads configuration and bundle again and swaps both between messages; if either is wrong the old
ones stay. SIGTERM closes the listeners, finishes what is under way and ends.
"""

import asyncio
import signal
import sys
from pathlib import Path

from filterd.config import Config
from filterd.daemon import systemd
from filterd.daemon.listeners import open_sockets
from filterd.daemon.plugins import check
from filterd.daemon.supervisor import Supervisor
from filterd.daemon.worker import Worker
from filterd.errors import ConfigError, FilterdError
from filterd.log import log
from filterd.promotion.presence import Presence

# A thread that reads a mail keeps the interpreter for as long while others want it; Python's own 5 ms is half
# a turn of the model, whose thread cannot hand over its scores meanwhile.
SWITCH_S = 0.0005


def serve(config: Config, path: Path | None) -> None:
    """Run the daemon until it is told to stop. Raises what opening bundle, store and sockets raises."""
    if not config.spamd.listen and not config.http.listen and not config.plugins:
        raise ConfigError("nothing to listen on; set spamd.listen, http.listen or a plugin")
    try:
        Path(config.state).mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"state: {config.state}: {error.strerror}; name a folder to write to") from error
    check(config, str(path or "configuration"))
    sys.setswitchinterval(SWITCH_S)
    if config.processes > 1:
        Supervisor(config, path).run()
    else:
        asyncio.run(_alone(config, path))


async def _alone(config: Config, path: Path | None) -> None:
    presence = Presence.announce(Path(config.state))
    chief = SoloChief(presence)
    try:
        worker = Worker(config, path, open_sockets(config, str(path or "configuration")), chief)
        await worker.run()
    finally:
        if presence:
            presence.leave()


class SoloChief:
    """The chief of the only worker, in its own process."""

    def __init__(self, presence: Presence | None) -> None:
        self._presence = presence
        self._worker: Worker | None = None
        self._reloading = asyncio.Lock()

    async def begin(self, worker: Worker) -> None:
        """Say that the daemon is ready, and wait for SIGHUP."""
        self._worker = worker
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.ask_reload)
        self._announce()
        worker.spawn(systemd.keep_watchdog())
        systemd.notify("READY=1")
        log.info("ready", extra={"fields": {"model": worker.model}})

    def ask_reload(self) -> None:
        """Reload when what is under way has ended."""
        if self._worker:
            self._worker.spawn(self._reload(self._worker))

    def end(self) -> None:
        """Nobody signals this process any more."""
        systemd.notify("STOPPING=1")
        if self._presence:
            self._presence.leave()

    async def _reload(self, worker: Worker) -> None:
        """A new configuration and bundle, or the old ones and one line that says why."""
        async with self._reloading:
            try:
                await worker.prepare()
            except FilterdError as error:
                log.error("not reloaded, the old model serves", extra={"fields": {"reason": str(error)}})
                worker.refuse(str(error))
                return
            worker.commit()
            self._announce()
            log.info("reloaded", extra={"fields": {"model": worker.model}})

    def _announce(self) -> None:
        """Leave word in the state folder, for who promotes and rolls back (`filterd.promotion.presence`)."""
        if self._presence and self._worker:
            self._presence.judges_with(self._worker.model)

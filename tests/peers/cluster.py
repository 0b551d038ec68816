"""Three filterd behind HAProxy with a PostgreSQL between them (docs/scale.md), each restarted in turn.

    with running() as cluster:
        figures = cluster.prove(mails, rounds=1)

HAProxy's configuration is deploy/haproxy/haproxy.cfg, with free ports instead of its own. The clients are of
its spamd and its HTTP address, each with one message at a time. Whoever gets no verdict asks again, and is
counted; nobody should have to.
"""

import asyncio
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import _load as load
from tests.conftest import ROOT, need_program
from tests.filterd.daemon.test_server import Daemon
from tests.peers import postgres
from tests.peers.postgres import Postgres

SHIPPED = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
NAMES = ("one", "two", "three")
CLIENTS = 4  # half of them speak spamd's protocol, half HTTP
LEAVE_S = 2.0  # leave_s of docs/scale.md: HAProxy needs one second to hear of it
AGAIN_S = 0.05
PATIENCE_S = 60.0
LEARNT = (
    b"From: shop@example.net\nTo: ann@example.org\nSubject: lesson %d\n\nThe lesson of today has number %d.\n"
)


@dataclass
class Figures:
    """What came of it. outcomes: of each try; lost: messages without a verdict; seconds: until a correction
    given to HAProxy was in force on all daemons."""

    messages: int = 0
    lost: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0


class Cluster:
    """Running daemons with their balancer. ports: those of the shipped configuration to ours."""

    def __init__(self, folder: Path, database: Postgres, serving: str, pause_s: float) -> None:
        self.folder, self.database, self._serving, self._pause_s = folder, database, serving, pause_s
        text = SHIPPED.read_text("utf-8")
        self.ports = _free(sorted({int(port) for port in re.findall(r"(?:127\.0\.0\.1:|port )(\d+)", text)}))
        (folder / "haproxy.cfg").write_text(
            re.sub(r"(127\.0\.0\.1:|port )(\d+)", lambda m: f"{m[1]}{self.ports[int(m[2])]}", text)
        )
        self.daemons = [self._daemon(number, name) for number, name in enumerate(NAMES, 1)]
        self._balancer: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The daemons, then HAProxy; returns once it answers."""
        for daemon in self.daemons:
            daemon.start()
        command = [need_program("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")]
        with (self.folder / "haproxy.log").open("wb") as log:
            self._balancer = subprocess.Popen(command, stderr=log)
        _until(lambda: self.post("/v1/check?kind=mail", LEARNT % (0, 0))[0] == 200, "HAProxy does not answer")

    def _daemon(self, number: int, name: str) -> Daemon:
        folder = self.folder / name
        folder.mkdir()
        made = Daemon(folder)
        made.serving = self._serving
        local = [f"unix:{made.http}", f"tcp:127.0.0.1:{self.ports[8080 + number]}"]
        made.configure(
            feedback={"url": self.database.url},
            history={"url": self.database.url},
            http={"listen": local, "mode": "0600", "allow_learn_tcp": True},
            spamd={"listen": [f"tcp:127.0.0.1:{self.ports[7830 + number]}"]},
            plugins={"milter": {"listen": [f"tcp:127.0.0.1:{self.ports[7840 + number]}"]}},
            queue={"on_error": "tempfail"},
            leave_s=LEAVE_S,
        )
        return made

    def close(self) -> None:
        """End all of it, also where not all of it had begun."""
        if self._balancer:
            self._balancer.kill()
            self._balancer.wait(PATIENCE_S)
        for daemon in self.daemons:
            if daemon.process and daemon.process.poll() is None:
                daemon.end(signal.SIGKILL)

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        """A request to HAProxy; 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[1780], timeout=PATIENCE_S)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, dict(json.loads(answer.read()))
        except (OSError, ValueError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def teach(self, number: int) -> float:
        """Seconds from a correction that HAProxy took until every daemon judges by it."""
        mail = LEARNT % (number, number)
        wanted = "ham" if self.daemons[0].label(mail) == "spam" else "spam"
        _until(lambda: self.post(f"/v1/learn?kind=mail&label={wanted}", mail)[0] == 200, "not learnt")
        since = time.monotonic()
        for daemon in self.daemons:
            _until(lambda daemon=daemon: daemon.label(mail) == wanted, "not in force")  # type: ignore[misc]
        return time.monotonic() - since

    def restart(self, number: int) -> None:
        """One daemon, as `systemctl restart` does; or with number 3 the database."""
        if number == len(self.daemons):
            self.database.restart()
            return
        assert self.daemons[number].end() == 0, self.daemons[number].log.read_text()
        self.daemons[number].start()

    def prove(self, mails: Iterable[bytes], rounds: int, least: int) -> Figures:
        """Judge at least so many mails while daemons and database are restarted so many times each."""
        found, over, began = Figures(), threading.Event(), time.monotonic()
        judging = threading.Thread(target=lambda: asyncio.run(self._judge(iter(mails), found, over)))
        judging.start()
        try:
            number = 1
            while rounds or found.messages < least:
                for which in range(len(NAMES) + 1):
                    self.restart(which)
                    found.restarts[(*NAMES, "database")[which]] += 1
                    found.seconds.append(self.teach(number))
                    number += 1
                rounds = max(0, rounds - 1)
        finally:
            over.set()
            judging.join()
        found.wall_s = time.monotonic() - began
        return found

    async def _judge(self, mails: Iterator[bytes], found: Figures, over: threading.Event) -> None:
        spamd = load.spamd(("127.0.0.1", self.ports[1783]))
        plain = load.http(("127.0.0.1", self.ports[1780]), "/v1/check?kind=mail")

        async def client(ask: load.Ask) -> None:
            while not over.is_set() and (mail := next(mails, None)):
                found.messages += 1
                until = time.monotonic() + PATIENCE_S
                while (outcome := await _asked(ask, mail)) != "ok" and time.monotonic() < until:
                    found.outcomes[outcome] += 1
                    await asyncio.sleep(AGAIN_S)
                found.outcomes[outcome] += 1
                found.lost += outcome != "ok"
                await asyncio.sleep(self._pause_s)

        await asyncio.gather(*(client((spamd, plain)[i % 2]) for i in range(CLIENTS)))


async def _asked(ask: load.Ask, mail: bytes) -> str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await ask(mail)
    except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
        return type(error).__name__


@contextmanager
def running(serving: str = "filterd", pause_s: float = 0.0) -> Iterator[Cluster]:
    """A cluster that takes mail; the test is skipped where a program is missing.

    serving: the module that is a daemon. pause_s: a client's, between two messages.
    """
    need_program("haproxy")
    with postgres.running() as database:
        folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="cluster."))
        made = None
        try:
            made = Cluster(folder, database, serving, pause_s)
            made.start()
            yield made
        finally:
            if made:
                made.close()
            shutil.rmtree(folder)


def _free(ports: list[int]) -> dict[int, int]:
    """A free port for each, all at once so that none is given twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in ports]
    found = {port: sock.getsockname()[1] for port, sock in zip(ports, sockets, strict=True)}
    for sock in sockets:
        sock.close()
    return found


def _until(happened: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, otherwise
        time.sleep(AGAIN_S)

"""The programs that are measured, each started in a folder and on ports of its own, and ended afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

# The module that is our daemon; in tests.filterd.serving the model is a stand-in, so the rest is measured.
SERVING = os.environ.get("BENCH_SERVING", "filterd")
START_S = 240.0  # Rspamd and spamd compile their rules: 5 s alone, many times that on a busy machine
STOP_S = 30.0
POLL_S = 0.01


class NotStarted(Exception):
    """A program that ended or said nothing; its output is in the message."""


@dataclass(frozen=True, slots=True)
class Filterd:
    """A running daemon. http, spamd: paths of its sockets. ready_s: from its start to READY=1."""

    pid: int
    http: str
    spamd: str
    log: Path
    ready_s: float


@contextmanager
def folder() -> Iterator[Path]:
    """A short path: a unix socket's has 103 bytes at most."""
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def started(
    command: list[str], log: Path, ready: Callable[[], object], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process once `ready` holds; ended by SIGTERM. Raises NotStarted with what it said."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=ROOT, env={**os.environ, **(environment or {})}
        )
    try:
        until = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise NotStarted(f"{' '.join(command)}: {log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(POLL_S)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


@contextmanager
def filterd(**sections: object) -> Iterator[Filterd]:
    """Our daemon with these sections of its configuration; its cache is off unless they say otherwise."""
    with folder() as where:
        http, spamd, log = where / "http.sock", where / "spamd.sock", where / "log"
        given: dict[str, object] = {
            "state": str(where / "state"),
            "http": {"listen": [f"unix:{http}"], "mode": "0600"},
            "spamd": {"listen": [f"unix:{spamd}"], "mode": "0600"},
            "cache": {"messages": 0},
        }
        (where / "filterd.yaml").write_text(json.dumps(given | sections))  # JSON is YAML
        command = [sys.executable, "-m", SERVING, "serve", "--config", str(where / "filterd.yaml")]
        begun = time.perf_counter()
        with started(command, log, lambda: b"event=ready" in log.read_bytes()) as process:
            yield Filterd(process.pid, str(http), str(spamd), log, time.perf_counter() - begun)


@contextmanager
def spamassassin() -> Iterator[str]:
    """`spamd -L -m 2` with Debian's stock rules, and nothing of this machine's own; its socket."""
    with folder() as where:
        site, sock, log = where / "site", where / "spamd.sock", where / "log"
        site.mkdir()
        for file in Path("/etc/spamassassin").glob("*.pre"):
            shutil.copy(file, site)
        command = [
            *(_program("spamd"), "-L", "-m", "2", "-x", "--syslog=stderr", f"--siteconfigpath={site}"),
            *(f"--socketpath={sock}", "--socketmode=0600", f"--helper-home-dir={where}", "-u", _user()),
        ]
        where.chmod(0o755)
        with started(command, log, lambda: b"server started on" in log.read_bytes()):
            yield str(sock)


@contextmanager
def rspamd() -> Iterator[str]:
    """Two workers with Debian's stock rules, less what asks DNS or Redis; the socket of the workers."""
    with folder() as where:
        sock = where / "rspamd.sock"
        for name in ("override.d", "db", "run", "log"):
            (where / name).mkdir()
        for name, text in _rspamd_settings(where).items():
            (where / "override.d" / name).write_text(text)
        paths = {
            "LOCAL_CONFDIR": where,
            "DBDIR": where / "db",
            "RUNDIR": where / "run",
            "LOGDIR": where / "log",
        }
        command = [_program("rspamd"), "-f", "-i", "-c", "/etc/rspamd/rspamd.conf"]
        command += [f"--var={name}={path}" for name, path in paths.items()]
        with started(command, where / "out", sock.exists):
            yield str(sock)


def _rspamd_settings(where: Path) -> dict[str, str]:
    """Files of `override.d`. The name server is one that nobody is, so nothing leaves the machine.

    Whatever asks it waits 0.1 s: one module that does, and 8 clients get no more than 80 answers a second.
    """
    asking = [
        *("rbl", "surbl", "spf", "dkim", "arc", "dmarc", "asn", "fuzzy_check", "mx_check", "dkim_signing"),
        *("hfilter", "once_received", "phishing", "bimi", "reputation", "whitelist"),
    ]
    off = (*asking, "url_redirector", "rspamd_update", "bayes_expiry", "neural", "ratelimit", "greylist")
    return dict.fromkeys((f"{name}.conf" for name in off), "enabled = false;\n") | {
        "worker-normal.inc": f'bind_socket = "{where}/rspamd.sock mode=0600";\ncount = 2;\n',
        "worker-controller.inc": f'bind_socket = "{where}/controller.sock mode=0600";\n',
        "worker-proxy.inc": "enabled = false;\n",
        "logging.inc": 'level = "error";\n',
        "options.inc": 'filters = "chartable,regexp";\n'
        'dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }\n',
    }


@contextmanager
def bogofilter(ham: list[bytes], spam: list[bytes]) -> Iterator[list[str]]:
    """The command that judges stdin, with a word list learned from these."""
    with folder() as where:
        for name, option, learned in (("ham", "-n", ham), ("spam", "-s", spam)):
            (where / name).mkdir()
            for number, raw in enumerate(learned):
                (where / name / str(number)).write_bytes(raw)
            subprocess.run([_program("bogofilter"), "-d", where, option, "-B", where / name], check=True)
        yield [_program("bogofilter"), "-d", str(where)]


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if not found:
        raise NotStarted(f"{name} is not installed")
    return found


def _user() -> str:
    return "nobody" if os.getuid() == 0 else str(os.getuid())


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def rss_mb(pid: int) -> float:
    """Resident memory of a process, shared pages of files included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024

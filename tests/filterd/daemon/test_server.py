"""`filterd serve` as people run it: a process, its sockets and signals.

With the bundle that ships where it is there, else with the engine of `fakes`: what is asked here is whether
the daemon lives, answers, remembers and ends, and either will do for that.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from filterd.reading.text import GTUBE
from filterd.scoring import bundle
from tests.conftest import need_program

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = (bundle.DEFAULT / bundle.MODEL).exists()
SERVING = "filterd" if SHIPPED else "tests.filterd.serving"
TIMEOUT_S = 90.0  # of anything; a quiet machine needs two
HAM = (
    b"From: ann@example.org\nTo: ben@example.org\nSubject: lunch on friday\n\n"
    b"Shall we meet at noon, the usual place by the river? Carla comes too, and brings the plans.\n"
)
GTUBE_MAIL = b"Subject: test\n\n" + GTUBE.encode() + b"\n"


class Daemon:
    """A running `filterd serve` in a folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.http, self.spamd = folder / "http.sock", folder / "spamd.sock"
        self.log = folder / "log"
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.serving = SERVING
        self.configure()

    def configure(self, text: str = "", **sections: object) -> None:
        given = {
            "state": str(self.folder / "state"),
            "http": {"listen": [f"unix:{self.http}"], "mode": "0600"},
            "spamd": {"listen": [f"unix:{self.spamd}"], "mode": "0666"},
            "drain_s": 20,
        }
        (self.folder / "filterd.yaml").write_text(text or yaml.safe_dump(given | sections))

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Another `filterd` command that finds this daemon."""
        command = [sys.executable, "-m", "filterd", *arguments]
        env = self._env() | {"NO_COLOR": "1"}
        return subprocess.run(
            command, input=stdin, capture_output=True, env=env, cwd=ROOT, check=False, timeout=TIMEOUT_S
        )

    def _env(self) -> dict[str, str]:
        mine = {"FILTERD_CONFIG": str(self.folder / "filterd.yaml"), "FILTERD_SOCKET": str(self.http)}
        return {**os.environ, "OMP_NUM_THREADS": "1", **mine, **self._environment}

    def start(self) -> None:
        """Start it; returns once it says that it is ready."""
        before = len(self.lines("ready"))
        self.launch()
        self.wait_for(lambda: len(self.lines("ready")) > before)

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.serving, "serve"], stderr=stream, env=self._env(), cwd=ROOT
            )
        return self.process

    def lines(self, event: str) -> list[str]:
        said = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in said if f"event={event}" in line.replace('"', "")]

    def wait_for(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process and self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if not self.process:
            return 0
        self.send(number)
        return self.process.wait(TIMEOUT_S)

    def ask(self, method: str, path: str, body: bytes = b"") -> dict[str, object]:
        connection = http.client.HTTPConnection("filterd", timeout=TIMEOUT_S)
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.connect(str(self.http))
            connection.request(method, path, body)
            return dict(json.loads(connection.getresponse().read()))

    def label(self, mail: bytes) -> object:
        return self.ask("POST", "/v1/check?kind=mail", mail)["label"]


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Iterator[Daemon]:
    """One daemon for all tests that leave it as it was."""
    daemon = Daemon(module_folder)
    daemon.start()
    yield daemon
    assert daemon.end() == 0, daemon.log.read_text()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon of one's own, not yet started."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    made = Daemon(folder)
    yield made
    if made.process and made.process.poll() is None:
        made.end(signal.SIGKILL)
    shutil.rmtree(folder)


def opposite(label: object) -> str:
    return "ham" if label == "spam" else "spam"


def test_it_says_where_it_listens_and_when_it_is_ready(running: Daemon) -> None:
    assert [line.split("address=")[1] for line in running.lines("listening")] == [
        f"unix:{running.spamd}",
        f"unix:{running.http}",
    ]
    (ready,) = running.lines("ready")
    assert f"model={running.ask('GET', '/v1/status')['model']}" in ready


def test_sockets_have_their_modes(running: Daemon) -> None:
    modes = [path.stat().st_mode & 0o777 for path in (running.http, running.spamd)]
    assert modes == [0o600, 0o666]


def test_filterd_check_asks_the_daemon(running: Daemon) -> None:
    before = running.ask("GET", "/v1/status")["judged"]
    assert isinstance(before, dict)
    done = running.run("check", "--json", stdin=GTUBE_MAIL)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "spam"
    after = running.ask("GET", "/v1/status")["judged"]
    assert isinstance(after, dict)
    assert sum(after.values()) == sum(before.values()) + 1


def test_filterd_check_tags_by_the_daemon(running: Daemon) -> None:
    done = running.run("check", "--tag", stdin=GTUBE_MAIL)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\nX-Spam-Status: Yes, score=" in b"\n" + done.stdout
    assert done.stdout.endswith(GTUBE_MAIL)


def test_filterd_status(running: Daemon) -> None:
    done = running.run("status", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) >= {"version", "model", "judged", "waiting", "corrections", "drift"}


def test_spamc(running: Daemon) -> None:
    command = [need_program("spamc"), "-F", "/dev/null", "-U", str(running.spamd)]
    checked = subprocess.run(
        [*command, "-c"], input=GTUBE_MAIL, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert checked.returncode == 1
    score, required = map(float, checked.stdout.split(b"/"))
    assert score >= required == 5.0
    pinged = subprocess.run([*command, "-K"], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert pinged.returncode == 0


def test_learn_is_in_effect_at_once_and_forgotten_as_well(running: Daemon) -> None:
    copy = HAM.replace(b"friday", b"monday").replace(b"plans", b"maps")
    before = running.label(HAM), running.label(copy)
    wrong = opposite(before[0])
    done = running.run("learn", f"--{wrong}", "--mail", stdin=HAM)
    assert (done.returncode, done.stdout) == (0, f"learned as {wrong}: 1, known already: 0\n".encode())
    assert (running.label(HAM), running.label(copy)) == (wrong, wrong)
    done = running.run("learn", f"--{wrong}", "--mail", stdin=HAM)
    assert done.stdout == f"learned as {wrong}: 0, known already: 1\n".encode()
    done = running.run("forget", "--mail", stdin=HAM)
    assert (done.returncode, done.stdout) == (0, b"forgotten: 1, not known: 0\n")
    assert (running.label(HAM), running.label(copy)) == before


def test_a_second_daemon_on_the_same_sockets_is_refused(running: Daemon, module_folder: Path) -> None:
    command = [sys.executable, "-m", SERVING, "serve"]
    done = subprocess.run(
        command, capture_output=True, env=running._env(), cwd=ROOT, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 78
    last = done.stderr.decode().splitlines()[-1]
    assert (
        last
        == f"filterd: unix:{running.spamd}: another process listens there; stop it or choose another path"
    )
    assert running.label(GTUBE_MAIL) == "spam"


def test_reload_with_a_wrong_configuration_keeps_the_old_one(daemon: Daemon) -> None:
    daemon.start()
    good = (daemon.folder / "filterd.yaml").read_text()
    wrong = [
        ("stat: /tmp\n", "unknown key 'stat'"),
        (yaml.safe_dump({"model": {"bundle": "/nowhere"}}), "/nowhere/manifest.json"),
        (yaml.safe_dump({"model": {"shadow": "/nowhere"}}), "/nowhere/manifest.json"),
    ]
    for i, (text, reason) in enumerate(wrong, start=1):
        daemon.configure(text)
        daemon.send(signal.SIGHUP)
        daemon.wait_for(lambda i=i: len(daemon.lines("not reloaded")) == i)  # type: ignore[misc]
        assert reason in daemon.lines("not reloaded")[-1]
        assert daemon.label(GTUBE_MAIL) == "spam"
    daemon.configure(good)
    daemon.send(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.lines("reloaded model"))
    assert "Traceback" not in daemon.log.read_text()


def test_reload_changes_headers_between_messages(daemon: Daemon) -> None:
    daemon.start()
    spamc = [need_program("spamc"), "-F", "/dev/null", "-U", str(daemon.spamd)]

    def tagged() -> bytes:
        return subprocess.run(
            spamc, input=GTUBE_MAIL, capture_output=True, timeout=TIMEOUT_S, check=True
        ).stdout

    assert b"X-Spam-Flag: YES" in tagged()
    daemon.configure(headers={"prefix": "X-Junk-"})
    daemon.send(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.lines("reloaded model"))
    assert b"X-Junk-Flag: YES" in tagged()


def test_corrections_survive_a_kill_and_its_socket_a_restart(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.label(HAM)
    wrong = opposite(before)
    assert daemon.ask("POST", f"/v1/learn?kind=mail&label={wrong}", HAM) == {"learned": True}
    assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert daemon.http.exists()
    if SHIPPED:  # nobody is at the other end, so it judges by itself
        done = daemon.run("check", "--json", stdin=GTUBE_MAIL)
        assert (done.returncode, done.stderr) == (0, b"")
    daemon.start()
    assert daemon.label(HAM) == wrong


def test_sigterm_answers_what_is_under_way(daemon: Daemon) -> None:
    daemon.start()
    answers: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(daemon.http))
        messages = [{"text": f"see you at noon, at table number {i}"} for i in range(2000)]
        body = json.dumps({"messages": messages}).encode()
        fields = ("Host: x", "Content-Type: application/json", "Connection: close")
        head = "\r\n".join(("POST /v1/check HTTP/1.1", *fields, f"Content-Length: {len(body)}", "", ""))
        connection.sendall(head.encode() + body)

        def receive() -> None:
            while part := connection.recv(1 << 16):
                answers.append(part)

        receiving = threading.Thread(target=receive)
        receiving.start()
        daemon.wait_for(lambda: _judged(daemon) > 0)
        assert not answers, "there has to be something left to answer"
        assert daemon.end() == 0, daemon.log.read_text()
        receiving.join(TIMEOUT_S)
    said = json.loads(b"".join(answers).partition(b"\r\n\r\n")[2])
    assert len(said["verdicts"]) == 2000
    assert all(one["available"] for one in said["verdicts"])
    assert "drained=True" in daemon.lines("stopped")[-1]
    assert "Traceback" not in daemon.log.read_text()


def _judged(daemon: Daemon) -> int:
    judged = daemon.ask("GET", "/v1/status")["judged"]
    assert isinstance(judged, dict)
    return sum(judged.values())


def test_systemd_is_told(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(daemon.folder / "notify"))
        manager.settimeout(TIMEOUT_S)
        daemon._environment = {"NOTIFY_SOCKET": str(daemon.folder / "notify")}
        daemon.launch()
        assert manager.recv(100) == b"READY=1"
        assert daemon.label(GTUBE_MAIL) == "spam", "ready is ready"
        assert daemon.end() == 0
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("sections", "status", "reason"),
    [
        pytest.param({"stat": "/tmp"}, 78, "unknown key 'stat'", id="unknown key"),
        pytest.param(
            {"http": {"listen": []}, "spamd": {"listen": []}}, 78, "nothing to listen on", id="no listener"
        ),
        pytest.param({"http": {"listen": ["unix:x"]}}, 78, "'unix:x' is no address", id="no address"),
        pytest.param({"model": {"bundle": "/nowhere"}}, 69, "/nowhere/manifest.json", id="no bundle"),
        pytest.param({"state": "/proc/none/of/ours"}, 78, "state: /proc/none", id="no state folder"),
        pytest.param({"plugins": {"nothing": {}}}, 78, "plugins.nothing: no such plugin", id="no plugin"),
        pytest.param(
            {"http": {"listen": ["tcp:127.0.0.1:0"], "token_file": "/nowhere"}},
            78,
            "http.token_file: /nowhere: No such file",
            id="no token file",
        ),
    ],
)
def test_what_is_wrong_at_the_start_is_said_in_one_line(
    daemon: Daemon, sections: dict[str, object], status: int, reason: str
) -> None:
    daemon.configure(**sections)  # type: ignore[arg-type]
    assert daemon.launch().wait(TIMEOUT_S) == status
    said = daemon.log.read_text()
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("filterd: ")]
    assert reason in line
    assert said.endswith(line + "\n")


def test_tcp_asks_for_the_token_and_teaches_nobody(daemon: Daemon) -> None:
    token = daemon.folder / "token"
    token.write_text("a-long-random-line\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon.configure(http={"listen": [f"tcp:127.0.0.1:{port}"], "token_file": str(token)})
    daemon.start()

    def status(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, HAM, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("/v1/check") == 401
    assert status("/v1/check", Authorization="Bearer a-long-random-line") == 200
    assert status("/v1/learn?label=spam", Authorization="Bearer a-long-random-line") == 403


@pytest.mark.parametrize("running", [True, False], ids=["asking the daemon", "without one"])
def test_a_pipe_calls_headers_as_configured(running: bool, daemon: Daemon) -> None:
    daemon.configure(headers={"prefix": "X-Our-", "keep_forged": True})
    if running:
        daemon.start()
    mail = b"X-Our-Flag: YES\nX-Spam-Flag: YES\n" + HAM
    out = daemon.run("check", "--tag", stdin=mail)
    assert (out.returncode, out.stderr) == (0, b"")
    assert out.stdout.startswith(b"X-Our-Status: No, score=")
    assert out.stdout.endswith(b"\nX-Old-Our-Flag: YES\nX-Spam-Flag: YES\n" + HAM)

"""Several workers as one daemon: a process with children, its sockets and signals."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from filterd.config import Config, Model, Queue
from filterd.daemon import supervisor
from filterd.daemon.worker import WorkerPlace, share
from tests.filterd.daemon.test_server import HAM, TIMEOUT_S, Daemon, daemon

__all__ = ["daemon"]


def children(daemon: Daemon) -> list[int]:
    assert daemon.process
    listed = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


@pytest.fixture
def two(daemon: Daemon) -> Iterator[Daemon]:
    """A daemon of two workers."""
    daemon.configure(workers=2)
    daemon.start()
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        assert daemon.end() == 0, daemon.log.read_text()


def takes(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def metrics(daemon: Daemon) -> dict[str, float]:
    """The sum of each metric's samples."""
    connection = http.client.HTTPConnection("filterd", timeout=TIMEOUT_S)
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(daemon.http))
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    return {
        sample.name: sum(s.value for s in family.samples if s.name == sample.name)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_whoever_is_asked_answers_for_all(two: Daemon) -> None:
    assert len(children(two)) == 2
    for number in range(20):
        assert two.label(HAM + b"%d\n" % number) == "ham"
    for _ in range(5):
        status = two.ask("GET", "/v1/status")
        assert sum(status["judged"].values()) == 20  # type: ignore[attr-defined]
        assert len(two.ask("GET", "/v1/messages")["messages"]) == 20  # type: ignore[arg-type]
        found = metrics(two)
        assert found["filterd_verdicts_total"] == 20 and found["filterd_workers"] == 2
        assert found["filterd_bundle_info"] == 1


def test_every_client_has_its_answer_while_workers_are_killed(two: Daemon) -> None:
    answered, failed, ending = [0], [0], threading.Event()

    def ask() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                assert two.label(HAM) == "ham"
                answered[0] += 1
                continue
            failed[0] += 1  # whoever was in the killed worker's hands

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for one in clients:
        one.start()
    for number in range(1, 4):
        os.kill(children(two)[0], signal.SIGKILL)
        two.wait_for(lambda number=number: len(two.lines("worker ended")) == number)  # type: ignore[misc]
        two.wait_for(lambda: len(children(two)) == 2)
        before = answered[0]
        two.wait_for(lambda before=before: answered[0] > before + 10)  # type: ignore[misc]
    ending.set()
    for one in clients:
        one.join()
    assert failed[0] <= 3 * len(clients)


def test_a_reload_is_taken_by_all_or_none(two: Daemon) -> None:
    def prefixes() -> set[bytes]:
        tagged = [two.run("check", "--tag", stdin=HAM + b"%d\n" % i).stdout for i in range(6)]
        return {one.partition(b"Status")[0] for one in tagged}

    two.configure(workers=2, headers={"prefix": "X-New-"})
    two.send(signal.SIGHUP)
    two.wait_for(lambda: two.lines("reloaded"))
    assert prefixes() == {b"X-New-"}
    two.configure(workers=2, headers={"prefix": "X-Newer-"}, model={"bundle": "/nowhere"})
    two.send(signal.SIGHUP)
    two.wait_for(lambda: two.lines("not reloaded"))
    assert "/nowhere" in two.lines("not reloaded")[0]
    assert prefixes() == {b"X-New-"}
    os.kill(children(two)[0], signal.SIGKILL)
    two.wait_for(lambda: two.lines("worker ended"))
    two.wait_for(lambda: metrics(two).get("filterd_workers") == 2)
    assert prefixes() == {b"X-New-"}, "a worker that starts anew has what is in force"


def test_a_daemon_that_leaves_says_so_and_judges_on_until_it_refuses(daemon: Daemon) -> None:
    daemon.configure(workers=2, leave_s=1.5)
    daemon.start()
    daemon.send(signal.SIGTERM)
    daemon.wait_for(lambda: len(daemon.lines("leaving")) == 2)
    assert daemon.ask("GET", "/ready")["ready"] is False
    assert daemon.label(HAM) == "ham"
    daemon.wait_for(lambda: len(daemon.lines("draining")) == 2)
    until = time.monotonic() + TIMEOUT_S
    while takes(daemon.http):  # until the supervisor, too, has let go of the socket
        assert time.monotonic() < until
    assert daemon.process and daemon.process.wait(TIMEOUT_S) == 0


def test_what_a_worker_cannot_open_ends_the_daemon_with_one_line(daemon: Daemon) -> None:
    daemon.configure(workers=2, model={"bundle": "/nowhere"})
    assert daemon.launch().wait(TIMEOUT_S) == 69
    said = [line for line in daemon.log.read_text().splitlines() if "event=listening" not in line]
    assert len(said) == 1 and said[0].startswith("filterd: /nowhere")


def test_workers_do_not_outlive_their_supervisor(two: Daemon) -> None:
    pids = children(two)
    two.send(signal.SIGKILL)
    assert two.process
    two.process.wait(TIMEOUT_S)
    until = time.monotonic() + TIMEOUT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)
    two.process = None


def test_a_worker_whose_loop_does_not_turn_is_replaced(two: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    made = supervisor.Supervisor(Config(workers=2), None)
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(made, "_reap", lambda: None)
    now = time.monotonic()
    for child, heard, model in zip(
        made._children, (now, now - supervisor.HUNG_S - 1), ("m", "m"), strict=True
    ):
        child.pid, child.heard, child.model = 1_000_000 + child.place.number, heard, model
    with socket.socket() as wake:
        made._turn(wake)
    assert killed == [(1_000_001, signal.SIGKILL)]
    Path(made._folder).rmdir()


def test_shares_of_the_machine() -> None:
    config = Config(workers=4, model=Model(), queue=Queue(max_bytes=1 << 30))
    assert share(config, WorkerPlace()) is config
    mine = share(config, WorkerPlace(1, 4, "/tmp"))
    assert mine.model.turns * 4 <= max(4, len(os.sched_getaffinity(0)))
    assert mine.queue.max_bytes == 1 << 28
    small = share(Config(workers=64), WorkerPlace(0, 64, "/tmp"))
    assert small.queue.max_bytes == small.spamd.max_bytes, "one mail of the largest size fits"
    assert json.loads(json.dumps(Config(workers="auto").processes)) == min(64, len(os.sched_getaffinity(0)))

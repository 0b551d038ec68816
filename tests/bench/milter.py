"""Mail through Postfix: without a filter, with our milter, with spamass-milter on spamd; 8 senders.

One Postfix with a port for each, the same mails of the SpamAssassin corpus on all, in turns; everything is
delivered to a maildir, and a turn ends with the last delivery. Messages a second are the median of the turns,
ratios those of the medians. filterd has its default bundle and no cache. Root only.
Sizes: BENCH_MAILS (600), BENCH_TURNS (3).
"""

import asyncio
import os
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.table import Table

from tests.bench import _mails as mails
from tests.bench import _peers as peers
from tests.bench import _smtp as smtp
from tests.bench._forked import forked
from tests.peers.postfix import Postfix, free_port, running

MAILS = int(os.environ.get("BENCH_MAILS", "600"))
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
SLOW = 6  # spamass-milter gets a sixth of the mails a turn: it is as much slower
RECIPIENT = "ben@example.org"
OURS, NONE, THEIRS = "filterd's milter", "no filter", "spamass-milter, spamd -L -m 2"
BARE = "filterd's milter, its model left out"  # everything but the judging: protocol, parsing, tokens, queue


def run() -> Table:
    """Messages a second of each, and ours in terms of the others."""
    with ExitStack() as stack:
        milters = {
            NONE: "",
            OURS: f"inet:127.0.0.1:{stack.enter_context(filterd())}",
            BARE: f"inet:127.0.0.1:{stack.enter_context(without_model())}",
            THEIRS: f"inet:127.0.0.1:{stack.enter_context(spamass_milter())}",
        }
        ports = {name: free_port() for name in milters}
        services = [
            f"127.0.0.1:{ports[name]} inet n - n - - smtpd -o smtpd_milters={milter}"
            for name, milter in milters.items()
        ]
        postfix = stack.enter_context(running(services, milter_default_action="tempfail"))
        rates: dict[str, list[float]] = {name: [] for name in milters}
        for _ in range(TURNS):
            for name in milters:
                count = MAILS // SLOW if name == THEIRS else MAILS
                rates[name].append(asyncio.run(_rate(postfix, ports[name], mails.mails(count))))
        _check_tagged(postfix)
    return _table({name: statistics.median(found) for name, found in rates.items()}, rates)


@contextmanager
def filterd() -> Iterator[int]:
    """The daemon with its milter; the port of that."""
    port = free_port()
    with peers.filterd(plugins=_section(port)):
        yield port


def _section(port: int) -> dict[str, object]:
    return {"milter": {"listen": [f"tcp:127.0.0.1:{port}"], "on_error": "tempfail"}}


@contextmanager
def without_model() -> Iterator[int]:
    """The same with the engine of tests/filterd/fakes.py, which counts words."""
    port = free_port()
    with peers.folder() as where, forked(where, plugins=_section(port)) as daemon:
        daemon.start()
        yield port


@contextmanager
def spamass_milter() -> Iterator[int]:
    """spamass-milter, and spamd behind it; its port."""
    port = free_port()
    with peers.spamassassin() as spamd, peers.folder() as where:
        command = ["spamass-milter", "-p", f"inet:{port}@127.0.0.1", "--", "-U", spamd]
        with peers.started(command, where / "log", lambda: _listens(port)):
            yield port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _rate(postfix: Postfix, port: int, raw: list[bytes]) -> float:
    data = [smtp.lines_of(one) for one in raw]
    before = len(list(smtp.files(postfix)))

    async def one(mail: bytes) -> None:
        code = await smtp.send(port, mail, RECIPIENT)
        if code != "250":
            raise RuntimeError(f"Postfix answered {code}: {postfix.log[-2000:]}")

    begun = time.perf_counter()
    await smtp.by_all(data, one)
    await smtp.until(lambda: len(list(smtp.files(postfix))) >= before + len(data))
    return len(data) / (time.perf_counter() - begun)


def _check_tagged(postfix: Postfix) -> None:
    """A turn without headers would be quick and worth nothing."""
    tagged = sum(b"\nX-Spam-Status: " in file.read_bytes() for file in smtp.files(postfix))
    wanted = TURNS * (2 * MAILS + MAILS // SLOW)
    if tagged < wanted:
        raise RuntimeError(f"{tagged} of {wanted} mails are tagged: {postfix.log[-2000:]}")


def _table(medians: dict[str, float], rates: dict[str, list[float]]) -> Table:
    title = f"{MAILS} mails through Postfix, {smtp.SENDERS} senders, median of {TURNS} turns"
    table = Table(title, "messages/s", "least", "most", "of no filter", "times spamass-milter")
    for name, rate in medians.items():
        table.add_row(
            name,
            *(f"{one:,.1f}" for one in (rate, min(rates[name]), max(rates[name]))),
            f"{rate / medians[NONE]:.1%}",
            f"{rate / medians[THEIRS]:.2f}",
        )
    return table

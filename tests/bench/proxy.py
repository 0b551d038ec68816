"""What the SMTP proxy adds to a mail's way, besides the judging.

One mail after another, each by its own connection, to a sink, through a plain aiosmtpd relay (its own
`handlers.Proxy`), and through filterd's proxy with a classifier that answers at once. All in one process, in
turns, so that whatever else the machine does slows all. `BENCH_MAILS` says how many mails (100).
"""

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Proxy as Relay
from aiosmtpd.handlers import Sink
from rich.table import Table

from filterd.kit.door import Door
from filterd_plugins.smtp_proxy.server import SmtpProxy
from tests.bench import _mails, _smtp
from tests.filterd.protocols.fakes import Tagging
from tests.peers.postfix import free_port

MAILS = int(os.environ.get("BENCH_MAILS", "100"))
LIMIT = 32 << 20  # bytes of a mail, of all three
TARGET_MS = 5.0
CONNECTIONS = 100


@contextmanager
def listening(handler: object) -> Iterator[int]:
    """An aiosmtpd server in a thread of its own; its port."""
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port, data_size_limit=LIMIT)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@contextmanager
def proxy(next_hop: int) -> Iterator[int]:
    """filterd's proxy in a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    door = Door(CONNECTIONS)

    async def start() -> asyncio.Server:
        settings = msgspec.convert({"next_hop": f"tcp:127.0.0.1:{next_hop}"}, SmtpProxy.Settings)
        plugin = SmtpProxy(settings, Tagging())
        return await loop.create_server(partial(plugin.protocol, door), "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(door.drain(1.0), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def measure(ports: dict[str, int], mails: list[bytes]) -> dict[str, list[float]]:
    """Milliseconds of each mail, by way."""
    found: dict[str, list[float]] = {name: [] for name in ports}
    for raw in mails:
        data = _smtp.lines_of(raw)
        for name, port in ports.items():
            started = time.perf_counter()
            code = await _smtp.send(port, data, "bob@example.org")
            found[name].append(1e3 * (time.perf_counter() - started))
            assert code == "250", f"{name}: {code}"
    return found


def run() -> Table:
    """Medians, and what each way adds to the sink alone."""
    mails = [mail.raw for mail in _mails.corpus()[: MAILS + 5]]
    with ExitStack() as stack:
        sink = stack.enter_context(listening(Sink()))
        ports = {"to the sink": sink}
        ports["plain aiosmtpd relay"] = stack.enter_context(listening(Relay("127.0.0.1", sink)))
        ports["filterd's proxy"] = stack.enter_context(proxy(sink))
        found = asyncio.run(measure(ports, mails))
    table = Table(title=f"SMTP, {len(mails) - 5} mails one after another", caption="the first five warm up")
    for column in ("way", "median ms", "p90 ms", f"over the plain relay, ms (target {TARGET_MS:g})"):
        table.add_column(column, justify="left" if column == "way" else "right")
    plain = statistics.median(found["plain aiosmtpd relay"][5:])
    for name, times in found.items():
        median, tenths = statistics.median(times[5:]), statistics.quantiles(times[5:], n=10)
        over = f"{median - plain:+.2f}" if name == "filterd's proxy" else ""
        table.add_row(name, f"{median:.2f}", f"{tenths[-1]:.2f}", over)
    return table

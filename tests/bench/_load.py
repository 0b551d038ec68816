"""Clients by the hundred in one thread: closed loops find the peak, open loops the latency at a given rate.

They share two cores with what they measure, so they do as little as can be (a socket, one write, a few
reads), and every figure says which share of a core they took.
"""

import asyncio
import contextlib
import json
import math
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

READ_BYTES = 1 << 16
SEED = 70
TIMEOUT_S = 60.0  # whoever has no answer by then gets none

Address = str | tuple[str, int]  # a unix socket's path, or host and port
Ask = Callable[[bytes], Awaitable[str]]  # a message to what came of it: "ok", "overload", or what was wrong


class Figures(NamedTuple):
    """What a run gave. seconds: latencies, sorted; share: of one core, taken by the clients themselves."""

    messages: int
    wall_s: float
    seconds: list[float]
    outcomes: Counter[str]
    share: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.messages / self.wall_s

    def at(self, quantile: float) -> float:
        """Seconds that this share of the answers took at most."""
        return self.seconds[min(len(self.seconds) - 1, math.ceil(quantile * len(self.seconds)) - 1)]


@dataclass(slots=True)
class _Run:
    """A run in progress."""

    ask: Ask
    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    async def one(self, message: bytes, since: float | None = None) -> None:
        since = time.perf_counter() if since is None else since
        try:
            async with asyncio.timeout(TIMEOUT_S):
                outcome = await self.ask(message)
        except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
            outcome = type(error).__name__
        self.seconds.append(time.perf_counter() - since)
        self.outcomes[outcome] += 1

    def figures(self) -> Figures:
        wall = time.perf_counter() - self.began
        share = (time.process_time() - self.cpu) / wall
        return Figures(len(self.seconds), wall, sorted(self.seconds), self.outcomes, share)


def closed(ask: Ask, messages: Iterable[bytes], connections: int) -> Figures:
    """Each of so many clients asks, waits for the answer, and asks again."""

    async def client(run: _Run, rest: Iterator[bytes]) -> None:
        for message in rest:
            await run.one(message)

    async def work() -> Figures:
        run, rest = _Run(ask), iter(messages)
        await asyncio.gather(*(client(run, rest) for _ in range(connections)))
        return run.figures()

    return asyncio.run(work())


def opened(ask: Ask, messages: Iterable[bytes], rate: float, seconds: float) -> Figures:
    """Messages come at random (Poisson) at a rate, whatever has become of those before.

    A latency counts from when its message should have come, so a stall is not forgiven.
    """

    async def work() -> Figures:
        rng, run, tasks = random.Random(SEED), _Run(ask), set[asyncio.Task[None]]()
        due = run.began
        for message in messages:
            due += rng.expovariate(rate)
            if due > run.began + seconds:
                break
            await asyncio.sleep(due - time.perf_counter())
            task = asyncio.create_task(run.one(message, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.wait(tasks)
        return run.figures()

    return asyncio.run(work())


def spamd(address: Address) -> Ask:
    """spamd's CHECK, a connection for each message as its clients do."""

    async def ask(message: bytes) -> str:
        head = b"CHECK SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % len(message)
        answer = bytearray()
        with _socket(address) as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, address)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an early answer
                await loop.sock_sendall(sock, head + message)
            while part := await loop.sock_recv(sock, READ_BYTES):
                answer += part
        if b" 0 EX_OK\r\n" not in answer[:40]:
            return answer[:40].split(b"\r\n")[0].decode("latin-1") or "no answer"
        return "ok" if b"Spam: " in answer else "no verdict"

    return ask


def http(address: Address, target: str, content_type: str = "message/rfc822") -> Ask:
    """POSTs over connections that are kept open while the other side does."""
    idle: list[_Connection] = []

    async def ask(message: bytes) -> str:
        head = (
            f"POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(message)}\r\nConnection: keep-alive\r\n\r\n"
        )
        connection = idle.pop() if idle else _Connection(address)
        try:
            status, body = await connection.exchange(head.encode() + message)
        except BaseException:
            connection.close()
            raise
        if connection.kept:
            idle.append(connection)
        return _outcome(status, body)

    return ask


def _outcome(status: int, body: bytes) -> str:
    if status != 200:
        return f"HTTP {status}"
    return "overload" if b'"available":false' in body or b'"is_skipped":true' in body else "ok"


class _Connection:
    """One HTTP/1.1 connection; connects when first used, and again once where it was closed while idle."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sock: socket.socket | None = None
        self.kept = True

    def __del__(self) -> None:
        self.close()

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self._sock:
            with contextlib.suppress(ConnectionError, EOFError):
                return await self._once(self._sock, request)
            self.close()
        self._sock = _socket(self._address)
        await asyncio.get_running_loop().sock_connect(self._sock, self._address)
        return await self._once(self._sock, request)

    async def _once(self, sock: socket.socket, request: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, request)
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += await _more(loop, sock)
        head = bytes(answer[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(answer) < end + 4 + length:
            answer += await _more(loop, sock)
        self.kept = b"connection: close" not in head
        if not self.kept:
            self.close()
        return int(head.split(b" ", 2)[1]), bytes(answer[end + 4 :])

    def close(self) -> None:
        if self._sock:
            self._sock.close()
            self._sock = None


async def _more(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    part = await loop.sock_recv(sock, READ_BYTES)
    if not part:
        raise EOFError
    return part


def _socket(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def program(*command: str) -> Ask:
    """A process for each message, which gets it on stdin; any exit status up to 2 is a verdict."""

    async def ask(message: bytes) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        await process.communicate(message)
        return "ok" if process.returncode in {0, 1, 2} else f"exit {process.returncode}"

    return ask


def batches(texts: Sequence[str], size: int) -> list[bytes]:
    """Bodies for POST /v1/check, so many SMS each."""
    return [
        json.dumps({"messages": [{"text": text} for text in texts[i : i + size]]}).encode()
        for i in range(0, len(texts) - size + 1, size)
    ]

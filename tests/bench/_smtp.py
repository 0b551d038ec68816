"""Mails into a Postfix by SMTP, a connection each as strangers have it, from 8 senders at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.peers.postfix import Postfix

SENDERS = 8
Job = TypeVar("Job")
TIMEOUT_S = 120.0  # of one answer
POLL_S = 0.01


def lines_of(raw: bytes) -> bytes:
    """A mail as DATA wants it: CR LF, dots doubled, and the final dot (RFC 5321 4.5.2)."""
    lines = [line.rstrip(b"\r") for line in raw.replace(b"\0", b"").rstrip(b"\n").split(b"\n")]
    stuffed = (b"." + line if line.startswith(b".") else line for line in lines)
    return b"\r\n".join(stuffed).replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n.\r\n"


async def send(port: int, data: bytes, recipient: str) -> str:
    """One mail; the code of the answer that settled it: "250", or the first that is no success."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    commands = (
        b"",
        b"EHLO client.example.net\r\n",
        b"MAIL FROM:<ann@example.net>\r\n",
        f"RCPT TO:<{recipient}>\r\n".encode(),
        b"DATA\r\n",
        data,
    )
    try:
        for command in commands:
            writer.write(command)
            code = await _code(reader)
            if code[:1] not in {"2", "3"}:
                return code
        writer.write(b"QUIT\r\n")
        return code
    finally:
        writer.close()


async def _code(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            line = await reader.readline()
            if not line:
                raise ConnectionResetError("Postfix hung up")
            if line[3:4] != b"-":
                return line[:3].decode("ascii", "replace")


async def by_all(jobs: Iterable[Job], work: Callable[[Job], Awaitable[None]]) -> None:
    """The jobs, by 8 senders of whom each takes the next one once it is done."""
    waiting = iter(jobs)

    async def sender() -> None:
        for job in waiting:
            await work(job)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(POLL_S)


def files(postfix: Postfix) -> Iterator[Path]:
    """The delivered mails, unread."""
    return (postfix.mail / "all" / "new").glob("*")

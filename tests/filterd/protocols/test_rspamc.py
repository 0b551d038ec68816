"""Rspamd's own client against our HTTP: what it prints, as files.

A file of `rspamc/` is a session: `$ rspamc …` lines, what each prints, and `[exit N]` where it is not 0.
Times are N. Write only the `$` lines and run `UPDATE_GOLDEN=1 pytest …` to have the rest filled in; read it.
"""

import asyncio
import os
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from filterd import listen
from filterd.config import Config
from filterd.corrections.learner import Learner
from filterd.protocols.http import app
from filterd.protocols.http.app import Access
from filterd.protocols.http.server import HttpServer
from filterd.service.service import Service
from tests.conftest import need_program
from tests.filterd.fakes import engine

SESSIONS = sorted((Path(__file__).parent / "rspamc").glob("*.txt"))
MAX_BYTES = 20_000
TIMEOUT_S = 30.0
HAM = b"From: ann@example.org\nSubject: lunch\nMessage-ID: <1@example.org>\n\nshall we meet at noon?\n"
SPAM = b"From: win@example.net\nSubject: hello\nMessage-ID: <2@example.net>\n\nyou are our prize winner\n"
MAILS = {
    "ham": HAM,
    "spam": SPAM,
    "forged": b"X-Spam-Status: No, they say\n" + SPAM,
    "empty": b"",
    "large": SPAM + b"x" * MAX_BYTES,
    "nothing": b"",
}
LISTENERS = {
    "open": Access("http", may_learn=True),
    "closed": Access("http", may_learn=False),
    "token": Access("http", may_learn=True, token="secret"),
}
# What differs from run to run.
_TIMES = re.compile(r"(?<=\()[\d.]+(?= seconds\))|(?<=scan_time\": )[\d.]+|(?<=time_real\": )[\d.]+")
_MORE_TIMES = re.compile(
    r"(?<=scan_time = )[\d.]+|(?<=Scan-Time: )[\d.]+|(?<=scan time: )[\d.]+|(?<=Uptime: )\d+"
)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Addresses of listeners by their names, as `rspamc -h` takes them."""
    config = Config(state=str(folder / "state"))
    learner = Learner.open(config)
    service = Service(config, engine()[0], learner)
    where: dict[str, str] = {"unix": str(folder / "http.sock")}
    async with AsyncExitStack() as stack:
        for name, access in LISTENERS.items():
            server = HttpServer(app.make(service, access, MAX_BYTES), max_connections=8)
            listening = listen.open_socket("tcp:127.0.0.1:0")
            where[name] = f"127.0.0.1:{listening.getsockname()[1]}"
            await server.start(listening)
            stack.push_async_callback(server.close, 5.0)
            if name == "open":
                unix = listen.open_socket(f"unix:{where['unix']}")
                same = HttpServer(app.make(service, access, MAX_BYTES), max_connections=8)
                await same.start(unix)
                stack.push_async_callback(same.close, 5.0)
        yield where
    await service.close(5.0)
    learner.store.close()


async def run(line: str, where: dict[str, str]) -> str:
    """What a `rspamc … < mail` prints on both its outputs, and its exit status."""
    command, _, mail = line.removeprefix("rspamc").format(**where).partition("<")
    arguments = shlex.split(command)
    if "-h" not in arguments:
        arguments = ["-h", where["open"], *arguments]
    process = await asyncio.create_subprocess_exec(
        need_program("rspamc"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate(MAILS[mail.strip() or "nothing"])
    said = _MORE_TIMES.sub("N", _TIMES.sub("N", out.decode()))
    return said + (f"[exit {process.returncode}]\n" if process.returncode else "")


@pytest.mark.parametrize("file", SESSIONS, ids=lambda file: file.stem)
async def test_a_session(file: Path, tmp_path: Path) -> None:
    expected = file.read_text("utf-8")
    commands = [line.removeprefix("$ ") for line in expected.splitlines() if line.startswith("$ ")]
    async with serving(tmp_path) as where:
        said = "".join([f"$ {line}\n{await run(line, where)}" for line in commands])
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(said, "utf-8")
    assert said == expected

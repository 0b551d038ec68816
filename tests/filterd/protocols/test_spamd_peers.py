"""Clients that others wrote: Debian's spamc, PyPI's aiospamc, and Exim's patterns for answers."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from filterd import listen
from filterd.errors import Overloaded
from filterd.protocols.spamd import server as spamd
from filterd.protocols.spamd.server import SpamdServer
from tests.conftest import need_program
from tests.filterd.protocols.fakes import HAM, SPAM, FakeClassifier

TIMEOUT_S = 20.0
LEARNED = b"Message successfully un/learned\n"
KNOWN = b"Message was already un/learned\n"

# What Exim's spam.c gives to sscanf, as regular expressions: a blank in its pattern is any white space, and
# %s and numbers skip white space before them.
FLOAT = rb"\s*[+-]?\d+(?:\.\d*)?"
EXIM_NEW = re.compile(rb"SPAMD/(\S{1,7})\s+0\s+EX_OK\s+Content-length:\s*\d+\s+(%s)/(%s)\s+" % (FLOAT, FLOAT))
EXIM_OLD = re.compile(rb"SPAMD/(\S{1,7})\s+0\s+EX_OK\s+Spam:\s*\S+\s*;\s*(%s)\s*/\s*(%s)\s+" % (FLOAT, FLOAT))


class Listening(NamedTuple):
    """A server on both kinds of socket."""

    server: SpamdServer
    classifier: FakeClassifier
    path: Path
    port: int


async def listening(path: Path, *, allow_tell: bool = True) -> Listening:
    classifier = FakeClassifier()
    server = SpamdServer(classifier, allow_tell=allow_tell)
    tcp = listen.open_socket("tcp:127.0.0.1:0")
    port = tcp.getsockname()[1]
    await server.start(tcp)
    await server.start(listen.open_socket(f"unix:{path}"))
    return Listening(server, classifier, path, port)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Listening]:
    made = await listening(tmp_path / "spamd.sock")
    yield made
    await made.server.close(TIMEOUT_S)


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Listening]:
    """One that takes no corrections."""
    made = await listening(tmp_path / "closed.sock", allow_tell=False)
    yield made
    await made.server.close(TIMEOUT_S)


async def spamc(where: list[str], mail: bytes, *options: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        need_program("spamc"),
        "-F",
        "/dev/null",
        *where,
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate(mail)
    return process.returncode, out


@pytest.fixture(params=["unix", "tcp"])
def where(request: pytest.FixtureRequest, here: Listening) -> list[str]:
    if request.param == "unix":
        return ["-U", str(here.path)]
    return ["-d", "127.0.0.1", "-p", str(here.port)]


TAGGED_HAM, TAGGED_SPAM = b"X-Spam-Score: -3.2\r\n" + HAM, b"X-Spam-Score: 15.0\r\n" + SPAM


@pytest.mark.parametrize(
    ("options", "mail", "status", "printed"),
    [
        pytest.param("", HAM, 0, TAGGED_HAM, id="filter-ham"),
        pytest.param("", SPAM, 0, TAGGED_SPAM, id="filter-spam"),
        pytest.param("-u ann", SPAM, 0, TAGGED_SPAM, id="user"),
        pytest.param("-c", HAM, 0, b"-3.2/5.0\n", id="check-ham"),
        pytest.param("-c", SPAM, 1, b"15.0/5.0\n", id="check-spam"),
        pytest.param("-E", HAM, 0, TAGGED_HAM, id="exit-code-ham"),
        pytest.param("-E", SPAM, 1, TAGGED_SPAM, id="exit-code-spam"),
        pytest.param("-y", SPAM, 0, b"GPT2,MEMORY", id="tests"),
        pytest.param("-r", HAM, 0, b"", id="report-if-spam"),
        pytest.param("--headers", SPAM, 0, TAGGED_SPAM, id="headers"),
        pytest.param("-K", b"", 0, b"SPAMD/1.5 0\n", id="ping"),
        pytest.param("-x", SPAM, 0, TAGGED_SPAM, id="no-fallback"),
        pytest.param("-x -X", HAM, 0, TAGGED_HAM, id="tempfail"),
        pytest.param("-s 10", SPAM, 0, SPAM, id="over-its-own-limit"),
        pytest.param("-c", HAM + b"x" * 300_000, 0, b"-3.2/5.0\n", id="large"),
        pytest.param("-E", b"no header at all", 0, b"X-Spam-Score: -3.2\nno header at all", id="odd"),
    ],
)
async def test_spamc(options: str, mail: bytes, status: int, printed: bytes, where: list[str]) -> None:
    assert await spamc(where, mail, *options.split()) == (status, printed)


async def test_spamc_reports(where: list[str]) -> None:
    status, printed = await spamc(where, SPAM, "-R")
    assert status == 0
    assert printed.startswith(b"15.0/5.0\nfilterd ")
    assert b"\n  model                fake-1\n" in printed
    assert printed.endswith(b"\n  - Corrections of similar mail moved its score.\n")  # its reasons, in words


async def test_spamc_learns_and_forgets(where: list[str], here: Listening) -> None:
    assert await spamc(where, SPAM, "-L", "spam") == (0, LEARNED)
    assert here.classifier.taught == {SPAM: "spam"}
    assert await spamc(where, SPAM, "-L", "spam") == (0, KNOWN)
    assert await spamc(where, SPAM, "-L", "ham") == (0, LEARNED)
    assert here.classifier.taught == {SPAM: "ham"}
    assert await spamc(where, SPAM, "-L", "forget") == (0, LEARNED)
    assert await spamc(where, SPAM, "-L", "forget") == (0, KNOWN)
    assert here.classifier.taught == {}


async def test_spamc_is_not_told_that_a_refused_correction_was_taken(closed: Listening) -> None:
    # 74 (EX_IOERR) is what spamc makes of spamd's own refusal, too.
    assert await spamc(["-U", str(closed.path)], SPAM, "-L", "spam") == (74, b"")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param("", (0, SPAM), id="falls-back"),
        pytest.param("-c", (0, b"0/0\n"), id="check-falls-back"),
        pytest.param("-x", (74, b""), id="no-fallback"),
        pytest.param("-x -X", (74, b""), id="tempfail-is-for-a-missing-server"),
    ],
)
async def test_spamc_when_judging_fails(
    options: str, expected: tuple[int, bytes], where: list[str], here: Listening
) -> None:
    here.classifier.error = Overloaded("busy")
    assert await spamc(where, SPAM, *options.split()) == expected


@pytest.mark.parametrize(("options", "status"), [("-x", 69), ("-x -X", 75)])
async def test_spamc_when_nobody_is_there(options: str, status: int) -> None:
    with listen.open_socket("tcp:127.0.0.1:0") as sock:
        port = str(sock.getsockname()[1])
    nobody = ["-d", "127.0.0.1", "-p", port, "--connect-retries", "1"]
    assert (await spamc(nobody, SPAM, *options.split()))[0] == status


async def test_spamc_compresses(where: list[str]) -> None:
    status, printed = await spamc(where, SPAM, "-z")
    if status == 64:
        pytest.skip("this spamc was built without zlib, as Debian's is; aiospamc compresses in its place")
    assert printed == TAGGED_SPAM


async def ask(here: Listening, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(TIMEOUT_S):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(("mail", "points"), [(HAM, -3.2), (SPAM, 15.0)], ids=["ham", "spam"])
async def test_exim_reads_a_report(mail: bytes, points: float, here: Listening) -> None:
    sent = b"REPORT SPAMC/1.2\r\nUser: nobody\r\nContent-length: %d\r\n\r\n" % len(mail) + mail
    answer = await ask(here, sent)
    assert not EXIM_NEW.match(answer)
    found = EXIM_OLD.match(answer)
    assert found
    assert (found[1], float(found[2]), float(found[3])) == (b"1.1", points, 5.0)
    assert answer[found.end() :].startswith(b"filterd ")


async def test_exim_takes_an_error_for_no_answer(here: Listening) -> None:
    here.classifier.error = Overloaded("busy")
    answer = await ask(here, b"REPORT SPAMC/1.2\r\nContent-length: %d\r\n\r\n" % len(HAM) + HAM)
    assert not EXIM_NEW.match(answer)
    assert not EXIM_OLD.match(answer)


@pytest.mark.parametrize(
    ("over", "compress", "mail"),
    [("unix", False, HAM), ("tcp", True, SPAM)],
    ids=["unix-plain-ham", "tcp-zlib-spam"],
)
async def test_aiospamc(over: str, compress: bool, mail: bytes, here: Listening) -> None:
    aiospamc = pytest.importorskip("aiospamc", reason="package aiospamc is not installed")
    spam, tagged = mail is SPAM, TAGGED_SPAM if mail is SPAM else TAGGED_HAM
    place = {"socket_path": here.path} if over == "unix" else {"host": "127.0.0.1", "port": here.port}
    given = {"compress": compress} | place
    assert (await aiospamc.ping(**place)).message == "PONG"
    checked = await aiospamc.check(mail, **given)
    assert (checked.headers.spam.value, checked.headers.spam.score) == (spam, 15.0 if spam else -3.2)
    processed = await aiospamc.process(mail, **given)
    assert (processed.body, processed.headers.spam.threshold) == (tagged, 5.0)
    headers = await aiospamc.headers(mail, **given)
    assert headers.body == tagged[: tagged.index(b"\r\n\r\n") + 4]
    assert (await aiospamc.symbols(mail, **given)).body == b"GPT2,MEMORY"
    assert (await aiospamc.report(mail, **given)).body.startswith(b"filterd ")
    assert (await aiospamc.report_if_spam(mail, **given)).body[:8] == (b"filterd " if spam else b"")


async def test_aiospamc_learns_and_forgets(here: Listening) -> None:
    aiospamc = pytest.importorskip("aiospamc", reason="package aiospamc is not installed")
    place = {"host": "127.0.0.1", "port": here.port}
    told = await aiospamc.tell(
        SPAM, "spam", set_action=aiospamc.ActionOption(local=True, remote=False), **place
    )
    assert told.headers.did_set.local
    assert here.classifier.taught == {SPAM: "spam"}
    told = await aiospamc.tell(
        SPAM, "spam", remove_action=aiospamc.ActionOption(local=True, remote=False), **place
    )
    assert told.headers.did_remove.local
    assert here.classifier.taught == {}


async def test_aiospamc_understands_an_overload(here: Listening) -> None:
    aiospamc = pytest.importorskip("aiospamc", reason="package aiospamc is not installed")
    from aiospamc.responses import TemporaryFailureException  # type: ignore[import-untyped]

    here.classifier.error = Overloaded("busy")
    with pytest.raises(TemporaryFailureException):
        await aiospamc.check(HAM, host="127.0.0.1", port=here.port)


async def test_a_client_that_keeps_the_connection_is_let_go(
    here: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spamd, "LINGER_S", 0.05)
    _, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(b"PING SPAMC/1.2\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        while not here.server.connections:
            await asyncio.sleep(0.005)
        while here.server.connections:
            await asyncio.sleep(0.005)
    writer.close()

"""The golden dialogs: both ends of the proxy, line by line."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.filterd.protocols.fakes import FakeClassifier
from tests.plugins.smtp_proxy.peers import Dialog, Proxy, Talk

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))


@pytest.fixture
async def calls(tmp_path: Path) -> "AsyncIterator[asyncio.Queue[Talk]]":
    """Connections that the proxy makes to its next hop."""
    queue: asyncio.Queue[Talk] = asyncio.Queue()

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await queue.put(Talk(reader, writer))

    server = await asyncio.start_unix_server(called, str(tmp_path / "hop.sock"))
    yield queue
    server.close()


@pytest.mark.parametrize("file", DIALOGS, ids=lambda file: file.stem)
async def test_dialog(file: Path, tmp_path: Path, calls: "asyncio.Queue[Talk]") -> None:
    dialog = Dialog(file.read_text("utf-8"))
    proxy = Proxy(tmp_path, FakeClassifier(), **dialog.settings)
    await proxy.start()
    try:
        await dialog.run(proxy, calls)
        assert calls.empty(), "the next hop was called more often than the dialog says"
    finally:
        await proxy.close()

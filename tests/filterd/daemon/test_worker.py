"""What a worker does beside the mail goes on after a failure, whatever kind of error it was."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from filterd.daemon import worker
from filterd.daemon.worker import Worker
from filterd.errors import NotFound
from filterd.promotion import roster


@pytest.mark.parametrize("loop", ["_tidy", "_prune", "_announce"])
async def test_a_loop_outlives_any_error_of_ours(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    again = asyncio.Event()
    main = asyncio.get_running_loop()

    def failing(**_: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            main.call_soon_threadsafe(again.set)
        raise NotFound("0: no such file")

    async def status() -> dict[str, Any]:
        return {"judged": {}}

    for name in ("TIDY_EVERY_S", "PRUNE_EVERY_S"):
        monkeypatch.setattr(worker, name, 0.0)
    monkeypatch.setattr(roster, "EVERY_S", 0.0)
    made: Any = Worker.__new__(Worker)
    made.service = SimpleNamespace(status_of_all=status, started=0.0)
    made._quarantine = SimpleNamespace(tidy=failing)
    made._learner = SimpleNamespace(prune=failing)
    made._roster = SimpleNamespace(announce=failing)
    made._engine = SimpleNamespace(bundle=SimpleNamespace(id="fake"))
    task = asyncio.ensure_future(getattr(made, loop)())
    async with asyncio.timeout(5):
        waits = asyncio.ensure_future(again.wait())
        await asyncio.wait({task, waits}, return_when=asyncio.FIRST_COMPLETED)
    assert again.is_set() and not task.done()
    task.cancel()

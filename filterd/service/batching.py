"""Micro-batches: many callers, one model, no waiting where nobody is in the way.

Rules:
1. The queue is bounded by messages and by tokens. Who does not fit is told at once (Overloaded).
2. Whenever a worker is free it takes the shortest that waits, or the oldest once that has waited PATIENCE_S,
   and with it those of about its length, up to a token budget: an idle daemon adds no delay, a busy one
   fills its batches by itself, with little padding, and an SMS does not wait for ten long mails.
3. A score does not depend on its neighbours, so who shares a batch with whom is of no consequence.
4. A caller that has left (cancelled, out of time) is dropped when its turn comes, and counted.
5. One message larger than the budget goes alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterd.errors import Overloaded
from filterd.service.threads import Threads

Logits = NDArray[np.float32]
Score = Callable[[Sequence[Sequence[int]]], Logits]

# Tokens that one worker takes at a time, one chunk of `backend.py`: about 10 ms of the default bundle on a
# core, so that nobody who comes while it runs waits long for the next; larger turns do no more a second.
TOKENS_PER_TURN = 512
# Of windows that long, half as many: they gain 3% by company, and each would wait for the other's end.
LONG = 64
# How long shorter ones may overtake, some five turns: the longest mail of a busy minute pays no more.
PATIENCE_S = 0.05


class _Entry(NamedTuple):
    windows: Sequence[Sequence[int]]
    tokens: int
    longest: int
    since: float  # on the loop's clock
    answer: "asyncio.Future[Logits]"


class Batcher:
    """Gathers windows of many callers into calls of `score`, run in threads."""

    def __init__(
        self,
        score: Score,
        threads: Threads,
        *,
        workers: int,
        max_messages: int,
        max_tokens: int,
        tokens_per_turn: int = TOKENS_PER_TURN,
        observe: Callable[[int], None] = lambda messages: None,
    ) -> None:
        self._score, self._threads = score, threads
        self._max_messages, self._max_tokens = max_messages, max_tokens
        self._tokens_per_turn = tokens_per_turn
        self._observe = observe  # told the messages of each turn, for the batch-size histogram
        self._waiting: deque[_Entry] = deque()
        self._free = workers
        self._turns: set[asyncio.Future[Logits]] = set()
        self.tokens_waiting = 0
        self.abandoned = 0  # entries whose caller had left before their turn

    @property
    def messages_waiting(self) -> int:
        """Depth of the queue, in messages."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next message would be refused."""
        return len(self._waiting) >= self._max_messages

    def refuse_if_full(self) -> None:
        """Raise Overloaded where `submit` would: whoever has work to do before it need not do it in vain."""
        if self.full:
            raise Overloaded(f"{len(self._waiting):,} messages are waiting already; try again later")

    async def submit(self, windows: Sequence[Sequence[int]]) -> Logits:
        """Logits [len(windows), classes] of one message's windows. Raises Overloaded at once when full."""
        lengths = [max(1, len(window)) for window in windows]
        tokens = sum(lengths)
        self.refuse_if_full()
        if self._waiting and self.tokens_waiting + tokens > self._max_tokens:
            raise Overloaded(f"{self.tokens_waiting:,} tokens are waiting already; try again later")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Logits] = loop.create_future()
        self._waiting.append(_Entry(windows, tokens, max(lengths), loop.time(), answer))
        self.tokens_waiting += tokens
        self._start_turns()
        return await answer

    async def drained(self) -> None:
        """Return once nothing is waiting or running."""
        while self._turns:
            await asyncio.wait(self._turns)

    def _start_turns(self) -> None:
        while self._free and (entries := self._take()):
            turn = self._threads.run(self._score, [window for one in entries for window in one.windows])
            self._free -= 1
            self._observe(len(entries))
            self._turns.add(turn)
            turn.add_done_callback(lambda turn, entries=entries: self._end(turn, entries))  # type: ignore[misc]

    def _take(self) -> list[_Entry]:
        """The entry whose turn it is, of those whose caller is still there, and those most like it."""
        here = [entry for entry in self._waiting if not entry.answer.done()]
        self.abandoned += len(self._waiting) - len(here)
        if not here:
            self._waiting, self.tokens_waiting = deque(), 0
            return []
        first = here[0]
        if len(here) > 1 and asyncio.get_running_loop().time() - first.since < PATIENCE_S:
            first = min(here, key=lambda entry: entry.tokens)
        taken = [first]
        budget = self._tokens_per_turn // (2 if first.longest >= LONG else 1) - first.tokens
        for entry in sorted(here, key=lambda entry: abs(entry.longest - first.longest)):
            if entry is first:
                continue
            budget -= entry.tokens
            if budget < 0:
                break
            taken.append(entry)
        gone = {id(entry) for entry in taken}
        self._waiting = deque(entry for entry in here if id(entry) not in gone)
        self.tokens_waiting = sum(entry.tokens for entry in self._waiting)
        return taken

    def _end(self, turn: "asyncio.Future[Logits]", entries: list[_Entry]) -> None:
        self._turns.discard(turn)
        self._free += 1
        error = None if turn.cancelled() else turn.exception()
        first = 0
        for entry in entries:
            last = first + len(entry.windows)
            if not entry.answer.done():
                if turn.cancelled():
                    entry.answer.cancel()
                elif error is not None:
                    entry.answer.set_exception(error)
                else:
                    entry.answer.set_result(turn.result()[first:last])
            first = last
        self._start_turns()

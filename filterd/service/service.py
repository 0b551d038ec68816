"""The one `Classifier` behind every listener of `filterd serve`.

What it owns: which engine judges now, the queue in front of it, the cache of verdicts, the corrections store
and the memory, and the counting. What it must not know: any protocol.

A message goes: cache, reading (parser threads), queue and model (model threads), conclusion. An engine is
swapped between messages: who has started with the old one ends with it. Whatever keeps a message from being
judged becomes the configured answer: a verdict that says "unavailable", or the error.
"""

import asyncio
import hashlib
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry

from filterd import __version__, headers
from filterd.api import Action, Kind, Label, Message, Verdict
from filterd.config import Config
from filterd.corrections.learner import Learner
from filterd.corrections.unwrap import unwrapped
from filterd.errors import (
    BadInput,
    DeadlineExceeded,
    FilterdError,
    LearningClosed,
    Overloaded,
    StoreError,
)
from filterd.history.record import VerdictEvent
from filterd.kit.room import Room
from filterd.log import log
from filterd.policy import actions, correspondents
from filterd.policy.correspondents import CorrespondentStore
from filterd.policy.policy import Policy, PolicyDecision, released
from filterd.promotion.roster import Roster
from filterd.promotion.trial import Trial
from filterd.quarantine.store import QuarantineStore
from filterd.reasons import reason
from filterd.scoring.drift import Drift
from filterd.scoring.engine import Engine, ModelInput
from filterd.scoring.verdict import Thresholds
from filterd.service import siblings
from filterd.service.batching import Batcher, Logits
from filterd.service.holding import HeldCopy
from filterd.service.metrics import ServiceMetrics
from filterd.service.siblings import Siblings, State
from filterd.service.threads import Threads

# Messages being read or waiting to be read, a worker: what is beyond would only wait out its deadline
# while its bytes fill the memory.
READING_PER_PARSER = 256
QUANTILES = {"median": 0.5, "p99": 0.99}  # of the time a verdict took, for `filterd status`
# Bytes of an SMS that is read where it comes in: that takes 0.04 ms, handing it to a thread and back 0.3 ms.
READ_AT_ONCE = 1000
HASHED_AT_ONCE = 1 << 20  # bytes that the event loop itself hashes, in 1 ms
# Messages of batch requests under way, all of them together: they fill the model's turns, and whoever comes
# with a single message meanwhile still finds room.
BATCHED_AT_ONCE = 256
LEARN_DEADLINE_S = 15.0  # a commit takes milliseconds, and a locked SQLite is given up after 10 s
HOLD_DEADLINE_S = 15.0  # the same, with a file that is synced first
LEARN_THREADS = 4  # of which a stuck database may hold all: judging has its own
HOLD_THREADS = 2  # that write held messages: a disk syncs one after the other
MAX_NOTING = 256  # letters that wait to be noted, and senders to be looked up; beyond that neither is done
KNOWN_DEADLINE_S = 2.0  # a look-up takes a millisecond; mail waits behind it
MAX_HOLDING = 64  # messages that wait for that; each holds its bytes, and who comes next tries again
MAX_LEARNS = 256  # corrections that wait for a thread; one holds its message


class RecentMessage(NamedTuple):
    """What is remembered of a judged message, for people who look: no text unless configured."""

    id: str
    time: float
    source: str
    kind: Kind
    label: Label
    probability: float
    points: float
    seconds: float
    subject: str = ""  # kept only where http.recent_subjects allows it


class ShadowCounts(NamedTuple):
    """Counts of the shadow model since it was loaded. gap: the mean difference of P(spam), absolute."""

    model: str
    seen: int
    differs: int
    gap: float


class _Loaded:
    """An engine with the queue in front of it."""

    def __init__(
        self,
        engine: Engine,
        threads: Threads,
        config: Config,
        workers: int,
        observe: Callable[[int], None] = lambda messages: None,
    ) -> None:
        self.engine = engine
        self.queue = Batcher(
            engine.logits,
            threads,
            workers=workers,
            max_messages=config.queue.max_messages,
            max_tokens=config.queue.max_tokens,
            observe=observe,
        )

    async def rows(self, prepared: ModelInput) -> Logits:
        """Its logits, [windows, classes], in its turn; none where it is settled. Raises Overloaded."""
        if prepared.settled is not None:
            return self.engine.logits(())
        return await self.queue.submit(prepared.windows)


class Service:
    """Safe for many tasks of one event loop. `close` when done."""

    def __init__(
        self, config: Config, engine: Engine, learner: Learner | None, shadow: Engine | None = None
    ) -> None:
        self.config = config
        self.metrics = ServiceMetrics()
        self.style = headers.HeaderStyle(config.headers.prefix, config.headers.keep_forged)
        self.learner = learner
        self.room = Room(config.queue.max_bytes)
        self.recent: deque[RecentMessage] = deque(maxlen=config.http.recent)
        self.policy: Policy | None = None  # what people have set; None in tests and tools
        self.observers: list[Callable[[VerdictEvent], None]] = []  # told of each verdict, in the event loop
        self.started = time.time()
        self._parsers = Threads(config.queue.parsers, "parse")
        self._models = Threads(config.model.turns + 1, "model")  # one more for the shadow
        self._learning_threads = ThreadPoolExecutor(LEARN_THREADS, "learn")
        self._learns = 0
        self.quarantine: QuarantineStore | None = (
            None  # None in tests and tools: what it would keep is filed as spam
        )
        self._holders = ThreadPoolExecutor(HOLD_THREADS, "hold")
        self._holding = 0
        self.correspondents: CorrespondentStore | None = None
        self.roster: Roster | None = None  # of the daemons on this store
        self._noting = 0
        self._reading = 0
        self._batched = asyncio.Semaphore(BATCHED_AT_ONCE)
        self.judged = dict.fromkeys(Label, 0)
        self._refused = 0
        self._cache: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        self._cache_revision = 0  # of the memory that the cached verdicts were given with
        self._background: set[asyncio.Task[None]] = set()
        self.leaving = False  # it is about to stop: whoever balances several daemons is to ask another one
        self.warning = ""  # a line for people about what is not as configured
        self.siblings = Siblings()
        self.trial: Trial | None = None  # of the shadow, where it may take over
        self._take(config, engine, shadow)

    @property
    def engine(self) -> Engine:
        """The engine that judges new messages now."""
        return self._loaded.engine

    @property
    def waiting(self) -> int:
        """Messages in the queue."""
        return self._loaded.queue.messages_waiting

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return time.time() - self.started

    @property
    def corrections(self) -> int:
        """How many corrections the memory holds."""
        return len(self.learner.memory) if self.learner else 0

    @property
    def ready(self) -> bool:
        """Whether a new message is welcome here: it would be judged now rather than refused."""
        return not self.leaving and not self._loaded.queue.full

    def status(self) -> State:
        """What `filterd status` and GET /v1/status show; no message text."""
        manifest, queue = self.engine.bundle.manifest, self._loaded.queue
        shadow = self.shadow
        return {
            "version": __version__,
            "uptime_s": round(self.uptime_s, 1),
            "model": self.engine.bundle.id,
            "warning": self.warning,
            "labels": manifest.labels,
            "judged": dict(self.judged),
            "waiting": {"messages": queue.messages_waiting, "tokens": queue.tokens_waiting},
            "ms": _latency(one.seconds for one in self.recent),
            "refused": self._refused,
            "abandoned": queue.abandoned,
            "corrections": self.corrections,
            "drift": self.drift.measure(),
            "shadow": shadow._asdict() if shadow else None,
            "trial": msgspec.to_builtins(self.trial.counts) if self.trial else None,
        }

    @property
    def shadow(self) -> ShadowCounts | None:
        """What is known of the shadow model, None without one."""
        if not self._shadow:
            return None
        seen, differs, gaps = self._shadow_counts
        return ShadowCounts(self._shadow.engine.bundle.id, seen, differs, round(gaps / max(1, seen), 6))

    def state(self) -> State:
        """What this worker adds to an answer for all of them (`siblings`)."""
        return {
            "status": self.status(),
            "recent": [one._asdict() for one in self.recent],
            "metrics": siblings.samples(self._measured()),
        }

    async def status_of_all(self) -> State:
        """`status` of all workers together."""
        others = await self.siblings.states()
        found = siblings.status([self.status(), *(other["status"] for other in others)])
        theirs = [float(one["seconds"]) for other in others for one in other["recent"]]
        return found | {"ms": _latency([*(one.seconds for one in self.recent), *theirs])}

    async def recent_of_all(self, limit: int) -> list[State]:
        """The latest verdicts of all workers, newest first."""
        found = [one._asdict() for one in list(self.recent)[-limit:]]
        for other in await self.siblings.states():
            found += other["recent"][-limit:]
        return sorted(found, key=lambda one: -one["time"])[:limit]

    def reload(self, config: Config, engine: Engine, shadow: Engine | None = None) -> None:
        """Judge with another engine from the next message on; messages under way end with the old one."""
        self.config = config
        self.room.size = config.queue.max_bytes
        if self.learner:
            self.learner.config = config
        self.style = headers.HeaderStyle(config.headers.prefix, config.headers.keep_forged)
        self._take(config, engine, shadow)

    def _take(self, config: Config, engine: Engine, shadow: Engine | None) -> None:
        for one in filter(None, (engine, shadow)):
            one.learner = self.learner if config.feedback.memory else None
        self._loaded = _Loaded(
            engine, self._models, config, config.model.turns, self.metrics.batch_size.observe
        )
        self._shadow = _Loaded(shadow, self._models, config, workers=1) if shadow else None
        self._shadow_counts = (0, 0, 0.0)
        self.drift = Drift(engine.bundle.manifest.reference)
        self.metrics.bundle.info({"id": engine.bundle.id, "name": engine.bundle.manifest.name})
        self._cache.clear()

    async def close(self, drain_s: float) -> bool:
        """Finish what is under way, for at most `drain_s`; False where something was left."""
        try:
            async with asyncio.timeout(drain_s):
                await self._loaded.queue.drained()
                while self._background:
                    await asyncio.wait(self._background)
        except TimeoutError:
            return False
        finally:
            self._parsers.shutdown()
            self._models.shutdown()
            self._learning_threads.shutdown(wait=False, cancel_futures=True)
            self._holders.shutdown(wait=False, cancel_futures=True)
        return True

    async def check(self, message: Message) -> Verdict:
        """Judge one message; see `filterd.api.Classifier`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.config.queue.deadline_s):
                found = await self._check(message, started)
        except TimeoutError:
            late = DeadlineExceeded(
                f"not judged within {self.config.queue.deadline_s:g} s; see queue.deadline_s"
            )
            return self._unjudged(late, message)
        except Overloaded as error:
            return self._unjudged(error, message)
        found, thresholds = self._as_set(message, found)
        if self.quarantine and self.quarantine.signer.may_be(message):
            found = await self._released(self.quarantine, message, found, thresholds)
        if self.correspondents and self.config.correspondents.enabled:
            found = await self._if_known(self.correspondents, message, found, thresholds)
        done, number = actions.settle(self.config.actions, message, found), 0
        if done is Action.QUARANTINE and not message.way.holds:
            done, number = await self._hold(message, found)
        found = replace(found, action=done)
        self.metrics.judged(found, message.source)
        self.judged[found.label] += 1
        self._remember(message, found)
        self._tell(message, found, done, thresholds, number)
        return found

    def _as_set(self, message: Message, found: Verdict) -> PolicyDecision:
        """The verdict by the thresholds and lists that people have set."""
        bundle = self.engine.bundle.manifest.thresholds[found.kind]
        return self.policy.decide(message, found, bundle) if self.policy else PolicyDecision(found, bundle)

    async def _released(
        self, quarantine: QuarantineStore, message: Message, found: Verdict, thresholds: Thresholds
    ) -> Verdict:
        """The verdict on a message that says that it was released: ham, where that is true."""
        proven = await self._parsers.run(quarantine.signer.released, message)
        return released(found, thresholds) if proven else found

    @property
    def notes_submissions(self) -> bool:
        """Whether whoever sees mail of users who have logged in is to say so."""
        return self.correspondents is not None and self.config.correspondents.enabled

    def wrote(self, sender: str, recipients: Sequence[str]) -> None:
        """Somebody who has logged in has written to these; returns at once, and a slow store forgets it."""
        if self.correspondents and self._noting < MAX_NOTING:
            try:
                noted = asyncio.get_running_loop().run_in_executor(
                    self._learning_threads, self.correspondents.wrote, sender, tuple(recipients)
                )
            except RuntimeError:  # the service ends, and its threads have
                return
            self._noting += 1
            noted.add_done_callback(self._noted)

    def _noted(self, done: "asyncio.Future[int] | asyncio.Future[bool]") -> None:
        self._noting -= 1
        if not done.cancelled() and (error := done.exception()):
            log.warning("correspondents not noted", extra={"fields": {"reason": str(error)}})

    async def _if_known(
        self, known: CorrespondentStore, message: Message, found: Verdict, thresholds: Thresholds
    ) -> Verdict:
        """The verdict, milder where all recipients have written to its proven sender."""
        who = correspondents.asked(message, found, self.config.trust.authserv_ids)
        if not who or self._noting >= MAX_NOTING:
            return found
        self._noting += 1
        (sender,) = who.froms
        said = asyncio.get_running_loop().run_in_executor(
            self._holders, known.knows, message.recipients, sender
        )
        said.add_done_callback(self._noted)
        try:
            they_do = await asyncio.wait_for(asyncio.shield(said), KNOWN_DEADLINE_S)
        except (StoreError, TimeoutError):  # the log has it; the mail is judged as anybody's
            return found
        return correspondents.let_through(found, thresholds, self.config.correspondents) if they_do else found

    async def _hold(self, message: Message, found: Verdict) -> tuple[Action, int]:
        """Keep a message, and its number; where that cannot be, it is milder, or the sender tries again."""
        if not self.quarantine or not message.recipients:
            return replace(message.way, can=message.way.can - {Action.QUARANTINE}).able(Action.QUARANTINE), 0
        if self._holding < MAX_HOLDING:
            try:
                return Action.QUARANTINE, await self._kept(HeldCopy(self.quarantine, message, found))
            except FilterdError as error:
                log.error("quarantine failed", extra={"fields": {"name": message.id, "reason": str(error)}})
        later = Action.TEMPFAIL in message.way.can
        return Action.TEMPFAIL if later else Action.TAG, 0

    async def _kept(self, copy: HeldCopy) -> int:
        """Its number once it is durable. Raises FilterdError, also where it takes too long, and goes."""
        self._holding += 1
        kept = asyncio.get_running_loop().run_in_executor(self._holders, copy.keep)
        kept.add_done_callback(self._held)
        try:
            return await asyncio.wait_for(asyncio.shield(kept), HOLD_DEADLINE_S)
        except TimeoutError:
            if number := copy.give_up():
                return number
            raise StoreError(f"not kept within {HOLD_DEADLINE_S:g} s") from None
        except asyncio.CancelledError:  # whoever brought it has left, and brings it again
            if number := copy.give_up():
                with suppress(RuntimeError):  # closed: twice is better than never
                    self._holders.submit(copy.take_back, number)
            raise

    def _held(self, kept: "asyncio.Future[int]") -> None:
        self._holding -= 1
        if not kept.cancelled():
            kept.exception()  # nobody may be waiting any more

    async def check_all(self, messages: Sequence[Message]) -> list[Verdict]:
        """Judge many; in their order. Raises as `check` does, after all have ended.

        They wait for one another, so that a batch larger than the queue is no overload.
        """
        found: list[Verdict | Exception | None] = [None] * len(messages)
        left = iter(enumerate(messages))  # 10,000 tasks at once would hold the event loop for 0.2 s

        async def work() -> None:
            for place, message in left:
                async with self._batched:
                    try:
                        found[place] = await self.check(message)
                    except Exception as error:
                        found[place] = error

        await asyncio.gather(*(work() for _ in range(min(len(messages), BATCHED_AT_ONCE))))
        for one in found:
            if isinstance(one, Exception):
                raise one
        return [one for one in found if isinstance(one, Verdict)]

    async def _check(self, message: Message, started: float) -> Verdict:
        key = await self._key(message)
        cached = self._from_cache(key)
        if cached:
            self.metrics.cache_hits.inc()
            return _timed(cached, started)
        loaded, revision = self._loaded, self._memory_revision
        loaded.queue.refuse_if_full()
        prepared = await self._read(loaded.engine, message)
        rows = await loaded.rows(prepared)
        found = loaded.engine.conclude(prepared, rows, time.perf_counter() - started)
        if loaded is self._loaded and revision == self._memory_revision:
            self._to_cache(key, found)
        self.drift.add(found, prepared.tokens, prepared.script)
        self._ask_shadow(message, found)
        return found

    async def _key(self, message: Message) -> bytes:
        """Its name in the cache; hashed beside the event loop where that takes long."""
        if not self.config.cache.messages:
            return b""
        scope = self.learner.scope(message) if self.learner else ""
        if len(message.raw) <= HASHED_AT_ONCE:
            return _cache_key(message, scope)
        return await self._parsers.run(_cache_key, message, scope)

    async def _read(self, engine: Engine, message: Message) -> ModelInput:
        """The message ready for the model, read by a parser thread; a short SMS at once."""
        if message.kind is Kind.SMS and len(message.raw) <= READ_AT_ONCE and self._at_hand(message):
            return engine.prepare(message)
        with self._place_to_read():
            return await self._parsers.run(engine.prepare, message)

    def _at_hand(self, message: Message) -> bool:
        """Whether what corrections say of a message can be told without waiting for anybody."""
        return self.learner is None or self.learner.at_hand(message)

    @contextmanager
    def _place_to_read(self) -> Iterator[None]:
        if self._reading >= READING_PER_PARSER * self.config.queue.parsers:
            raise Overloaded(f"{self._reading:,} messages are being read already; try again later")
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    def _unjudged(self, error: FilterdError, message: Message) -> Verdict:
        reason = "deadline" if isinstance(error, DeadlineExceeded) else "overload"
        self.metrics.refused.labels(reason, message.source or "other").inc()
        self._refused += 1
        unjudged = Verdict.unavailable(message.kind or Kind.MAIL)
        refused = self.config.queue.on_error == "tempfail"
        own = actions.settle((), message, unjudged)
        done = Action.TEMPFAIL if refused and not message.way.own else own
        self._tell(message, unjudged, done)
        if refused:
            raise error
        return replace(unjudged, action=done)

    def _tell(
        self,
        message: Message,
        found: Verdict,
        action: Action,
        thresholds: Thresholds | None = None,
        number: int = 0,
    ) -> None:
        """Tell the observers of a verdict; they return at once."""
        thresholds = thresholds or self.engine.bundle.manifest.thresholds[found.kind]
        for observe in self.observers:
            observe(VerdictEvent(message, found, thresholds, time.time(), action, number))

    def _remember(self, message: Message, found: Verdict) -> None:
        self.recent.append(
            RecentMessage(
                id=message.id,
                time=time.time(),
                source=message.source,
                kind=found.kind,
                label=found.label,
                probability=found.probability,
                points=found.points,
                seconds=found.seconds,
                subject=found.subject if self.config.http.recent_subjects else "",
            )
        )

    # The cache: the same campaign a thousand times costs once.

    @property
    def _memory_revision(self) -> int:
        return self.learner.memory.revision if self.learner else 0

    def _from_cache(self, key: bytes) -> Verdict | None:
        if self._cache_revision != self._memory_revision:  # whoever changed the memory, retention included
            self._cache.clear()
            self._cache_revision = self._memory_revision
        entry = self._cache.get(key)
        if not entry:
            return None
        if time.monotonic() - entry[0] > self.config.cache.ttl_s:
            del self._cache[key]
            return None
        self._cache.move_to_end(key)
        return entry[1]

    def _to_cache(self, key: bytes, found: Verdict) -> None:
        if not self.config.cache.messages:
            return
        self._cache[key] = (time.monotonic(), found)
        while len(self._cache) > self.config.cache.messages:
            self._cache.popitem(last=False)

    # The shadow: judges a sample, acts on nothing.

    def _ask_shadow(self, message: Message, found: Verdict) -> None:
        shadow = self._shadow
        if not shadow or shadow.queue.messages_waiting or random.random() >= self.config.model.shadow_share:  # noqa: S311 (a sample, no secret)
            return
        task = asyncio.get_running_loop().create_task(self._shadowed(shadow, message, found))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _shadowed(self, shadow: _Loaded, message: Message, found: Verdict) -> None:
        try:
            prepared = await self._parsers.run(shadow.engine.prepare, message)
            other = shadow.engine.conclude(prepared, await shadow.rows(prepared))
        except (FilterdError, RuntimeError):  # RuntimeError: the pools are closed, the service ends
            return
        if shadow is not self._shadow:  # another one by now
            return
        differs = other.label is not found.label
        gap = abs(other.probability - found.probability)
        seen, different, gaps = self._shadow_counts
        self._shadow_counts = (seen + 1, different + differs, gaps + gap)
        if self.trial:
            self.trial.add(found.label, other.label)
        self.metrics.shadow_seen.inc()
        self.metrics.shadow_gap.observe(gap)
        if differs:
            self.metrics.shadow_differs.labels(other.label).inc()

    # Corrections.

    async def learn(self, message: Message, label: Label) -> bool:
        """Take a correction; durable and in effect once this returns."""
        if label is Label.UNSURE:
            raise BadInput("a correction is ham or spam, not unsure")
        learner = self._learner()
        before, model = await self._opinion(self._loaded, message)
        theirs, _ = await self._opinion(self._shadow, message) if self.trial else (None, None)
        taken = bool(await self._learned(learner.learn, message, label, before, model))
        if taken and before and theirs and self.trial:
            self.trial.corrected(label, champion=before.label, challenger=theirs.label)
        if taken:
            self.metrics.corrections.labels(label, message.source or "other").inc()
        return taken

    async def _opinion(self, loaded: _Loaded | None, message: Message) -> tuple[Verdict | None, float | None]:
        """What is said of a message that is about to be corrected, and by the model alone, in its turn.

        None, None where nobody can say: a correction is kept whatever the models do.
        """
        if not loaded:
            return None, None
        try:
            async with asyncio.timeout(self.config.queue.deadline_s):
                message = replace(message, raw=unwrapped(message.raw))
                prepared = await self._read(loaded.engine, message)
                rows = await loaded.rows(prepared)
        except (TimeoutError, FilterdError):
            return None, None
        return loaded.engine.conclude(prepared, rows), loaded.engine.alone(prepared, rows)

    async def forget(self, message: Message) -> bool:
        """Take a correction back, with full effect."""
        return bool(await self._learned(self._learner().forget, message))

    async def _learned(self, work: Callable[..., bool], *arguments: object) -> bool:
        """Do it in a thread that judging does not need, within a time. Raises StoreError."""
        if self._learns >= MAX_LEARNS:
            raise StoreError(f"{self._learns:,} corrections wait for the store already; try again later")
        self._learns += 1
        done = asyncio.get_running_loop().run_in_executor(self._learning_threads, work, *arguments)
        done.add_done_callback(self._learnt)
        try:
            return await asyncio.wait_for(asyncio.shield(done), LEARN_DEADLINE_S)
        except TimeoutError as error:
            raise StoreError(
                f"the store has not answered for {LEARN_DEADLINE_S:g} s; it may have the correction"
            ) from error

    def _learnt(self, done: "asyncio.Future[bool]") -> None:
        self._learns -= 1
        if not done.cancelled():
            done.exception()  # nobody may be waiting any more

    def _learner(self) -> Learner:
        if not self.learner:
            raise LearningClosed("corrections are not taken here; see feedback in the configuration")
        return self.learner

    # What plugins need of headers.

    def headers(self, verdict: Verdict) -> list[tuple[str, str]]:
        """Names and values that announce a verdict."""
        return headers.fields(verdict, self.style, self._why(verdict))

    def is_ours(self, header_name: str) -> bool:
        """Whether an incoming header of this name is forged."""
        return self.style.is_ours(header_name)

    def tag(self, raw: bytes, verdict: Verdict) -> bytes:
        """The mail with our headers."""
        return headers.tag(raw, verdict, self.style, self._why(verdict))

    def _why(self, verdict: Verdict) -> str:
        """For the header Reason, where that is configured."""
        return reason.header(verdict) if self.config.headers.reason else ""

    async def measure(self) -> bytes:
        """The metrics page, of all workers."""
        others = await self.siblings.states()
        mine = siblings.samples(self._measured())
        return await asyncio.to_thread(siblings.exposition, [mine, *(other["metrics"] for other in others)])

    def _measured(self) -> CollectorRegistry:
        """The metrics, with the gauges brought up to date."""
        queue = self._loaded.queue
        self.metrics.waiting.set(queue.messages_waiting)
        self.metrics.waiting_tokens.set(queue.tokens_waiting)
        self.metrics.abandoned.set(queue.abandoned)
        for kind, distances in self.drift.measure().items():
            for of, distance in distances.items():
                self.metrics.drift.labels(kind, of).set(distance)
        return self.metrics.registry


def _cache_key(message: Message, scope: str) -> bytes:
    """Of what a verdict depends on: the bytes, and whose corrections count."""
    found = hashlib.blake2b(message.raw, digest_size=16, person=(message.kind or "").encode())
    found.update(scope.encode("utf-8", "replace"))
    return found.digest()


def _latency(seconds: Iterable[float]) -> dict[str, float]:
    """Quantiles of what verdicts took, in milliseconds; empty without any."""
    found = sorted(seconds)
    last = len(found) - 1
    return {name: round(1000 * found[int(q * last)], 2) for name, q in QUANTILES.items()} if found else {}


def _timed(found: Verdict, started: float) -> Verdict:
    return replace(found, seconds=time.perf_counter() - started)

"""The service behind every listener: cache, queue, deadline, shadow, corrections, drain."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Cache, Config, Feedback, Headers, Http, Model, Queue
from filterd.corrections.learner import Learner
from filterd.errors import BadInput, DeadlineExceeded, LearningClosed, ModelUnavailable, Overloaded
from filterd.kit.settings import Section
from filterd.scoring.backend import Scores
from filterd.scoring.bundle import Bundle
from filterd.scoring.engine import Engine, ModelInput
from filterd.scoring.memory import Memory
from filterd.service import service as service_module
from filterd.service import siblings
from filterd.service.service import BATCHED_AT_ONCE, READING_PER_PARSER, Service
from tests.filterd.fakes import WordBackend, manifest, tokenizer

TIMEOUT_S = 10.0
DRAIN_S = 5.0
HAM = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon, the usual place by the river?\n"
SPAM = b"From: win@example.net\nSubject: hello\n\nyou are our prize winner\n"


class HeldBackend(WordBackend):
    """Can be held up (all of it by `gate`, one call by `held`) and told to fail."""

    def __init__(self) -> None:
        super().__init__(tokenizer())
        self.gate = threading.Event()
        self.gate.set()
        self.held: threading.Event | None = None
        self.error: Exception | None = None
        self.calls = 0  # begun

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        self.calls += 1
        held, self.held = self.held, None
        if held:
            held.wait(TIMEOUT_S)
        self.gate.wait(TIMEOUT_S)
        if self.error:
            raise self.error
        return super().score(ids)


def engine_of(backend: WordBackend, name: str = "fake-1") -> Engine:
    return Engine(Bundle(path=Path("fake"), manifest=manifest(), id=name), tokenizer(), backend)


class Always(WordBackend):
    """Says the same of everything."""

    def __init__(self, margin: float) -> None:
        super().__init__(tokenizer())
        self._margin = margin

    def score(self, ids: Sequence[Sequence[int]]) -> Scores:
        scores = super().score(ids)
        scores.logits[:, 1] = self._margin
        return scores


def mail(raw: bytes = HAM, **fields: Any) -> Message:
    return Message(raw, kind=Kind.MAIL, **fields)


def numbered(i: int) -> Message:
    return mail(HAM + b"table %d\n" % i)


def config_of(state: Path, **sections: Section) -> Config:
    one_turn = Config(state=str(state), model=Model(workers=1))
    return msgspec.structs.replace(one_turn, **sections)


Start = Callable[..., Service]


@pytest.fixture
def backend() -> HeldBackend:
    return HeldBackend()


@pytest.fixture
async def start(tmp_path: Path, backend: HeldBackend) -> AsyncIterator[Start]:
    """Makes a service with some sections of the configuration changed; closes it at the end."""
    made: list[tuple[Service, Learner]] = []

    def started(shadow: Engine | None = None, **sections: Section) -> Service:
        config = config_of(tmp_path, **sections)
        learner = Learner.open(config)
        made.append((Service(config, engine_of(backend), learner, shadow), learner))
        return made[-1][0]

    yield started
    backend.gate.set()
    for service, learner in made:
        await service.close(DRAIN_S)
        learner.store.close()  # without saving 13 MB of memory for each test


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


def counted(service: Service, line: str) -> bool:
    return line in siblings.exposition([siblings.samples(service._measured())]).decode().splitlines()


async def test_it_judges_and_counts(start: Start) -> None:
    service = start()
    assert (await service.check(mail(SPAM, source="milter"))).label is Label.SPAM
    assert (await service.check(mail(HAM))).label is Label.HAM
    assert counted(service, 'filterd_verdicts_total{kind="mail",label="spam",source="milter"} 1.0')
    assert counted(service, 'filterd_verdicts_total{kind="mail",label="ham",source="other"} 1.0')
    assert service.status()["judged"] == {"ham": 1, "unsure": 0, "spam": 1}


async def test_what_is_remembered_of_a_message_is_no_text(start: Start) -> None:
    service = start()
    await service.check(mail(SPAM, id="4711", source="http"))
    recent = service.recent[-1]
    assert (recent.id, recent.source, recent.label) == ("4711", "http", Label.SPAM)
    assert "prize" not in repr(recent) and "hello" not in repr(recent)


# The cache.


async def test_a_campaign_costs_once(start: Start, backend: HeldBackend) -> None:
    service = start()
    found = [await service.check(mail(SPAM)) for _ in range(5)]
    assert len(backend.batches) == 1
    assert {one.probability for one in found} == {found[0].probability}
    assert counted(service, "filterd_cache_hits_total 4.0")


async def test_the_kind_is_part_of_what_is_cached(start: Start) -> None:
    service = start()
    kinds = [(await service.check(Message(HAM, kind=kind))).kind for kind in (Kind.MAIL, Kind.SMS, Kind.MAIL)]
    assert kinds == [Kind.MAIL, Kind.SMS, Kind.MAIL]


@pytest.mark.parametrize(
    ("cache", "judged"),
    [
        pytest.param(Cache(messages=0), 4, id="off"),
        pytest.param(Cache(messages=1), 4, id="one place, two messages"),
        pytest.param(Cache(messages=2), 2, id="two places"),
        pytest.param(Cache(ttl_s=1e-9), 4, id="gone at once"),
    ],
)
async def test_the_cache_is_bounded_in_number_and_time(
    start: Start, backend: HeldBackend, cache: Cache, judged: int
) -> None:
    service = start(cache=cache)
    for message in (HAM, SPAM, HAM, SPAM):
        await service.check(mail(message))
    assert len(backend.batches) == judged


async def test_another_engine_judges_anew(start: Start, tmp_path: Path) -> None:
    service = start()
    assert (await service.check(mail(HAM))).label is Label.HAM
    service.reload(config_of(tmp_path), engine_of(Always(9.0), "fake-2"))
    found = await service.check(mail(HAM))
    assert (found.label, found.model) == (Label.SPAM, "fake-2")
    assert counted(service, 'filterd_bundle_info{id="fake-2",name="fake"} 1.0')


async def test_who_has_started_with_the_old_engine_ends_with_it(
    start: Start, backend: HeldBackend, tmp_path: Path
) -> None:
    service = start()
    held = backend.held = threading.Event()
    under_way = asyncio.create_task(service.check(mail(HAM)))
    await until(lambda: backend.held is None)
    service.reload(config_of(tmp_path), engine_of(Always(9.0), "fake-2"))
    held.set()
    assert (await under_way).model == "fake-1"
    assert (await service.check(mail(HAM))).model == "fake-2", "the old one's verdict must not be cached"


# Overload and deadline.


async def overloaded(service: Service, backend: HeldBackend, messages: int) -> list["asyncio.Task[Verdict]"]:
    """The model held up with `messages` behind the one that it has."""
    backend.gate.clear()
    tasks, before = [], backend.calls
    for i in range(messages + 1):
        tasks.append(asyncio.create_task(service.check(numbered(i))))
        await until(lambda i=i: backend.calls > before and service.waiting == i)  # type: ignore[misc]
    return tasks


async def test_overload_is_an_answer_and_no_verdict(start: Start, backend: HeldBackend) -> None:
    service = start(queue=Queue(max_messages=2))
    tasks = await overloaded(service, backend, 2)
    assert not service.ready
    found = await service.check(mail(SPAM, source="milter"))
    assert (found.label, found.available, found.model) == (Label.HAM, False, "")
    assert ("X-Spam-Flag", "YES") not in service.headers(found)
    assert any("filter=unavailable" in value for _, value in service.headers(found))
    assert counted(service, 'filterd_refused_total{reason="overload",source="milter"} 1.0')
    assert service.status()["refused"] == 1
    backend.gate.set()
    assert all(found.available for found in await asyncio.gather(*tasks))
    assert (await service.check(mail(SPAM))).label is Label.SPAM, "no verdict must not be cached"


async def test_overload_is_an_error_where_configured(start: Start, backend: HeldBackend) -> None:
    service = start(queue=Queue(max_messages=1, on_error="tempfail"))
    tasks = await overloaded(service, backend, 1)
    with pytest.raises(Overloaded, match="waiting"):
        await service.check(mail(SPAM))
    backend.gate.set()
    await asyncio.gather(*tasks)


async def test_what_will_be_refused_is_not_read(
    start: Start, backend: HeldBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(queue=Queue(max_messages=1))
    tasks = await overloaded(service, backend, 1)
    monkeypatch.setattr(service, "_read", None)  # calling it would fail
    assert not (await service.check(mail(SPAM))).available
    backend.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("message", "learning", "at_once"),
    [
        pytest.param(Message(b"see you at noon", kind=Kind.SMS), False, True, id="a short SMS"),
        pytest.param(Message(b"see you at noon", kind=Kind.SMS), True, False, id="while the memory changes"),
        pytest.param(Message(b"noon " * 400, kind=Kind.SMS), False, False, id="a long one"),
        pytest.param(Message(b"see you at noon"), False, False, id="not said to be one"),
        pytest.param(Message(HAM, kind=Kind.MAIL), False, False, id="a mail"),
    ],
)
async def test_only_a_short_sms_is_read_in_the_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch, message: Message, learning: bool, at_once: bool
) -> None:
    service, threads = start(), list[int]()
    prepare = service.engine.prepare

    def noting(message: Message) -> ModelInput:
        threads.append(threading.get_ident())
        return prepare(message)

    monkeypatch.setattr(service.engine, "prepare", noting)
    if learning:
        changing = SimpleNamespace(scope=lambda _: "", at_hand=lambda _: False, memory=Memory())
        monkeypatch.setattr(service, "learner", changing)
        await service.check(message)
    else:
        await service.check(message)
    assert (threads == [threading.get_ident()]) is at_once


async def test_too_many_being_read_is_overload(
    start: Start, backend: HeldBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "READING_PER_PARSER", 1)
    service = start(queue=Queue(parsers=1, on_error="tempfail"))
    found = await asyncio.gather(*(service.check(numbered(i)) for i in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [Verdict, Overloaded, Overloaded]
    assert (await service.check(mail())).available


@pytest.mark.parametrize("on_error", ["accept", "tempfail"])
async def test_the_deadline(start: Start, backend: HeldBackend, on_error: Any) -> None:
    service = start(queue=Queue(deadline_s=0.05, on_error=on_error))
    backend.gate.clear()
    if on_error == "tempfail":
        with pytest.raises(DeadlineExceeded, match=r"0\.05 s; see queue\.deadline_s"):
            await service.check(mail())
    else:
        assert not (await service.check(mail())).available
    assert counted(service, 'filterd_refused_total{reason="deadline",source="other"} 1.0')


async def test_who_left_is_dropped_and_counted(start: Start, backend: HeldBackend) -> None:
    service = start()
    tasks = await overloaded(service, backend, 2)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    backend.gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert service.status()["abandoned"] == 1


async def test_a_batch_larger_than_the_queue_is_no_overload(start: Start) -> None:
    service = start(queue=Queue(max_messages=BATCHED_AT_ONCE, parsers=1, on_error="tempfail"))
    texts = [f"a prize {i}" if i % 3 else f"noon {i}" for i in range(READING_PER_PARSER * 3)]
    found = await service.check_all([Message(text.encode(), kind=Kind.SMS) for text in texts])
    assert [one.label is Label.SPAM for one in found] == [bool(i % 3) for i in range(len(texts))]


async def test_a_batch_fails_as_a_whole(start: Start, backend: HeldBackend) -> None:
    service = start()
    backend.error = ModelUnavailable("the model cannot be run")
    with pytest.raises(ModelUnavailable):
        await service.check_all([mail(), mail(SPAM)])


@pytest.mark.parametrize(("allowed", "subject"), [(False, ""), (True, "hello")])
async def test_subjects_are_remembered_where_allowed(start: Start, allowed: bool, subject: str) -> None:
    service = start(http=Http(recent_subjects=allowed))
    await service.check(mail(SPAM))
    assert [one.subject for one in service.recent] == [subject]


# The shadow.


@pytest.mark.parametrize(
    ("margin", "differs"), [pytest.param(-4.0, 1, id="ham"), pytest.param(9.0, 1, id="spam")]
)
async def test_the_shadow_counts_and_does_not_act(start: Start, margin: float, differs: int) -> None:
    service = start(engine_of(Always(margin), "shadow-1"), model=Model(workers=1, shadow_share=1.0))
    assert (await service.check(mail(HAM))).label is Label.HAM
    await until(lambda: service.shadow and service.shadow.seen == 1)
    assert (await service.check(mail(SPAM))).label is Label.SPAM
    await until(lambda: service.shadow and service.shadow.seen == 2)
    gap = service.shadow.gap if service.shadow else -1
    assert service.status()["shadow"] == {"model": "shadow-1", "seen": 2, "differs": differs, "gap": gap}
    assert (gap > 0.4) == bool(differs)
    assert counted(service, "filterd_shadow_messages_total 2.0")
    assert counted(service, "filterd_shadow_gap_count 2.0")


async def test_the_shadow_sees_its_share(start: Start) -> None:
    service = start(engine_of(Always(9.0)), model=Model(workers=1, shadow_share=0.0))
    await service.check(mail())
    await asyncio.sleep(0.02)
    assert service.status()["shadow"] == {"model": "fake-1", "seen": 0, "differs": 0, "gap": 0.0}


async def test_a_shadow_that_fails_harms_nobody(start: Start) -> None:
    broken = HeldBackend()
    broken.error = ModelUnavailable("the model cannot be run")
    service = start(engine_of(broken), model=Model(workers=1, shadow_share=1.0))
    assert (await service.check(mail(SPAM))).label is Label.SPAM
    await until(lambda: not service._background)
    assert service.shadow and service.shadow.seen == 0


# Corrections.


async def test_a_correction_is_in_effect_once_it_is_answered(start: Start) -> None:
    service = start()
    before = await service.check(mail(HAM))
    assert await service.learn(mail(HAM, source="cli"), Label.SPAM)
    found = await service.check(mail(HAM))
    assert (before.label, found.label) == (Label.HAM, Label.SPAM)
    assert "MEMORY" in found.tests
    assert counted(service, 'filterd_corrections_total{label="spam",source="cli"} 1.0')
    assert service.status()["corrections"] == 1
    assert await service.forget(mail(HAM))
    assert (await service.check(mail(HAM))).probability == pytest.approx(before.probability)


async def test_a_near_copy_follows_and_the_unrelated_does_not(start: Start) -> None:
    service = start()
    unrelated = Message(b"the minutes of tuesday are in the shared folder, please read them", kind=Kind.SMS)
    before = await service.check(unrelated)
    offer = (
        HAM + b"we bake bread of old kinds of grain, and on saturdays we sell what is left for half of it;\n"
    )
    copy = offer + b"come to the mill by the river and take as much as you can carry home with you\n"
    assert (await service.check(mail(copy))).label is Label.HAM
    await service.learn(mail(copy.replace(b"saturdays", b"mondays").replace(b"half", b"a half")), Label.SPAM)
    assert (await service.check(mail(copy))).label is Label.SPAM
    assert (await service.check(unrelated)).probability == pytest.approx(before.probability)


async def test_a_known_correction_and_one_that_never_was(start: Start) -> None:
    service = start()
    assert await service.learn(mail(), Label.SPAM)
    assert not await service.learn(mail(), Label.SPAM)
    assert await service.learn(mail(), Label.HAM), "the last word wins"
    assert not await service.forget(mail(SPAM))


async def test_a_verdict_under_way_at_a_correction_is_not_cached(start: Start, backend: HeldBackend) -> None:
    service = start()
    held = backend.held = threading.Event()
    under_way = asyncio.create_task(service.check(mail(HAM)))
    await until(lambda: backend.held is None)
    await service.learn(mail(HAM), Label.SPAM)
    another = asyncio.create_task(service.check(mail(SPAM)))  # asks the cache before the first one is done
    await asyncio.sleep(0)
    held.set()
    assert (await under_way).label is Label.HAM
    await another
    assert (await service.check(mail(HAM))).label is Label.SPAM


async def test_retention_drops_the_cache_too(start: Start) -> None:
    service = start(feedback=Feedback(max_corrections=1))
    await service.learn(mail(HAM), Label.SPAM)
    await service.learn(mail(SPAM), Label.HAM)
    assert (await service.check(mail(HAM))).label is Label.SPAM
    assert service.learner and await asyncio.to_thread(service.learner.prune) == 1
    assert (await service.check(mail(HAM))).label is Label.HAM


async def test_a_memory_that_is_off_is_not_asked(start: Start) -> None:
    service = start(feedback=Feedback(memory=False))
    assert await service.learn(mail(HAM), Label.SPAM)
    assert (await service.check(mail(HAM))).label is Label.HAM


async def test_a_correction_survives_a_model_that_fails(start: Start, backend: HeldBackend) -> None:
    service = start()
    backend.error = ModelUnavailable("the model cannot be run")
    assert await service.learn(mail(HAM), Label.SPAM)
    backend.error = None
    assert (await service.check(mail(HAM))).label is Label.SPAM


async def test_what_is_no_correction(start: Start, tmp_path: Path, backend: HeldBackend) -> None:
    service = start()
    with pytest.raises(BadInput, match="ham or spam"):
        await service.learn(mail(), Label.UNSURE)
    closed = Service(config_of(tmp_path), engine_of(backend), None)
    for correcting in (closed.learn(mail(), Label.SPAM), closed.forget(mail())):
        with pytest.raises(LearningClosed):
            await correcting
    assert closed.status()["corrections"] == 0
    await closed.close(DRAIN_S)


# The end.


async def test_a_drain_finishes_what_is_under_way(start: Start, backend: HeldBackend) -> None:
    service = start()
    tasks = await overloaded(service, backend, 3)
    closing = asyncio.create_task(service.close(DRAIN_S))
    await asyncio.sleep(0.01)
    assert not closing.done()
    backend.gate.set()
    assert await closing
    assert all(found.available for found in await asyncio.gather(*tasks))


async def test_a_drain_has_an_end(start: Start, backend: HeldBackend) -> None:
    service = start()
    tasks = await overloaded(service, backend, 1)
    assert not await service.close(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_headers_are_as_configured(start: Start, tmp_path: Path, backend: HeldBackend) -> None:
    service = start(headers=Headers(prefix="X-Junk-"))
    found = await service.check(mail(SPAM))
    assert ("X-Junk-Flag", "YES") in service.headers(found)
    assert service.is_ours("x-junk-score") and not service.is_ours("X-Spam-Score")
    assert service.tag(b"X-Junk-Flag: NO\n" + SPAM, found).count(b"X-Junk-Flag") == 1
    service.reload(config_of(tmp_path), engine_of(backend))
    assert service.is_ours("X-Spam-Score")
    assert service.learner and service.learner.config is service.config

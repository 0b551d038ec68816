"""What the fast path settles, what it leaves to the model, and that the two never contradict each other."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from filterd.api import Kind, Label, Message
from filterd.config import Config, Model
from filterd.reading.text import GTUBE
from filterd.scoring.bundle import WIDE, FastPathEntry, FastPathSide, FileEntry, WideEntry
from filterd.scoring.engine import Engine
from filterd.scoring.fastpath import beyond, estimate, settle
from filterd.scoring.linear import TABLE, WideHalf, features
from filterd.scoring.memory import Recollection
from filterd.scoring.verdict import Thresholds, log_odds
from filterd.service.service import Service
from tests.filterd import fakes
from tests.filterd.fakes import WordBackend

THRESHOLDS = Thresholds(unsure=0.3, spam=0.9)
NOTHING = Recollection()
HAM, SPAM = "see you at the station", "claim your prize today now"
HAM_SIDE, SPAM_SIDE = (
    FastPathSide(limit=-8.0, scale=0.5, offset=0.0),
    FastPathSide(limit=8.0, scale=0.25, offset=2.5),
)
FIT = FastPathEntry(ham=HAM_SIDE, spam=SPAM_SIDE)
ENTRY = WideEntry(dict.fromkeys(Kind, 0.01))


def engine(ham: float | None = None, spam: float | None = None) -> tuple[Engine, WordBackend]:
    """One whose wide half knows two texts, beside a model that counts words. ham, spam: limits, if any."""
    table = np.zeros(TABLE, np.int8)
    table[features(HAM)] = -100
    table[features(SPAM)] = 100
    made, backend = fakes.engine()
    made.wide = WideHalf(dict.fromkeys(Kind, table), ENTRY)
    low, high = (
        None if limit is None else FastPathSide(limit=limit, scale=0.5, offset=0.0) for limit in (ham, spam)
    )
    made.fast_path = dict.fromkeys(Kind, FastPathEntry(ham=low, spam=high)) if low or high else None
    return made, backend


def test_certain_margins_are_settled_on_their_side() -> None:
    ham, spam = (settle(margin, FIT, NOTHING, THRESHOLDS) for margin in (-10.0, 10.0))
    assert (ham, spam) == (-5.0, 5.0)  # each by the line of its side
    assert settle(0.0, FIT, NOTHING, THRESHOLDS) is None
    assert settle(-7.9, FIT, NOTHING, THRESHOLDS) is None


def test_an_estimate_never_crosses_a_threshold() -> None:
    wrong = FastPathEntry(
        ham=FastPathSide(limit=-8.0, scale=0.5, offset=200.0),
        spam=FastPathSide(limit=8.0, scale=0.25, offset=-200.0),
    )
    ham, spam = (settle(margin, wrong, NOTHING, THRESHOLDS) for margin in (-10.0, 10.0))
    assert ham is not None and ham < log_odds(THRESHOLDS.unsure)
    assert spam is not None and spam > log_odds(THRESHOLDS.spam)
    assert settle(-10.0, FastPathEntry(), NOTHING, THRESHOLDS) is None


@pytest.mark.parametrize(
    ("memory", "ham", "spam"),
    [
        pytest.param(Recollection(word=-1), False, False, id="a correction of this very message"),
        pytest.param(Recollection(shift=1.0), False, True, id="pulls to spam"),
        pytest.param(Recollection(shift=-1.0), True, False, id="pulls to ham"),
        pytest.param(Recollection(weight=0.5), True, False, id="the model counts less"),
        pytest.param(Recollection(weight=1.5), False, True, id="the model counts more"),
        pytest.param(Recollection(), True, True, id="has no say"),
    ],
)
def test_what_the_memory_has_a_say_on(memory: Recollection, ham: bool, spam: bool) -> None:
    assert (settle(-10.0, FIT, memory, THRESHOLDS) is not None) == ham
    assert (settle(10.0, FIT, memory, THRESHOLDS) is not None) == spam


def test_beyond() -> None:
    assert [beyond(x, FIT) for x in (-8.0, 0.0, 8.0)] == [Label.HAM, None, Label.SPAM]
    assert beyond(9.0, FastPathEntry(ham=HAM_SIDE)) is None
    assert estimate(10.0, SPAM_SIDE) == 5.0


def test_the_engine_asks_no_model_for_what_is_settled() -> None:
    fast, backend = engine(ham=-4.0, spam=4.0)
    messages = [Message(text.encode(), kind=Kind.SMS) for text in (HAM, "an urgent prize", SPAM, "a cat")]
    plain = engine()[0].judge(messages)
    found = fast.judge(messages)
    assert [v.label for v in found] == [v.label for v in plain]
    assert [v.label for v in found] == [Label.HAM, Label.SPAM, Label.SPAM, Label.HAM]
    assert [v.tests[0] for v in found] == ["FASTPATH", "GPT2", "FASTPATH", "GPT2"]
    assert sum(map(len, backend.batches)) == 2
    assert [found[1].probability, found[3].probability] == [plain[1].probability, plain[3].probability]
    assert found[0].classes["ham"] == pytest.approx(1 - found[0].probability)
    settled = fast.prepare(messages[0])
    assert settled.windows == [] and settled.tokens == len(fast.cut(HAM, Kind.SMS)[0])


def test_the_highest_window_has_to_be_certain() -> None:
    fast, _ = engine(ham=-1.0)
    assert fast.prepare(Message(HAM.encode(), kind=Kind.SMS)).settled is not None
    longer = f"{HAM} {'and on ' * 12} {SPAM}"
    assert len(fast.cut(longer, Kind.SMS)) > 1
    assert fast.prepare(Message(longer.encode(), kind=Kind.SMS)).settled is None


async def test_the_service_queues_nothing_that_is_settled(tmp_path: Path) -> None:
    fast, backend = engine(ham=-4.0, spam=4.0)
    service = Service(Config(state=str(tmp_path)), fast, None)
    found = await service.check(Message(HAM.encode(), kind=Kind.SMS))
    mail = b"Subject: x\nFrom: x@example.org\n\n" + 9 * SPAM.encode()
    spam = await service.check(Message(mail, kind=Kind.MAIL))
    assert (found.label, spam.label) == (Label.HAM, Label.SPAM)
    assert backend.batches == []
    await service.check(Message(b"a cat", kind=Kind.SMS))
    assert len(backend.batches) == 1
    assert await service.close(5.0)


async def test_a_shadow_settles_too(tmp_path: Path) -> None:
    (fast, _), (shadow, backend) = engine(ham=-4.0, spam=4.0), engine(ham=-4.0, spam=4.0)
    config = Config(state=str(tmp_path), model=Model(shadow_share=1.0))
    service = Service(config, fast, None, shadow)
    for seen, text in enumerate((HAM, SPAM, "a cat"), 1):
        await service.check(Message(text.encode(), kind=Kind.SMS))
        async with asyncio.timeout(5.0):
            while not service.shadow or service.shadow.seen < seen:
                await asyncio.sleep(0.01)
    assert service.shadow and service.shadow.differs == 0
    assert len(backend.batches) == 1
    assert await service.close(5.0)


def test_gtube_and_several_readings_go_to_the_model() -> None:
    fast, _ = engine(ham=2000.0)
    assert fast.judge([Message(f"{HAM} {GTUBE}".encode(), kind=Kind.SMS)])[0].label is Label.SPAM
    twice = b"Subject: a\nSubject: b\nFrom: x@example.org\n\nhello"
    assert fast.prepare(Message(twice, kind=Kind.MAIL)).settled is None
    assert (
        fast.prepare(Message(b"Subject: a\nFrom: x@example.org\n\nhello", kind=Kind.MAIL)).settled is not None
    )


def test_a_manifest_says_what_was_measured() -> None:
    fits = dict.fromkeys(Kind, FIT)
    with pytest.raises(ValueError, match="needs wide"):
        fakes.manifest(fast_path=fits)
    wide = {"wide": ENTRY, "files": fakes.manifest().files | {WIDE: FileEntry(sha256="", bytes=0)}}
    with pytest.raises(ValueError, match="both mail and sms"):
        fakes.manifest(fast_path={Kind.SMS: FIT}, **wide)
    figures = {"messages": 4_000, "settled": 0.5, "agrees": 0.9995, "at_least": 0.9991}
    measured = dict.fromkeys(Kind, msgspec.structs.replace(FIT, **figures))
    lines = fakes.manifest(fast_path=measured, **wide).fast_path_lines()
    assert "settles 50.0% of 4,000" in lines[0]
    assert "99.950%" in lines[0]
    never = dict.fromkeys(Kind, FastPathEntry())
    assert "settles none" in fakes.manifest(fast_path=never, **wide).fast_path_lines()[1]
    assert fakes.manifest().fast_path_lines() == ["no fast path"]

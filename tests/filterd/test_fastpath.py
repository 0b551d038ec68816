"""What the fast path settles, what it leaves to the model, and that the two never contradict each other."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from filterd.api import Kind, Label, Message
from filterd.bundle import FAST_PATH, Certainty, FastPathEntry, FileEntry
from filterd.config import Config
from filterd.errors import BundleError
from filterd.fastpath import BITS, TABLE, FastPath, beyond
from filterd.grams import grams
from filterd.memory import Recollection
from filterd.service import Service
from filterd.text import GTUBE
from filterd.verdict import Thresholds, log_odds
from tests.filterd import fakes

THRESHOLDS = Thresholds(unsure=0.3, spam=0.9)
NOTHING = Recollection()
HAM, SPAM = "see you at the station", "claim your prize today now"


def entry(**changes: object) -> FastPathEntry:
    fit = msgspec.structs.replace(Certainty(scale=0.1, offset=0.0, ham=-4.0, spam=4.0), **changes)
    return FastPathEntry(max_tokens=16, max_windows=3, kinds=dict.fromkeys(Kind, fit))


def fast_path(**changes: object) -> FastPath:
    """One that knows two texts."""
    weights = {kind: np.zeros(TABLE, np.int8) for kind in Kind}
    for table in weights.values():
        table[grams(HAM, BITS)] = -100
        table[grams(SPAM, BITS)] = 100
    return FastPath(weights, entry(**changes))


def settle(text: str, memory: Recollection = NOTHING, **changes: object) -> float | None:
    return fast_path(**changes).settle(text, Kind.MAIL, memory, THRESHOLDS)


def test_certain_texts_are_settled_on_their_side() -> None:
    ham, spam = settle(HAM), settle(SPAM)
    assert ham is not None
    assert ham < log_odds(THRESHOLDS.unsure)
    assert spam is not None
    assert spam > log_odds(THRESHOLDS.spam)
    assert settle("something else altogether") is None
    assert settle("") is None


def test_an_estimate_never_crosses_a_threshold() -> None:
    found = settle(HAM, offset=200.0, ham=300.0, spam=None)
    assert found is not None
    assert found < log_odds(THRESHOLDS.unsure)
    assert settle(HAM, ham=None, spam=None) is None


@pytest.mark.parametrize(
    ("memory", "ham", "spam"),
    [
        pytest.param(Recollection(0.0, 0.0, 0.9, -1), False, False, id="a copy of a correction"),
        pytest.param(Recollection(2.0, 0.5, 0.1, 1), False, True, id="pulls to spam"),
        pytest.param(Recollection(-2.0, 0.5, 0.1, 1), True, False, id="pulls to ham"),
        pytest.param(Recollection(0.0, 0.5, 0.3, -1), True, True, id="has no say"),
    ],
)
def test_what_the_memory_has_a_say_on(memory: Recollection, ham: bool, spam: bool) -> None:
    assert (settle(HAM, memory) is not None) == ham
    assert (settle(SPAM, memory) is not None) == spam


def test_beyond() -> None:
    assert [beyond(x, -1.0, 1.0) for x in (-1.0, 0.0, 1.0)] == [Label.HAM, None, Label.SPAM]
    assert beyond(5.0, None, None) is None


def test_the_engine_asks_no_model_for_what_is_settled() -> None:
    engine, backend = fakes.engine()
    engine.fast_path = fast_path(ham=-30.0, spam=30.0)
    messages = [Message(text.encode(), Kind.SMS) for text in (HAM, "an urgent prize", SPAM, "a cat")]
    plain = fakes.engine()[0].judge(messages)
    found = engine.judge(messages)
    assert [v.label for v in found] == [Label.HAM, Label.SPAM, Label.SPAM, Label.HAM]
    assert [v.tests[0] for v in found] == ["FASTPATH", "GPT2", "FASTPATH", "GPT2"]
    assert sum(map(len, backend.batches)) == 2
    assert [found[1].probability, found[3].probability] == [plain[1].probability, plain[3].probability]
    assert found[0].classes["ham"] == pytest.approx(1 - found[0].probability)
    assert engine.prepare(messages[0]).windows == []


async def test_the_service_queues_nothing_that_is_settled(tmp_path: Path) -> None:
    engine, backend = fakes.engine()
    engine.fast_path = fast_path(ham=-30.0, spam=30.0)
    service = Service(Config(state=str(tmp_path)), engine, None)
    found = await service.check(Message(HAM.encode(), Kind.SMS))
    mail = b"Subject: x\nFrom: x@example.org\n\n" + 9 * SPAM.encode()
    spam = await service.check(Message(mail, Kind.MAIL))
    assert (found.label, spam.label) == (Label.HAM, Label.SPAM)
    assert backend.batches == []
    await service.check(Message(b"a cat", Kind.SMS))
    assert len(backend.batches) == 1
    assert await service.close(5.0)


def test_gtube_and_several_readings_go_to_the_model() -> None:
    engine, _ = fakes.engine()
    engine.fast_path = fast_path(ham=1000.0)
    assert engine.judge([Message(f"{HAM} {GTUBE}".encode(), Kind.SMS)])[0].label is Label.SPAM
    twice = b"Subject: a\nSubject: b\nFrom: x@example.org\n\nhello"
    assert engine.prepare(Message(twice, Kind.MAIL)).settled is None
    assert engine.prepare(Message(b"Subject: a\nFrom: x@example.org\n\nhello", Kind.MAIL)).settled is not None


def test_weights_are_read_and_checked(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="restore"):
        FastPath.load(tmp_path, entry())
    (tmp_path / FAST_PATH).write_bytes(bytes(7))
    with pytest.raises(BundleError, match="holds 7 weights"):
        FastPath.load(tmp_path, entry())
    (tmp_path / FAST_PATH).write_bytes(bytes(2 * TABLE))
    assert FastPath.load(tmp_path, entry(offset=2.5)).estimate("x", Kind.SMS) == 2.5


def test_a_manifest_says_what_was_measured() -> None:
    with pytest.raises(ValueError, match=FAST_PATH):
        fakes.manifest(fast_path=entry())
    files = fakes.manifest().files | {FAST_PATH: FileEntry(sha256="", bytes=0)}
    fit = {"messages": 4_000, "settled": 0.5, "agrees": 0.9995, "at_least": 0.9991}
    lines = fakes.manifest(fast_path=entry(**fit), files=files).fast_path_lines()
    assert "settles 50.0% of 4,000" in lines[0]
    assert "99.950%" in lines[0]
    none = fakes.manifest(fast_path=entry(ham=None, spam=None), files=files).fast_path_lines()
    assert "settles none" in none[1]
    assert fakes.manifest().fast_path_lines() == ["no fast path"]

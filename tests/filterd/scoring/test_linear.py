"""The wide half of a model, beside an engine that counts words."""

from pathlib import Path

import numpy as np
import pytest

from filterd.api import Kind, Message
from filterd.errors import BundleError
from filterd.scoring.bundle import WIDE, WideEntry
from filterd.scoring.engine import Engine
from filterd.scoring.linear import TABLE, WideHalf, features
from filterd.scoring.verdict import log_odds
from tests.filterd import fakes

HAM, SPAM = "see you at the station", "claim your prize today now"
ENTRY = WideEntry(scale={Kind.MAIL: 0.002, Kind.SMS: 0.004})


def wide() -> WideHalf:
    """One that knows two texts."""
    table = np.zeros(TABLE, np.int8)
    table[features(HAM)] = -100
    table[features(SPAM)] = 100
    return WideHalf(dict.fromkeys(Kind, table), ENTRY)


def engine(half: WideHalf | None) -> Engine:
    alone = fakes.engine()[0]
    return Engine(alone.bundle, alone._tokenizer, alone._backend, half)


def test_case_and_digits_do_not_count() -> None:
    half = wide()
    assert half.margin(SPAM, Kind.SMS) > 1
    assert half.margin(HAM, Kind.SMS) < -1
    assert half.margin(SPAM.upper(), Kind.SMS) == half.margin(SPAM, Kind.SMS)
    assert half.margin(SPAM, Kind.SMS) == pytest.approx(2 * half.margin(SPAM, Kind.MAIL))
    assert (features("call 0800 1") == features("call 0712 9")).all()


def test_repetition_does_not_count() -> None:
    once, often = (features(" ".join([SPAM] * n)) for n in (2, 20))
    assert set(once) == set(often)


def test_it_adds_to_the_margin() -> None:
    for content in (HAM, SPAM):
        alone, both = (engine(half).margins([content], [Kind.SMS])[0] for half in (None, wide()))
        assert both == pytest.approx(alone + wide().margin(content, Kind.SMS))


def test_innocent_text_in_other_windows_dilutes_nothing() -> None:
    judging = engine(wide())
    size = judging.bundle.manifest.max_tokens
    around = " ".join([HAM] * size)
    prepared = judging.prepare_canonical(f"{SPAM} {around}", Kind.MAIL)
    assert len(prepared.wide) == len(prepared.windows) > 1
    assert max(prepared.wide) > min(prepared.wide)
    assert prepared.wide[0] == wide().margin(judging.text_of(prepared.windows[0]), Kind.MAIL)


def test_a_verdict_is_of_both_halves() -> None:
    judging = engine(wide())
    verdict = judging.judge([Message(HAM.encode(), kind=Kind.SMS)])[0]
    assert log_odds(verdict.probability) == pytest.approx(judging.margins([HAM], [Kind.SMS])[0], abs=1e-6)
    prepared = judging.prepare_canonical(HAM, Kind.SMS)
    again = judging.conclude(prepared, judging.logits(prepared.windows))
    assert again.probability == verdict.probability


@pytest.mark.parametrize("content", [None, b"short"], ids=["not there", "short"])
def test_a_broken_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / WIDE).write_bytes(content)
    with pytest.raises(BundleError, match=WIDE):
        WideHalf.load(tmp_path, ENTRY)


def test_kinds_may_have_a_table_each(tmp_path: Path) -> None:
    mail, sms = np.zeros(TABLE, np.int8), np.zeros(TABLE, np.int8)
    mail[features(SPAM)], sms[features(SPAM)] = 100, -100
    (tmp_path / WIDE).write_bytes(mail.tobytes() + sms.tobytes())
    apart = WideHalf.load(tmp_path, WideEntry(scale=dict.fromkeys(Kind, 0.002), apart=True))
    assert apart.margin(SPAM, Kind.MAIL) == -apart.margin(SPAM, Kind.SMS) > 0
    with pytest.raises(BundleError, match=WIDE):
        WideHalf.load(tmp_path, ENTRY)

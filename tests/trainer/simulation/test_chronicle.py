"""Mails in the order of their dates."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput
from filterd_trainer.simulation import chronicle
from filterd_trainer.simulation.stream import located
from tests.trainer.simulation import mails


def test_the_order_is_that_of_the_dates(tmp_path: Path) -> None:
    inputs = located([f"site={mails.folders(tmp_path / 'mails', 24, dated=True)}"])
    stream = chronicle.load(inputs, 0, 123)
    dates = [chronicle.date(mail.raw) or datetime.max.replace(tzinfo=UTC) for mail in stream.mails]
    assert dates == sorted(dates)
    assert stream.n == len(stream.mails) == 48
    assert 0 < sum(stream.is_spam[:10]) < 10, "both labels from the beginning"


def test_a_sample_keeps_the_order_and_follows_from_the_seed(tmp_path: Path) -> None:
    inputs = located([f"site={mails.folders(tmp_path / 'mails', 24, dated=True)}"])
    whole = [mail.raw for mail in chronicle.load(inputs, 0, 123).mails]
    some = [mail.raw for mail in chronicle.load(inputs, 30, 123).mails]
    assert some == [raw for raw in whole if raw in some]
    assert len(some) == 30
    assert some == [mail.raw for mail in chronicle.load(inputs, 30, 123).mails]
    assert some != [mail.raw for mail in chronicle.load(inputs, 30, 9).mails]


def test_without_dates_there_is_no_order(tmp_path: Path) -> None:
    inputs = located([f"site={mails.folders(tmp_path / 'mails', 24)}"])
    with pytest.raises(BadInput, match="0 mails with a date"):
        chronicle.load(inputs, 0, 123)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        pytest.param(
            b"Date: Thu, 22 Aug 2002 18:26:25 +0700", datetime(2002, 8, 22, 11, 26, 25, tzinfo=UTC), id="zone"
        ),
        pytest.param(
            b"DATE: Thu, 22 Aug 2002 18:26:25", datetime(2002, 8, 22, 18, 26, 25, tzinfo=UTC), id="no zone"
        ),
        pytest.param(
            b"Date: Thu,\r\n 22 Aug 2002 18:26:25 +0000",
            datetime(2002, 8, 22, 18, 26, 25, tzinfo=UTC),
            id="folded",
        ),
        pytest.param(
            b"Received: a;\n\tFri, 23 Aug 2002 10:00:00 +0000\nDate: Mon, 1 Jan 1970 00:00:00 +0000",
            datetime(2002, 8, 23, 10, tzinfo=UTC),
            id="a year that cannot be",
        ),
        pytest.param(b"Date: soon", None, id="no date"),
        pytest.param(b"Date: Thu, 22 Aug 99999999999999 18:26:25 +0000", None, id="too large"),
        pytest.param(b"Subject: none\n\nDate: Thu, 22 Aug 2002 18:26:25 +0000", None, id="in the body"),
    ],
)
def test_dates(head: bytes, wanted: datetime | None) -> None:
    found = chronicle.date(head + b"\n\nhello\n")
    assert found == wanted


@given(st.binary(max_size=200))
def test_no_date_breaks_it(said: bytes) -> None:
    chronicle.date(b"Date:" + said + b"\nReceived: x;" + said)

"""A corpus of mails in the order in which they were sent, for `trainer simulate --online`.

The order is that of the Date header; where that is missing or of a year that no mail is from, as spam's is at
times, of the topmost Received header, which the receiving server wrote. Mails without either are left out and
counted. Near-duplicates stay, as a site sees a campaign more than once, and no mail is set aside: each is
judged before anything is said of it.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import numpy as np

from filterd.errors import BadInput
from filterd_trainer.data.grouping import Report, quiet
from filterd_trainer.data.sources import ReadingLosses, Source
from filterd_trainer.simulation.stream import MIN_MAILS, Stream, StreamMail, fingerprint, read

YEARS: Final = range(1992, 2100)  # before: no corpus of mail; behind: a clock that is wrong, or a forgery
MAX_HEAD: Final = 65_536  # bytes in which dates are looked for
MAX_DATE: Final = 100  # characters of a date; RFC 5322's longest has 50

_BREAK = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_DATE = re.compile(rb"^date:([^\r\n]*)", re.I | re.M)
_RECEIVED = re.compile(rb"^received:[^\r\n]*;([^;\r\n]*)", re.I | re.M)


def load(inputs: Sequence[Source], messages: int, seed: int, report: Report = quiet) -> Stream:
    """Read the inputs and put them into order. messages: so many, drawn at random by the seed; 0: all.

    Raises NotFound, and BadInput where too little is left.
    """
    losses = ReadingLosses()
    dated: list[tuple[datetime, StreamMail]] = []
    for mail in read(inputs, losses, report):
        if sent := date(mail.raw):
            dated.append((sent, mail))
        else:
            losses.counts["no date"] += 1
    if 0 < messages < len(dated):
        drawn = np.random.default_rng(seed).choice(len(dated), messages, replace=False)
        dated = [dated[i] for i in sorted(drawn.tolist())]
    mails = [mail for _, mail in sorted(dated, key=lambda one: one[0])]
    if len(mails) < MIN_MAILS or len({mail.is_spam for mail in mails}) < 2:
        raise BadInput(f"{len(mails)} mails with a date; at least {MIN_MAILS} of both labels are needed")
    return Stream(mails, len(mails), dict(losses.counts), fingerprint(mails))


def date(raw: bytes) -> datetime | None:
    """When a mail was sent, as it says; None where it does not."""
    head = _FOLD.sub(b" ", _BREAK.split(raw[:MAX_HEAD], maxsplit=1)[0])
    for field in (_DATE, _RECEIVED):
        if (found := field.search(head)) and (sent := _parsed(found[1])):
            return sent
    return None


def _parsed(said: bytes) -> datetime | None:
    try:
        sent = parsedate_to_datetime(said.decode("ascii", "replace").strip()[:MAX_DATE])
        sent = sent.replace(tzinfo=UTC) if sent.tzinfo is None else sent.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return sent if sent.year in YEARS else None

"""Raw mails of ../shared/data for tests, spread over their sources."""

import base64
import json
import lzma
import tarfile
from collections.abc import Iterator
from itertools import islice

from tests.conftest import SHARED

SOURCES = ("fixtures", "fixtures2", "list_spam", "bounces", "zh_ccert")
FILES = (*(f"mail_{name}" for name in SOURCES), "phishing_pot", "nazario1")
ARCHIVE = "email_spamassassin/email_spamassassin.tar.xz"


def raw_mails(count: int, *, of_each: int = 0) -> Iterator[bytes]:
    """About so many mails, or `of_each` of every source; skips nothing for being odd."""
    share = of_each or max(1, count // (len(FILES) + 1))
    for source in FILES:
        yield from islice(_of_json(source), share)
    yield from islice((raw for _, raw in of_archive()), share)


def _of_json(source: str) -> Iterator[bytes]:
    with lzma.open(SHARED / "more" / f"{source}.jsonl.xz", "rt") as lines:
        for line in lines:
            if (raw := json.loads(line).get("raw")) is not None:
                yield base64.b64decode(raw)


def of_archive() -> Iterator[tuple[str, bytes]]:
    """Names ("spam-1/…", "easy-ham-1/…") and bytes of SpamAssassin's mails."""
    with tarfile.open(SHARED / ARCHIVE) as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                yield member.name.partition("/data/")[2], file.read()


# Mails with one forged header where a program may look past it: behind a field with lines of blanks, below a
# quoted mbox line. The shared cases are of the same kinds.
FORGED_LINE = b"X-Spam-Flag: YES\n"
_REST = b"From: Ann <ann@example.org>\nTo: ben@example.net\n\nAt noon?\n.\nAnn\n"
_FORGED = {
    "blanks": b"Subject:\n \n\t\n lunch\n" + FORGED_LINE + _REST,
    "mbox": b">From ann@example.org Tue Mar  4 09:59:00 2025\n" + FORGED_LINE + b"Subject: lunch\n" + _REST,
}
CASES = ("a01b-ws-fold-ham", "a30b-gtfrom-nofrom")


def forged() -> dict[str, bytes]:
    """Such mails by name, those of ../shared/cases where they are."""
    files = [SHARED.parent / "cases" / f"{name}.eml" for name in CASES]
    return _FORGED | {file.stem: file.read_bytes() for file in files if file.exists()}

"""Our reading of MIME beside the standard library's on real mails; docs/text.md explains what differs."""

import email
import email.policy
import re
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from typing import cast

import pytest

from filterd.reading import mime
from filterd.reading.charsets import codec_of
from tests.filterd.mails import raw_mails

MAILS = 1_600
MAX_DIFFERENT = 0.015  # of mails, all of kinds that docs/text.md names


def words(text: str) -> list[str]:
    """The words of a text in ASCII letters: what else is in it depends on charsets that nobody declared."""
    return re.findall(r"[A-Za-z]{2,}", text)


def stdlib_texts(mail: EmailMessage) -> Iterator[str]:
    """What the standard library gives for each text/plain part that is shown, in order."""
    if mail.get_content_type() == "multipart/alternative":
        parts = [part for part in mail.iter_parts() if isinstance(part, EmailMessage)]
        if any(part.get_content_type() != "text/plain" for part in parts):
            return  # the HTML one is shown
    if mail.is_multipart():
        for part in mail.get_payload():
            if isinstance(part, EmailMessage):
                yield from stdlib_texts(part)
    elif mail.get_content_type() == "text/plain" and mail.get_content_disposition() != "attachment":
        payload = mail.get_payload(decode=True)
        assert isinstance(payload, bytes)
        charset = mail.get_content_charset("utf-8")
        yield payload.decode(codec_of(charset.encode()) or "utf-8", "replace")


def difference(raw: bytes) -> str:
    """ "" where both read the same words, else a hint at what differs."""
    policy = email.policy.compat32.clone(message_factory=EmailMessage)
    parsed = cast("EmailMessage", email.message_from_bytes(raw, policy=policy))
    found = mime.parse(raw)
    if found.doubts or "truncated" in found.facts:
        return ""
    missing = Counter(words(" ".join(stdlib_texts(parsed)))) - Counter(words(found.text))
    return " ".join([*missing][:6]) if sum(missing.values()) > 2 else ""


@pytest.mark.shared
def test_parts_are_those_of_the_standard_library() -> None:
    differ = []
    for raw in raw_mails(MAILS):
        try:
            hint = difference(raw)
        except (LookupError, UnicodeError, ValueError, AssertionError):  # the library's own, on odd mails
            continue
        differ += [hint] if hint else []
    assert len(differ) <= MAX_DIFFERENT * MAILS, differ[:20]

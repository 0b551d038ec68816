"""The daily mail that tells a recipient what is held for him, with a link to release each.

It goes through the next hop, from nobody, so that nothing bounces, and is stamped as released mail is, so
that filterd does not hold it. A link opens a page with a button: programs that follow links release nothing.
"""

import time
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from itertools import groupby
from typing import Final, NamedTuple

from filterd.config import Config
from filterd.errors import ConfigError
from filterd.history.record import clean
from filterd.language import catalogue
from filterd.quarantine.index import DAY_S, QuarantineEntry
from filterd.quarantine.nexthop import ReleaseHop
from filterd.quarantine.store import QuarantineStore

LISTED: Final = 100  # messages of one digest; of more their number is said
LOOK_BACK_DAYS: Final = 14.0  # what is older was held before there were digests, or no digest could be sent


class Digest(NamedTuple):
    """One recipient's mail. key: his. numbers: of the messages that it names."""

    address: str
    key: str
    numbers: tuple[int, ...]
    mail: EmailMessage


def digests(config: Config, quarantine: QuarantineStore) -> Iterator[Digest]:
    """A digest for each recipient for whom something is held that none has named. Raises ConfigError."""
    if not config.quarantine.sender:
        raise ConfigError("a digest needs an address that it is from; set quarantine.sender")
    rows = quarantine.index.untold(time.time() - LOOK_BACK_DAYS * DAY_S)
    for (address, key), group in groupby(rows, lambda row: row[:2]):
        numbers = [row[2] for row in group]
        found = [entry for number in numbers[:LISTED] if (entry := quarantine.index.get(number, (key,)))]
        mail = _mail(config, quarantine, address, found, len(numbers), key)
        yield Digest(address, key, tuple(numbers), mail)


def send(config: Config, quarantine: QuarantineStore, digest: Digest) -> None:
    """Send one and note that. Raises ReleaseFailed, NotFound; nothing is noted then, and it comes again."""
    raw = quarantine.signer.stamp(digest.mail.as_bytes(), digest.numbers[0], digest.address)
    ReleaseHop.of(config).send("", digest.address, raw)
    quarantine.index.tell(digest.key, digest.numbers)


def _mail(
    config: Config,
    quarantine: QuarantineStore,
    address: str,
    entries: Sequence[QuarantineEntry],
    total: int,
    key: str,
) -> EmailMessage:
    section = config.quarantine

    def say(name: str, **values: object) -> str:
        return catalogue.say(section.language, f"digest.{name}", **values)

    lines = [say("lead", messages=total, days=section.retention_days), ""]
    for entry in entries:
        lines += [f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(entry.time))}  {entry.sender or '-'}"]
        lines += [f"  {entry.subject or '-'}"]
        if section.link:
            token = quarantine.signer.link(entry.number, key, section.link_days)
            lines += [f"  {section.link}/console/release/{token}"]
        lines += [""]
    if total > len(entries):
        lines += [say("more", messages=total - len(entries)), ""]
    lines += [say("links", days=section.link_days) if section.link else say("no-links")]
    mail = EmailMessage(SMTP)
    mail["From"] = section.sender
    mail["To"] = clean(address)
    mail["Subject"] = say("subject", messages=total)
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid("filterd", section.sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(lines) + "\n")
    return mail

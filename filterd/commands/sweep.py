"""`filterd sweep`: judge a mailbox that is there already, and file or tag what is spam in it.

Order of a mail's way: read, judged, acted upon, written to the journal. Whatever ends the run, a mail is in
one place, whole, and the next run goes on: what the journal knows is not judged again. A mail that was acted
upon is never acted upon again: who moves one back from Junk has the last word.
"""

import hashlib
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from filterd import headers
from filterd.api import Kind, Label, Message, Verdict
from filterd.commands import pipe
from filterd.commands.input import MAX_MESSAGE_BYTES, Judge
from filterd.errors import ConfigError, NotFound, Overloaded
from filterd.headers import HeaderStyle
from filterd.mailboxes import maildir, mbox
from filterd.mailboxes.journal import Journal, JournalLine, default_path
from filterd.mailboxes.maildir import Folder, MailFile
from filterd.mailboxes.mbox import Span
from filterd.progress import bar

BATCH = 64  # judged, acted upon and written down at a time: what a kill can cost is judging these again
BUSY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # how long a busy daemon is waited for before the sweep ends
# Not swept unless named: what the user wrote, and what was sorted out already (RFC 6154's special uses).
LEFT_OUT = {"sent", "sent items", "sent messages", "drafts", "trash", "deleted items", "junk", "spam"}

PLAIN_STYLE = HeaderStyle()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What a sweep is to do. only: folders by name; unsure: act upon these too, not on spam alone."""

    only: tuple[str, ...] = ()
    move_to: str = ""
    tag: bool = False
    dry_run: bool = False
    unsure: bool = False
    style: HeaderStyle = PLAIN_STYLE

    @property
    def acts(self) -> bool:
        """Whether mails are touched at all."""
        return bool(self.move_to or self.tag)

    @property
    def deed(self) -> str:
        """What is done to a mail that is found, for people."""
        done = [*(["tagged"] if self.tag else []), *([f"to {self.move_to}"] if self.move_to else [])]
        return ("would be " if done and self.dry_run else "") + ", ".join(done)


@dataclass(frozen=True, slots=True)
class SweepEntry:
    """One mail of the mailbox. key: its name in the journal."""

    folder: str
    mail: MailFile | Span

    @property
    def key(self) -> str:
        """Folder and unique name; the content's hash in an mbox."""
        return f"{self.folder}/{self.mail.unique}"

    @property
    def shown(self) -> str:
        """How a person finds it."""
        where = self.mail.file if isinstance(self.mail, MailFile) else f"byte {self.mail.start}"
        return f"{self.folder}/{where}"


@dataclass(slots=True, kw_only=True)
class SweepCount:
    """What a sweep has come to, for one folder."""

    mails: int = 0
    before: int = 0  # judged by an earlier run
    acted: int = 0
    failed: int = 0
    labels: Counter[Label] = field(default_factory=Counter)

    def __add__(self, other: "SweepCount") -> "SweepCount":
        return SweepCount(
            mails=self.mails + other.mails,
            before=self.before + other.before,
            acted=self.acted + other.acted,
            failed=self.failed + other.failed,
            labels=self.labels + other.labels,
        )


def entries(mailbox: Path, plan: SweepPlan) -> list[SweepEntry]:
    """What is to be swept. Raises NotFound, BadInput, and ConfigError where an mbox was to be changed."""
    if mbox.is_mbox(mailbox):
        if plan.acts or plan.only:
            raise ConfigError(f"{mailbox}: an mbox is judged only; leave out --move-to, --tag and --folder")
        return [SweepEntry(mailbox.name, mail) for mail in mbox.mails(mailbox)]
    if not mailbox.is_dir():
        raise NotFound(f"{mailbox}: no Maildir and no mbox; name one")
    chosen = _chosen(mailbox, plan)
    return [SweepEntry(one.name, mail) for one in chosen for mail in maildir.mails(one) if not mail.deleted]


def _chosen(root: Path, plan: SweepPlan) -> list[Folder]:
    found = maildir.folders(root)
    if plan.acts and not maildir.is_maildir(root):
        raise ConfigError(f"{root}: holds Maildirs and is none; --move-to and --tag want one at a time")
    target = maildir.subfolder(root, plan.move_to) if plan.move_to else None
    if plan.only:
        missing = [name for name in plan.only if name not in {one.name for one in found}]
        if missing:
            there = ", ".join(one.name for one in found)
            raise NotFound(f"{root}: no folder {missing[0]!r}; there are {there}")
        found = [one for one in found if one.name in plan.only]
    else:
        found = [one for one in found if re.split("[/.]", one.name)[-1].lower() not in LEFT_OUT]
    return [one for one in found if one.path != target]


class Sweep:
    """One run over one mailbox."""

    def __init__(self, mailbox: Path, plan: SweepPlan, judge: Judge, journal: Journal) -> None:
        self._plan, self._judge, self._journal = plan, judge, journal
        self._entries = entries(mailbox, plan)
        self._target = maildir.subfolder(mailbox, plan.move_to) if plan.move_to else None
        self.counts = {one.folder: SweepCount() for one in self._entries}

    @property
    def failed(self) -> int:
        """Mails that could not be read, judged or acted upon."""
        return sum(count.failed for count in self.counts.values())

    def run(self, advance: Callable[[int], None] = lambda _: None) -> None:
        """All of it; raises what ends a run early, and what is done until then is done."""
        if self._target and not self._plan.dry_run:
            maildir.make(self._target)
        left = iter(self._entries)
        while batch := list(islice(left, BATCH)):
            self._batch(batch)
            advance(len(batch))

    def __len__(self) -> int:
        return len(self._entries)

    def _batch(self, batch: Sequence[SweepEntry]) -> None:
        asked = []
        for entry in batch:
            self.counts[entry.folder].mails += 1
            known = self._journal.get(entry.key)
            if known and not (self._wanted(known.label) and not known.acted and self._plan.tag):
                self._known(entry, known)
            elif message := self._message(entry):
                asked.append((entry, message))
        verdicts = self._patiently([message for _, message in asked])
        for (entry, message), found in zip(asked, verdicts, strict=True):
            self._judged(entry, message, found)

    def _wanted(self, label: Label) -> bool:
        return label is Label.SPAM or (label is Label.UNSURE and self._plan.unsure)

    def _known(self, entry: SweepEntry, known: JournalLine) -> None:
        """Nothing is left to do, or what an earlier run without --move-to has found is filed now."""
        count = self.counts[entry.folder]
        count.before += 1
        count.labels[known.label] += 1
        if self._wanted(known.label) and not known.acted:
            self._act(entry, known, None)

    def _message(self, entry: SweepEntry) -> Message | None:
        try:
            raw = maildir.following(entry.mail, lambda mail: mail.read(MAX_MESSAGE_BYTES))
        except OSError as error:
            self._failure(entry, error.strerror or str(error))
            return None
        if raw is None:
            return None
        if not raw.strip():
            self._failure(entry, "empty, there is nothing to judge")
            return None
        return Message(raw, kind=Kind.MAIL, id=entry.mail.unique[:64], source="sweep")

    def _patiently(self, messages: Sequence[Message]) -> list[Verdict]:
        if not messages:
            return []
        for pause in BUSY_PAUSES_S:
            try:
                found = self._judge(messages)
                if all(one.available for one in found):
                    return found
            except Overloaded:
                pass
            time.sleep(pause)
        return self._judge(messages)

    def _judged(self, entry: SweepEntry, message: Message, found: Verdict) -> None:
        if not found.available:
            self._failure(entry, "the filter was too busy to judge it; sweep again")
            return
        self.counts[entry.folder].labels[found.label] += 1
        wanted = self._wanted(found.label)
        content = _content(message.raw) if wanted else ""
        known = JournalLine(entry.key, found.label, wanted and self._journal.acted_before(content), content)
        if wanted and not known.acted:
            self._act(entry, known, found)
        else:
            self._journal.add([known])

    def _act(self, entry: SweepEntry, known: JournalLine, found: Verdict | None) -> None:
        """Do what the plan says, and say so; found is None for what an earlier run has judged."""
        done = [known._replace(acted=self._plan.acts and not self._plan.dry_run)]
        try:
            if done[0].acted and not self._change(entry, found, done):
                return
        except OSError as error:
            self._failure(entry, error.strerror or str(error))
            return
        self._journal.add(done)
        self.counts[entry.folder].acted += self._plan.acts
        score = f"{found.probability:.3f}" if found else "before"
        line = (
            f"{known.label:6}",
            f"{score:6}",
            self._plan.deed,
            entry.shown,
            found.subject if found else "",
        )
        print(pipe.printable("  ".join(part for part in line if part)))

    def _change(self, entry: SweepEntry, found: Verdict | None, done: list[JournalLine]) -> bool:
        """Tag, then file. False: it is gone. Raises OSError."""

        assert isinstance(entry.mail, MailFile)

        def change(mail: MailFile) -> MailFile:
            if self._plan.tag and found and not (self._target and mail.compressed):
                mail = maildir.rewrite(
                    mail, lambda raw: headers.tag(raw, found, self._plan.style), MAX_MESSAGE_BYTES
                )
                done.append(done[0]._replace(key=f"{entry.folder}/{mail.unique}"))
            return maildir.move(mail, self._target) if self._target else mail

        return maildir.following(entry.mail, change) is not None

    def _failure(self, entry: SweepEntry, reason: str) -> None:
        self.counts[entry.folder].failed += 1
        pipe.complain(f"{entry.shown}: {reason}")


def _content(raw: bytes) -> str:
    """What a mail is known again by when a server has given it another name: all but headers like ours."""
    return hashlib.sha256(headers.strip(raw)).hexdigest()[:32]


def sweep(
    mailbox: Path, plan: SweepPlan, open_judge: Callable[[], Judge], state: Path | None, *, again: bool
) -> int:
    """Sweep a mailbox, with a bar and a table at the end; returns the exit status, 66 where a mail failed.

    state: the journal's file, None for the usual place; again: judge anew what it knows. Raises FilterdError.
    """
    entries(mailbox, plan)  # what is wrong with it is said before a model is loaded
    with Journal.open(state or default_path(mailbox), mailbox, anew=again) as journal:
        run = Sweep(mailbox, plan, open_judge(), journal)
        try:
            with bar("Sweeping", len(run)) as advance:
                run.run(advance)
        except BaseException:
            print("filterd: not finished; the same command goes on from here", file=sys.stderr)
            raise
        finally:
            show(run.counts, plan)
    return NotFound.exit_status if run.failed else 0


def show(counts: dict[str, SweepCount], plan: SweepPlan) -> None:
    """The table of a run, a row for each folder."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("folder")
    names = ["mails", "judged before", "ham", "unsure", "spam", plan.deed, "failed"]
    for name in filter(None, names):
        table.add_column(name, justify="right")
    rows = dict(counts)
    if len(rows) != 1:
        rows["all"] = sum(rows.values(), SweepCount())
    for folder, count in rows.items():
        labels = [count.labels[label] for label in Label]
        deeds = [count.acted] if plan.acts else []
        cells = [count.mails, count.before, *labels, *deeds, count.failed]
        table.add_row(pipe.printable(folder), *(f"{cell:,}" for cell in cells))
    Console().print(table)

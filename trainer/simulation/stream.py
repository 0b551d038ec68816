"""What `trainer simulate` replays: a corpus of mails as the days of a site that begins with a bundle.

Mails are mixed by a seed, not in the order of their folders, as those hold one label each. Near-duplicates
(`trainer.data.grouping`) stay together: whole groups, drawn at random, are set aside as *clean* mail, which
nobody corrects and which therefore shares no campaign, thread or quotation with what is learned from. Within
the stream near-duplicates stay, as a site sees a campaign more than once.

A day is `day` messages; every `every` messages a night passes. Both count messages, as dates of the corpus
do not say when a site would have got them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from filterd.api import Kind, Label, Message
from filterd.errors import BadInput
from filterd.reading import text
from filterd_trainer.data import sources
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.grouping import Report, group, quiet
from filterd_trainer.data.sources import ReadingLosses, Source

HAM_NAMES, SPAM_NAMES = frozenset({"ham", "0", "legit"}), frozenset({"spam", "1", "junk"})
KNOWN_SPLITS = ("train", "validation")  # of a dataset: what its model was trained and calibrated on
MIN_MAILS = 20  # fewer are no stream


class StreamSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The site that is simulated.

    messages: of the stream, 0 for all; clean: share of all that is set aside; day: messages; every: messages
    between two nights; corrects: share of the errors that the user corrects, a day later; wrong: of those
    corrections, with the label flipped; hostile: share of all corrections in the hostile runs.
    """

    messages: int = 0
    clean: float = 0.15
    day: int = 250
    every: int = 500
    corrects: float = 0.3
    wrong: float = 0.02
    hostile: float = 0.1
    seed: int = 123

    def __post_init__(self) -> None:
        shares = (self.clean, self.corrects, self.wrong, self.hostile)
        if not all(0.0 <= share < 1.0 for share in shares[2:]) or not 0.0 < self.clean < 1.0:
            raise BadInput("--clean, --wrong and --hostile are shares: from 0 to below 1, --clean above 0")
        if not 0.0 < self.corrects <= 1.0 or min(self.day, self.every) < 1 or self.messages < 0:
            raise BadInput("--corrects is above 0 and at most 1, --day and --every are at least 1")

    def starts(self, messages: int) -> list[int]:
        """Where segments begin; the last one is empty, so that the last night is followed by a look."""
        return [*range(0, messages, self.every), messages]


@dataclass(frozen=True, slots=True)
class StreamMail:
    """One message. texts: the canonical text of each of its readings, the first one first."""

    raw: bytes
    kind: Kind
    texts: tuple[str, ...]
    is_spam: bool
    group: int

    @property
    def label(self) -> Label:
        """What it is."""
        return Label.SPAM if self.is_spam else Label.HAM


@dataclass(frozen=True)
class Stream:
    """mails: n of the stream in their order, then those set aside. n: of the stream. lost: by reason."""

    mails: Sequence[StreamMail]
    n: int
    lost: dict[str, int]
    fingerprint: str

    @property
    def is_spam(self) -> npt.NDArray[np.bool_]:
        """The truth, [len(mails)]."""
        return np.array([mail.is_spam for mail in self.mails], dtype=bool)

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The group of near-duplicates of each, [len(mails)]."""
        return np.array([mail.group for mail in self.mails], dtype=np.int64)

    @property
    def clean(self) -> range:
        """The places of those set aside."""
        return range(self.n, len(self.mails))


def load(
    inputs: Sequence[Source], settings: StreamSettings, known: Dataset | None = None, report: Report = quiet
) -> Stream:
    """Read the inputs and mix them. known: what the bundle was trained on is left out.

    Raises NotFound, and BadInput where too little is left.
    """
    losses = ReadingLosses()
    mails = [*read(inputs, losses, report)]
    if known:
        mails = _without(mails, known, losses)
    if len(mails) < MIN_MAILS or len({mail.is_spam for mail in mails}) < 2:
        raise BadInput(f"{len(mails)} mails to replay; at least {MIN_MAILS} of both labels are needed")
    numbers = group([mail.texts[0] for mail in mails], report)
    grouped = [_in_group(mail, int(number)) for mail, number in zip(mails, numbers, strict=True)]
    chosen, n = _mixed(grouped, settings)
    return Stream(chosen, n, dict(losses.counts), fingerprint(chosen))


def read(inputs: Sequence[Source], losses: ReadingLosses, report: Report) -> list[StreamMail]:
    """The mails of inputs that are labelled ham or spam and say something, each in a group of its own."""
    found: list[StreamMail] = []
    for source in inputs:
        for one in sources.read(source, losses):
            name = one.label.lower()
            readings = text.read(Message(one.raw))
            texts = tuple(reading.canonical for reading in readings)
            if name not in HAM_NAMES | SPAM_NAMES:
                losses.add("label that is neither ham nor spam", one.where)
            elif not texts[0].strip():
                losses.add("no text left", one.where)
            else:
                found.append(StreamMail(one.raw, readings[0].kind, texts, name in SPAM_NAMES, len(found)))
                report("mails", len(found), 0)
    return found


def _without(mails: list[StreamMail], known: Dataset, losses: ReadingLosses) -> list[StreamMail]:
    """Those whose text, near-duplicates of which are on its side, is none that a model has seen."""
    seen = {str(text) for split in KNOWN_SPLITS for text in known.split(split)["Text"]}
    tested = {str(text) for split in ("test", "test_natural") for text in _split(known, split)}
    kept = [mail for mail in mails if mail.texts[0] in tested and mail.texts[0] not in seen]
    losses.counts["not of the dataset's test part"] += len(mails) - len(kept)
    return kept


def _split(known: Dataset, name: str) -> list[str]:
    return [*map(str, known.split(name)["Text"])] if (known.folder / f"{name}.csv").is_file() else []


def _in_group(mail: StreamMail, number: int) -> StreamMail:
    return StreamMail(mail.raw, mail.kind, mail.texts, mail.is_spam, number)


def _mixed(mails: list[StreamMail], settings: StreamSettings) -> tuple[list[StreamMail], int]:
    """Whole groups, at random, to the clean part until it has its share; the rest mixed, and cut."""
    rng = np.random.default_rng(settings.seed)
    members: dict[int, list[StreamMail]] = {}
    for mail in mails:
        members.setdefault(mail.group, []).append(mail)
    order = [members[number] for number in rng.permutation(sorted(members)).tolist()]
    stream = settings.messages or len(mails)
    wanted = settings.clean * min(len(mails), stream / (1 - settings.clean))
    clean: list[StreamMail] = []
    while order and len(clean) < wanted:
        clean += order.pop()
    rest = [mail for one in order for mail in one]
    chosen = [rest[i] for i in rng.permutation(len(rest))[:stream]]
    if not chosen:
        raise BadInput("nothing is left for the stream; choose a smaller --clean")
    return chosen + clean, len(chosen)


def fingerprint(mails: Sequence[StreamMail]) -> str:
    """SHA-256 over the messages and labels in their order."""
    digest = hashlib.sha256()
    for mail in mails:
        digest.update(hashlib.sha256(mail.raw).digest() + bytes([mail.is_spam]))
    return digest.hexdigest()


def located(given: Sequence[str]) -> list[Source]:
    """Inputs given as NAME=PATH or PATH."""
    return [Source(path, name or sources.called(path)) for name, path in map(sources.located, given)]


def dataset(folder: Path | None) -> Dataset | None:
    """The dataset of a folder, if one is named. Raises NotFound, BadInput."""
    return Dataset.load(folder) if folder else None

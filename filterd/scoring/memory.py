"""The memory: what corrections have taught since the model was trained, in effect at once.

Two parts look at a message's *features*, the set of its hashed byte 4-grams, headers included:

- A linear learner, online logistic regression (one weight a feature), good at telling spam from ham in
  general once it has seen some of both. Its say is `log_odds`.
- A recollection of single corrections: each feature remembers the last correction that had it, its owner.
  A message that has nearly all the features a correction owns is a copy of it. Its say is `overlap`
  (0 … 1, how much of that correction is in the message) and `label`, what the correction said. Older
  corrections lose common features to newer ones and stay known by those that are theirs alone; the
  corrected message itself is recognised by a digest, whatever came after it.

Fusion, in log-odds; m is the calibrated model's:

    fused = (1 - a) * (m + t * w) + a * (+C or -C)

w is the learner's log-odds. t = TRUST * k / (k + TRUST_HALF) trusts it by k, the fewer of the spam and the
ham corrections of this kind: from spam alone nobody learns what ham looks like, so 100 spam corrections move
no unrelated ham. t goes beyond 1 because w is modest by its making: the learner stops where a correction is
settled, at 3.9, and a mail that shares some of its features gets some of that, while a wrong model is wrong
by more (measured by `trainer simulate`; docs/decisions.md). a rises from 0 to 1 as the overlap goes from
UNRELATED to COPY, and C is the certainty of a person's word, which outdoes the most confident model. An
empty memory has t = a = 0 and adds nothing.

State is a function of the corrections in their order and nothing else: `rebuild` from the store gives the
same bytes, and forgetting a correction is replaying the others. No lock in here: callers serialise.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind, Label
from filterd.errors import BadInput, StoreError
from filterd.scoring.verdict import MAX_LOG_ODDS

FORMAT = 1  # of features and of a saved memory; part of its header
BYTES_READ = 3500  # from the top of the normalised message; more gained nothing on the streams of design.md
BITS = 20  # 2^20 weights: 4 MB, and 10,000 mails' 4-grams collide too seldom to matter
TABLE = 1 << BITS  # features of mail lie below, those of SMS above it: the kinds share no weight
MAX_FEATURES = BYTES_READ - 3
RATE = 4.0
SETTLED = 0.02  # no update where |error| is below: what is known need not be learned louder
TRUST = 4.0  # of the learner's log-odds, at most; 1 never outvoted a model that was wrong
TRUST_HALF = 100.0  # corrections of the rarer label at which the learner has half its say
UNRELATED, COPY = 0.40, 0.55  # overlap up to which a correction has no say, from which it has all
CERTAIN = MAX_LOG_ODDS  # a person's word outdoes the most confident model
SLOTS = 1 << 14  # single corrections recollected; older ones live on in the weights. Fits uint16
MIN_OWNED = 24  # features a correction has to own to be recognised by; fewer match by accident
MAX_SAVED_HEADER = 1024  # bytes; it has three fields
MAX_STEPS = 16  # of gradient for one correction; unseen messages settle in 12

Features = NDArray[np.uint32]

# What a delivered copy has and the judged mail had not, or may have more of: added by the last hop, the
# mailbox, the mail reader or a spam filter. All `Received` go: how many of them delivery adds depends on
# where the filter sits (a milter does not see the one of its own Postfix), and to drop them all cost
# nothing on a stream of the 6,046 SpamAssassin mails (1-ROCA 0.167% without, 0.181% with).
DELIVERY = frozenset(
    b"apparently-to authentication-results bcc content-length delivered-to delivery-date envelope-to lines"
    b" received received-spf return-path status x-account-key x-apparently-to x-authentication-warning"
    b" x-bogosity x-delivered-to x-delivery-agent x-keywords x-label x-mime-autoconverted x-original-to"
    b" x-originalarrivaltime x-quarantine-id x-resolved-to x-sieve x-status x-tuid x-uid x-uidl".split()
)
DELIVERY_PREFIXES = (
    *(b"arc-", b"old-return-path", b"x-amavis-", b"x-crm114-", b"x-dspam-", b"x-envelope-", b"x-evolution"),
    *(b"x-getmail-", b"x-gm-", b"x-gmail-", b"x-imap", b"x-mailscanner", b"x-mozilla-", b"x-old-spam-"),
    *(b"x-ms-exchange-organization-", b"x-pyzor", b"x-rspam", b"x-spam", b"x-virus-"),
)

_FIELD_START = re.compile(rb"\n(?![ \t])")
_BLANKS = re.compile(rb"[ \t\n]+")
_SIGNATURE = re.compile(
    rb"\b(bh?=)[A-Za-z0-9+/= ]{20,}"
)  # DKIM's hashes: new in each copy, 400 bytes of noise


def normalise(raw: bytes, kind: Kind, prefix: str = "X-Spam-") -> bytes:
    """The part of a message that is the same when it is judged and when its delivered copy is learned.

    prefix: of our own headers, as configured. Line ends become LF, folded headers one line, the mbox
    "From " line and its quoting (">From ") go, and so do the headers named in DELIVERY.
    """
    text = raw.replace(b"\r\n", b"\n")
    if kind is Kind.SMS:
        return text.strip()
    if text.startswith(b"From "):
        text = text[text.find(b"\n") + 1 or len(text) :]
    head, gap, body = text.partition(b"\n\n")
    ours = (prefix.lower().encode(), *DELIVERY_PREFIXES)
    kept = [field for field in _FIELD_START.split(head) if not _of_delivery(field, ours)]
    fields = b"\n".join(_BLANKS.sub(b" ", field) for field in kept)
    return (_SIGNATURE.sub(rb"\1", fields) + gap + body.replace(b"\n>From ", b"\nFrom ")).rstrip()


def _of_delivery(field: bytes, prefixes: tuple[bytes, ...]) -> bool:
    name = field.split(b":", 1)[0].rstrip().lower()
    return name in DELIVERY or name.startswith(prefixes)


def content_hash(normalised: bytes, kind: Kind) -> str:
    """What makes two copies the same message: hex SHA-256 of its kind and normalised bytes."""
    return hashlib.sha256(kind.encode() + b"\0" + normalised).hexdigest()


def features(normalised: bytes, kind: Kind) -> Features:
    """Hashed byte 4-grams of the message's beginning: sorted, unique, at most MAX_FEATURES."""
    read = normalised[:BYTES_READ]
    if not read:
        return np.empty(0, dtype=np.uint32)
    read = read.ljust(4, b"\0")
    grams: Features = np.ndarray((len(read) - 3,), "<u4", read, 0, (1,)).astype(np.uint32)
    grams *= np.uint32(0x9E3779B1)  # multiply, shift, multiply: each output bit depends on every input bit
    grams ^= grams >> np.uint32(15)
    grams *= np.uint32(0x85EBCA77)
    grams >>= np.uint32(32 - BITS)
    grams.sort()
    unique = np.ones(len(grams), dtype=bool)
    np.not_equal(grams[1:], grams[:-1], out=unique[1:])
    return grams[unique] + np.uint32(TABLE if kind is Kind.SMS else 0)


def pack(found: Features) -> bytes:
    """Features in half the room: how many there are for each value of the high bits, then the low 16 bits."""
    high = np.bincount(found >> 16, minlength=2 * TABLE >> 16)
    return high.astype("<u2").tobytes() + found.astype("<u2").tobytes()


def unpack(packed: bytes) -> Features:
    """The inverse of `pack`. Raises BadInput for bytes that `pack` cannot have made."""
    highs = 2 * TABLE >> 16
    counts = np.frombuffer(packed[: 2 * highs], "<u2") if len(packed) >= 2 * highs else np.empty(0, "<u2")
    if len(packed) % 2 or len(packed) != 2 * (highs + int(counts.sum())) or counts.sum() > MAX_FEATURES:
        raise BadInput(f"features of {len(packed)} bytes are damaged; learn the message again")
    low = np.frombuffer(packed[2 * highs :], "<u2").astype(np.uint32)
    found: Features = np.repeat(np.arange(highs, dtype=np.uint32) << np.uint32(16), counts) | low
    if (found[1:] <= found[:-1]).any():
        raise BadInput("features are not in order; learn the message again")
    return found


class Recollection(NamedTuple):
    """What the memory has to say about a message; see the top of the file.

    log_odds: the learner's; trust: how much of it counts, 0 … TRUST; overlap: with the nearest single
    correction, 0 … 1; label: what that correction said, +1 spam, -1 ham, 0 where there is none.
    """

    log_odds: float = 0.0
    trust: float = 0.0
    overlap: float = 0.0
    label: int = 0


def fuse(model_log_odds: float, memory: Recollection) -> float:
    """One calibrated log-odds of spam from the model's and the memory's; pure."""
    copy = min(1.0, max(0.0, (memory.overlap - UNRELATED) / (COPY - UNRELATED))) if memory.label else 0.0
    learned = model_log_odds + memory.trust * memory.log_odds
    return (1.0 - copy) * learned + copy * memory.label * CERTAIN


class Memory:
    """Learns from corrections, one at a time and in order; 13 MB, half of it for each kind."""

    def __init__(self) -> None:
        self.weights = np.zeros(2 * TABLE, dtype=np.float32)
        self.owner = np.zeros(2 * TABLE, dtype=np.uint16)  # slot of the last correction with the feature
        self.owned = np.zeros(SLOTS, dtype=np.int32)  # features that a slot's correction still owns …
        self.size = np.zeros(SLOTS, dtype=np.int32)  # … of those it had
        self.label = np.zeros(SLOTS, dtype=np.int8)
        self.digest = np.zeros(SLOTS, dtype=np.uint64)  # of all of its features; 0 once corrected anew
        self.counts = np.zeros((2, 2), dtype=np.int64)  # by kind (mail, sms) and label (ham, spam)
        self.revision = 0  # of the corrections store that this is the state of; the caller's to set

    @classmethod
    def rebuild(cls, corrections: Iterable[tuple[Features, Label]]) -> Self:
        """A memory that has learned these and nothing else; equal to one that learned them as they came."""
        memory = cls()
        for found, label in corrections:
            memory.learn(found, label)
        return memory

    def __len__(self) -> int:
        return int(self.counts.sum())

    def score(self, found: Features) -> float:
        """The learner's log-odds of spam; 0.0 when empty."""
        return float(self.weights[found].sum()) / math.sqrt(max(1, len(found)))

    def recollect(self, found: Features) -> Recollection:
        """Everything that `fuse` wants to know of a message."""
        if not len(found):
            return Recollection()
        rarer = float(self.counts[self._kind(found)].min())
        overlap, label = self._nearest(found)
        return Recollection(self.score(found), TRUST * rarer / (rarer + TRUST_HALF), overlap, label)

    def learn(self, found: Features, label: Label) -> None:
        """Take one correction; at once the message is known by it, whatever was said of it before."""
        if not len(found):
            return
        spam = label is Label.SPAM
        self._descend(found, spam)
        self._own(found, spam)
        self.counts[self._kind(found), int(spam)] += 1

    def _descend(self, found: Features, spam: bool) -> None:
        """Gradient steps until the message is settled. The features' squares sum to 1, so a step of error e
        moves its log-odds by RATE * e: the steps are counted with one number and written once."""
        before = after = self.score(found)
        for _ in range(MAX_STEPS):
            error = spam - 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, after))))
            if abs(error) < SETTLED:
                break
            after += RATE * error
        self.weights[found] += np.float32((after - before) / math.sqrt(len(found)))

    def _own(self, found: Features, spam: bool) -> None:
        slot = 1 + len(self) % (SLOTS - 1)
        if self.owned[slot]:
            self.owner[self.owner == slot] = 0
        lost = np.bincount(self.owner[found])
        self.owned[: len(lost)] -= lost
        self.owned[slot] = self.size[slot] = len(found)
        self.label[slot] = 1 if spam else -1
        self.owner[found] = slot
        digest = _feature_digest(found)
        self.digest[self.digest == digest] = 0
        self.digest[slot] = digest

    def _nearest(self, found: Features) -> tuple[float, int]:
        if len(same := np.flatnonzero(self.digest == _feature_digest(found))):
            return 1.0, int(self.label[same[0]])
        n = len(found)
        shared = np.bincount(self.owner[found])
        shared[0] = 0  # nobody's
        slots = np.flatnonzero(shared >= min(MIN_OWNED, n))
        if not len(slots):
            return 0.0, 0
        size = self.size[slots]
        overlap = np.minimum(shared[slots] / self.owned[slots] * np.minimum(1.0, size / n), n / size)
        best = int(overlap.argmax())
        return float(overlap[best]), int(self.label[slots[best]])

    def save(self, path: Path) -> None:
        """Write the state: a line of JSON with its hash and revision, then the arrays. Atomic and synced.

        Raises StoreError.
        """
        arrays = b"".join(array.tobytes() for array in self._arrays())
        header = {"format": FORMAT, "revision": self.revision, "sha256": _digest(self.revision, arrays)}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # hashed 4-grams still tell something of what people wrote, hence 0600
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(json.dumps(header).encode() + b"\n" + arrays)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(f"{path}: {error.strerror}; the memory is rebuilt at the next start") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises StoreError where it is missing, damaged or of another version."""
        memory = cls()
        size = sum(array.nbytes for array in memory._arrays())
        try:
            with path.open("rb") as stream:
                header, arrays = stream.readline(MAX_SAVED_HEADER), stream.read(size + 1)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; rebuild the memory from the store") from error
        memory.revision = _revision(path, header, arrays)
        for array in memory._arrays():
            piece, arrays = arrays[: array.nbytes], arrays[array.nbytes :]
            array[...] = np.frombuffer(piece, array.dtype).reshape(array.shape)
        return memory

    def _arrays(self) -> list[NDArray[Any]]:
        return [self.weights, self.owner, self.owned, self.size, self.label, self.digest, self.counts]

    @staticmethod
    def _kind(found: Features) -> int:
        return int(found[0] >> BITS)


def _feature_digest(found: Features) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(found.tobytes(), digest_size=8).digest(), "little") | 1)


def _revision(path: Path, header: bytes, arrays: bytes) -> int:
    """The revision in a saved memory's header. Raises StoreError where it does not match the arrays."""
    try:
        said = json.loads(header)
        revision = int(said["revision"])
        matches = said["format"] == FORMAT and said["sha256"] == _digest(revision, arrays)
    except (ValueError, KeyError, TypeError):
        matches = False
    if not matches:
        raise StoreError(f"{path}: damaged or of another version; rebuild the memory from the store")
    return revision


def _digest(revision: int, arrays: bytes) -> str:
    return hashlib.sha256(b"%d\n" % revision + arrays).hexdigest()

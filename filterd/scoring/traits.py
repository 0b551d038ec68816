"""What corrections know a message by: who said what, not which bytes it travelled in.

Strategy: the reader's canonical text gives words and pairs of words, a few header fields give byte 4-grams,
and the words of the body alone, without numbers and the recipients' names, give a *sketch*: the smallest
hashes of its shingles (Broder 1997), by which a campaign is known in other recipients' mailboxes. A copy
that was delivered, forwarded as an attachment, encoded anew or wrapped by a filter gives the same traits, as
nothing of the transport is looked at. All of it is bounded: MAX_HEAD bytes of headers, MAX_TEXT characters.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind
from filterd.errors import BadInput
from filterd.reading.text import CanonicalText, without_head
from filterd.scoring.grams import unique

FORMAT: Final = 2  # of packed traits; 1 were the 4-grams of schema 1 of the store
BITS: Final = 24  # of an id
MAX_HEAD: Final = 65_536  # bytes of headers that are looked at; a head of megabytes is an attack
MAX_FIELD: Final = 300  # bytes of one field: a chain of Received-like hops is no more telling than its start
MAX_FIELD_NAME: Final = 80  # bytes; a longer one is no field's
MAX_FIELDS: Final = 2_000  # bytes of all; more gained nothing (docs/experiments.md)
MAX_TEXT: Final = 5_000  # characters of the canonical text
MAX_IDS: Final = 2 * MAX_TEXT + MAX_FIELDS + 64
SKETCH: Final = 32  # shingle hashes: similarity is told to ± 0.09
MIN_SHINGLES: Final = 6  # a text of fewer words is like too many others
MAX_NAMES: Final = 50  # words of To and Cc that are folded away

Ids = NDArray[np.uint32]
Hashes = NDArray[np.uint64]

# Added or changed between judging and learning: by delivery, by a mailbox, by whoever encodes anew or signs.
_TRANSPORT: Final = frozenset(
    b"apparently-to authentication-results bcc content-disposition content-length content-transfer-encoding"
    b" delivered-to delivery-date dkim-signature domainkey-signature envelope-to lines received received-spf"
    b" return-path status x-account-key x-apparently-to x-authentication-warning x-bogosity x-delivered-to"
    b" x-delivery-agent x-google-dkim-signature x-keywords x-label x-mime-autoconverted x-original-to"
    b" x-originalarrivaltime x-quarantine-id x-resolved-to x-sieve x-status x-tuid x-uid x-uidl".split()
)
_TRANSPORT_PREFIXES: Final = (
    *(b"arc-", b"old-return-path", b"x-amavis-", b"x-crm114-", b"x-dspam-", b"x-envelope-", b"x-evolution"),
    *(b"x-getmail-", b"x-gm-", b"x-gmail-", b"x-imap", b"x-mailscanner", b"x-microsoft", b"x-mozilla-"),
    *(b"x-ms-", b"x-old-spam-", b"x-pyzor", b"x-rspam", b"x-spam", b"x-virus-", b"x-forefront"),
)
_NAMING: Final = frozenset(b"from to cc date message-id subject".split())  # what makes a message this one
_FIELD_START = re.compile(rb"\n(?![ \t])")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BLANKS = re.compile(rb"[ \t\r\n]{2,}|[\t\r\n]")
_FOOTER = re.compile(r"\n(?:-- ?|[_=*-]{3,}[^\n]*)\n")  # a signature (RFC 3676), a list's or provider's lines

_WORD = bytes(i >= 128 or chr(i).isalnum() for i in range(256))
_LEAD = bytes(0xE0 <= i < 0xF0 for i in range(256))  # of three bytes: scripts that put no blanks
_DIGIT = bytes(chr(i).isascii() and chr(i).isdigit() for i in range(256))
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_LONGEST_WORD: Final = 32  # bytes; what is behind them is hashed alike
_rng = np.random.default_rng(1970)  # the same numbers on every machine: they make the ids
_BYTE = _rng.integers(1, 1 << 63, 256, dtype=np.uint64)
_BYTE[ord("A") : ord("Z") + 1] = _BYTE[ord("a") : ord("z") + 1]  # case says nothing
_PLACE = _rng.integers(1, 1 << 62, _LONGEST_WORD, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_COUNT: Final = np.arange(4 * (MAX_FIELD + MAX_FIELDS + MAX_TEXT) + 2)  # of bytes: no text is longer


class Traits(NamedTuple):
    """content_hash: which message it is, 64 hex digits. head, words: ids, sorted, each once, < 2^BITS.

    sketch: the smallest hashes of the body's shingles, sorted, at most SKETCH; empty for a text too short.
    """

    content_hash: str
    kind: Kind
    head: Ids
    words: Ids
    sketch: Ids

    @property
    def empty(self) -> bool:
        """Whether there is nothing to know it by but that it is this very message."""
        return not len(self.head) + len(self.words)


def of_message(raw: bytes, text: CanonicalText, prefix: str = "X-Spam-") -> Traits:
    """The traits of a mail or SMS. text: its first reading; prefix: of our own headers, as configured."""
    fields = _fields(raw, prefix.lower().encode()) if text.kind is Kind.MAIL else []
    subject, names, said = _spoken(text.subject[:MAX_FIELD], _named(fields), text.body[:MAX_TEXT])
    return Traits(
        content_hash=_content_hash(text, fields),
        kind=text.kind,
        head=_head_ids(fields, text),
        words=_word_ids(subject, said, text.kind),
        sketch=_sketch(text.body, said, names),
    )


def of_text(content_hash: str, canonical: str, kind: Kind) -> Traits:
    """What can be known of a message whose canonical text alone was kept."""
    canonical = without_head(canonical)
    subject, parted, body = canonical.partition("\n\n") if kind is Kind.MAIL else ("", "", canonical)
    if not parted:
        subject, body = "", canonical
    none = np.empty(0, dtype=np.uint32)
    titled, names, said = _spoken(subject[:MAX_FIELD], "", body[:MAX_TEXT])
    return Traits(
        content_hash=content_hash,
        kind=kind,
        head=none,
        words=_word_ids(titled, said, kind),
        sketch=_sketch(body, said, names),
    )


# ---- Headers ---------------------------------------------------------------------------------------------


def _fields(raw: bytes, ours: bytes) -> list[bytes]:
    """The header fields that say something of the message, unfolded, in their order."""
    end = _BLANK_LINE.search(raw, 0, MAX_HEAD)
    head = raw[: end.start() if end else MAX_HEAD].replace(b"\r\n", b"\n")
    if head.startswith(b"From "):  # of an mbox
        head = head[head.find(b"\n") + 1 or len(head) :]
    found: list[bytes] = []
    for field in _FIELD_START.split(head):
        if _tells(field[: field.find(b":", 0, MAX_FIELD_NAME)], ours):
            found.append(_BLANKS.sub(b" ", field[: 4 * MAX_FIELD])[:MAX_FIELD].strip())
    return found


@lru_cache(maxsize=4096)  # names that mail has in common; a mail has some thirty fields
def _tells(name: bytes, ours: bytes) -> bool:
    """Whether a field of this name says something of the message."""
    name = name.strip().lower()
    return bool(name) and name not in _TRANSPORT and not name.startswith((ours, *_TRANSPORT_PREFIXES))


def _content_hash(text: CanonicalText, fields: list[bytes]) -> str:
    """SHA-256 over kind, the naming fields and the text without its blanks."""
    naming = sorted(one for one in fields if one[: one.find(b":")].rstrip().lower() in _NAMING)
    said = "".join(text.body.split()).encode("utf-8", "replace")
    return hashlib.sha256(b"\0".join([text.kind.encode(), *naming, said])).hexdigest()


def _head_ids(fields: list[bytes], text: CanonicalText) -> Ids:
    facts = [_mixed32(hash_bytes(f"fact {fact}".encode())) for fact in text.facts[:16]]
    grams = _grams(b"\n".join(fields)[:MAX_FIELDS]) if fields else np.empty(0, dtype=np.uint32)
    return _ids(np.concatenate([grams, np.array(facts, dtype=np.uint32)]), text.kind)


def _grams(raw: bytes) -> Ids:
    """Hashes of byte 4-grams, with repetitions."""
    raw = raw.ljust(4, b"\0")
    found: Ids = np.ndarray((len(raw) - 3,), "<u4", raw, 0, (1,)).astype(np.uint32)
    found *= np.uint32(0x9E3779B1)  # multiply, shift, multiply: each output bit depends on every input bit
    found ^= found >> np.uint32(15)
    found *= np.uint32(0x85EBCA77)
    return found


# ---- Words -----------------------------------------------------------------------------------------------


class _Words(NamedTuple):
    """Of the words of a text [n]: their hashes, whether each has a digit, and the byte at which it begins."""

    hashes: Hashes
    digits: NDArray[np.bool_]
    starts: NDArray[np.int64]


def _words(text: str) -> _Words:
    """The words of a text in their order, case folded.

    A word is a run of letters and digits; where scripts put no blanks (three bytes in UTF-8), a character.
    """
    raw = text.encode("utf-8", "replace")
    if not raw:
        nothing = np.empty(0, dtype=np.int64)
        return _Words(nothing.astype(np.uint64), nothing.astype(bool), nothing)
    inside = _flags(raw, _WORD)  # a table lookup by bytes.translate is a third of one by numpy
    new = _flags(raw, _LEAD)
    new[0] = True
    new[1:] |= inside[1:] != inside[:-1]
    starts = np.flatnonzero(new)
    ends = np.empty_like(starts)
    ends[:-1], ends[-1] = starts[1:], len(raw)
    place = _COUNT[: len(raw)] - np.repeat(starts, ends - starts)
    np.minimum(place, _LONGEST_WORD - 1, out=place)
    hashes = np.add.reduceat(_BYTE[np.frombuffer(raw, np.uint8)] * _PLACE[place], starts)
    kept = inside[starts]
    counted = np.maximum.reduceat(_flags(raw, _DIGIT).view(np.uint8), starts)
    return _Words((hashes * _MIX)[kept], counted[kept].view(bool), starts[kept])


def _flags(raw: bytes, table: bytes) -> NDArray[np.bool_]:
    return np.frombuffer(bytearray(raw.translate(table)), np.bool_)


def _spoken(subject: str, names: str, body: str) -> tuple[Hashes, Hashes, _Words]:
    """Words of all three at one go, as each call costs as much as a thousand characters."""
    first = len(subject.encode("utf-8", "replace")) + 1
    second = first + len(names.encode("utf-8", "replace")) + 1
    said = _words(f"{subject}\n{names}\n{body}")
    one, two = np.searchsorted(said.starts, (first, second)).tolist()
    rest = _Words(said.hashes[two:], said.digits[two:], said.starts[two:] - second)
    return said.hashes[:one], said.hashes[one:two][:MAX_NAMES], rest


def _word_ids(subject: Hashes, said: _Words, kind: Kind) -> Ids:
    """Ids of words and of pairs of neighbours."""
    single = np.concatenate([subject, said.hashes])
    pairs = (single[:-1] * np.uint64(3) ^ (single[1:] >> np.uint64(7))) * _MIX
    high = np.concatenate([single, pairs]) >> np.uint64(32)
    return _ids(high.astype(np.uint32), kind)


def _ids(hashes: Ids, kind: Kind) -> Ids:
    """Sorted ids, each once. The kinds share none but by accident."""
    salted = hashes ^ np.uint32(0x5BD1E995) if kind is Kind.SMS else hashes
    return unique(salted >> np.uint32(32 - BITS))


def hash_bytes(said: bytes) -> int:
    """64 bits of a name; the same on every machine."""
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")


def _mixed32(value: int) -> int:
    return value & 0xFFFFFFFF


# ---- Sketch ----------------------------------------------------------------------------------------------


def _named(fields: list[bytes]) -> str:
    """What To and Cc say: a campaign's copies differ by it."""
    named = b" ".join(one[3:] for one in fields if one[:3].lower() in (b"to:", b"cc:"))
    return named[:MAX_FIELDS].decode("utf-8", "replace")


def _sketch(body: str, said: _Words, names: Hashes) -> Ids:
    """The smallest hashes of runs of three words: none with digits, of recipients, or below a footer."""
    told = ~said.digits
    if len(names):  # by a search, as np.isin sorts both
        ordered = np.sort(names)
        told &= ordered[np.searchsorted(ordered[:-1], said.hashes)] != said.hashes
    if footer := _FOOTER.search(body[:MAX_TEXT]):
        above = told & (said.starts < len(body[: footer.start()].encode("utf-8", "replace")))
        told = above if above.sum() >= MIN_SHINGLES + 2 else told
    words = said.hashes[told]
    if len(words) < MIN_SHINGLES + 2:
        return np.empty(0, dtype=np.uint32)
    runs = (words[:-2] * np.uint64(5) ^ words[1:-1] * np.uint64(3) ^ words[2:]) * _MIX
    found = unique((runs >> np.uint64(32)).astype(np.uint32))
    return found[:SKETCH] if len(found) >= MIN_SHINGLES else np.empty(0, dtype=np.uint32)


def likeness(one: Ids, other: Ids) -> float:
    """Jaccard similarity of two bodies' shingles, 0 … 1, as told by their sketches."""
    both = np.union1d(one, other)[:SKETCH]
    return float(np.isin(both, np.intersect1d(one, other)).mean()) if len(both) else 0.0


# ---- Packing ---------------------------------------------------------------------------------------------

_HIGHS: Final = 1 << BITS - 16
_NUMBERS: Final = 3  # of ids and hashes, two bytes each


def pack(traits: Traits) -> bytes:
    """Ids and sketch as bytes; some 2.5 KB for a mail. Kind and hash have columns of their own."""
    counts = np.array([len(traits.head), len(traits.words), len(traits.sketch)], "<u2")
    ids = [_pack_ids(ids) for ids in (traits.head, traits.words) if len(ids)]
    return b"".join([bytes([FORMAT]), counts.tobytes(), *ids, traits.sketch.astype("<u4").tobytes()])


def unpack(packed: bytes, content_hash: str, kind: Kind) -> Traits:
    """The inverse of `pack`. Raises BadInput for bytes that `pack` cannot have made."""
    damaged = BadInput(f"features of {len(packed)} bytes are damaged; learn the message again")
    if len(packed) < 1 + 2 * _NUMBERS or packed[0] != FORMAT:
        raise damaged
    head, words, sketch = (int(n) for n in np.frombuffer(packed, "<u2", _NUMBERS, 1))
    sizes = [2 * (_HIGHS + n) if n else 0 for n in (head, words)]
    start = 1 + 2 * _NUMBERS
    if max(head, words) > MAX_IDS or sketch > SKETCH or len(packed) != start + sum(sizes) + 4 * sketch:
        raise damaged
    parts = [packed[start : start + sizes[0]], packed[start + sizes[0] : start + sum(sizes)]]
    ids = [_unpack_ids(part) for part in parts]
    hashes = np.frombuffer(packed, "<u4", sketch, len(packed) - 4 * sketch).astype(np.uint32)
    if any(found is None or (found[1:] <= found[:-1]).any() for found in (*ids, hashes)):
        raise damaged
    return Traits(content_hash=content_hash, kind=kind, head=ids[0], words=ids[1], sketch=hashes)


def _pack_ids(ids: Ids) -> bytes:
    """How many there are for each value of the high bits, then the low 16 bits."""
    return np.bincount(ids >> 16, minlength=_HIGHS).astype("<u2").tobytes() + ids.astype("<u2").tobytes()


def _unpack_ids(packed: bytes) -> Ids:
    if not packed:
        return np.empty(0, dtype=np.uint32)
    counts = np.frombuffer(packed, "<u2", _HIGHS)
    low = np.frombuffer(packed, "<u2", offset=2 * _HIGHS).astype(np.uint32)
    if int(counts.sum()) != len(low):
        return np.zeros(2, dtype=np.uint32)  # out of order, which unpack refuses
    found: Ids = np.repeat(np.arange(_HIGHS, dtype=np.uint32) << np.uint32(16), counts) | low
    return found

"""A correction: what a person said about one message, and how one travels as a line of JSON.

Its fields are all that the memory and retraining need, so that the message itself need not be kept.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from filterd.api import Kind, Label, Message, Verdict
from filterd.corrections.unwrap import unwrapped
from filterd.errors import BadInput
from filterd.reading.text import CanonicalText, read
from filterd.scoring import traits as known_by
from filterd.scoring.traits import Traits

MAX_LINE_BYTES = 1 << 20  # of an export; the longest text, escaped, and the features have room
MAX_OWNER = 254  # characters; the longest address (RFC 5321 4.5.3.1)

_HASH = re.compile(r"[0-9a-f]{64}")


class _Exported(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a correction has had in every format; see `Correction`."""

    content_hash: str
    label: Label
    kind: Kind
    features: bytes
    time: datetime
    text: str | None = None
    verdict: Label | None = None
    probability: float | None = None
    bundle: str = ""
    source: str = ""
    message_id: str = ""
    changes: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        if not _HASH.fullmatch(self.content_hash):
            raise ValueError("content_hash has to be 64 hex digits")
        if self.label is Label.UNSURE:
            raise ValueError("label has to be ham or spam")
        if self.time.tzinfo is None:
            raise ValueError("time has to name its zone")
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise ValueError("probability has to be in [0, 1]")
        if self.changes < 0 or self.number < 0:
            raise ValueError("changes and number have to be positive")


class Correction(_Exported, kw_only=True, frozen=True, tag_field="format", tag=2):
    """What a person said about one message.

    content_hash, features: of `scoring.traits`, the latter packed; see `correct`.
    text: the canonical text, for retraining; None where it is not to be kept.
    verdict, probability, bundle: what the filter said then, and which bundle; None and "" where it did not.
    model: the model's own log-odds then, without any memory; None where it was not asked.
    owner: whose word it is; "" for the site's. source: what it came through.
    changes: how often the label was changed; number: place in the store's order, 0 before it is there.
    """

    model: float | None = None
    owner: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.traits()
        except BadInput as error:
            raise ValueError(str(error)) from error

    def traits(self) -> Traits:
        """What the memory knows the message by."""
        return known_by.unpack(self.features, self.content_hash, self.kind)


class CorrectionV1(_Exported, kw_only=True, frozen=True, tag_field="format", tag=1):
    """A correction as exports had it before there were owners; its features are of no use any more."""

    def renewed(self) -> Correction:
        """The same as the site's word, with features of the text that was kept, if it was."""
        fields = msgspec.structs.asdict(self)
        return Correction(**fields | {"features": old_features(self.content_hash, self.text, self.kind)})


def old_features(content_hash: str, text: str | None, kind: Kind) -> bytes:
    """Features for a correction of which the text alone is left, or nothing."""
    return known_by.pack(known_by.of_text(content_hash, text or "", kind))


def seen(raw: bytes, kind: Kind, prefix: str = "X-Spam-") -> tuple[CanonicalText, Traits]:
    """How a message that is corrected reads, and what it is known by; of a wrapper the message in it."""
    inner = unwrapped(raw) if kind is Kind.MAIL else raw
    text = read(Message(inner, kind=kind))[0]
    return text, known_by.of_message(inner, text, prefix)


def correct(
    raw: bytes,
    kind: Kind,
    label: Label,
    *,
    prefix: str = "X-Spam-",
    text: str | None = None,
    verdict: Verdict | None = None,
    model: float | None = None,
    owner: str = "",
    source: str = "",
    message_id: str = "",
    traits: Traits | None = None,
) -> Correction:
    """A correction of a message, as of now. text: None where the configuration does not keep it."""
    traits = traits or seen(raw, kind, prefix)[1]
    return Correction(
        content_hash=traits.content_hash,
        label=label,
        kind=kind,
        features=known_by.pack(traits),
        time=datetime.now(UTC),
        text=text,
        verdict=verdict.label if verdict else None,
        probability=verdict.probability if verdict else None,
        model=model,
        bundle=verdict.model if verdict else "",
        owner=owner[:MAX_OWNER],
        source=source,
        message_id=message_id,
    )


def encode(correction: Correction) -> bytes:
    """One line of an export; the number stays behind, as it is a place in one store only."""
    return msgspec.json.encode(msgspec.structs.replace(correction, number=0)) + b"\n"


def decode(stream: BinaryIO, name: str) -> Iterator[Correction]:
    """Corrections from an export. Raises BadInput that names the stream and the first bad line."""
    decoder = msgspec.json.Decoder(Correction | CorrectionV1)
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), start=1):
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
            one = decoder.decode(line)
            yield one.renewed() if isinstance(one, CorrectionV1) else one
        except ValueError as error:  # msgspec's own derive from it
            raise BadInput(f"{name}: line {number}: {error}; nothing was imported") from error

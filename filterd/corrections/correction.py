"""A correction: what a person said about one message, and how one travels as a line of JSON.

Its fields are all that the memory and retraining need, so that the message itself need not be kept.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from filterd.api import Kind, Label, Verdict
from filterd.errors import BadInput
from filterd.scoring import memory

MAX_LINE_BYTES = 1 << 20  # of an export; the longest text, escaped, and the features have room

_HASH = re.compile(r"[0-9a-f]{64}")


class Correction(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="format", tag=1
):
    """What a person said about one message.

    content_hash, features: `memory.content_hash`, and `memory.features` packed; see `correct`.
    text: the canonical text, for retraining; None where it is not to be kept.
    verdict, probability, bundle: what the filter said then, and which bundle; None and "" where it did not.
    changes: how often the label was changed; number: place in the store's order, 0 before it is there.
    """

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
        try:
            memory.unpack(self.features)
        except BadInput as error:
            raise ValueError(str(error)) from error


def correct(
    raw: bytes,
    kind: Kind,
    label: Label,
    *,
    prefix: str = "X-Spam-",
    text: str | None = None,
    verdict: Verdict | None = None,
    source: str = "",
    message_id: str = "",
) -> Correction:
    """A correction of a message, as of now. text: None where the configuration does not keep it."""
    normalised = memory.normalise(raw, kind, prefix)
    return Correction(
        content_hash=memory.content_hash(normalised, kind),
        label=label,
        kind=kind,
        features=memory.pack(memory.features(normalised, kind)),
        time=datetime.now(UTC),
        text=text,
        verdict=verdict.label if verdict else None,
        probability=verdict.probability if verdict else None,
        bundle=verdict.model if verdict else "",
        source=source,
        message_id=message_id,
    )


def encode(correction: Correction) -> bytes:
    """One line of an export; the number stays behind, as it is a place in one store only."""
    return msgspec.json.encode(msgspec.structs.replace(correction, number=0)) + b"\n"


def decode(stream: BinaryIO, name: str) -> Iterator[Correction]:
    """Corrections from an export. Raises BadInput that names the stream and the first bad line."""
    decoder = msgspec.json.Decoder(Correction)
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), start=1):
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
            yield decoder.decode(line)
        except ValueError as error:  # msgspec's own derive from it
            raise BadInput(f"{name}: line {number}: {error}; nothing was imported") from error

"""Stored messages as they lie: tables, JSON lines, mboxes, Maildirs and folders; nothing is judged here.

Order is always the same, since a run that was cut short goes on by counting. What cannot be read is a message
without content and with a reason, so that nothing is lost silently.
"""

import csv
import gzip
import json
import lzma
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from filterd.api import Kind
from filterd.errors import BadInput, ConfigError, NotFound
from filterd.mailboxes import maildir, mbox

MAX_BYTES: Final = 4 << 20  # of one message; reading looks at less
TEXT: Final = ("text", "message", "sms", "body")  # columns with an SMS or a bare text
MAIL: Final = ("mail", "raw", "eml")  # and with a whole mail
NAMES: Final = ("id", "message_id", "name")
PACKED: Final = {".gz": gzip.open, ".xz": lzma.open}
ROWS: Final = 1000  # of a Parquet file at a time

csv.field_size_limit(min(sys.maxsize, 2 * MAX_BYTES))


class BulkMessage(NamedTuple):
    """One message. id: its own, else file and number. error: why there is no content."""

    id: str
    raw: bytes
    kind: Kind | None = None
    error: str = ""


def read(paths: Iterable[Path]) -> Iterator[BulkMessage]:
    """The messages of all inputs in their order. Raises NotFound, BadInput, ConfigError."""
    for path in paths:
        yield from _one(path)


def _one(path: Path) -> Iterator[BulkMessage]:
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    if path.is_dir():
        return _maildir(path) if maildir.is_maildir(path) else _folder(path)
    form = "".join(suffix for suffix in path.suffixes if suffix not in PACKED)[-8:]
    if form.endswith(".parquet"):
        return _parquet(path)
    if form.endswith((".csv", ".tsv")):
        return _table(path, "\t" if form.endswith(".tsv") else ",")
    if form.endswith((".jsonl", ".ndjson", ".json")):
        return _json_lines(path)
    if mbox.is_mbox(path):
        return (
            BulkMessage(f"{path}:{span.start}", span.read(MAX_BYTES), Kind.MAIL) for span in mbox.mails(path)
        )
    return iter([_file(path)])


def _file(path: Path) -> BulkMessage:
    try:
        with path.open("rb") as stream:
            return BulkMessage(str(path), stream.read(MAX_BYTES))
    except OSError as error:
        return BulkMessage(str(path), b"", None, error.strerror or str(error))


def _folder(root: Path) -> Iterator[BulkMessage]:
    return (_file(path) for path in sorted(root.rglob("*")) if path.is_file())


def _maildir(root: Path) -> Iterator[BulkMessage]:
    for folder in maildir.folders(root):
        for mail in maildir.mails(folder):
            name = f"{folder.name}/{mail.unique}"
            try:
                yield BulkMessage(name, mail.read(MAX_BYTES), Kind.MAIL)
            except OSError as error:
                yield BulkMessage(name, b"", Kind.MAIL, error.strerror or str(error))


def _opened(path: Path) -> IO[str]:
    opened = PACKED.get(path.suffix)
    if opened:
        return cast(IO[str], opened(path, "rt", encoding="utf-8", errors="replace", newline=""))  # type: ignore[operator]
    return path.open(encoding="utf-8", errors="replace", newline="")


def _table(path: Path, delimiter: str) -> Iterator[BulkMessage]:
    with _opened(path) as stream:
        rows = csv.DictReader(stream, delimiter=delimiter)
        for number, row in enumerate(rows, start=2):
            yield _row(path, number, {key: value for key, value in row.items() if key})


def _json_lines(path: Path) -> Iterator[BulkMessage]:
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield BulkMessage(f"{path}:{number}", b"", None, f"no JSON: {error}")
                continue
            yield _row(path, number, row if isinstance(row, dict) else {})


def _parquet(path: Path) -> Iterator[BulkMessage]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(f"{path}: needs pyarrow; install filterd[bulk]") from error
    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(ROWS):
            for row in batch.to_pylist():
                number += 1
                yield _row(path, number, row)
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise BadInput(f"{path}: {' '.join(str(error).split())[:200]}") from error


def _row(path: Path, number: int, row: dict[str, Any]) -> BulkMessage:
    """A row with one of the columns TEXT or MAIL; names compare without case."""
    fields = {str(key).strip().lower(): value for key, value in row.items() if value is not None}
    given = next((str(fields[name]) for name in NAMES if name in fields), "")
    name = given or f"{path}:{number}"
    for names, kind in ((MAIL, Kind.MAIL), (TEXT, Kind.SMS)):
        for column in names:
            if column in fields:
                content = fields[column]
                raw = content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
                return BulkMessage(name, raw[:MAX_BYTES], _kind(fields, kind))
    columns = ", ".join((*MAIL, *TEXT))
    return BulkMessage(name, b"", None, f"none of the columns {columns}")


def _kind(fields: dict[str, Any], default: Kind) -> Kind:
    """What a column `kind` says, where it says mail or sms."""
    said = str(fields.get("kind", ""))
    return Kind(said) if said in set(Kind) else default

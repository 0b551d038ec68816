"""Read labelled messages from whatever they come in: tables, folders of mails, archives, mbox, Maildir.

Every reader yields `Labelled` in a fixed order, each message as the bytes it came as: what they say is for
`filterd.reading.text`, in training as in serving. What cannot be used is counted by its reason in `Losses`,
with the first few places by name: nothing is lost in silence.
"""

import bz2
import csv
import gzip
import json
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any, Final

from filterd.errors import BadInput, NotFound
from filterd_trainer.data import rows
from filterd_trainer.data.rows import NO_FACTS, Facts
from filterd_trainer.data.rules import ALL, Rule

FORMATS: Final = ("auto", "csv", "tsv", "jsonl", "mails", "mbox", "maildir")
MAX_MESSAGE: Final = 4 << 20  # bytes; of a larger one the beginning is taken, which is what the filter judges
MAX_LINE: Final = 8 << 20  # bytes of a table's line: a message with every byte escaped, and its label
MAX_INPUT: Final = 4 << 30  # bytes unpacked; some fifty Enrons, and the end of a decompression bomb
MAX_PLACES: Final = 3  # places named for each reason; more would push the rest off the screen

_LABEL_COLUMNS = ("label", "class", "category", "target", "v1", "spam")
_TEXT_COLUMNS = ("text", "message", "sms", "body", "content", "email", "mail", "v2")
_HAM = re.compile(r"(easy|hard)[-_]ham([-_]\d)?", re.IGNORECASE)  # SpamAssassin's public corpus
_SPAM = re.compile(r"spam[-_]\d", re.IGNORECASE)
_MAILDIR = frozenset({"cur", "new", "tmp"})
_PACKED = frozenset({".xz", ".gz", ".bz2"})
_DAMAGE = (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message with its label. where: file and line, or the file's name; source: which input it is of."""

    label: str
    raw: bytes
    where: str
    source: str
    facts: Facts = NO_FACTS


@dataclass
class Losses:
    """What was skipped or altered: how often, and where first, by reason."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """Count one more."""
        self.counts[reason] += 1
        if self.counts[reason] <= MAX_PLACES:
            self.places.setdefault(reason, []).append(where)


@dataclass(frozen=True)
class Source:
    """One input and how to read it.

    rename: an input's own names for labels (of a column, folder or file) to ours. rule: what is left out.
    """

    path: Path
    name: str
    format: str = "auto"
    label_column: str = ""
    text_column: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    rule: Rule = ALL

    def label(self, name: str) -> str:
        """Our name of a label: renamed, SpamAssassin's folders understood, else as it is."""
        if name in self.rename:
            return self.rename[name]
        return "ham" if _HAM.fullmatch(name) else "spam" if _SPAM.fullmatch(name) else name


def located(given: str) -> tuple[str, Path]:
    """Name and path of an input given as `NAME=PATH` or `PATH`; the name is empty where none is given."""
    name, _, path = given.partition("=")
    if path and "/" not in name and not Path(given).exists():
        return name, Path(path)
    return "", Path(given)


def called(path: Path) -> str:
    """What an input without a name is called: its file's name without suffixes."""
    name = path.resolve().name.lstrip(".")
    return name.split(".")[0] or name


def read(source: Source, losses: Losses) -> Iterator[Labelled]:
    """The messages of an input, in its order. Raises NotFound and BadInput."""
    kind = detect(source.path) if source.format == "auto" else source.format
    try:
        if kind in {"csv", "tsv"}:
            yield from _table(source, losses, kind)
        else:
            yield from {"jsonl": _jsonl, "mbox": _mbox}.get(kind, _mails)(source, losses)
    except _DAMAGE as error:
        raise BadInput(
            f"{source.path}: a damaged archive ({error or 'it ends early'}); fetch it again"
        ) from error
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename}: no such file; check --input") from error
    except OSError as error:
        raise NotFound(
            f"{error.filename or source.path}: {error.strerror or error}; check --input"
        ) from error


def detect(path: Path) -> str:
    """The format of an input, by its name and its first bytes. Raises NotFound, BadInput."""
    if path.is_dir():
        return "mails"
    if not path.is_file():
        raise NotFound(f"{path}: no such file or folder; check --input")
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in _PACKED]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in {".tar", ".tgz", ".txz", ".eml"}:
        return "mails"
    known = {
        ".csv": "csv",
        ".tsv": "tsv",
        ".tab": "tsv",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".mbox": "mbox",
    }
    return known.get(suffix) or _by_content(path)


def _by_content(path: Path) -> str:
    with _opened(path) as stream:
        head = stream.read(4096)
    first = head.partition(b"\n")[0]
    if head.startswith(b"From "):
        return "mbox"
    if head.lstrip().startswith(b"{"):
        return "jsonl"
    if b"\t" in first:
        return "tsv"
    if head.startswith(b"PK\x03\x04"):
        raise BadInput(f"{path}: a zip; unpack it and give the file or folder")
    raise BadInput(f"{path}: cannot tell what it is; say so with --format ({', '.join(FORMATS[1:])})")


def _opened(path: Path) -> BufferedIOBase:
    match path.suffix.lower():
        case ".xz":
            return lzma.open(path, "rb")
        case ".gz":
            return gzip.open(path, "rb")
        case ".bz2":
            return bz2.open(path, "rb")
    return path.open("rb")


# -- tables ----------------------------------------------------------------------------------------------


def _lines(source: Source, losses: Losses) -> Iterator[str]:
    """Lines of text with their newlines, UTF-8 or else Windows-1252. Raises BadInput where one has no end."""
    total = 0
    with _opened(source.path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), 1):
            total += len(line)
            if len(line) > MAX_LINE or total > MAX_INPUT:
                what = (
                    f"line {number} is over {MAX_LINE >> 20} MB" if len(line) > MAX_LINE else "too much text"
                )
                raise BadInput(f"{source.path}:{number}: {what}; is this the right --format?")
            try:
                yield line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode()
            except UnicodeDecodeError:
                losses.add("not UTF-8, read as Windows-1252", f"{source.path}:{number}")
                yield line.decode("cp1252", "replace")


def _table(source: Source, losses: Losses, kind: str) -> Iterator[Labelled]:
    rows = _tsv_rows(source, losses) if kind == "tsv" else _csv_rows(source, losses)
    first = next(rows, None)
    if first is None:
        raise BadInput(f"{source.path}: empty; check --input")
    label, text, header = _columns(source, first[1])
    if not header:
        rows = _chain(first, rows)
    for number, row in rows:
        where = f"{source.path}:{number}"
        if not row or row == [""]:
            losses.add("empty line", where)
        elif max(label, text) >= len(row):
            losses.add("row without label or text", where)
        else:
            yield from _checked(source, losses, row[label], row[text], where)


def _chain(
    first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _tsv_rows(source: Source, losses: Losses) -> Iterator[tuple[int, list[str]]]:
    """Split at tabs alone: in UCI's file quotation marks are text, and some are never closed."""
    for number, line in enumerate(_lines(source, losses), 1):
        yield number, line.rstrip("\r\n").split("\t")


def _csv_rows(source: Source, losses: Losses) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(_lines(source, losses))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise BadInput(
            f"{source.path}:{reader.line_num}: {error}; quote that field or remove the line"
        ) from error


def _columns(source: Source, first: Sequence[str]) -> tuple[int, int, bool]:
    """Indices of label and text, and whether the first row is a header. Raises BadInput."""
    names = [name.strip().lower() for name in first]
    wanted = (source.label_column.lower(), source.text_column.lower())
    if not any(wanted) and not (set(names) & set(_LABEL_COLUMNS) and set(names) & set(_TEXT_COLUMNS)):
        if len(first) < 2:
            raise BadInput(f"{source.path}:1: one column; name yours with --label-column and --text-column")
        return 0, 1, False
    found = []
    for want, usual, option in zip(wanted, (_LABEL_COLUMNS, _TEXT_COLUMNS), ("label", "text"), strict=True):
        name = want or next((u for u in usual if u in names), "")
        if name not in names:
            there = ", ".join(first[:10])
            raise BadInput(
                f"{source.path}:1: no column {name or option!r} among {there}; use --{option}-column"
            )
        found.append(names.index(name))
    return found[0], found[1], True


def _jsonl(source: Source, losses: Losses) -> Iterator[Labelled]:
    label_names = (source.label_column,) if source.label_column else _LABEL_COLUMNS
    text_names = (source.text_column,) if source.text_column else _TEXT_COLUMNS
    for number, line in enumerate(_lines(source, losses), 1):
        where = f"{source.path}:{number}"
        if not line.strip():
            losses.add("empty line", where)
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            losses.add("not JSON", where)
            continue
        if not isinstance(row, dict):
            losses.add("not a JSON object", where)
            continue
        if source.rule.drops(row):
            losses.add("left out by --rules", where)
            continue
        label = next((row[n] for n in label_names if n in row), None)
        text = next((row[n] for n in text_names if n in row), None)
        yield from _object(source, losses, label, (row, text), where)


def _object(
    source: Source, losses: Losses, label: object, row: tuple[dict[str, Any], object], where: str
) -> Iterator[Labelled]:
    """An object of JSON lines as a message; one of kind `text` has no label."""
    if isinstance(label, bool):
        label = int(label)
    raw = rows.content(*row)
    said = rows.facts(row[0], source.name)
    if raw is None:
        losses.add("no text", where)
    elif row[0].get("kind") == "text":
        yield Labelled(rows.UNLABELLED, _bounded(raw, where, losses), where, source.name, said)
    elif label is None or not (name := str(label).strip()):
        losses.add("no label", where)
    else:
        yield Labelled(source.label(name), _bounded(raw, where, losses), where, source.name, said)


def _checked(source: Source, losses: Losses, label: str, text: object, where: str) -> Iterator[Labelled]:
    """A row of a table as a message, if it has a label and a text."""
    label = label.strip()
    if not label:
        losses.add("no label", where)
    elif not isinstance(text, str) or not text.strip():
        losses.add("no text", where)
    else:
        raw = text.encode("utf-8", "replace")
        yield Labelled(source.label(label), _bounded(raw, where, losses), where, source.name)


def _bounded(raw: bytes, where: str, losses: Losses) -> bytes:
    if len(raw) > MAX_MESSAGE:
        losses.add(f"cut to its first {MAX_MESSAGE >> 20} MB", where)
    return raw[:MAX_MESSAGE]


# -- folders, archives, mailboxes ------------------------------------------------------------------------


def _mails(source: Source, losses: Losses) -> Iterator[Labelled]:
    """A file a message; its label is the name of the folder that it is in."""
    if source.path.is_file() and source.path.suffix.lower() == ".eml":
        raise BadInput(f"{source.path}: one mail alone; give the folder of the mails of its label")
    single = source.path.is_file()
    found: list[tuple[PurePosixPath, Path | bytes]] = [*(_members if single else _files)(source.path)]
    inner = {parent for name, _ in found for parent in name.parent.parents}
    for name, file in found:
        folder = _label_folder(name)
        where = f"{source.path}: {name}" if single else str(source.path.parent / name)
        if name.name.startswith(".") or name.parent.name == "tmp":
            losses.add("hidden or unfinished file", where)
        elif name.parent in inner:
            losses.add("not in a label's folder", where)
        else:
            yield from _mail(source, losses, folder.name.lstrip("."), _content(file), where)


def _files(root: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Files under a folder, by name, sorted; links to folders are not followed."""
    root = root.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield PurePosixPath(path.relative_to(root.parent).as_posix()), path


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Files of a tar, compressed or not. Nothing is written to disk, so no name in it can do harm."""
    total = 0
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            content = stream.read(MAX_MESSAGE + 1)
            total += len(content)
            if total > MAX_INPUT:
                raise BadInput(f"{path}: over {MAX_INPUT >> 30} GB unpacked; unpack it and give a folder")
            yield PurePosixPath(path.name.split(".")[0], member.name), content


def _content(file: Path | bytes) -> bytes:
    """At most one byte more than a message may have."""
    if isinstance(file, bytes):
        return file
    with file.open("rb") as stream:
        return stream.read(MAX_MESSAGE + 1)


def _label_folder(name: PurePosixPath) -> PurePosixPath:
    """The folder that names the label: a Maildir's own, not its cur or new."""
    folder = name.parent
    return folder.parent if folder.name in _MAILDIR else folder


def _mail(source: Source, losses: Losses, name: str, raw: bytes, where: str) -> Iterator[Labelled]:
    if not raw.strip():
        losses.add("empty file", where)
    else:
        yield Labelled(source.label(name), _bounded(raw, where, losses), where, source.name)


def _mbox(source: Source, losses: Losses) -> Iterator[Labelled]:
    """Messages between "From " lines that follow an empty line (RFC 4155); the label is the file's name."""
    name = source.path.name.split(".")[0]
    number, start, total, kept = 0, 1, 0, bytearray()
    previous = b"\n"
    with _opened(source.path) as stream:
        for line in iter(lambda: stream.readline(MAX_LINE), b""):
            number += 1
            total += len(line)
            if total > MAX_INPUT:
                raise BadInput(f"{source.path}:{number}: over {MAX_INPUT >> 30} GB; split the mailbox")
            if line.startswith(b"From ") and not previous.strip():
                if number > 1:
                    yield from _mail(source, losses, name, bytes(kept), f"{source.path}:{start}")
                start, kept = number, bytearray()
            elif number == 1:
                raise BadInput(f'{source.path}:1: an mbox begins with "From "; is this the right --format?')
            elif len(kept) <= MAX_MESSAGE:
                kept += line
            previous = line
    if number:
        yield from _mail(source, losses, name, bytes(kept), f"{source.path}:{start}")

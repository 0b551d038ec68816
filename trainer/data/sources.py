"""Read labelled messages from whatever they come in: tables, folders of mails, archives, mbox, Maildir.

Every reader yields `LabelledMessage` in a fixed order, each message as the bytes it came as: what they say is
for `filterd.reading.text`, in training as in serving. What cannot be used is counted by its reason in
`ReadingLosses`, with the first few places by name: nothing is lost in silence.
"""

import bz2
import gzip
import json
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from io import BufferedIOBase
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

from filterd.errors import BadInput, NotFound
from filterd_trainer.data import rows, tables
from filterd_trainer.data.rows import NO_FACTS, RowFacts
from filterd_trainer.data.rules import ALL, Rule
from filterd_trainer.data.tables import MAX_INPUT, MAX_LINE, Columns, Lost, TableForm, TableRow
from filterd_trainer.tasks.choice import Spam
from filterd_trainer.tasks.task import LabelError, Task

FORMATS: Final = ("auto", "csv", "tsv", "jsonl", "parquet", "mails", "mbox", "maildir")
MAX_MESSAGE: Final = 4 << 20  # bytes; of a larger one the beginning is taken, which is what the filter judges
MAX_NAME: Final = 40  # characters of a column's name that are shown
MAX_PLACES: Final = 3  # places named for each reason; more would push the rest off the screen

_HAM = re.compile(r"(easy|hard)[-_]ham([-_]\d)?", re.IGNORECASE)  # SpamAssassin's public corpus
_SPAM = re.compile(r"spam[-_]\d", re.IGNORECASE)
_MAILDIR = frozenset({"cur", "new", "tmp"})
_PACKED = frozenset({".xz", ".gz", ".bz2"})
_DAMAGE = (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError, tarfile.TarError)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledMessage:
    """A message with its label. where: file and line, or the file's name; source: which input it is of."""

    label: str
    raw: bytes
    where: str
    source: str
    facts: RowFacts = NO_FACTS


@dataclass
class ReadingLosses:
    """What was skipped or altered: how often, and where first, by reason. read: how tables were taken."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def add(self, reason: str, where: str, count: int = 1) -> None:
        """Count so many more at one place."""
        self.counts[reason] += count
        places = self.places.setdefault(reason, [])
        if len(places) < MAX_PLACES:
            places.append(where)

    def at(self, path: Path) -> Lost:
        """The same for the lines of a file."""
        return lambda reason, line: self.add(reason, f"{path}:{line}")


@dataclass(frozen=True)
class Source:
    """One input and how to read it.

    label_column, text_column: names, or numbers from 1; delimiter, encoding: of a table. What is "" is found.
    rename: an input's own names for labels (of a column, folder or file) to ours. rule: what is left out.
    task: how labels are written.
    """

    path: Path
    name: str
    _: KW_ONLY
    format: str = "auto"
    label_column: str = ""
    text_column: str = ""
    delimiter: str = ""
    encoding: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    rule: Rule = ALL
    task: type[Task] = Spam

    def label(self, name: str) -> str:
        """Our name of a label: renamed, SpamAssassin's folders understood, else as it is."""
        folded = {old.casefold(): new for old, new in self.rename.items()}
        if (renamed := self.rename.get(name, folded.get(name.casefold()))) is not None:
            return renamed
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


def read(source: Source, losses: ReadingLosses) -> Iterator[LabelledMessage]:
    """The messages of an input, in its order. Raises NotFound and BadInput."""
    kind = detect(source.path) if source.format == "auto" else source.format
    try:
        if kind in {"csv", "tsv"}:
            yield from _table(source, losses, kind)
        else:
            readers = {"jsonl": _jsonl, "parquet": _parquet, "mbox": _mbox}
            yield from readers.get(kind, _mails)(source, losses)
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
        ".parquet": "parquet",
    }
    return known.get(suffix) or _by_content(path)


def _by_content(path: Path) -> str:
    with _opened(path) as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    encoding = tables.encoding_of(head)
    head = head if encoding == tables.UTF_8 else head.decode(encoding, "ignore").encode()
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


def _lines(source: Source, losses: ReadingLosses) -> Iterator[tuple[int, str]]:
    with _opened(source.path) as stream:
        encoding = tables.form(source.path, _head(source), "tsv", encoding=source.encoding).encoding
        if encoding != tables.UTF_8:
            losses.read.append(f"{source.path}: encoding {encoding}")
        yield from tables.lines(stream, source.path, encoding, losses.at(source.path))


def _head(source: Source) -> bytes:
    with _opened(source.path) as stream:
        return stream.read(tables.HEAD)


def _table(source: Source, losses: ReadingLosses, kind: str) -> Iterator[LabelledMessage]:
    path, lost = source.path, losses.at(source.path)
    form = tables.form(path, _head(source), kind, delimiter=source.delimiter, encoding=source.encoding)
    with _opened(path) as stream:
        found = tables.rows(tables.lines(stream, path, form.encoding, lost), form, lost)
        seen = list(islice(found, tables.SEEN_ROWS))
        if not seen:
            raise BadInput(f"{path}: empty; check --input")
        usual = source.task.columns
        where = tables.columns(path, seen, label=source.label_column, text=source.text_column, usual=usual)
        losses.read.append(_taken(path, seen[0], where, form))
        known: set[str] = set()
        for row in chain(seen[where.header :], found):
            if not row.cells or row.cells == [""]:
                lost("empty line", row.number)
            elif where.last >= len(row.cells):
                lost("row without label or text", row.number)
            else:
                label = row.cells[where.label]
                known.add(label.strip().casefold())
                if count := tables.swallowed(row, form, where.label, known):
                    place = f"{path}:{row.number - row.lines + 1}"
                    losses.add("row lost to a quotation mark that is not closed", place, count + 1)
                else:
                    cells = {name: row.cells[at] for name, at in where.labels.items()}
                    place = f"{path}:{row.number}"
                    yield from _checked(source, losses, cells, row.cells[where.text], place)


def _taken(path: Path, first: TableRow, where: Columns, form: TableForm) -> str:
    """How a table is read, for a person."""
    how = [form.said()] if form.said() else []
    if where.header:
        named = ", ".join(repr(name[:MAX_NAME]) for name in where.labels)
        texts = first.cells[where.text].strip()[:MAX_NAME]
        return f"{path}: {', '.join([*how, f'labels in {named}, texts in {texts!r}'])}"
    columns = f"labels in column {where.label + 1}, texts in column {where.text + 1}"
    return f"{path}: {', '.join([*how, f'no header: {columns}'])}"


def _jsonl(source: Source, losses: ReadingLosses) -> Iterator[LabelledMessage]:
    for number, line in _lines(source, losses):
        where = f"{source.path}:{number}"
        if not line.strip():
            losses.add("empty line", where)
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            losses.add("not JSON", where)
            continue
        if isinstance(row, dict):
            yield from _object(source, losses, row, where)
        else:
            losses.add("not a JSON object", where)


def _parquet(source: Source, losses: ReadingLosses) -> Iterator[LabelledMessage]:
    for number, row in tables.parquet(source.path):
        yield from _object(source, losses, row, f"{source.path}:{number}")


def _object(
    source: Source, losses: ReadingLosses, row: dict[str, Any], where: str
) -> Iterator[LabelledMessage]:
    """An object of JSON lines, or a row of Parquet, as a message; one of kind `text` has no label."""
    if source.rule.drops(row):
        losses.add("left out by --rules", where)
        return
    names = {str(name).lower(): name for name in row}
    text = _text(row, names, source.text_column)
    raw, said = rows.content(row, text), rows.facts(row, source.name)
    if raw is None:
        losses.add("no text", where)
        return
    unlabelled = row.get("kind") == "text"
    label = rows.UNLABELLED if unlabelled else _written(source, losses, _labels(source, row, names), where)
    if label is not None:
        raw = _bounded(raw, where, losses)
        yield LabelledMessage(label=label, raw=raw, where=where, source=source.name, facts=said)


def _text(row: dict[str, Any], names: dict[str, str], given: str) -> object:
    """The text of a column that is named, else of a usual name; names compare without case."""
    wanted = (given.lower(),) if given else tables.TEXTS
    return next((row[names[name]] for name in wanted if name in names), None)


def _labels(source: Source, row: dict[str, Any], names: dict[str, str]) -> dict[str, object]:
    """The values of the label's columns: those that are named, else of a usual name; empty without any."""
    given = source.label_column.lower()
    known: list[Sequence[str]] = [*source.task.columns, *((name,) for name in tables.LABELS)]
    wanted = known if not given else [[given]] if given in names else [given.split(",")]
    some = next((one for one in wanted if {name.strip() for name in one} <= set(names)), ())
    return {names[name.strip()]: row[names[name.strip()]] for name in some}


def _written(source: Source, losses: ReadingLosses, values: Mapping[str, object], where: str) -> str | None:
    """A label in its task's writing; None, and counted, where it cannot be used."""
    try:
        if not values:
            raise LabelError("no label")
        return source.task.written(values, source.label)
    except LabelError as error:
        losses.add(str(error), where)
        return None


def _checked(
    source: Source, losses: ReadingLosses, values: Mapping[str, object], text: object, where: str
) -> Iterator[LabelledMessage]:
    """A row of a table as a message, if it has a label and a text."""
    label = _written(source, losses, values, where)
    if label is None:
        return
    if not isinstance(text, str) or not text.strip():
        losses.add("no text", where)
        return
    raw = _bounded(text.encode("utf-8", "replace"), where, losses)
    yield LabelledMessage(label=label, raw=raw, where=where, source=source.name)


def _bounded(raw: bytes, where: str, losses: ReadingLosses) -> bytes:
    if len(raw) > MAX_MESSAGE:
        losses.add(f"cut to its first {MAX_MESSAGE >> 20} MB", where)
    return raw[:MAX_MESSAGE]


# -- folders, archives, mailboxes ------------------------------------------------------------------------


def _mails(source: Source, losses: ReadingLosses) -> Iterator[LabelledMessage]:
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


def _mail(
    source: Source, losses: ReadingLosses, name: str, raw: bytes, where: str
) -> Iterator[LabelledMessage]:
    if not raw.strip():
        losses.add("empty file", where)
    elif (label := _written(source, losses, {"folder": name}, where)) is not None:
        yield LabelledMessage(label=label, raw=_bounded(raw, where, losses), where=where, source=source.name)


def _mbox(source: Source, losses: ReadingLosses) -> Iterator[LabelledMessage]:
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

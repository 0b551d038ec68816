"""Tables as people have them: which delimiter and encoding, where label and text are, what a row swallowed.

Nothing is guessed in silence: what was found in a file is a line for a person (`TableForm.said`), and what
cannot be used is told to `Lost` with its line. An 8 MB line or field costs its row, not the file.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from filterd.errors import BadInput, ConfigError

MAX_LINE: Final = 8 << 20  # bytes of a line: a message with every byte escaped, and its label
MAX_INPUT: Final = 4 << 30  # bytes unpacked; some fifty Enrons, and the end of a decompression bomb
HEAD: Final = 64 << 10  # bytes that tell encoding and delimiter; hundreds of short messages
SEEN_ROWS: Final = 200  # rows that tell label and text where no header does
ADVICE: Final = "name yours with --label-column and --text-column (names, or numbers from 1)"
MAX_CLASSES: Final = 50  # different values among those: more are texts, not labels
CHUNK: Final = 1 << 20  # bytes decoded at a time
BATCH: Final = 1000  # rows of a Parquet file in memory at once

LABELS: Final = ("label", "class", "category", "target", "v1", "spam")
TEXTS: Final = ("text", "message", "sms", "body", "content", "email", "mail", "v2")
DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
UTF_8: Final = "utf-8"

Lost = Callable[[str, int], None]  # the reason, and the line
UsualColumns = Sequence[Sequence[str]]  # alternatives; a label may have several columns


@dataclass(frozen=True)
class TableForm:
    """How a table is read. quoted: quotation marks enclose a field; else they are text."""

    encoding: str = UTF_8
    delimiter: str = ","
    quoted: bool = True

    def said(self) -> str:
        """For a person: what differs from UTF-8 with commas or tabs, or "" """
        name = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        usual = self.delimiter == ("," if self.quoted else "\t")
        found = [] if usual else [f"delimiter {name}"]
        return ", ".join(found + ([] if self.encoding == UTF_8 else [f"encoding {self.encoding}"]))


class TableRow(NamedTuple):
    """A row. number: its last line; lines: how many it has; odd: so are its quotation marks; last: it ends
    the file."""

    number: int
    cells: list[str]
    lines: int = 1
    odd: bool = False
    last: bool = False


class Columns(NamedTuple):
    """Positions of the label's columns by name and of the text, and whether the first row names them."""

    labels: dict[str, int]
    text: int
    header: bool

    @property
    def label(self) -> int:
        """The first of them."""
        return next(iter(self.labels.values()))

    @property
    def last(self) -> int:
        """The last column that a row has to have."""
        return max(self.text, *self.labels.values())


def form(path: Path, head: bytes, kind: str, *, delimiter: str = "", encoding: str = "") -> TableForm:
    """How a file that begins so is read; what is given is not guessed. Raises ConfigError."""
    encoding = _checked_encoding(encoding) if encoding else encoding_of(head)
    if delimiter:
        delimiter = {"\\t": "\t", **{name: mark for mark, name in DELIMITERS.items()}}.get(
            delimiter, delimiter
        )
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ConfigError(f"--delimiter {delimiter}: one character, or comma, semicolon, tab or bar")
    if kind == "tsv":
        return TableForm(encoding, delimiter or "\t", quoted=False)
    return TableForm(
        encoding, delimiter or delimiter_of(head.decode(encoding, "replace"), cut=len(head) >= HEAD)
    )


def encoding_of(head: bytes) -> str:
    """UTF-16 by its mark or its zeros (every other byte of Latin text), else UTF-8."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    pairs = max(len(head) // 2, 1)
    low, high = head[1::2].count(0), head[::2].count(0)
    if low > pairs // 3 and not high:
        return "utf-16-le"
    return "utf-16-be" if high > pairs // 3 and not low else UTF_8


def _checked_encoding(given: str) -> str:
    try:
        name = codecs.lookup(given).name
        "".encode(name)  # base64 and its like are codecs, but not of text
    except (LookupError, ValueError) as error:
        raise ConfigError(f"--encoding {given}: not known; utf-8, utf-16 and cp1252 are") from error
    return name


def delimiter_of(head: str, *, cut: bool = False) -> str:
    """The mark that makes known columns of the first line, else that which makes as many of every line."""
    lines = head.removeprefix("\ufeff").splitlines(keepends=True)
    lines = lines[:-1] if cut and len(lines) > 1 else lines

    def worth(mark: str) -> tuple[bool, float]:
        rows = [row for row in _safely(csv.reader(lines, delimiter=mark)) if row]
        names = {name.strip().lower() for name in rows[0]} if rows else set()
        usual, share = 1, 0.0
        if rows:
            usual, count = Counter(len(row) for row in rows).most_common(1)[0]
            share = count / len(rows)
        return bool(names & set(LABELS) and names & set(TEXTS)), share if usual > 1 else 0.0

    return max(DELIMITERS, key=worth)


def _safely(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from islice(reader, SEEN_ROWS)
    except csv.Error:
        return


# -- lines and rows ----------------------------------------------------------------------------------------


def lines(stream: BufferedIOBase, path: Path, encoding: str, lost: Lost) -> Iterator[tuple[int, str]]:
    """Lines with their numbers and newlines; what is not UTF-8 is read as Windows-1252. Raises BadInput.

    A line of more than MAX_LINE is left out and told.
    """
    number, total, skipping = 1, 0, False
    for line in _texts(stream, encoding) if encoding != UTF_8 else _bytes(stream):
        total += len(line)
        if total > MAX_INPUT:
            raise BadInput(f"{path}:{number}: over {MAX_INPUT >> 30} GB of text; split the file")
        ends = line[-1:] in {"\n", b"\n"}
        if len(line) > MAX_LINE and not skipping:
            lost(f"line over {MAX_LINE >> 20} MB", number)
            skipping = True
        if not skipping:
            yield number, _decoded(line, number, encoding, lost)
        skipping = skipping and not ends
        number += ends


def _bytes(stream: BufferedIOBase) -> Iterator[bytes]:
    return iter(lambda: stream.readline(MAX_LINE + 1), b"")


def _texts(stream: BufferedIOBase, encoding: str) -> Iterator[str]:
    """Lines of another encoding; of a long one pieces."""
    decoder, rest = codecs.getincrementaldecoder(encoding)("replace"), ""
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line + "\n" for line in whole)
        if len(rest) > MAX_LINE:
            yield rest
            rest = ""
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _decoded(line: bytes | str, number: int, encoding: str, lost: Lost) -> str:
    if isinstance(line, str):
        line = line.removeprefix("\ufeff") if number == 1 else line
        if "\ufffd" in line:
            lost(f"not {encoding} in places", number)
        return line
    line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    try:
        return line.decode()
    except UnicodeDecodeError:
        lost("not UTF-8, read as Windows-1252", number)
        return line.decode("cp1252", "replace")


def rows(numbered: Iterator[tuple[int, str]], shape: TableForm, lost: Lost) -> Iterator[TableRow]:
    """The rows of a table."""
    if not shape.quoted:
        for number, line in numbered:
            yield TableRow(number, line.rstrip("\r\n").split(shape.delimiter))
        return
    csv.field_size_limit(MAX_LINE)
    counted = _Counted(numbered)
    reader = csv.reader(counted, delimiter=shape.delimiter)
    while True:
        first, counted.marks = counted.number, 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            lost(f"field over {MAX_LINE >> 20} MB; is a quotation mark not closed?", counted.number)
            continue
        spans = counted.number - first
        yield TableRow(counted.number, cells, spans, odd=counted.marks % 2 == 1, last=counted.ended)


class _Counted:
    """Lines for `csv`, which counts neither those that were left out nor quotation marks."""

    def __init__(self, numbered: Iterator[tuple[int, str]]) -> None:
        self._numbered = numbered
        self.number = self.marks = 0
        self.ended = False

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        try:
            self.number, line = next(self._numbered)
        except StopIteration:
            self.ended = True
            raise
        self.marks += line.count('"')
        return line.replace("\0", "\ufffd")


def swallowed(row: TableRow, shape: TableForm, label: int, known: Collection[str]) -> int:
    """How many rows lie within a row's fields, as a quotation mark before them is not closed.

    known: labels, without case. Where marks are even, which a text in order has, half of its lines have to
    look like rows.
    """
    inner = [line for cell in row.cells if row.lines > 1 for line in cell.splitlines()[1:]]
    found = 0
    for line in inner:
        cells = next(_safely(csv.reader([line], delimiter=shape.delimiter)), [])
        found += len(cells) > max(label, 1 - label) and cells[label].strip().casefold() in known
    if row.odd:
        return row.lines - 1 if row.last else found
    return found if 2 * found > row.lines - 1 else 0


# -- columns -----------------------------------------------------------------------------------------------


def columns(
    path: Path, seen: Sequence[TableRow], *, label: str = "", text: str = "", usual: UsualColumns = ()
) -> Columns:
    """Where label and text are, in the first rows. label, text: names or, from 1, numbers; "" finds them.

    label: several with commas between them. usual: what a task calls its columns, before LABELS.
    Raises BadInput where they are not there, or no header and no column of labels.
    """
    first = seen[0].cells
    names = [name.strip().lower() for name in first]
    known = [*usual, *((name,) for name in LABELS)]
    found = next((some for some in known if set(some) <= set(names)), ())
    if not (label or text) and not (found and set(names) & set(TEXTS)):
        return _without_header(path, seen)
    whole = not label or label.strip().lower() in names
    wanted = label.split(",") if not whole else [label] if label else list(found) or [""]
    labels = [_place(path, first, one, "label") for one in wanted]
    place = _place(path, first, text or next((one for one in TEXTS if one in names), ""), "text")
    named = any(one.named for one in (*labels, place))
    if not named and {names[one.at] for one in labels} <= set(LABELS) and names[place.at] in TEXTS:
        named = True
    if not named:
        _refuse_unknown_header(path, seen, labels[0].at)
    spelled = {first[one.at].strip() if named else f"column {one.at + 1}": one.at for one in labels}
    return Columns(spelled, place.at, named)


class _Place(NamedTuple):
    at: int
    named: bool  # by its name, not its number


def _place(path: Path, first: Sequence[str], given: str, option: str) -> _Place:
    """Where a column is that is named, or numbered from 1. Raises BadInput."""
    names, name = [one.strip().lower() for one in first], given.strip().lower()
    if name in names:
        return _Place(names.index(name), named=True)
    if re.fullmatch(r"[1-9][0-9]?", name) and int(name) <= len(first):
        return _Place(int(name) - 1, named=False)
    there = ", ".join(cell[:40] for cell in first[:10])
    raise BadInput(f"{path}:1: no column {name or option!r} among {there}; use --{option}-column")


def _without_header(path: Path, seen: Sequence[TableRow]) -> Columns:
    """Label and text as UCI has them, if what is there bears it out."""
    if len(seen[0].cells) < 2:
        raise BadInput(f"{path}:1: one column; {ADVICE}, or its --delimiter")
    labels = Counter(row.cells[0].strip().casefold() for row in seen if len(row.cells) > 1)
    if len(labels) > min(MAX_CLASSES, max(2, len(seen) // 2)):
        raise BadInput(f"{path}:1: no header, and the first column holds no labels; {ADVICE}")
    _refuse_unknown_header(path, seen, 0)
    return Columns({"column 1": 0}, 1, header=False)


def _refuse_unknown_header(path: Path, seen: Sequence[TableRow], label: int) -> None:
    """Raises BadInput where the first row's label is there once, and the others more than once."""
    labels = Counter(row.cells[label].strip().casefold() for row in seen if len(row.cells) > label)
    first = seen[0].cells[label].strip()
    if len(labels) > 2 and labels[first.casefold()] == 1 and min(sorted(labels.values())[1:]) > 1:
        raise BadInput(f"{path}:1: the first line, {first[:40]!r}, …, looks like an unknown header; {ADVICE}")


def parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file with their numbers, some at a time. Raises BadInput, ConfigError."""
    try:
        from pyarrow import parquet as arrow
    except ImportError as error:
        raise ConfigError(f"{path}: needs pyarrow; install filterd[bulk]") from error
    number = 0
    try:
        for batch in arrow.ParquetFile(path).iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise BadInput(f"{path}: {' '.join(str(error).split())[:200]}") from error

"""Corrections in a table: a CSV file of labels and messages, for `filterd feedback import`.

The first line names the columns, in any order and case: `label` (ham or spam) and `text`; `kind` (mail or
sms) and `user` where they are wanted. Commas, semicolons or tabs separate them.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO, Final, cast

from filterd.api import Kind, Label
from filterd.commands.input import MAX_MESSAGE_BYTES, Item, check_readable, open_input
from filterd.corrections.correction import MAX_OWNER
from filterd.errors import BadInput, FilterdError

SUFFIXES: Final = (".csv", ".tsv")
TEXTS: Final = ("text", "message", "raw")
MAX_HEADER: Final = 4096  # characters of the first line; some names of columns


def rows(path: str) -> Iterator[tuple[Item, Label | None]]:
    """Each row's message and label; what cannot be read is an error item. Raises NotFound and BadInput."""
    csv.field_size_limit(MAX_MESSAGE_BYTES)
    with open_input(path) as stream:
        text = io.TextIOWrapper(cast(BinaryIO, stream), "utf-8-sig", "replace", newline="")
        header = text.readline(MAX_HEADER)
        delimiter = max(",;\t", key=header.count)
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        column = next((name for name in TEXTS if name in names), "")
        if "label" not in names or not column:
            raise BadInput(f"{path}:1: needs a first line that names the columns label and text")
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        while True:
            name = f"{path}:{reader.line_num + 2}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Item(name, error=BadInput(f"{name}: {error}; is a quotation mark not closed?")), None
                continue
            if any(cell.strip() for cell in cells):
                yield _row(dict(zip(names, cells, strict=False)), column, name)


def _row(row: dict[str, str], column: str, name: str) -> tuple[Item, Label | None]:
    label, kind, user = (row.get(key, "").strip() for key in ("label", "kind", "user"))
    try:
        if label.lower() not in {Label.HAM.value, Label.SPAM.value}:
            raise BadInput(f"{name}: label {label[:20]!r}; ham and spam can be learned")
        if len(user) > MAX_OWNER:
            raise BadInput(f"{name}: a user of more than {MAX_OWNER} characters")
        asked = None
        with suppress(ValueError):
            asked = Kind(kind.lower())
        if kind and not asked:
            raise BadInput(f"{name}: kind {kind[:20]!r}; mail or sms")
        message = check_readable(row.get(column, "").encode(), name, asked)
    except FilterdError as error:
        return Item(name, error=error), None
    return Item(name, replace(message, user=user)), Label(label.lower())

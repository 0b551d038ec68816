"""Tables that take long: a folder with a file for each row that is done, so that the same command goes on."""

from pathlib import Path
from typing import TypeVar

import msgspec

from filterd.errors import BadInput, ConfigError, Unwritable
from filterd_trainer.gpt2.checkpoint import write_text

Found = TypeVar("Found")


def claim(out: Path, *, name: str, said: str, what: str) -> None:
    """Make the folder, or find that it is of the same request. name: of the file that says which.

    Raises ConfigError where the folder was begun with another `what`, Unwritable.
    """
    file = out / name
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = file.read_text("utf-8") if file.exists() else said
    except OSError as error:
        raise Unwritable(f"{out}: {error.strerror}; choose another --out") from error
    if known != said:
        raise ConfigError(f"{out}: begun with other {what}; choose another --out")
    write_text(file, said)


def read(file: Path, kind: type[Found]) -> Found | None:
    """A row that is done, or None. Raises BadInput."""
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file}: not a row of this version ({error}); remove it") from error

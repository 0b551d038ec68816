"""The types of settings, and sections made of them. An unknown key is an error, by its name.

A section is a frozen `msgspec.Struct` with a default for every key that need not be given. What it refuses
itself it raises from `__post_init__` as ValueError, which is shown to people with the section's name.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from filterd.errors import ConfigError
from filterd.kit.address import parse_address

MODE = "^0[0-7]{3}$"
MAX_SECRET_BYTES = 4096
LISTEN = "listen: "  # what a section says of this key of its own; msgspec adds the section's name only

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Mode = Annotated[str, msgspec.Meta(pattern=MODE)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common: unknown keys are errors."""


class ListenSettings(Section, frozen=True, kw_only=True):
    """Where something listens.

    mode: of a unix socket's file. max_connections: of each address, at a time.
    """

    listen: tuple[str, ...] = ()
    mode: Mode = "0660"
    max_connections: Positive = 256

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the section's name."""
        for address in self.listen:
            try:
                parse_address(address)
            except ConfigError as error:
                raise ValueError(f"{LISTEN}{error}") from error


def read_secret(key: str, file: str) -> str:
    """The one line in a file. key: the setting that names it. Raises ConfigError."""
    try:
        with Path(file).open("rb") as stream:
            line = stream.read(MAX_SECRET_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{key}: {file}: {error.strerror}; name a file with one line") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: {file}: not text; name a file with one line") from error
    if not line:
        raise ConfigError(f"{key}: {file}: empty; put the secret in it, in one line")
    return line

"""Marks that give a label away, taken out before training: the collector's address, a gateway's header.

A file of marks is JSON: names of sources (patterns as `mail_list_*`, several parted by commas) to

    {"replace": [["REGEX", "what instead"], …], "headers_to_drop": ["X-UID", "Received (why)", …]}

`what instead` is for people; the words `address`, `recipient`, `name` and `digits` or `number` in it choose
an invented address, name or digit, the same throughout a message; without any of them the match goes. Of a
header to drop the first word counts, `*` stands for anything.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from filterd.errors import BadInput, NotFound
from filterd.reading.kind import header_block

FILE: Final = "traps.json"  # found beside an input
# Names and providers of many countries, common to all sources: what stands in a mark's place must be no mark.
NAMES: Final = (
    *("alex", "anna", "ben", "carla", "daniel", "elif", "emma", "farid", "grace", "hannah", "ivan", "jana"),
    *("kai", "laura", "lucas", "maria", "mehmet", "mina", "nora", "olga", "pavel", "pedro", "priya", "rosa"),
    *("samir", "sofia", "thomas", "wei", "yusuf", "zoe"),
)
HOSTS: Final = (
    *(
        "gmail.com",
        "outlook.com",
        "yahoo.com",
        "hotmail.com",
        "icloud.com",
        "web.de",
        "orange.fr",
        "libero.it",
    ),
    *("mail.ru", "qq.com", "example.com", "example.org"),
)


@dataclass(frozen=True)
class Marks:
    """What is taken out of one source's messages. replace: pattern and what stands instead of its matches."""

    replace: Sequence[tuple[re.Pattern[str], str]] = ()
    headers: Sequence[str] = ()

    def of_raw(self, raw: bytes) -> bytes:
        """A message's bytes without the headers, its unencoded text without the marks."""
        if self.headers:
            end = header_block(raw)
            raw = _without(raw[:end], self.headers) + raw[end:]
        if not self.replace:
            return raw
        return self.of_text(raw.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def of_text(self, text: str) -> str:
        """A text without the marks."""
        for pattern, instead in self.replace:
            if pattern.search(text):
                chance = hashlib.sha256(text[:200].encode("utf-8", "replace")).digest()
                text = pattern.sub(lambda match, c=chance, how=instead: _invented(match[0], how, c), text)  # type: ignore[misc]
        return text


NONE: Final = Marks()


@dataclass(frozen=True)
class AllMarks:
    """The marks of all sources, by pattern of the name."""

    by_name: Mapping[str, Marks] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> "AllMarks":
        """Raises NotFound, BadInput."""
        try:
            given = json.loads(file.read_text("utf-8"))
            return cls(
                {name.strip(): _marks(one) for names, one in given.items() for name in names.split(",")}
            )
        except OSError as error:
            raise NotFound(f"{file}: {error.strerror}; --traps names a file of marks") from error
        except (ValueError, TypeError, AttributeError, KeyError, re.error) as error:
            raise BadInput(f"{file}: not a file of marks ({error}); docs/data.md has its form") from error

    def of(self, source: str) -> Marks:
        """What is taken out of a source."""
        found = [one for name, one in self.by_name.items() if fnmatchcase(source, name)]
        if not found:
            return NONE
        return Marks(
            [pair for one in found for pair in one.replace], [h for one in found for h in one.headers]
        )


NO_MARKS: Final = AllMarks()


def _marks(given: Mapping[str, Any]) -> Marks:
    replace = [(re.compile(pattern), str(instead)) for pattern, instead in given.get("replace", ())]
    return Marks(replace, [str(header).split()[0].lower() for header in given.get("headers_to_drop", ())])


def _without(head: bytes, names: Sequence[str]) -> bytes:
    """A header block without the headers of these names, their folded lines included."""
    kept: list[bytes] = []
    dropping = False
    for line in head.splitlines(keepends=True):
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].strip().lower().decode("ascii", "replace")
            dropping = any(fnmatchcase(name, pattern) for pattern in names)
        if not dropping:
            kept.append(line)
    return b"".join(kept)


def _invented(match: str, instead: str, chance: bytes) -> str:
    """What stands in the place of a match, by the words of `instead`."""
    if re.search("digit|number", instead) and "name" not in instead:
        return str(chance[len(match) % 32] % 10)
    if not re.search("address|recipient|name", instead):
        return ""
    name = NAMES[chance[0] % len(NAMES)]
    if "@" in match:
        return f"{name}@{HOSTS[chance[1] % len(HOSTS)]}"
    if "." in match:
        return HOSTS[chance[1] % len(HOSTS)]
    return name.capitalize() if match[:1].isupper() else name

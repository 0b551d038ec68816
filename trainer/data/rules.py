"""Which rows of a source train, and as what: one rule for all labels, a preset that maps each source to it.

The rule: wanted bulk mail is ham, unasked is spam; where nobody can know, the row is left out. `public.yaml`
has what that means for each source of `docs/data.md`; `--rules FILE` names another such file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml

from filterd.errors import BadInput, NotFound

PRESET: Final = Path(__file__).with_name("public.yaml")
KEYS: Final = frozenset({"why", "drop", "most", "most_a_language", "lang"})

Condition = Mapping[str, re.Pattern[str]]  # a row's keys and what their values have to match, all of them


@dataclass(frozen=True)
class Rule:
    """What is done to one source's rows.

    drop: rows that meet one of these conditions are left out. most, most_a_language: rows kept (0: all).
    lang: the language where a row names none.
    """

    drop: Sequence[Condition] = ()
    most: int = 0
    most_a_language: int = 0
    lang: str = ""

    def drops(self, row: Mapping[str, Any]) -> bool:
        """Whether the row is left out."""
        return any(
            all(pattern.search(str(row.get(key, ""))) for key, pattern in condition.items())
            for condition in self.drop
        )


ALL: Final = Rule()


@dataclass(frozen=True)
class SourceRules:
    """Rules by pattern of a source's name; the first that fits counts. families: of groups, by pattern."""

    by_name: Mapping[str, Rule] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, given: str) -> "SourceRules":
        """`public`, a file, or nothing. Raises NotFound, BadInput."""
        if not given:
            return cls()
        file = PRESET if given == "public" else Path(given)
        try:
            read = yaml.safe_load(file.read_text("utf-8"))
            rules = {str(name): _rule(one or {}) for name, one in (read.get("sources") or {}).items()}
            return cls(rules, {str(k): str(v) for k, v in (read.get("families") or {}).items()})
        except OSError as error:
            raise NotFound(f"{file}: {error.strerror}; --rules takes public or a file") from error
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, re.error) as error:
            raise BadInput(f"{file}: not a file of rules ({error}); docs/data.md has its form") from error

    def of(self, source: str) -> Rule:
        """What holds for a source."""
        return next((rule for name, rule in self.by_name.items() if fnmatchcase(source, name)), ALL)

    def family(self, link: str) -> str:
        """A link, or its family's where its group is of one."""
        name = link.removeprefix("group:")
        found = (family for pattern, family in self.families.items() if fnmatchcase(name, pattern))
        return f"group:{next(found, name)}" if link.startswith("group:") else link

    def capped(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame without the rows over its sources' limits; which stay is by a hash of the text."""
        if frame.empty:
            return frame
        order = pd.util.hash_pandas_object(frame["Text"], index=False)
        kept = []
        for source, rows in frame.assign(Order=order).sort_values("Order").groupby("Source", sort=True):
            rule = self.of(str(source))
            few = rows.groupby("Lang").head(rule.most_a_language) if rule.most_a_language else rows
            kept.append(few.head(rule.most) if rule.most else few)
        return pd.concat(kept).sort_index().drop(columns="Order").reset_index(drop=True)


NO_RULES: Final = SourceRules()


def _rule(given: Mapping[str, Any]) -> Rule:
    if unknown := set(given) - KEYS:
        raise ValueError(f"unknown key {min(unknown)}")
    drop = [
        {str(key): re.compile(str(value)) for key, value in condition.items()}
        for condition in given.get("drop", ())
    ]
    return Rule(
        drop, int(given.get("most", 0)), int(given.get("most_a_language", 0)), str(given.get("lang", ""))
    )

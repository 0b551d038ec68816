"""The catalogue: a key and a language to a sentence, with values put in.

`texts/en.yaml` is the original, one file a language stands beside it, and a test holds them to the same keys
and the same values. What is missing in a language comes in English; an unknown key is shown as it is, which
a reader notices and a mail does not.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parent / "texts"
ENGLISH: Final = "en"


def languages() -> list[str]:
    """Codes of the languages there are, English first."""
    return sorted((file.stem for file in FOLDER.glob("*.yaml")), key=lambda code: (code != ENGLISH, code))


def say(language: str, key: str, /, **values: object) -> str:
    """The sentence of a key, with values put in for `{name}`."""
    text = texts(language).get(key) or texts(ENGLISH).get(key)
    return text.format(**values) if text else key


def knows(key: str) -> bool:
    """Whether there is a sentence of this key."""
    return key in texts(ENGLISH)


def choose(accepted: str) -> str:
    """The best language for an Accept-Language header (RFC 9110 12.5.4), by its order alone."""
    known = languages()
    for one in accepted[:200].split(","):
        code = one.split(";")[0].strip().lower().split("-")[0]
        if code in known:
            return code
    return ENGLISH


@cache
def texts(language: str) -> Mapping[str, str]:
    """All sentences of a language by dotted key; none of one that there is not."""
    if language not in languages():
        return {}
    return dict(_flat(yaml.safe_load((FOLDER / f"{language}.yaml").read_text("utf-8")), ""))


def _flat(node: Any, above: str) -> list[tuple[str, str]]:
    if not isinstance(node, dict):
        return [(above, str(node))]
    return [pair for key, below in node.items() for pair in _flat(below, f"{above}.{key}" if above else key)]

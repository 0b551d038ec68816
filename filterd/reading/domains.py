"""Which part of a host name its owner registered."""

import re
from functools import cache, lru_cache
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList, encode_idn

__all__ = ["is_number", "organisation"]

_NUMBER = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}|\[[0-9a-f:.]*\]", re.IGNORECASE)


def is_number(host: str) -> bool:
    """Whether a host is written as a number: IPv4 in any form browsers take, or IPv6 in brackets."""
    return bool(_NUMBER.fullmatch(host))


@lru_cache(maxsize=4096)
def organisation(host: str) -> str:
    """The organisational domain of a host (RFC 7489 3.2, Public Suffix List); a number stays whole."""
    host = host[-253:].strip(".").lower()
    return host if not host or is_number(host) else _suffixes().privatesuffix(host) or host


@cache
def _suffixes() -> PublicSuffixList:
    """The copy in the package: nothing is fetched. ASCII rules are not encoded: that took 40 ms."""
    lines = Path(PSLFILE).read_text("utf-8").splitlines()
    suffixes = [line.split(" ")[0] for line in lines if not line.startswith("//")]
    encoded = [_encoded(one) for one in suffixes if not one.isascii()]
    return PublicSuffixList(suffixes + encoded, accept_encoded_idn=False)


def _encoded(suffix: str) -> str:
    mark = "!" if suffix.startswith("!") else ""  # an exception to a rule
    return mark + encode_idn(suffix.lstrip("!"))

"""Which part of a host name its owner registered."""

import re
from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList

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
    return PublicSuffixList()  # the copy in the package: nothing is fetched; read once, 60 ms

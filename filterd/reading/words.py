"""Words as they are spelled, found under digits, signs and capitals that were put into them.

A disguise is undone only where a known word comes out: one that GPT-2's own vocabulary holds as a single
token, so no list of ours. That is what tells "w1nner", "fr33" and "mo-ney" from postcodes, codes, "gr8" and
"e-mail". Only words of MIN_WORD letters and more are looked up: shorter ones are found in any code.

The vocabulary is the package's own, whichever bundle judges: a text must not read differently with another.
"""

import re
import string
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Final

__all__ = [
    "MIN_TURNS",
    "MIN_WORD",
    "plain_case",
    "read_leet",
    "read_mixed",
    "read_parted",
    "read_short",
    "read_signs",
]

# Words of MIN_WORD letters and more that GPT-2 has as one token behind a blank, the commonest first.
VOCABULARY: Final = Path(__file__).with_name("vocabulary.txt")
MIN_WORD: Final = 4  # letters
MAX_WORD: Final = 24  # characters of a disguised word; an id is longer
MAX_READINGS: Final = 16  # of one word: a sign in four stands for either of two letters
# What a sign can stand for, likelier first.
_SIGNS: Final = {
    "0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g",
    "@": "a", "$": "s", "!": "il", "|": "li", "+": "t",
}  # fmt: skip
_SIGN_BESIDE = re.compile(r"[0-9@$!|+](?:(?<=[A-Za-z].)|(?=[A-Za-z]))")
MAYBE_LEET = re.compile(r"[0-9@$!|+](?:(?<=[A-Za-z].)(?=[\w@$|+!])|(?=[A-Za-z]))")
_LEET = re.compile(
    r"(?<![\w@$./:+&=#%!|\-])"
    rf"[A-Za-z0-9$][A-Za-z0-9@$!|+]{{2,{MAX_WORD - 2}}}[A-Za-z0-9@$|+]"
    r"(?![\w@$/&=#%|\-]|[.:+!][A-Za-z0-9])"
)
# Numbers with a unit, postcodes' first halves, and whatever has a long number in it.
_CODE = re.compile(r"[$]?\d[\d.,]*[A-Za-z]{0,3}|[A-Z]{1,2}\d{1,2}|.*\d{3}.*|.*[a-z][0-9]*[A-Z].*")
_ENDS: Final = "0123456789@$!|+"
_LETTERS: Final = string.ascii_letters
MAYBE_PARTED = re.compile(r"[.\-_',/|](?<=[A-Za-z].)(?=[A-Za-z])")
_PARTED = re.compile(
    r"(?<![\w@./:&=#%|'\-])"
    rf"([A-Za-z]{{1,{MAX_WORD}}})([.\-_',/|])([A-Za-z]{{1,{MAX_WORD}}})"
    r"(?![\w@/:&=#%|]|[.\-_',/|][A-Za-z0-9])"
)
# Short words and beginnings that stand before or behind such a sign by right: "e-mail", "he's", "and/or".
_SHORT_LIST: Final = (
    "a an am as at b be by c co d de do du e en et ex go he hi i if in is it k la le ll lo m me my n"
    " no o of ok on or p q r re s she so st t to u un up us v ve w we x y ya add age air all and any"
    " are ask bad big bus but buy can car cat day dad did don end far few fi for fun get got had has"
    " her him his how job let man may men mid mis mom mum net new non not now off old one our out own"
    " per pop pre pro put run say see set sub tax the too top try two use via was way web who why wi"
    " win won yes yet you"
)
_SHORT: Final = frozenset(_SHORT_LIST.split())
# What follows a dot in a host name.
_DOMAINS_LIST: Final = (
    "ai app at au be biz br ca cc ch cn co com de dk edu es eu fi fr gg gl gov id ie il in info io is"
    " it jp ke la ly me mobi mx my name net ng nl no nz online org ph pl pt pw ro ru se sh shop site"
    " st tk to tr tv ua uk us vn ws xyz za"
)
_DOMAINS: Final = frozenset(_DOMAINS_LIST.split())
_MIXED = re.compile(rf"(?<![\w@./:&=#%\-])[A-Za-z]{{{MIN_WORD},{MAX_WORD}}}(?![\w@/:&=#%\-]|\.[A-Za-z0-9])")
MIN_TURNS: Final = 2  # from small letters to a capital; "iPhone" and "eBay" have one
_TURNS_TWICE = re.compile(r"[A-Z](?<=[a-z].)(?=[A-Za-z]*?[a-z][A-Z])")


def read_leet(text: str) -> str:
    """ "w1nner", "fr33", "$ave" as the known words that they stand for; all else as it is."""
    return read_signs(text) if MAYBE_LEET.search(text) else text


def read_signs(text: str) -> str:
    """The same where a sign at a word's end counts, too: in texts that have one inside a word."""
    return _replaced(text, _SIGN_BESIDE, _LETTERS + _ENDS, _LEET, lambda m: _read(m[0]))


def read_parted(text: str) -> str:
    """ "mo-ney", "via.gra" as the known word that one sign parts; "e-mail" and "yes/no" as they are."""
    return _replaced(text, MAYBE_PARTED, _LETTERS, _PARTED, _join)


def _replaced(
    text: str,
    sign: re.Pattern[str],
    before: str,
    word: re.Pattern[str],
    read: Callable[[re.Match[str]], str],
) -> str:
    """`word.sub(read, text)`, but tried only where a sign is: ten times as fast in ordinary texts.

    For a `word` that has such a sign and begins where the run of characters `before` it begins.
    """
    pieces, done = [], 0
    for found in sign.finditer(text):
        at = found.start()
        if at < done:
            continue
        first = max(done, at - MAX_WORD)
        if match := word.match(text, first + len(text[first:at].rstrip(before))):
            pieces += [text[done : match.start()], read(match)]
            done = match.end()
    return "".join(pieces) + text[done:] if pieces else text


def read_mixed(text: str) -> str:
    """ "fReE" in one case, where it turns to capitals twice, as no name does, and is a known word."""
    return _replaced(
        text, _TURNS_TWICE, _LETTERS, _MIXED, lambda m: plain_case(m[0]) if _known(m[0]) else m[0]
    )


def read_short(word: str) -> str:
    """ "t0" and "th3" as one of a few short words; for texts known to be in leet, as it finds "1s", too."""
    ways = product(*(_SIGNS.get(c, c) for c in word.lower()))
    return next((w for w in map("".join, ways) if len(w) > 1 and w in _SHORT), word)


def plain_case(word: str) -> str:
    """Capitals, where most letters are; else small letters, behind a capital if it began with one."""
    letters = [c for c in word if c.isalpha()]
    if 2 * sum(c.isupper() for c in letters) > len(letters):
        return word.upper()
    return word[:1] + word[1:].lower()


def _known(word: str) -> bool:
    """Whether it is a word of the vocabulary, in any case."""
    return word.lower() in _ranks()


def _likeliest(word: str) -> str | None:
    """The commonest known word, in small letters, that digits and signs in `word` may stand for."""
    ways = [_SIGNS.get(c, c) for c in word.lower()]
    count = 1
    for way in ways:
        count *= len(way)
    if count > MAX_READINGS:
        return None
    ranks = _ranks()
    found = [(ranks[w], w) for w in map("".join, product(*ways)) if w in ranks]
    return min(found)[1] if found else None


@cache
def _ranks() -> dict[str, int]:
    """The vocabulary, with each word's place in it."""
    return {word: place for place, word in enumerate(VOCABULARY.read_text("ascii").split())}


def _read(word: str) -> str:
    letters = sum(map(str.isalpha, word))
    if letters == len(word) or 2 * letters < len(word) or _CODE.fullmatch(word):
        return word
    core = word.strip(_ENDS)
    if core.isalpha() and (_known(core) or core.lower() in _SHORT):
        return word  # "level5", "win7", "for2"
    plain = _likeliest(word)
    if plain is None:
        return word
    if word.upper() == word:
        return plain.upper()
    return plain.capitalize() if word[0].isupper() else plain


def _join(parted: re.Match[str]) -> str:
    left, sign, right = parted.groups()
    joined = left + right
    if not _known(joined) or (_stands_alone(left) and _stands_alone(right)):
        return parted[0]
    if sign in ".," and (right.lower() in _DOMAINS or (left[-1].islower() and right[0].isupper())):
        return parted[0]  # a host, or the next sentence without a blank before it
    if sign == "'" and (left.lower() in _SHORT or right.lower() in _SHORT):
        return parted[0]
    return joined


def _stands_alone(part: str) -> bool:
    lower = part.lower()
    return any(word in _SHORT or _known(word) for word in (lower, lower.removesuffix("s")))

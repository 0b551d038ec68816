"""Text as a person reads it: one spelling for every disguise of the same words.

Invisible characters go, compatibility forms fold (NFKC, UAX 15), look-alikes of other scripts become
Latin where they imitate it (in the spirit of UTS 39 skeletons, with a table of our own), spaced-out
letters close up, long addresses and opaque ids are cut, runs and white space shrink. Real Russian, Greek
or Chinese comes through unchanged, and so does leetspeak: undoing it would have to guess.

`normalise` repeats its steps until nothing changes, so it is idempotent: a text that was normalised when
it was stored for retraining reads the same when it is normalised again.
"""

import re
import unicodedata
from itertools import pairwise
from typing import Final

__all__ = ["normalise"]

MAX_PASSES: Final = 6  # two settle everything seen in practice; the rest is for texts made to be awkward
MAX_REPEATS: Final = 4  # "sooooo" and "!!!!!!!" keep their emphasis; four is one or two tokens
MAX_DIGIT_REPEATS: Final = 16  # no amount or number that means something repeats a digit more often
MAX_MARKS: Final = 4  # combining marks on one letter; no script needs more, and NFKC is quadratic in them
MAX_HOST: Final = 48  # the end of a host is what was registered; 48 characters hold all but forged ones
MAX_PATH: Final = 24  # says "login" or "unsubscribe"; beyond are ids
MIN_OPAQUE: Final = 41  # longer than a SHA-1 in hexadecimal and than any ordinary word
OPAQUE_KEPT: Final = 24  # enough to see that it is an id
MIN_OPAQUE_DIGITS: Final = 16  # one character in so many is a digit, or it is taken for words run together

_CONTROLS = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_INVISIBLE = re.compile(
    f"[{_CONTROLS}"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# What NFKC leaves on Latin letters after composing: strike-through, enclosing and stacked marks.
_LOOSE_MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_MARK_RUN = re.compile(rf"[^\w\s\x00-\x7f]{{{2 * MAX_MARKS},}}")

_FOLD: Final[dict[str, str]] = {
    **dict.fromkeys("‘’‚‛′ʼ´", "'"),
    **dict.fromkeys("“”„‟", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "\u2800": " ",  # braille blank
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
    **{chr(0x1F150 + i): chr(0x41 + i) for i in range(26)},  # negative circled letters
    **{chr(0x1F170 + i): chr(0x41 + i) for i in range(26)},  # negative squared letters
}
_FOLDED = re.compile("[" + "".join(_FOLD) + "]")

# Letters that look exactly like a Latin one; a whole word of them passes for Latin.
_TWINS: Final[dict[str, str]] = {
    **dict(zip("асԁеһіјӏорԛѕуԝхАВСЕНІЈКМОРԚЅТУԜХҮԌӀ", "acdehijlopqsywxABCEHIJKMOPQSTYWXYGI", strict=True)),
    **dict(zip("οΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳϹ", "oABEZHIKMNOPTYXcjC", strict=True)),
    **dict(zip("օոսհցՍՕՏԼ", "onuhgUOSL", strict=True)),
    **dict(zip("ᎠᎡᎢᎥᎪᎫᎬᎳᎷᎻᏀᏃᏒᏔᏚᏙᏞᏟᏢᏦᏴ", "DRTiAJEWMHGZRWSVLCPKB", strict=True)),
    **dict(zip("ꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ", "BPDTGKJCZFMNLSRVHWXYAEIOU", strict=True)),
    **dict(zip("ⲞⲟⲢⲣⲤⲥⲔⲘⲚⲦⲬⲀⲈⲎⲒ", "OoPpCcKMNTXAEHI", strict=True)),
}
# Letters that only pass for Latin beside Latin ones, in the middle of a word.
_COUSINS: Final[dict[str, str]] = {
    **_TWINS,
    **dict(zip("вкмнптгьцџєғҝҟѵүқңҳґӕ", "bkmhntrbuuefkkvyknhra", strict=True)),
    **dict(zip("αβγεηικνρστυχωΥϒζδθΛ", "aByenikvpotuxwYYzdOA", strict=True)),
    **dict(zip("զքյԱԵղճ", "qpjUEnd", strict=True)),
    **dict(zip("ɑɡɩʋɾɛɔʐ", "agiureoz", strict=True)),
}
_LOOKALIKE = re.compile("[" + "".join(_COUSINS) + "]")
_TWIN_TABLE = str.maketrans(_TWINS)
_COUSIN_TABLE = str.maketrans(_COUSINS)
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_WORD = re.compile(r"[^\W_]+")

_BLANKS = re.compile(r"\s{2,}|[^\S \n]")
_LINE_ENDS = frozenset("\n\r\x0b\x0c\x85\u2028\u2029")
_REPEATS = re.compile(rf"([^\d\s])\1{{{MAX_REPEATS},}}")
_DIGIT_REPEATS = re.compile(rf"(\d)\1{{{MAX_DIGIT_REPEATS},}}")
# Four or more single characters with one and the same separator between them, as "F R E E" or "w.i.n.s".
_SPACED = re.compile(r"(?<!\S)[^\W_]([ ._*\-])[\w$@!](?:\1[\w$@!]){2,}(?![^\s!?.,:;)])")
_OPAQUE = re.compile(rf"[A-Za-z0-9+/=_\-]{{{MIN_OPAQUE},}}")
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?|ftp):/*|(?<![\w.@\-])(?=www\.|(?:[a-z0-9\-]{1,63}\.){1,6}[a-z]{2,24}/))"
    r"(?P<host>[^\s<>\"'/?#]+)(?P<path>[^\s<>\"'?#]*)(?P<rest>[?#][^\s<>\"']*)?",
    re.IGNORECASE,
)
# Whether plain ASCII has anything for the steps below; most short messages have not.
_UNTIDY = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f`]|\A\s|\s\Z|\s\s|:/|www\.|[A-Za-z0-9+/=_\-]{%d}|[a-z]/[^\s]{%d}"
    r"|\b\w[ ._*\-][\w$@!][ ._*\-][\w$@!][ ._*\-]|([!-~])\1{%d}" % (MIN_OPAQUE, MAX_PATH, MAX_REPEATS),
    re.IGNORECASE,
)


def normalise(text: str, limit: int) -> str:
    """The text in its plainest spelling, at most `limit` characters; of a longer one its head and tail."""
    if len(text) <= limit and text.isascii() and not _UNTIDY.search(text):
        return text
    text = cut(_blanks(_INVISIBLE.sub("", text)), limit)
    for _ in range(MAX_PASSES):
        before = text
        text = cut(_pass(text), limit)
        if text == before:
            break
    return text


def cut(text: str, limit: int) -> str:
    """At most `limit` characters: three quarters from the head, the rest from the tail."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    return (text[: limit - tail - 1].rstrip() + "\n" + text[len(text) - tail :].lstrip()).strip()


def _pass(text: str) -> str:
    ascii_only = text.isascii()
    if not ascii_only:
        text = _fold(text)
    text = _SPACED.sub(_close_up, text.replace("`", "'"))
    if not ascii_only and _LOOKALIKE.search(text):
        text = "\n".join(_unmask(line) for line in text.split("\n"))
    text = _ADDRESS.sub(_shorten, text)
    text = _OPAQUE.sub(_cut_opaque, text)
    text = _REPEATS.sub(lambda m: m[1] * MAX_REPEATS, text)
    text = _DIGIT_REPEATS.sub(lambda m: m[1] * MAX_DIGIT_REPEATS, text)
    return _blanks(text)


def _fold(text: str) -> str:
    """Compatibility forms, typographic quotes and dashes, styled alphabets; nothing invisible left."""
    text = _FOLDED.sub(lambda m: _FOLD[m[0]], _INVISIBLE.sub("", text))
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", _MARK_RUN.sub(_thin_marks, text))
    return _LOOSE_MARKS.sub("", text)


def _thin_marks(run: re.Match[str]) -> str:
    """A run of non-letters with at most MAX_MARKS combining marks in a row."""
    kept, marks = [], 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _blanks(text: str) -> str:
    """Each run of white space as one newline, if it holds one, or one blank."""
    return _BLANKS.sub(lambda m: " " if _LINE_ENDS.isdisjoint(m[0]) else "\n", text).strip()


def _close_up(spaced: re.Match[str]) -> str:
    """ "F R E E" as "FREE"; a row of numbers stays a row."""
    characters = spaced[0][::2]
    letters = sum(map(str.isalpha, characters))
    return characters if letters >= 3 and 2 * letters >= len(characters) else spaced[0]


def _shorten(address: re.Match[str]) -> str:
    """Host and the beginning of the path. http and https are one: which is used tells only the year."""
    scheme = address["scheme"]
    start = "" if scheme is None else "ftp://" if scheme.lower() == "ftp" else "http://"
    return start + address["host"][-MAX_HOST:] + address["path"][:MAX_PATH]


def _cut_opaque(run: re.Match[str]) -> str:
    digits = sum(map(str.isdigit, run[0]))
    return run[0][:OPAQUE_KEPT] if digits * MIN_OPAQUE_DIGITS >= len(run[0]) else run[0]


def _unmask(line: str) -> str:
    """Look-alikes as the Latin letters they imitate, word by word; genuine foreign words stay."""
    if not (_LATIN.search(line) and _LOOKALIKE.search(line)):
        return line
    genuine = any(_is_genuine(word) for word in _WORD.findall(line))
    line = _WORD.sub(lambda m: _unmask_mixed(m[0], genuine), line)
    foreign = sum(character in _TWINS for character in line)
    if genuine or len(_LATIN.findall(line)) <= foreign:
        return line
    return _WORD.sub(lambda m: m[0].translate(_TWIN_TABLE) if _all_twins(m[0]) else m[0], line)


def _is_genuine(word: str) -> bool:
    """A word of another script: no Latin letter, and one that nobody would take for Latin."""
    return not _LATIN.search(word) and any(c.isalpha() and c not in _COUSINS for c in word)


def _unmask_mixed(word: str, genuine: bool) -> str:
    """A word that mixes scripts, read as Latin if all of it can be.

    Beside genuine foreign words one change of script is how people inflect foreign names ("SMSка").
    """
    latin = [bool(_LATIN.match(c)) for c in word if c.isalpha()]
    if not any(latin) or all(latin):
        return word
    if any(c.isalpha() and c not in _COUSINS and not _LATIN.match(c) for c in word):
        return word
    changes = sum(a != b for a, b in pairwise(latin))
    return word if genuine and changes == 1 else word.translate(_COUSIN_TABLE)


def _all_twins(word: str) -> bool:
    letters = [c for c in word if c.isalpha()]
    return bool(letters) and all(c in _TWINS for c in letters)

"""Text as a person reads it: one spelling for every disguise of the same words.

Invisible characters go, text that is displayed backwards is turned round, compatibility forms fold (NFKC, UAX
15), accents on Latin letters go, look-alikes of other scripts become Latin where they imitate it (in the
spirit of UTS 39 skeletons, with a table of our own), digits that stand for a letter inside a word become it,
random case becomes small, spaced-out letters close up, of many emoji three stay, long addresses and opaque
ids are cut, runs and white space shrink. Real Russian, Greek or Chinese comes through unchanged.

`normalise` repeats its steps until nothing changes, so it is idempotent: a text that was normalised when
it was stored for retraining reads the same when it is normalised again.
"""

import re
import string
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from filterd.reading import words

__all__ = ["normalise"]

MAX_PASSES: Final = 6  # two settle everything seen in practice; the rest is for texts made to be awkward
MAX_REPEATS: Final = 4  # "sooooo" and "!!!!!!!" keep their emphasis; four is one or two tokens
MAX_DIGIT_REPEATS: Final = 16  # no amount or number that means something repeats a digit more often
MAX_EMOJI: Final = 3  # of a text; as many show its mood, more are strewn over it to part its words
MAX_MARKS: Final = 4  # combining marks on one letter; no script needs more, and NFKC is quadratic in them
MAX_HOST: Final = 48  # the end of a host is what was registered; 48 characters hold all but forged ones
MAX_PATH: Final = 24  # says "login" or "unsubscribe"; beyond are ids
CACHED_WORDS: Final = 4_096  # read lately, of those that may be disguised
MAX_CACHED: Final = 64  # characters of one of them, so that nobody fills the memory with long ones
CACHED_RUNS: Final = 4_096  # of characters beyond ASCII, folded lately
MIN_OPAQUE: Final = 41  # longer than a SHA-1 in hexadecimal and than any ordinary word
OPAQUE_KEPT: Final = 24  # enough to see that it is an id
MIN_OPAQUE_DIGITS: Final = 16  # one character in so many is a digit, or it is taken for words run together

_CONTROLS = bytes([*range(0x09), *range(0x0E, 0x1C), 0x7F])
# ASCII's white space as blanks and newlines (str.splitlines).
_ONE_WHITE = bytes.maketrans(b"\t\x1f\r\x0b\x0c\x1c\x1d\x1e", b"  \n\n\n\n\n\n")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# What NFKC leaves on Latin letters after composing: strike-through, enclosing and stacked marks.
_LOOSE_MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_MARK_RUN = re.compile(rf"[^\w\s\x00-\x7f]{{{2 * MAX_MARKS},}}")
_FOREIGN = re.compile(r"[^\x00-\x7f]+")

_EMOJI = re.compile("[\u2600-\u27bf\u2b1b\u2b1c\u2b50\u2b55\U0001f000-\U0001f0ff\U0001f1e6-\U0001faff]+")

_FOLD: Final[dict[str, str]] = {
    **dict.fromkeys("‘’‚‛′ʼ´", "'"),
    **dict.fromkeys("“”„‟", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict(zip("⍺℮ǀƅƼ", "aelb5", strict=True)),  # no letters, or letters of another sound, but their shape
    "\u2800": " ",  # braille blank
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)),
    **{chr(0x1F150 + i): chr(0x41 + i) for i in range(26)},  # negative circled letters
    **{chr(0x1F170 + i): chr(0x41 + i) for i in range(26)},  # negative squared letters
}
_FOLDED = re.compile("[" + "".join(_FOLD) + "]")
# Displayed from right to left up to the next change of direction (UAX 9, 3.3.2): "eerf" is read as "free".
_BACKWARDS = re.compile("\u202e([^\u202a-\u202e\n]*)")


def _plain_letter(character: str) -> str:
    """The ASCII letter under the accents of a Latin one, "" where there is none."""
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() and base.isalpha() else ""


# French loses its accents with spam that is written vïàgrá. To tell the two apart would be a guess, and
# "deja vu" still reads as French.
_UNACCENTED: Final[dict[int, str]] = {
    point: letter
    for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if (letter := _plain_letter(chr(point)))
} | str.maketrans(
    dict(zip("øØđĐłŁħĦıŧŦŋŊðÐþÞɨƀƃɓƈɗƒɠƙƚƞƥƫƭʋƴƶȼȡȴƗƠƘƤƬƳƵɆɇɌɍɎɏɈɉ",
             "oOdDlLhHitTnNdDpPibbbcdfgklnpttvyzcdlIOKPTYZEeRrYyJj", strict=True))
    | {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)  # fmt: skip

_ACCENTED = re.compile("[\u00c0-\u02af\u1e00-\u1eff]+")
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
    **dict(zip("вкмнптгьЬцџєҽғҝҟѵүқңҳґӕЗ", "bkmhntrbbuueefkkvyknhra3", strict=True)),
    **dict(zip("αβγεηικνρστυχωΥϒζδθΛϝᴦ", "aByenikvpotuxwYYzdOAfr", strict=True)),
    **dict(zip("զքյԱԵղճռ", "qpjUEndn", strict=True)),
    **dict(zip("ɑɡɩʋɾɛɔʐɯꞙᏂꓒ", "agiureozwfhd", strict=True)),
}
_LOOKALIKE = re.compile("[" + "".join(_COUSINS) + "]")
_TWIN_TABLE = str.maketrans(_TWINS)
_COUSIN_TABLE = str.maketrans(_COUSINS)
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_WORD = re.compile(r"[^\W_]+")

# Four or more single characters with one and the same separator between them, as "F R E E" or "w/i/n/s".
_SPACED = re.compile(r"(?<!\S)[^\W_]([^\w\s]|[ _])[\w$@!](?:\1[\w$@!]){2,}(?![^\s!?.,:;)])")
_MAY_BE_SPACED = re.compile(r"([\W_])(?=[\w$@!]\1[\w$@!]\1[\w$@!])")  # at its first separator
# Where ASCII does not tell letters from separators: beyond it, and "_", which is both.
_NOT_TOLD = re.compile(r"[^\x00-\x5e\x60-\x7f]+")
SPACED_SPAN: Final = 7  # characters of the shortest spaced-out word


def _shape(**classes: str) -> bytes:
    """A table for bytes.translate: the characters of each class become its letter, all others a blank.

    In a text so translated a search for a few bytes finds in a tenth of the time what a regular expression
    looks for in the text itself.
    """
    table = bytearray(b" " * 256)
    for letter, characters in classes.items():
        for character in characters:
            table[ord(character)] = ord(letter)
    return bytes(table)


_SPACING: Final = _shape(a=string.ascii_letters + string.digits + "$@!", n="\t\n\r\v\f", _="_")
_SPACED_SHAPE: Final = b" a a a"
# Letters; signs that may stand for one; signs that may part a word; "_", which is a part of one, too.
_LETTERS: Final = _shape(a=string.ascii_letters, s="0123456789@$!|+", p=".-',/", u="_")
_CASES: Final = _shape(a=string.ascii_lowercase, A=string.ascii_uppercase)
_WHITE: Final = b" \t\n\r\v\f\x1c\x1d\x1e\x1f"
_NO_WHITE: Final = bytes(0x20 if character in _WHITE else 0x78 for character in range(256))
_LONG_SHAPE: Final = b"x" * (MAX_PATH + 1)
# One of these between two letters is nothing that people write: "vi*agra".
_INFIXES: Final = "*^~\u00b7\u2022"
_INFIX = re.compile(rf"[{_INFIXES}](?<=[A-Za-z].)(?=[A-Za-z])")
# A digit or sign that stands for a letter: "v1agra", "c@sh", "b00k". Words with other digits are codes and
# "gr8", those next to a dot, slash or colon are addresses, and long numbers are numbers.
_LEET: Final = str.maketrans("01345$@7", "oieassat")
_MAY_BE_LEET = re.compile(
    r"([013457@$])(?<=[A-Za-z].)\1?(?=[A-Za-z])(?!(?<=4)(?:u|me|you)\b)(?!(?<=[A-Za-z]{3}@)[A-Za-z]{3})"
)
MAX_LEET = 24  # characters of such a word; an id is longer
_LEET_WORD = re.compile(rf"(?<![\w@$./:+&=#%])[A-Za-z0-9@$]{{3,{MAX_LEET}}}(?![\w@$/&=#%]|[.:+][A-Za-z0-9])")
_NO_LEET = re.compile(r"[2689]|[0-9]{3}|([0-9])(?!\1)[0-9]|[a-z][0-9]*[A-Z]")
_LEET_BEGINNING = re.compile(r"[A-Za-z0-9@$]*+\Z")
_MIN_LEET: Final = 4  # characters; of shorter words only those like "n0w", "c@t", "i$t" are taken for one
# A capital i for a small L: "wiII". Names like McIntosh have one small letter before it.
_SHAM_L = re.compile(r"I(?<=[a-z]{2}I)I*+(?![A-Z])(?!n\b)")
# Text written in leet or rAnDoM case all through is told by its share of such words; one "iPhone" is none.
_SIGN_INSIDE = re.compile(r"[0-9@$!|+](?<=[A-Za-z].)(?=[A-Za-z])")
_CAPITAL_INSIDE = re.compile(r"[A-Z](?<=[a-z].)")
_CAMEL = re.compile(r"(?:Mc|Mac|[a-z]*)(?:[A-Z][a-z]{2,})+|[A-Z]+s?")
_LEET_ALL: Final = str.maketrans("01234579$@8!|+", "oizeastgsabilt")
_SIGNED = re.compile(r"[A-Za-z].*[0-9@$!|+]|[0-9@$!|+].*[A-Za-z]")
_TOKEN = re.compile(r"\S+")
# Words with a capital behind a small letter, or a small one behind two capitals ("FRee").
_CASED = re.compile(r"[A-Za-z]{2,}")
_MIXED = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_SCHEME = re.compile(r"[hH](?<!\w.)(?:[xX]{2}|[tT+7]{2}|\*\*)[pP](?=[sS]?://)")
_NO_LEET_AT_ALL = re.compile(
    r".{,3}|\d[\d.,]*[A-Za-z]{0,3}|[A-Za-z]+4u|.*(?:[./:]|\d{4}|[A-Za-z]{3}@[A-Za-z]{3}).*"
)
_EDGE_BUT_SHRIEK: Final = ".,;:?()\"'"
_EDGE: Final = _EDGE_BUT_SHRIEK + "!"
MIN_ODD: Final = 3  # such words in a text before it is taken for one written so
ODD_SHARE: Final = 8  # one word in so many
# Such a text has no disguise: words of two letters and more that one blank parts; most names and subjects.
_UNDISGUISED = re.compile(
    r"(?:(?:[(\"\[]?(?:[A-Z]?[a-z]{2,20}|[A-Z]{2,20}|[0-9]{2,12})(?:[.,;:?)\]\"]{0,2}|!)"
    r"|[AaI0-9](?= [A-Za-z0-9]{2}|\Z))(?: (?!\Z)|\Z))+"
)
_ZEROS = re.compile(rb"\x00++")
_ADDRESS = re.compile(
    r"([hHfF][tT](?:[tT][pP][sS]?|[pP]))://+(?P<host>[^\s<>\"'/?#]+)(?P<path>[^\s<>\"'?#]*)(?:[?#][^\s<>\"']*)?"
)
_BARE_ADDRESS = re.compile(
    r"(?<![\w.@/\-])(?P<host>(?:[a-z0-9\-]{1,63}\.){1,6}[a-z]{2,24})(?P<path>/[^\s<>\"'?#]*)(?:[?#][^\s<>\"']*)?",
    re.IGNORECASE,
)
_OPAQUE = re.compile(rf"[A-Za-z0-9+/=_\-]{{{MIN_OPAQUE},}}")


def normalise(text: str, limit: int) -> str:
    """The text in its plainest spelling, at most `limit` characters; of a longer one its head and tail."""
    if len(text) <= limit and _UNDISGUISED.fullmatch(text) and bytes(MAX_REPEATS) not in _neighbours(text, 1):
        return text
    if "\u202e" in text:
        text = _BACKWARDS.sub(lambda m: m[1][::-1], text)
    if not _is_tidy(text):
        text = _without_invisible(text)
    text = _closed_up(text)  # while two blanks still tell where a word ends
    text = cut(text if _is_tidy(text) else _blanks(text), limit)
    for _ in range(MAX_PASSES):
        before = text
        if not text.isascii():
            text = _blanks(cut(_fold(text), limit))  # one character may fold to eighteen
        text = _pass(text)
        if text == before:
            break
    return text


def _is_tidy(text: str) -> bool:
    """Whether an ASCII text is one line without anything invisible and with single blanks."""
    return text.isprintable() and text.isascii() and "  " not in text and text[:1] != " " != text[-1:]


def _neighbours(text: str, width: int) -> bytes:
    """Zero bytes where a character equals the next: the text as a number, xor-ed with itself shifted.

    That takes a tenth of the time of a regular expression with a back reference.
    """
    raw = text.encode("ascii" if width == 1 else "utf-32-le", "replace")
    number = int.from_bytes(raw, "little")
    return (number ^ (number >> 8 * width)).to_bytes(len(raw), "little")


def _shrink_repeats(text: str) -> str:
    """At most MAX_REPEATS of one character in a row, MAX_DIGIT_REPEATS of a digit."""
    width = 1 if text.isascii() else 4
    zeros = _neighbours(text, width)
    pieces, done, at = [], 0, zeros.find(bytes(MAX_REPEATS * width))
    while at >= 0:
        run = _ZEROS.match(zeros, at).end()  # type: ignore[union-attr]  # matches at least the zero found
        start, end = -(-at // width), run // width + 1
        kept = MAX_DIGIT_REPEATS if text[start].isdigit() else MAX_REPEATS
        if end - start > kept:
            pieces.append(text[done : start + kept])
            done = end
        at = zeros.find(bytes(MAX_REPEATS * width), run)
    return "".join(pieces) + text[done:]


def cut(text: str, limit: int) -> str:
    """At most `limit` characters: three quarters from the head, the rest from the tail."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    return (text[: limit - tail - 1].rstrip() + "\n" + text[len(text) - tail :].lstrip()).strip()


def _pass(text: str) -> str:
    text = text.replace("`", "'").replace("[.]", ".")
    text = _closed_up(text)
    if any([sign in text for sign in _INFIXES]):  # noqa: C419 - a generator takes three times as long
        text = _INFIX.sub("", text)
    if not text.isascii() and _LOOKALIKE.search(text):
        text = "\n".join(_unmask(line) for line in text.split("\n"))
    shapes = _shapes(text)
    if _may_be_odd(text, shapes) and (plain := _plain_style(text)) != text:
        text, shapes = plain, _shapes(plain)
    return _shrink_repeats(_with_long_cut(_words_read(text, shapes)))


class _Shapes(NamedTuple):
    """A text of bytes, "?" for a character beyond ASCII, and its letters and signs, and its cases, alone."""

    raw: bytes
    letters: bytes
    cases: bytes


def _shapes(text: str) -> _Shapes:
    raw = _bytes(text)
    return _Shapes(raw=raw, letters=raw.translate(_LETTERS), cases=raw.translate(_CASES))


def _bytes(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _words_read(text: str, shapes: _Shapes) -> str:
    """A text with its words as those that they stand for; text: parted by single blanks and newlines.

    Only words are looked at in which something can stand for something else.
    """
    letters = shapes.letters
    signs = b"sa" in letters or b"ass" in letters or b"asu" in letters
    if not (signs or text.isascii()):
        signs = words.MAYBE_LEET.search(text) is not None
    telling = [(letters, b"apa"), (letters, b"aua"), (shapes.cases, b"aA"), (shapes.raw, b"://")]
    if signs:
        telling += [(letters, b"sa"), (letters, b"as")]
    pieces, done = [], 0
    for start, end in _words_with(text, telling):
        word = text[start:end]
        meant = _as_meant(word, signs) if end - start <= MAX_CACHED else _as_meant.__wrapped__(word, signs)
        if meant != word:
            pieces += [text[done:start], meant]
            done = end
    return "".join(pieces) + text[done:] if pieces else text


def _words_with(text: str, telling: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, int]]:
    """Start and end of each word that has some sign in a shape of the text, in their order."""
    flat = text.replace("\n", " ")
    found: dict[int, int] = {}
    for shape, sign in telling:
        end, at = 0, shape.find(sign)
        while at >= 0:
            start = flat.rfind(" ", end, at + 1) + 1
            end = flat.find(" ", at)
            if end < 0:
                end = len(flat)
            found[start] = end
            at = shape.find(sign, end)
    return sorted(found.items())


def _with_long_cut(text: str) -> str:
    """A text with its long addresses and ids cut."""
    shape = _bytes(text).translate(_NO_WHITE)
    found, at = [], shape.find(_LONG_SHAPE)
    while at >= 0:
        end = shape.find(b" ", at)
        found.append(text[at : end if end >= 0 else len(text)])
        at = shape.find(_LONG_SHAPE, end) if end >= 0 else -1
    for word in dict.fromkeys(found):
        text = text.replace(word, _shorten_word(word))
    return text


@lru_cache(maxsize=CACHED_WORDS)
def _as_meant(word: str, signs: bool) -> str:
    """A word as the one it stands for; signs: whether the text has a sign for a letter anywhere."""
    word = words.read_mixed(word)
    word = words.read_parted(words.read_signs(word) if signs else word)
    if _MAY_BE_LEET.search(word):
        word = _read_leet(word)
    word = _SHAM_L.sub(lambda m: "l" * len(m[0]), word)
    if "://" in word:
        word = _ADDRESS.sub(_shorten, _SCHEME.sub("http", word))
    return word


def _fold(text: str) -> str:
    """Compatibility forms, typographic quotes and dashes, styled letters; the first emoji; nothing invisible.

    What is beyond ASCII is folded run by run, each with the character before it, which marks may join.
    """
    pieces, done, emoji = [], 0, MAX_EMOJI
    for run in _FOREIGN.finditer(text):
        start, end = max(done, run.start() - 1), run.end()
        foreign = text[start:end]
        folded, count = _fold_run(foreign) if end - start <= MAX_CACHED else _fold_run.__wrapped__(foreign)
        if count:
            folded, emoji = _few_emoji(folded, emoji)
        pieces += [text[done:start], folded]
        done = end
    return "".join(pieces) + text[done:]


@lru_cache(maxsize=CACHED_RUNS)
def _fold_run(text: str) -> tuple[str, bool]:
    """A run folded, and whether there are emoji in it."""
    text = _FOLDED.sub(lambda m: _FOLD[m[0]], _INVISIBLE.sub("", text))
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", _MARK_RUN.sub(_thin_marks, text))
    text = _LOOSE_MARKS.sub("", _ACCENTED.sub(lambda m: m[0].translate(_UNACCENTED), text))
    return text, _EMOJI.search(text) is not None


def _few_emoji(text: str, left: int) -> tuple[str, int]:
    """At most so many emoji of a text, blanks for the others, and how many may still come."""

    def some(run: re.Match[str]) -> str:
        nonlocal left
        kept, left = run[0][:left], max(0, left - len(run[0]))
        return kept if len(kept) == len(run[0]) else f"{kept} "

    return _EMOJI.sub(some, text), left


def _thin_marks(run: re.Match[str]) -> str:
    """A run of non-letters with at most MAX_MARKS combining marks in a row."""
    kept, marks = [], 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _without_invisible(text: str) -> str:
    if text.isascii():
        return text.encode().translate(None, _CONTROLS).decode()
    return _INVISIBLE.sub("", text)


def _blanks(text: str) -> str:
    """Each run of white space as one newline, if it holds one, or one blank."""
    if text.isascii():
        text = text.encode().translate(_ONE_WHITE).decode()
    if "  " in text or not text.isascii():
        return "\n".join([line for line in [" ".join(line.split()) for line in text.splitlines()] if line])
    text = text.replace(" \n", "\n").replace("\n ", "\n").strip()
    return "\n".join(filter(None, text.split("\n"))) if "\n\n" in text else text


def _closed_up(text: str) -> str:
    """ "F R E E" as "FREE", wherever letters are spaced out so; the same object where nothing is."""
    pieces, done = [], 0
    for at in _separators(text):
        if at > done and text[at - 1].isalnum() and (spaced := _SPACED.match(text, at - 1)):
            pieces += [text[done : spaced.start()], _close_up(spaced)]
            done = spaced.end()
    return "".join(pieces) + text[done:] if pieces else text


def _separators(text: str) -> list[int]:
    """Where the first separator of a spaced-out word may stand."""
    shape = _bytes(text).translate(_SPACING)
    told = text.isascii()
    untold = _FOREIGN
    if b"_" in shape:
        if b"a___" in shape or b"a_a_a_a" in shape:
            told, untold = False, _NOT_TOLD
        shape = shape.replace(b"_", b"a")
    found, at = [], shape.find(_SPACED_SHAPE)
    while at >= 0:
        found.append(at)
        at = shape.find(_SPACED_SHAPE, at + 1)
    if told:
        return found
    for run in untold.finditer(text):
        first, last = max(0, run.start() - SPACED_SPAN), run.end() + SPACED_SPAN
        found += [sign.start() for sign in _MAY_BE_SPACED.finditer(text, first, last)]
    return sorted(found)


def _close_up(spaced: re.Match[str]) -> str:
    """ "F R E E" as "FREE"; a row of numbers stays a row."""
    characters = spaced[0][::2]
    letters = sum(map(str.isalpha, characters))
    return characters if letters >= 3 and 2 * letters >= len(characters) else spaced[0]


def _read_leet(text: str) -> str:
    """Words with digits inside as the letters that these stand for; looks only where there may be one."""
    pieces, done = [], 0
    for sign in _MAY_BE_LEET.finditer(text):
        before = text[max(done, sign.start() - MAX_LEET) : sign.start()]
        beginning = _LEET_BEGINNING.search(before)
        start = sign.start() - len(beginning[0] if beginning else "")
        if start >= done and (word := _LEET_WORD.match(text, start)):
            pieces += [text[done:start], _letters(word[0])]
            done = word.end()
    return "".join(pieces) + text[done:]


def _may_be_odd(text: str, shapes: _Shapes) -> bool:
    """Whether there are enough capitals or signs inside words for `_plain_style` to look closer."""
    least = max(MIN_ODD, (text.count(" ") + text.count("\n")) // ODD_SHARE)
    return shapes.cases.count(b"aA") >= least or shapes.letters.count(b"sa") >= least


def _plain_style(text: str) -> str:
    """Random case and leet read throughout, where a text is written so."""
    if _many_odd(text, _CAPITAL_INSIDE, _CAMEL):
        text = _CASED.sub(lambda m: words.plain_case(m[0]) if _MIXED.search(m[0]) else m[0], text)
    if _many_odd(text, _SIGN_INSIDE, _NO_LEET_AT_ALL):
        text = _TOKEN.sub(lambda m: _any_leet(m[0]), text)
    return text


def _any_leet(token: str) -> str:
    """A word of a text in leet: as a known word, or sign by sign; addresses and numbers stay."""
    word = token.strip(_EDGE_BUT_SHRIEK).rstrip("!")
    if len(word) > MAX_LEET or not _SIGNED.search(word):
        return token
    plain = words.read_short(word) if len(word) < words.MIN_WORD else words.read_leet(word)
    if plain == word and _SIGN_INSIDE.search(word) and not _NO_LEET_AT_ALL.fullmatch(word):
        plain = words.plain_case(word.translate(_LEET_ALL))
    return token.replace(word, plain, 1)


def _many_odd(text: str, sign: re.Pattern[str], ordinary: re.Pattern[str]) -> bool:
    """Whether a good share of all words has such a sign inside, and is no ordinary word with one."""
    tokens = [word.strip(_EDGE) for word in _with(sign, text)]
    odd = [w for w in tokens if len(w) <= MAX_LEET and not ordinary.fullmatch(w)]
    return len(set(odd)) >= MIN_ODD and len(odd) * ODD_SHARE > len(text.split())


def _with(sign: re.Pattern[str], text: str) -> list[str]:
    """The words that have such a sign inside, in their order; text: parted by single blanks and newlines."""
    found, end = [], 0
    for at in (match.start() for match in sign.finditer(text)):
        if at >= end:
            start = max(text.rfind(" ", end, at), text.rfind("\n", end, at), end - 1) + 1
            word = _TOKEN.match(text, start)
            assert word
            found.append(word[0])
            end = word.end()
    return found


def _letters(word: str) -> str:
    """A leet word as letters; codes and numbers stay."""
    letters = sum(map(str.isalpha, word))
    enough = len(word) >= _MIN_LEET and 2 * letters >= len(word)
    if _NO_LEET.search(word) or not (enough or word[1:-1] in ("0", "@", "$")):
        return word
    plain = word.translate(_LEET)
    return plain.upper() if word.isupper() else plain


def _shorten(address: re.Match[str]) -> str:
    """Host and the beginning of the path. http and https are one: which is used tells only the year."""
    scheme = "ftp" if address[1][0] in "fF" else "http"
    return f"{scheme}://{address['host'][-MAX_HOST:]}{address['path'][:MAX_PATH]}"


def _shorten_word(word: str) -> str:
    """A long word with its addresses and opaque ids cut."""
    if "/" in word and "://" not in word:
        word = _BARE_ADDRESS.sub(lambda m: m["host"][-MAX_HOST:] + m["path"][:MAX_PATH], word)
    return _OPAQUE.sub(_cut_opaque, word)


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
    if all(latin) or not (any(latin) or len({_block(c) for c in word if c.isalpha()}) > 1):
        return word
    if any(c.isalpha() and c not in _COUSINS and not _LATIN.match(c) for c in word):
        return word
    changes = sum(a != b for a, b in pairwise(latin))
    return word if genuine and changes == 1 else word.translate(_COUSIN_TABLE)


def _block(letter: str) -> str:
    """The script of a letter, which begins its name; no language mixes two that are not Latin."""
    return unicodedata.name(letter, "?").split(" ", 1)[0]


def _all_twins(word: str) -> bool:
    letters = [c for c in word if c.isalpha()]
    return bool(letters) and all(c in _TWINS for c in letters)

"""Disguises of spam, as senders use them: each a pure function of a text, a strength and a random source.

`strength` is in [0, 1]; 0 changes nothing. It is the share of the units (letters, words, paragraphs) that are
changed, or a multiple of the message's length that is put around it; each docstring says which. MODERATE is
what a sender can do without his text becoming hard to read, and where recall is promised to fall by at most
five points. ATTACKS rewrite a text, SURROUNDINGS put ham around it, and those of
`trainer.disguises.html_attacks` write a whole mail. What a disguise does to a filter is measured by
`filterd_trainer.evaluation.attack`.

An attacked text is no canonical one: it goes through `filterd.reading.text` again, which is the defence under
test.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

Attack = Callable[[str, float, Random], str]
Surrounding = Callable[[str, float, Random, Sequence[str]], str]

MODERATE: Final = 0.25
STRENGTHS: Final = (0.1, MODERATE, 0.5, 1.0)
LENGTHS_A_UNIT: Final = 4  # ham put around a message at strength 1, in lengths of the message
LEAST_LENGTH: Final = 300  # characters that a shorter message counts as there: two SMS
MAX_ADDRESSES: Final = 4  # put in at strength 1

_WORD = re.compile(r"[^\W\d_]+")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_LETTER = re.compile(r"[A-Za-z]")
_TOKEN = re.compile(r"\S+")
_GAP = re.compile(r"(?<=\w) (?=\w)")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)


def _table(groups: str) -> Mapping[str, str]:
    """Each group's first character is what the others stand for."""
    return {group[0]: group[1:] for group in groups.split()}


INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u2062\u2064\ufe0f\U000e0061\u200e\u200f"
# Look-alikes by the letter they imitate: Cyrillic, Greek, Armenian, Cherokee, Lisu, Coptic, IPA, small
# capitals, letters of mathematics and of full width. Some are in filterd.reading.unicode's own table, some
# are not.
LOOKALIKES: Final = _table(
    "aаɑα𝐚ａ𝖺ạ⍺ bЬƅ𝐛ｂ cсϲⅽ𝐜ｃᴄ dԁⅾ𝐝ｄꓒ eеҽ℮𝐞ｅ fſꞙ𝐟ｆϝ gɡց𝐠ｇ hһհ𝐡ｈᏂ iіıɩⅰ𝐢ｉι "
    "jјϳ𝐣ｊ kκк𝐤ｋ lⅼӏ𝐥ｌ∣ǀ|1I mⅿ𝐦ｍм nոռ𝐧ｎп oоοօ𝐨ｏσᴏ0 pрρ𝐩ｐ qԛզ𝐪ｑ rг𝐫ｒᴦ sѕꜱ𝐬ｓ "
    "tт𝐭ｔτ uυսᴜ𝐮ｕ vνѵⅴ𝐯ｖᴠ wԝωɯ𝐰ｗᴡ xхⅹ𝐱ｘ× yуγү𝐲ｙ zᴢ𝐳ｚ AАΑᎪ𝐀Ａꓮ BВΒᏴ𝐁Ｂꓐ "
    "CСϹᏟⅭＣꓚ DᎠⅮＤꓓ EЕΕᎬＥꓰ FϜꓝＦ GԌᏀＧꓖ HНΗᎻＨ IІΙӀⅠＩꓲl1| JЈᎫＪ KКΚᏦＫ LᏞⅬＬꓡ "
    "MМΜᎷＭ NΝꓠＮ OОΟՕＯꓳ0 PРΡᏢＰ QԚＱ RᎡᏒＲꓣ SЅՏᏚＳ TТΤᎢＴ UՍＵꓴ VᏙⅤＶꓦ WԜᎳＷ XХΧⅩＸ "
    "YҮΥＹ ZΖᏃＺ 0OОＯ𝟎 1lI｜𝟏 5Ƽ𝟓 3З𝟑Ʒ"
)
LEET: Final = _table("a4@ b8 e3 g9 i1!| l1| o0 s5$ t7+ z2")
ACCENTS: Final = _table(
    "aàáâãäåāă cçćč dđď eèéêëēę gğģ hħ iìíîïīı kķ lļł nñńň oòóôõöøō rřŕ sśšş tţť uùúûüūů wŵ yýÿ zźžż"
)
ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
EMOJI: Final = "😀😍🔥💰🎁🎉✅⭐👉💥🚀❤👍🎊💵🏆⚡😎💯🛒📞✨"
INSIDE: Final = ".-_*'^~,·/|"
BETWEEN: Final = (" ", ".", "-", "_", "*", "/", "·", "+", "~")


def invisible(text: str, strength: float, rng: Random) -> str:
    """Zero-width, joining, tag and soft-hyphen characters after a share of the letters."""
    return _each(_LETTER, text, strength, rng, lambda c: c + rng.choice(INVISIBLE))


def bidi(text: str, strength: float, rng: Random) -> str:
    """A share of the words stored backwards behind a right-to-left override, or between useless marks."""

    def turn(word: str) -> str:
        if rng.random() < 0.5:
            return f"\u202e{word[::-1]}\u202c"
        opened, closed = rng.choice(("\u202d\u202c", "\u2066\u2069", "\u2068\u2069"))
        return f"{opened}{word}{closed}"

    return _each(_WORD, text, strength, rng, turn)


def homoglyphs(text: str, strength: float, rng: Random) -> str:
    """A share of the letters and digits as look-alikes, digits for letters and the reverse included."""
    return _substitute(text, strength, rng, LOOKALIKES, fold=False)


def styled(text: str, strength: float, rng: Random) -> str:
    """A share of the words in letters of mathematics, in circles, or of full width."""
    first = rng.choice((0x1D400, 0x1D468, 0x1D4D0, 0x1D5D4, 0x1D670, 0xFF21, 0x24B6))
    small = first + (0x20 if first == 0xFF21 else 26)
    table = {65 + i: first + i for i in range(26)} | {97 + i: small + i for i in range(26)}
    return _each(_WORD, text, strength, rng, lambda word: word.translate(table))


def leetspeak(text: str, strength: float, rng: Random) -> str:
    """A share of the letters that a digit or sign can stand for ("v1agra", "c@sh") replaced by one."""
    return _substitute(text, strength, rng, LEET, fold=True)


def spaced_out(text: str, strength: float, rng: Random) -> str:
    """A share of the words of four letters or more with one sign or blank between their letters."""
    return _each(_LONG_WORD, text, strength, rng, lambda word: rng.choice(BETWEEN).join(word))


def misspelling(text: str, strength: float, rng: Random) -> str:
    """A share of the words of four letters or more with one letter swapped, lost, doubled or mistyped."""
    return _each(_LONG_WORD, text, strength, rng, lambda word: _mistyped(word, rng))


def joined(text: str, strength: float, rng: Random) -> str:
    """A share of the blanks between words left out."""
    return _each(_GAP, text, strength, rng, lambda _: "")


def upper_case(text: str, strength: float, rng: Random) -> str:
    """A share of the words in capitals; at 1 the whole message."""
    return _each(_WORD, text, strength, rng, str.upper)


def mixed_case(text: str, strength: float, rng: Random) -> str:
    """A share of the letters in the other case ("fREe")."""
    return _each(_LETTER, text, strength, rng, str.swapcase)


def emoji(text: str, strength: float, rng: Random) -> str:
    """One to three emoji after a share of the words."""

    def adorned(word: str) -> str:
        return f"{word} {''.join(rng.choices(EMOJI, k=rng.randint(1, 3)))}"

    return _each(_TOKEN, text, strength, rng, adorned)


def accents(text: str, strength: float, rng: Random) -> str:
    """Accents on a share of the letters that can have one."""
    return _substitute(text, strength, rng, ACCENTS, fold=True)


def punctuation(text: str, strength: float, rng: Random) -> str:
    """One sign inside a share of the words of four letters or more ("via.gra", "mo-ney")."""

    def split(word: str) -> str:
        at = rng.randrange(1, len(word))
        return word[:at] + rng.choice(INSIDE) + word[at:]

    return _each(_LONG_WORD, text, strength, rng, split)


def addresses(text: str, strength: float, rng: Random) -> str:
    """Every address there replaced with this chance, and up to four of other shapes put in."""
    text = _each(_ADDRESS, text, strength, rng, lambda _: address(rng))
    for _ in range(round(strength * MAX_ADDRESSES)):
        gaps = [gap.start() for gap in _GAP.finditer(text)]
        at = rng.choice(gaps) if gaps else len(text)
        text = f"{text[:at]} {address(rng)}{text[at:]}"
    return text


def good_words(text: str, strength: float, rng: Random, ham: Sequence[str]) -> str:
    """Ham behind the message, four times as long as it at 1: as long at a moderate strength."""
    added = ham_of(_room(text, strength), rng, ham)
    return f"{text}\n{added}" if added else text


def innocent_start(text: str, strength: float, rng: Random, ham: Sequence[str]) -> str:
    """Ham before the message's body, four times as long as the message at 1."""
    added = ham_of(_room(text, strength), rng, ham)
    subject, parted, body = text.rpartition("\n\n")
    return f"{subject}{parted}{added}\n{body}" if added else text


def ham_of(length: int, rng: Random, ham: Sequence[str]) -> str:
    """About so many characters of ham, from a random place of random messages; without their subjects."""
    pieces: list[str] = []
    missing = length
    while ham and missing > 0:
        body = rng.choice(ham).rpartition("\n\n")[2]
        start = rng.randrange(max(1, len(body) - missing))
        start = body.rfind(" ", 0, start) + 1
        pieces.append(body[start : start + missing].strip())
        missing -= len(pieces[-1]) + 1
    return "\n".join(pieces)


def address(rng: Random) -> str:
    """A link in one of the shapes that spam has."""
    word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 10)))
    code = "".join(rng.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=7))
    number = rng.randrange(1 << 32)
    dotted = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
    end = rng.choice(("com", "net", "info", "top", "xyz", "co.uk", "ru", "shop", "click"))
    return rng.choice(
        (
            f"http://{rng.choice(('bit.ly', 'tinyurl.com', 't.co', 'is.gd', 'cutt.ly'))}/{code}",
            f"http://{dotted}/{word}",
            f"http://{number}/",
            f"https://www.paypal.com@{word}.{end}/login",
            f"https://xn--{word}-{code[:3].lower()}.{end}/",
            f"http://{word}.{end}/a/{'/'.join(code)}/{word}.php?id={number}&u={code}",
            f"{word}.{end}/{code}",
            f"www.{word}-{rng.choice(('secure', 'deals', 'bonus', 'verify'))}.{end}",
            f"HTTP://WWW.{word.upper()}.{end.upper()}",
            f"hxxp://{word}[.]{end}",
        )
    )


ATTACKS: Final[Mapping[str, Attack]] = {
    "invisible": invisible,
    "bidi": bidi,
    "homoglyphs": homoglyphs,
    "styled": styled,
    "leetspeak": leetspeak,
    "spaced_out": spaced_out,
    "misspelling": misspelling,
    "joined": joined,
    "upper_case": upper_case,
    "mixed_case": mixed_case,
    "emoji": emoji,
    "accents": accents,
    "punctuation": punctuation,
    "addresses": addresses,
}
SURROUNDINGS: Final[Mapping[str, Surrounding]] = {"good_words": good_words, "innocent_start": innocent_start}


def _each(
    unit: re.Pattern[str], text: str, strength: float, rng: Random, change: Callable[[str], str]
) -> str:
    """The text with each match of `unit` changed with a chance of `strength`."""
    if strength <= 0:
        return text
    return unit.sub(lambda m: change(m[0]) if rng.random() < strength else m[0], text)


def _substitute(text: str, strength: float, rng: Random, table: Mapping[str, str], *, fold: bool) -> str:
    """A share of the characters that `table` has replaced by one of their substitutes.

    fold: capitals are looked up as small letters, and what stands for them is a capital where there is one.
    """
    made = []
    for character in text:
        others = table.get(character.lower() if fold else character)
        if not others or rng.random() >= strength:
            made.append(character)
            continue
        other = rng.choice(others)
        capital = other.upper() if fold and character.isupper() else other
        made.append(capital if len(capital) == 1 else other)
    return "".join(made)


def _mistyped(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    way = rng.randrange(4)
    if way == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if way == 1:
        return word[:at] + word[at + 1 :]
    if way == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + _neighbour(word[at], rng) + word[at + 1 :]


def _neighbour(letter: str, rng: Random) -> str:
    """A key beside a letter's, in its case; the letter itself where it is on no key."""
    for row in ROWS:
        if (at := row.find(letter.lower())) >= 0:
            near = row[max(0, at - 1) : at + 2].replace(row[at], "")
            chosen = rng.choice(near)
            return chosen.upper() if letter.isupper() else chosen
    return letter


def _room(text: str, strength: float) -> int:
    return round(LENGTHS_A_UNIT * strength * max(len(text), LEAST_LENGTH))

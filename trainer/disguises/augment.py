"""Training texts changed as the world changes them, so that a model learns what spam says, not how it looks.

Strategy: `augment` draws a few changes, each with a small probability and none of them tied to the label:
a disguise in front of ham is as likely as in front of spam, so that a disguise is no sign of either. Three
groups: the corpus's own habits undone (lower case and tokens split by blanks in Enron, list markers, years,
names, subjects), disguises of `trainer.disguises.attacks`, and ham put around the message, which changes no
label.

The result is canonical again (`filterd.reading.text.again`), as the same text will be when it is served.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import Final

from filterd.api import Kind
from filterd.reading import text
from filterd_trainer.disguises.attacks import ATTACKS, MODERATE, SURROUNDINGS

MAX_CHARACTERS: Final = 2_000  # of a longer text head and tail, more than the windows of training hold

# Chances of each change of one text in one epoch; 18% of Enron's and
# SpamAssassin's mails and 50% of UCI's SMS stay as they are.
NO_SUBJECT: Final = 0.10
LATER_START: Final = 0.10
NO_MARKERS: Final = 0.20
OTHER_NUMBERS: Final = 0.20
LOWER: Final = 0.12
SPLIT: Final = 0.08
WHOLE: Final = 0.60  # of texts whose tokens are split
DISGUISED: Final = 0.30
TWICE: Final = 0.15  # of those
NO_HEAD: Final = 0.15  # as in corpora that lost it
NO_LINE: Final = 0.15  # of each line of a head
# Reading undoes little of the next, so they are drawn OFTEN times as often as the others.
REMAINING: Final = ("leetspeak", "misspelling", "joined", "mixed_case")
OFTEN: Final = 3
SURROUNDED: Final = 0.25
EMPHASISED: Final = 0.25
PASSAGE: Final = 220  # characters; with 300 of ham they are a window of 128 tokens
MIN_LATER: Final = 200  # characters of a text that may lose its beginning

_DISGUISES: Final = (*ATTACKS, *REMAINING * (OFTEN - 1))
_SPLIT_MARK = re.compile(r" [.,:;)!?'] ")
_MARKS = re.compile(r"([.,:;!?()\"'/\-$%@])")
_BEFORE = re.compile(r" ([.,:;!?)%\]]+)(?= |\Z|\n)")
_AFTER = re.compile(r"(?:(?<= )|(?<=\A)|(?<=\n))([(\[$#]) (?=\w)")
_BETWEEN = re.compile(
    r"(?<=\w) ([/@_']) (?=\w)"
    r"|(?<=\d) ([.,:\-]) (?=\d)"
    r"|(?<=\w) (\.) (?=(?:com|net|org|biz|info|edu|htm|[a-z]\b))"  # hosts and initials
    r"|(?<=www) (\.) |(?<=http)( : / / )"
)
_ENDS: Final = ("", ".", "!", "!!", "!!!", "?", "...", " !")
_END = re.compile(r"[.!?]+(?=\s|\Z)")
_SENTENCE = re.compile(r"(?:\A|\n|[.!?] )[a-z]|\bi\b")
_TAG = re.compile(r"^((?:(?:re|fw|fwd)\s?: ?)*)\[ ?[\w .\-]{2,30} ?\] ?", re.IGNORECASE)
_FOOTER = re.compile(r"\n(?:_{3,}|-{4,}|={4,})\n.*\Z", re.DOTALL)
_QUOTED = re.compile(r"\n(?:[^\n]{0,200}(?:wrote|writes|said) ?:|On [^\n]{0,200}wrote:)\n|\n> [^\n]*")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_MONTH = re.compile(
    r"\b(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)(uary|ruary|ch|il|e|y|ust|tember|ober|ember)?\b",
    re.IGNORECASE,
)
_DAY = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun)(day|sday|nesday|rsday|urday)?\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
# Names that tell these corpora apart, from their own documentation and lists; hardly a word of the language.
_CORPORA: Final = """
enron enrononline ect hou hpl ena corp vince kaminski louise kitchen daren farmer lokay sitara jeff
skilling ken lay houston shirley crenshaw stinson spamassassin razor ilug exmh fork zzzz zzzzteana
freshrpms taint sourceforge jmason netnoteinc linux debian spambayes irish dublin egwn hughes perl
python cnet lockergnome paliourg georgios
"""
_NAMES: Final = frozenset(_CORPORA.split())
_WORD = re.compile(r"\b[A-Za-z]{3,11}\b")
_WORDS = re.compile(r"[^\W\d_]{3,}")
_OTHERS: Final = (
    *("anna", "marek", "priya", "samuel", "chen", "fatima", "olivia", "diego", "ingrid", "kwame", "noah"),
    *("acme", "northwind", "globex", "initech", "umbra", "lisbon", "denver", "leeds", "nairobi", "oslo"),
    *("support", "sales", "team", "board", "project", "office", "council", "school", "club", "studio"),
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def augment(canonical: str, kind: Kind, rng: Random, ham: Sequence[str] = ()) -> str:
    """The text or a changed one with the same label; canonical as the one given.

    ham: canonical ham texts of the training part to put around it, of the same kind; none leaves that out.
    """
    head, rest = thinned(text.head_of(canonical), rng), text.without_head(canonical)
    changed = _shortened(rest)
    changed = _without_habits(changed, kind, rng)
    changed = retyped(changed, kind, rng)
    if rng.random() < EMPHASISED:
        changed = emphasised(changed, rng)
    if rng.random() < DISGUISED:
        changed = disguised(changed, rng)
    if ham and rng.random() < SURROUNDED:
        changed = surrounded(changed, rng, ham)
    if changed == _shortened(rest):
        return head + rest
    again = text.again(head + changed, kind)
    return again if text.without_head(again).strip() else canonical


def thinned(head: str, rng: Random) -> str:
    """A mail's head without some of its lines, or none at all: no line may be all that tells."""
    if not head or rng.random() < NO_HEAD:
        return ""
    lines = [line for line in text.parted(head)[0] if rng.random() >= NO_LINE]
    return text.CanonicalText(kind=Kind.MAIL, subject="", body="", head=tuple(lines)).canonical


def emphasised(whole: str, rng: Random) -> str:
    """Other signs where sentences end, one kind throughout, or other capitals: how loud a text is."""
    end = rng.choice(_ENDS)
    loud = _END.sub(end, whole) if rng.random() < 0.7 else whole
    if not _END.search(whole[-4:]) and rng.random() < 0.5:
        loud = loud.rstrip() + end
    way = rng.randrange(6)
    if way == 0:
        return loud.upper()
    if way == 1:
        return loud.lower()
    if way == 2:
        return _WORDS.sub(lambda m: m[0].upper() if rng.random() < 0.15 else m[0], loud)
    if way == 3:
        first, space, rest = loud.partition(" ")
        return first.upper() + space + rest
    return loud


def _shortened(whole: str) -> str:
    """Head and tail of a text that is longer than training looks at."""
    if len(whole) <= MAX_CHARACTERS:
        return whole
    tail = MAX_CHARACTERS // 4
    return whole[: MAX_CHARACTERS - tail] + "\n" + whole[-tail:]


def surrounded(whole: str, rng: Random, ham: Sequence[str]) -> str:
    """A passage of the text with ham before or behind it, both in one window.

    The windows of a longer text train each by itself, and one that held ham alone would be called spam.
    """
    head, passage = text.head_of(whole), text.without_head(whole)
    if len(passage) > PASSAGE:
        passage = passage[:PASSAGE].rpartition(" ")[0] or passage[:PASSAGE]
    surround = rng.choice(tuple(SURROUNDINGS.values()))
    return head + surround(passage, rng.random() * MODERATE, rng, ham)


def _without_habits(canonical: str, kind: Kind, rng: Random) -> str:
    """Without some of what tells one corpus, list or year from another."""
    subject, body = _parted(canonical)
    if kind is Kind.MAIL and rng.random() < NO_MARKERS:
        subject, body = _TAG.sub(r"\1", subject), _FOOTER.sub("", body)
        body = _QUOTED.sub("\n", body) if rng.random() < 0.5 else body
        subject, body = (_renamed(part, rng) for part in (subject, body))
    if len(body) > MIN_LATER and rng.random() < LATER_START:
        start = body.find(" ", rng.randrange(len(body) // 2))
        subject, body = (subject if rng.random() < 0.5 else ""), body[start + 1 :]
    if subject and body.strip() and rng.random() < NO_SUBJECT:
        subject = ""
    if rng.random() < OTHER_NUMBERS:
        subject, body = _renumbered(subject, rng), _renumbered(body, rng)
    return _joined(subject, body)


def _renamed(part: str, rng: Random) -> str:
    """Other names for those that a corpus is full of; the same one throughout a text."""
    found = sorted({word for word in _WORD.findall(part) if word.lower() in _NAMES})
    others = {name: _as(name, rng.choice(_OTHERS)) for name in found}
    return _WORD.sub(lambda m: others.get(m[0], m[0]), part) if others else part


def _renumbered(part: str, rng: Random) -> str:
    """Other years, months, days and digits; amounts and telephone numbers keep their length."""
    shift = rng.randint(-3, 24)
    part = _YEAR.sub(lambda m: str(min(2035, int(m[0]) + shift)), part)
    part = _MONTH.sub(lambda m: _as(m[0], rng.choice(_MONTHS)), part)
    part = _DAY.sub(lambda m: _as(m[0], rng.choice(_DAYS)), part)
    digits = "".join(rng.sample("123456789", 9))
    return _DIGIT.sub(lambda m: "0" if m[0] == "0" else digits[int(m[0]) - 1], part)


def _as(model: str, word: str) -> str:
    return word.upper() if model.isupper() else word.title() if model[0].isupper() else word


def retyped(canonical: str, kind: Kind, rng: Random) -> str:
    """The text as another corpus would have it: in another case, its signs joined to words or parted."""
    head, canonical = text.head_of(canonical), text.without_head(canonical)
    if len(_SPLIT_MARK.findall(canonical[:500])) >= 2:  # as Enron is
        if rng.random() < WHOLE:
            canonical = _whole(canonical, capitals=rng.random() < 0.7)
    elif kind is Kind.MAIL and rng.random() < SPLIT:
        subject, body = _parted(canonical)
        canonical = _joined(_MARKS.sub(r" \1 ", subject), _MARKS.sub(r" \1 ", body)).lower()
    elif rng.random() < LOWER:
        canonical = canonical.lower()
    return head + canonical


def _whole(canonical: str, *, capitals: bool) -> str:
    """Tokens put together again as people write them; capitals: where sentences begin."""
    whole = _BETWEEN.sub(lambda m: m[0].replace(" ", ""), canonical)
    whole = _AFTER.sub(r"\1", _BEFORE.sub(r"\1", whole))
    return _SENTENCE.sub(lambda m: m[0].upper(), whole) if capitals else whole


def disguised(canonical: str, rng: Random) -> str:
    """One attack, seldom two, at a random strength, weak ones more often; the head stays."""
    head, canonical = text.head_of(canonical), text.without_head(canonical)
    for _ in range(2 if rng.random() < TWICE else 1):
        attack = ATTACKS[rng.choice(_DISGUISES)]
        canonical = attack(canonical, rng.random() ** 1.5, rng)
    return head + canonical


def _parted(canonical: str) -> tuple[str, str]:
    subject, parted, body = canonical.partition("\n\n")
    return (subject, body) if parted else ("", canonical)


def _joined(subject: str, body: str) -> str:
    return f"{subject}\n\n{body}" if subject else body

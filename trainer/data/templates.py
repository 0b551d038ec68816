"""Training messages of our own: hand-written templates, expanded to many distinct texts.

Public corpora are old, English and narrow. The templates in `trainer/messages/` cover what they lack: both
classes over the same topics, many countries and languages. Names, addresses and numbers come from lists that
both classes share, so that only what is said tells them apart. docs/data.md says how a template is written.
"""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from filterd.errors import Unwritable

__all__ = ["Template", "TemplateMessage", "generate", "templates"]

FOLDER: Final = Path(__file__).parent / "messages"
HOLDOUT: Final = 10  # one template of so many is kept out of training, by the hash of its text
MAX_DEPTH: Final = 12  # slots within slots; deeper is a slot that names itself
TRIES: Final = 6  # draws for a text not seen before; then the template sits out this round
IDLE_ROUNDS: Final = 3  # rounds in a row without a new text, after which there are none
REGIONS: Final = ("en", *("en-us", "en-gb", "en-in") * 2, "en-au", "en-ng", "en-ke", "en-gh", "en-sg")
LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"

_HEAD = re.compile(r"== (mail|sms) (ham|spam) ([a-z0-9-]+) ([a-z]{2}(?:-[a-z]{2})?)\Z")
_SLOT = re.compile(r"(?:(\d)\*)?([a-z]+)(\d?)\Z")
_RANDOM = re.compile(r"([#@^])(\d{1,2})\Z|(\d+)\.\.(\d+)\Z")
_GAP = re.compile(r"(?<=\w) (?=[.,](?:\s|\Z))")  # where an alternative was left empty
_LINK = re.compile(r"\s?\b(?:https?://|www\.)\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One hand-written message with alternatives. `id`: a hash of its wording; `subject`: empty for SMS."""

    id: str
    kind: Literal["mail", "sms"]
    label: Literal["ham", "spam"]
    category: str
    locale: str
    subject: str
    body: str

    @property
    def holdout(self) -> bool:
        """Whether this template belongs to the fixed tenth that nothing is trained on."""
        return int(self.id, 16) % HOLDOUT == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMessage:
    """One generated message; `text` is a mail's body or a whole SMS, `template` the id of its template."""

    kind: Literal["mail", "sms"]
    label: Literal["ham", "spam"]
    category: str
    language: str
    subject: str
    text: str
    template: str


def generate(count: int, seed: int, *, holdout: bool | None = None) -> Iterator[TemplateMessage]:
    """At most `count` distinct messages, evenly over the templates; the same seed gives the same ones.

    holdout: True for the held-out templates only, False for all others, None for every template.
    Fewer come when the templates have no more texts to give.
    """
    chosen = [one for one in templates() if holdout is None or one.holdout == holdout]
    rng = random.Random(seed)  # noqa: S311 - no secret
    seen: set[str] = set()
    idle = 0
    while chosen and idle < IDLE_ROUNDS:
        rng.shuffle(chosen)
        idle += 1
        for template in chosen:
            if len(seen) >= count:
                return
            message = _fresh(template, rng, seen)
            if message:
                idle = 0
                yield message


def written(pattern: str, rng: random.Random) -> str:
    """A pattern of slots and alternatives as a template's is written, in a country's names at random."""
    return _Writer(rng, rng.choice(REGIONS)).write(pattern)


def write(file: Path, messages: Iterable[TemplateMessage]) -> int:
    """JSON lines with `label` and `text`, a mail with its Subject line; returns how many.

    Raises Unwritable.
    """
    lines = [
        json.dumps(
            {"label": one.label, "text": as_typed(one), "language": one.language, "template": one.template}
        )
        for one in messages
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    except OSError as error:
        raise Unwritable(f"{file}: {error.strerror}; choose another --out") from error
    return len(lines)


def as_typed(one: TemplateMessage) -> str:
    """A mail as a mail, with a Subject line even where that is empty; an SMS as its text."""
    return f"Subject: {one.subject}\n\n{one.text}" if one.kind == "mail" else one.text


@cache
def templates() -> tuple[Template, ...]:
    """All templates, in the order of the files. Raises ValueError, naming the file, if one cannot be read."""
    found = [one for path in sorted(FOLDER.glob("*.txt")) if path.stem != "slots" for one in _read(path)]
    if len({one.id for one in found}) < len(found):
        raise ValueError(f"{FOLDER}: a template occurs twice")
    return tuple(found)


@cache
def slots() -> Mapping[str, Sequence[str]]:
    """Slot name, with `.locale` if it holds for one only, to its alternatives."""
    lines = (FOLDER / "slots.txt").read_text("utf-8").splitlines()
    pairs = (line.split(" = ", 1) for line in lines if " = " in line and not line.startswith("#"))
    return {name: _alternatives(values.replace("\\n", "\n")) for name, values in pairs}


def _read(path: Path) -> Iterator[Template]:
    for part in re.split(r"^(?=== )", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        found = _HEAD.match(head)
        if not found:
            raise ValueError(f"{path}: {head!r} is no heading; write == KIND LABEL CATEGORY LOCALE")
        kind, label, category, locale = found.groups()
        texts = rest.split("\n%%\n") if kind == "mail" else rest.split("\n")
        for text in filter(None, (one.strip() for one in texts)):
            subject, _, body = text.partition("\n") if kind == "mail" else ("", "", text)
            body = body.replace("\\n", "\n")
            name = hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()[:10]
            one_kind: Literal["mail", "sms"] = "mail" if kind == "mail" else "sms"
            one_label: Literal["ham", "spam"] = "ham" if label == "ham" else "spam"
            yield Template(
                id=name,
                kind=one_kind,
                label=one_label,
                category=category,
                locale=locale,
                subject=subject.strip(),
                body=body.strip(),
            )


def _fresh(template: Template, rng: random.Random, seen: set[str]) -> TemplateMessage | None:
    for _ in range(TRIES):
        writer = _Writer(rng, rng.choice(REGIONS) if template.locale == "en" else template.locale)
        subject, text = writer.write(template.subject), writer.write(template.body)
        subject, text = (_as_mail if template.kind == "mail" else _as_sms)(subject, text, writer)
        whole = f"{subject}\n{text}"
        if text and whole not in seen:
            seen.add(whole)
            language = template.locale[:2]
            return TemplateMessage(
                kind=template.kind,
                label=template.label,
                category=template.category,
                language=language,
                subject=subject,
                text=text,
                template=template.id,
            )
    return None


class _Writer:
    """Writes one message: a slot named twice has one value, `{name}` and `{name2}` have two."""

    def __init__(self, rng: random.Random, locale: str) -> None:
        self.rng = rng
        self.locale = locale
        self.values: dict[str, str] = {}

    def write(self, text: str, depth: int = 0) -> str:
        if depth > MAX_DEPTH:
            raise ValueError(f"a slot names itself: {text[:60]!r}")
        parts: list[str] = []
        at = 0
        while (start := text.find("{", at)) >= 0:
            end = _closing(text, start)
            parts += [text[at:start], self._choose(text[start + 1 : end], depth)]
            at = end + 1
        return "".join(parts) + text[at:]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _choose(self, inside: str, depth: int) -> str:
        if inside.startswith("?"):
            return self.write(inside[1:], depth + 1) if self.chance(0.5) else ""
        options = _alternatives(inside)
        if len(options) > 1 or "{" in inside:
            return self.write(self.rng.choice(options), depth + 1)
        if found := _RANDOM.match(inside):
            return self._random(found)
        return self._slot(inside, depth)

    def _random(self, found: re.Match[str]) -> str:
        shape, size, low, high = found.groups()
        if not shape:
            return str(self.rng.randint(int(low), int(high)))
        if shape == "#":
            return str(self.rng.randint(10 ** (int(size) - 1), 10 ** int(size) - 1))
        drawn = "".join(self.rng.choices(LETTERS, k=int(size)))
        return drawn.upper() if shape == "^" else drawn

    def _slot(self, inside: str, depth: int) -> str:
        found = _SLOT.match(inside)
        options = self._options(found[2]) if found else None
        if not found or not options:
            raise ValueError(f"no slot {inside!r} in slots.txt, and no alternatives in it")
        if found[1]:
            drawn = self.rng.sample(options, min(int(found[1]), len(options)))
            return "\n\n".join(self.write(one, depth + 1) for one in drawn)
        if inside not in self.values:
            self.values[inside] = self._other(options, depth)
        return self.values[inside]

    def _options(self, name: str) -> Sequence[str] | None:
        known = slots()
        return known.get(f"{name}.{self.locale}") or known.get(f"{name}.{self.locale[:2]}") or known.get(name)

    def _other(self, options: Sequence[str], depth: int) -> str:
        value = ""
        for _ in range(TRIES):
            value = self.write(self.rng.choice(options), depth + 1)
            if value not in self.values.values():
                break
        return value


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return at
    raise ValueError(f"a brace stays open: {text[start : start + 60]!r}")


@cache
def _alternatives(text: str) -> Sequence[str]:
    found, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "|" and not depth:
            found.append(text[start:at])
            start = at + 1
    return (*found, text[start:])


# What follows is done to both classes at the same rates, so that none of it tells them apart.


def _as_sms(subject: str, text: str, writer: _Writer) -> tuple[str, str]:
    text = _GAP.sub("", re.sub(r"[ \t]+", " ", text)).strip()
    if writer.chance(0.4):
        text = re.sub(r"\s*\n\s*", " ", text)
    if writer.chance(0.05):
        text = f"{text} {writer.write('{emoji}')}"
    if writer.chance(0.02):
        text = text[: writer.rng.randint(60, 150)]
    return subject, _worn(text, writer)


def _as_mail(subject: str, text: str, writer: _Writer) -> tuple[str, str]:
    subject = " ".join(subject.split())
    text = _GAP.sub("", re.sub(r"(?<=\S)  +", " ", text))
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip()
    if writer.locale.startswith("en"):
        text = _with_small_talk(text, writer)
    if writer.chance(0.25):
        text = f"{text}\n\n{writer.write('{footer}')}"
    if writer.chance(0.04):
        subject = f"{writer.rng.choice(('Re', 'RE', 'Fwd', 'FW'))}: {subject}"
    elif writer.chance(0.03):
        subject = ""
    if writer.chance(0.05):
        subject, text = subject.lower(), text.lower()
    return subject, _worn(text, writer)


def _with_small_talk(text: str, writer: _Writer) -> str:
    paragraphs = text.split("\n\n")
    if len(paragraphs) < 3 or not paragraphs[0].endswith(","):  # no greeting: a machine wrote it
        return text
    if writer.chance(0.35):
        paragraphs[1] = f"{writer.write('{opener}')} {paragraphs[1]}"
    if writer.chance(0.35):
        paragraphs.insert(-1, writer.write("{closer}"))
    if writer.chance(0.06):
        paragraphs.append(writer.write("On {date}, {full} wrote:\n> {news}"))
    return "\n\n".join(paragraphs)


def _worn(text: str, writer: _Writer) -> str:
    """The text as hurried people and careless machines leave it."""
    if writer.chance(0.06):
        text = _LINK.sub("", text)
    if writer.chance(0.04):
        text = text.lower()
    elif writer.chance(0.01):
        text = text.upper()
    if writer.chance(0.05):
        text = text.rstrip(".!? ")
    elif writer.chance(0.03):
        text = re.sub(r"([!?])", r"\1\1", text)
    if writer.chance(0.04):
        text = text.replace("'", "").replace("’", "")
    return _mistyped(text, writer.rng) if writer.chance(0.06) else text


def _mistyped(text: str, rng: random.Random) -> str:
    if len(text) < 8:
        return text
    at = rng.randrange(1, len(text) - 2)
    return (
        text[:at]
        + rng.choice((text[at + 1] + text[at], "", text[at] * 2))
        + text[at + 1 + rng.randint(0, 1) :]
    )

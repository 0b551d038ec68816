"""Which words moved the score: each is left out in turn and the message judged again (occlusion).

A word's weight is how many points the message loses without it. Exact for this model and this message,
and it costs one scoring a word, so words of a long text are taken together in equal runs.
Source: Zeiler and Fergus 2014, section 4.2, for images; Li, Monroe and Jurafsky 2016 for text.
"""

import json
import math
import re
from dataclasses import dataclass

from filterd.api import Message, Verdict
from filterd.reading import text
from filterd.scoring.engine import Engine

MAX_PIECES = 256  # scorings of one explanation: about a second with the default bundle on two cores
SHOWN = 8  # words of either direction in the list below the text


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and the pieces of its text in order, each with the points it contributed."""

    verdict: Verdict
    pieces: tuple[tuple[str, float], ...]


def explain(engine: Engine, message: Message) -> Explanation:
    """Occlude every word, or run of words, of a message's first reading."""
    reading = text.read(message)[0]
    words = re.findall(r"\s*\S+\s*", reading.canonical)
    run = math.ceil(len(words) / MAX_PIECES) or 1
    pieces = ["".join(words[i : i + run]) for i in range(0, len(words), run)]
    without = ["".join(pieces[:i] + pieces[i + 1 :]) for i in range(len(pieces))]
    whole, *rest = engine.margins([reading.canonical, *without], [reading.kind] * (1 + len(without)))
    scale = engine.points_per_margin(reading.kind)
    return Explanation(
        engine.judge([message])[0],
        tuple((piece, scale * (whole - margin)) for piece, margin in zip(pieces, rest, strict=True)),
    )


def as_json(explanation: Explanation) -> str:
    """One object: the verdict's numbers and the pieces with their points."""
    found = explanation.verdict
    return json.dumps(
        {
            "label": found.label,
            "probability": round(found.probability, 6),
            "points": round(found.points, 2),
            "kind": found.kind,
            "model": found.model,
            "words": [{"text": piece, "points": round(points, 3)} for piece, points in explanation.pieces],
        },
        ensure_ascii=False,
    )


def show(explanation: Explanation) -> None:
    """Print the text with its words in colour, red for spam and green for ham, and the strongest of each."""
    from rich.console import Console
    from rich.text import Text

    found = explanation.verdict
    console = Console(highlight=False)
    console.print(
        f"{found.label}  {found.probability:.3f}  {found.points:+.1f} points  {found.kind}", markup=False
    )
    console.print(f"tests: {', '.join(found.tests)}   model: {found.model}\n", markup=False)
    strongest = max((abs(points) for _, points in explanation.pieces), default=0.0) or 1.0
    coloured = Text()
    for piece, points in explanation.pieces:
        coloured.append(piece, style=_style(points / strongest))
    console.print(coloured)
    ranked = sorted(explanation.pieces, key=lambda pair: pair[1])
    for title, chosen in (("towards spam", ranked[::-1]), ("towards ham", ranked)):
        sign = 1 if title == "towards spam" else -1
        words = [(piece, points) for piece, points in chosen[:SHOWN] if points * sign >= 0.05]
        if words:
            console.print(f"\n{title}:", markup=False)
            for piece, points in words:
                console.print(f"  {points:+6.2f}  {' '.join(piece.split())[:60]}", markup=False)


def _style(strength: float) -> str:
    """A background for a share of the strongest word in [-1, 1]; faint below a fifth."""
    if abs(strength) < 0.2:
        return ""
    depth = int(60 + 150 * min(1.0, abs(strength)))
    return f"bold white on rgb({depth},20,20)" if strength > 0 else f"bold white on rgb(10,{depth - 40},40)"

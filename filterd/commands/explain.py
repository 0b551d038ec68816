"""`filterd explain`: a message's reasons, and its words by what they moved (`filterd.reasons`)."""

import json

from filterd.language import catalogue
from filterd.reasons import reason
from filterd.reasons.occlusion import Explanation, strongest
from filterd.scoring.verdict import Thresholds

SHOWN = 8  # words of either direction in the list below the text


def as_json(explanation: Explanation, thresholds: Thresholds) -> str:
    """One object: the verdict's numbers, its reasons, and the pieces with their points."""
    found = explanation.verdict
    return json.dumps(
        {
            "label": found.label,
            "probability": round(found.probability, 6),
            "points": round(found.points, 2),
            "kind": found.kind,
            "model": found.model,
            "reasons": [one.say() for one in reason.of(found, thresholds, memory=explanation.memory)],
            "words": [{"text": piece, "points": round(points, 3)} for piece, points in explanation.pieces],
        },
        ensure_ascii=False,
    )


def show(explanation: Explanation, thresholds: Thresholds) -> None:
    """Print the reasons, and the text with its words in colour, red for spam and green for ham."""
    from rich.console import Console

    found = explanation.verdict
    console = Console(highlight=False)
    console.print(
        f"{found.label}  {found.probability:.3f}  {found.points:+.1f} points  {found.kind}", markup=False
    )
    console.print(f"tests: {', '.join(found.tests)}   model: {found.model}\n", markup=False)
    for one in reason.of(found, thresholds, memory=explanation.memory):
        console.print(f"- {one.say()}", markup=False)
    console.print(f"- {catalogue.say('en', f'reasons.words-of-{explanation.by}')}\n", markup=False)
    show_words(explanation.pieces)


def show_words(pieces: tuple[tuple[str, float], ...]) -> None:
    """Print a text with its words in colour, and the strongest of each direction below it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    top = max((abs(points) for _, points in pieces), default=0.0) or 1.0
    coloured = Text()
    for piece, points in pieces:
        coloured.append(piece, style=_style(points / top))
    console.print(coloured)
    for title, words in zip(("towards spam", "towards ham"), strongest(pieces, SHOWN), strict=True):
        if words:
            console.print(f"\n{title}:", markup=False)
        for word, points in words:
            console.print(f"  {points:+6.2f}  {word[:60]}", markup=False)


def _style(strength: float) -> str:
    """A background for a share of the strongest word in [-1, 1]; faint below a fifth."""
    if abs(strength) < 0.2:
        return ""
    depth = int(60 + 150 * min(1.0, abs(strength)))
    return f"bold white on rgb({depth},20,20)" if strength > 0 else f"bold white on rgb(10,{depth - 40},40)"

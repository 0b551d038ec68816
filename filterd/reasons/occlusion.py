"""Which words moved the score: each is left out in turn and the message judged again (occlusion).

A word's weight is how many points the message loses without it. Exact for this model and this message,
and it costs one scoring a word, so words of a long text are taken together in equal runs. Of a message that
the linear half has settled the words are weighed by the linear half alone: that is what decided.
Source: Zeiler and Fergus 2014, section 4.2, for images; Li, Monroe and Jurafsky 2016 for text.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from filterd.api import Kind, Message, Verdict
from filterd.errors import ConfigError
from filterd.reading import text
from filterd.scoring.engine import Engine
from filterd.scoring.memory import Recollection

MAX_PIECES = 256  # scorings of one explanation: about a second with the default bundle on two cores


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict and the pieces of its text in order, each with the points it contributed.

    by: "model" or "linear", whose points those are. memory: points that corrections added.
    """

    verdict: Verdict
    pieces: tuple[tuple[str, float], ...]
    by: str = "model"
    memory: float = 0.0


def explain(engine: Engine, message: Message) -> Explanation:
    """Occlude every word, or run of words, of a message's first reading. Raises ConfigError without spam."""
    if engine.reader:
        raise ConfigError(f"{engine.bundle.id}: knows no spam; words can be weighed for or against spam")
    prepared = engine.prepare(message)
    rows = engine.logits(prepared.windows)
    found = engine.conclude(prepared, rows)
    unlearned = engine.conclude(prepared._replace(memory=Recollection()), rows)
    by = "model" if prepared.settled is None else "linear"
    reading = text.read(message, engine.authserv_ids)[0]
    shown = text.in_format(reading.canonical, engine.bundle.manifest.text_format)
    pieces = occlude(engine, shown, reading.kind, linear=by == "linear")
    return Explanation(found, pieces, by, found.points - unlearned.points)


def occlude(
    engine: Engine, canonical: str, kind: Kind, *, linear: bool = False, most: int = MAX_PIECES
) -> tuple[tuple[str, float], ...]:
    """Pieces of a canonical text, each with the points that the whole loses without it."""
    pieces = _pieces(canonical, most)
    texts = [canonical, *("".join(pieces[:i] + pieces[i + 1 :]) for i in range(len(pieces)))]
    asked = _linear_margins if linear else Engine.margins
    whole, *rest = asked(engine, texts, [kind] * len(texts))
    scale = _scale(engine, kind, linear=linear)
    return tuple((piece, scale * (whole - one)) for piece, one in zip(pieces, rest, strict=True))


def strongest(
    pieces: tuple[tuple[str, float], ...], count: int, least: float = 0.05
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The pieces that moved the score most, towards spam and towards ham, by `least` points or more."""
    ranked = sorted(pieces, key=lambda pair: pair[1])
    spam = [(" ".join(piece.split()), points) for piece, points in ranked[::-1][:count] if points >= least]
    ham = [(" ".join(piece.split()), points) for piece, points in ranked[:count] if points <= -least]
    return spam, ham


def _pieces(canonical: str, most: int) -> list[str]:
    words = re.findall(r"\s*\S+\s*", canonical)
    run = math.ceil(len(words) / most) or 1
    return ["".join(words[i : i + run]) for i in range(0, len(words), run)]


def _linear_margins(engine: Engine, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
    """As `Engine.margins`, by the linear half alone."""
    cut = [engine.cut(one, kind) for one, kind in zip(texts, kinds, strict=True)]
    return [max(engine.wide_of(of, kind), default=0.0) for of, kind in zip(cut, kinds, strict=True)]


def _scale(engine: Engine, kind: Kind, *, linear: bool) -> float:
    """Points that a nat is worth: by the calibration, or by the line that the fast path estimates with."""
    if linear and engine.fast_path:
        sides = (engine.fast_path[kind].spam, engine.fast_path[kind].ham)
        return max((side.scale for side in sides if side), default=1.0)
    return engine.points_per_margin(kind)

"""`trainer active`: the few messages whose label would teach most, for a person to name with one key each.

A message teaches much where the model is uncertain and where many others are like it (information density,
Settles and Craven 2008, An analysis of active learning strategies for sequence labeling tasks, 4): value =
uncertainty x typicality. Uncertainty falls by half with each nat of log-odds that P(spam) lies outside the
unsure band. Typicality is the mean cosine of its words with the NEIGHBOURS messages nearest to it. Of
near-duplicates the most valuable one stands for all (`filterd_trainer.data.grouping`).

Answers go through `filterd learn` and `filterd forget`, as a user's own corrections do: to the daemon where
one runs, else to the store. What a person sees is the canonical text, which holds no control characters.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as Styled
from sklearn.feature_extraction.text import HashingVectorizer

from filterd import judge
from filterd.api import Kind, Message
from filterd.errors import BadInput, FilterdError, NotFound
from filterd.reading import text
from filterd.scoring import verdict
from filterd.scoring.engine import Engine
from filterd_trainer.data import grouping, sources
from filterd_trainer.data.sources import ReadingLosses, Source

MAX_CANDIDATES = 5_000  # a matrix of 25 million cosines, most of them 0
NEIGHBOURS = 10  # of a message that tell how typical it is; campaigns and habits of a mailbox are larger
SHOWN = 1_200  # characters of a text on the screen
FEATURES = 1 << 16
LEARN_TIMEOUT_S = 60.0  # with the daemon away, `filterd learn` opens the store itself

KEYS = "s spam · h ham · space skip · u undo · q quit"

Floats = NDArray[np.float64]


class Candidate(NamedTuple):
    """A message worth asking about. where: its file; value: of knowing its label, 0 … 1."""

    where: str
    raw: bytes
    kind: Kind
    canonical: str
    probability: float
    value: float

    def as_json(self) -> str:
        """Without its text: `where` says where that is."""
        shown = {"file": self.where, "kind": self.kind, "probability": round(self.probability, 4)}
        return json.dumps({**shown, "value": round(self.value, 4)})


def gather(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Messages of folders, archives and mailboxes, the first MAX_CANDIDATES. Raises NotFound, BadInput."""
    found: list[tuple[str, bytes]] = []
    for path in paths:
        if not path.exists():
            raise NotFound(f"{path}: no such file or folder; name a Maildir, an mbox or a folder of mails")
        for one in sources.read(Source(path, sources.called(path)), ReadingLosses()):
            found.append((one.where, one.raw))
            if len(found) == MAX_CANDIDATES:
                return found
    if not found:
        raise BadInput(f"{', '.join(map(str, paths))}: no message to choose from")
    return found


def choose(engine: Engine, messages: Sequence[tuple[str, bytes]], count: int) -> list[Candidate]:
    """The `count` messages that would teach most, the best first."""
    readings = [text.read(Message(raw))[0] for _, raw in messages]
    texts = [one.canonical for one in readings]
    manifest = engine.bundle.manifest
    probabilities = [one.probability for one in engine.judge([Message(raw) for _, raw in messages])]
    doubt = np.array(
        [
            uncertainty(p, manifest.thresholds[one.kind])
            for p, one in zip(probabilities, readings, strict=True)
        ]
    )
    value = doubt * typicality(texts)
    groups, taken = grouping.group(texts), set[int]()
    chosen: list[Candidate] = []
    for i in np.argsort(-value, kind="stable").tolist():
        if int(groups[i]) not in taken and len(chosen) < count:
            taken.add(int(groups[i]))
            where, raw = messages[i]
            chosen.append(
                Candidate(where, raw, readings[i].kind, texts[i], probabilities[i], float(value[i]))
            )
    return chosen


def uncertainty(probability: float, thresholds: verdict.Thresholds) -> float:
    """1 within the unsure band, half of it for each nat outside."""
    here = verdict.log_odds(probability)
    below, above = (verdict.log_odds(edge) for edge in (thresholds.unsure, thresholds.spam))
    return float(0.5 ** max(0.0, below - here, here - above))


def typicality(texts: Sequence[str]) -> Floats:
    """Mean cosine with the nearest others, [n], 0 … 1; all 1 where there is one text alone."""
    if len(texts) == 1:
        return np.ones(1)
    words = HashingVectorizer(n_features=FEATURES, alternate_sign=False).transform(texts)
    near = (words @ words.T).tolil()
    near.setdiag(0.0)
    rows = near.tocsr()
    nearest = min(NEIGHBOURS, len(texts) - 1)
    spans = pairwise(rows.indptr)
    return np.array([np.sort(rows.data[a:b])[::-1][:nearest].sum() / nearest for a, b in spans])


def show(console: Console, chosen: Sequence[Candidate]) -> None:
    """The list, for people."""
    table = Table(title=f"{len(chosen)} messages whose label would teach most", title_justify="left")
    for name in ("P(spam)", "value", "kind", "message", "file"):
        table.add_column(name, justify="right" if name in {"P(spam)", "value"} else "left", overflow="fold")
    for one in chosen:
        line = " ".join(one.canonical[:60].split())
        table.add_row(f"{one.probability:.3f}", f"{one.value:.3f}", one.kind, Styled(line), Styled(one.where))
    console.print(table)


Send = Callable[[str, Candidate], None]  # what to do ("spam", "ham" or "forget") with a message


def ask(console: Console, chosen: Sequence[Candidate], key: Callable[[], str], send: Send) -> int:
    """Show one message after another until all are answered or `q`; returns how many were learned."""
    answers: dict[int, str] = {}
    i = 0
    while i < len(chosen):
        console.print(_page(chosen, i))
        pressed = key().lower()
        if pressed in {"q", "\x03", "\x04", ""}:
            break
        if pressed == "u" and i > 0:
            i -= 1
            if i in answers:
                send("forget", chosen[i])
                del answers[i]
        elif pressed in {"s", "h"}:
            answers[i] = "spam" if pressed == "s" else "ham"
            send(answers[i], chosen[i])
            i += 1
        elif pressed == " ":
            i += 1
    return len(answers)


def _page(chosen: Sequence[Candidate], i: int) -> Panel:
    one = chosen[i]
    title = f"{i + 1} of {len(chosen)} · {one.kind} · P(spam) {one.probability:.3f}"
    return Panel(Styled(one.canonical[:SHOWN]), title=title, subtitle=KEYS)


def learn(action: str, one: Candidate) -> None:
    """Hand an answer to `filterd`. Raises FilterdError with what that said."""
    program = Path(sys.executable).with_name("filterd")
    command = [str(program) if program.exists() else shutil.which("filterd") or "filterd"]
    command += ["forget"] if action == "forget" else ["learn", f"--{action}"]
    command += ["--sms" if one.kind is Kind.SMS else "--mail"]
    try:
        done = subprocess.run(
            command, input=one.raw, capture_output=True, timeout=LEARN_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FilterdError(f"filterd {action}: {error}; is it installed, and its store free?") from error
    if done.returncode:
        raise FilterdError(done.stderr.decode(errors="replace").strip() or f"filterd {action} failed")


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """A function that waits for one key, without Enter where stdin is a terminal."""
    if not sys.stdin.isatty():
        yield lambda: sys.stdin.read(1)
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _engine(bundle: Path | None) -> Engine:
    """What judges here, corrections included, so that nobody is asked what he has said already."""

    def tell(line: str) -> None:
        print(f"trainer: {line}", file=sys.stderr)

    return judge.open_judge(judge.configuration(tell), bundle, tell=tell)


def run(paths: Sequence[Path], bundle: Path | None, count: int, *, listed: bool, as_json: bool) -> None:
    """The command; bundle: None for the one in use.

    Raises ConfigError, NotFound, BadInput, BundleError, and what `filterd learn` says.
    """
    console = Console(highlight=False)
    chosen = choose(_engine(bundle), gather(paths), count)
    if as_json:
        print("\n".join(one.as_json() for one in chosen))
    elif listed:
        show(console, chosen)
    else:
        with keys() as key:
            learned = ask(console, chosen, key, learn)
        console.print(f"{learned} of {len(chosen)} labelled")

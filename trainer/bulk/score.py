"""`trainer score`: verdicts of millions of stored messages, as a folder of parts.

Strategy: this process only reads and cuts the stream of messages into parts of the same size, always the same
ones. Processes judge a part each, with an engine of their own, and put the finished part in place by one
rename. So a part is there whole or not at all; a run that was cut short does the parts that are missing, and
no message is judged into two of them. `score.json` says of what inputs and with which bundle, so that nobody
goes on with others.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from filterd.api import Message, Verdict
from filterd.config import Config
from filterd.errors import ConfigError, FilterdError, Unwritable
from filterd.judge import open_engine
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.bulk import inputs
from filterd_trainer.bulk.inputs import BulkMessage

PART: Final = 2000  # messages: seconds of work, so that a kill costs little and a part is no tiny file
AHEAD: Final = 2  # parts that wait for each process: bounds what is in memory
AT_ONCE: Final = 64  # messages judged at a time
ABOUT: Final = "score.json"

Form = Literal["jsonl", "csv", "parquet"]
Row = dict[str, Any]
Counts = Counter[str]

_engine: Engine | None = None  # of a process that judges


class ScoringDied(FilterdError):
    """A process that judged has died; what is done is kept."""

    exit_status = 75  # EX_TEMPFAIL: the same command goes on


def score(
    paths: Sequence[Path],
    out: Path,
    *,
    path: Path,
    processes: int,
    form: Form = "jsonl",
    advance: Callable[[int], None] = lambda messages: None,
) -> Counts:
    """Judge all messages of the inputs into `out`; returns how many of each label, and `error`.

    path: the bundle's. Raises NotFound, BadInput, ConfigError, BundleError, Unwritable, Interrupted.
    """
    begin(paths, out, bundle.id_of(path), form)
    counts: Counts = Counter()
    missing = _missing(inputs.read(paths), out, form, counts, advance)
    try:
        with ProcessPoolExecutor(processes, initializer=_open, initargs=(path,)) as pool:
            for done in _results(pool, missing, processes * AHEAD, out, form):
                counts += done
                advance(done.total())
    except BrokenProcessPool as error:
        raise ScoringDied(f"{out}: a process died; the same command goes on from here") from error
    return counts


def begin(paths: Sequence[Path], out: Path, model: str, form: Form) -> None:
    """The folder and what it is of. Raises ConfigError where it is of something else, Unwritable."""
    about = {"inputs": [str(one.resolve()) for one in paths], "bundle": model, "form": form, "part": PART}
    file = out / ABOUT
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _put(file, json.dumps(about, indent=1).encode())
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Unwritable(
            f"{file}: {getattr(error, 'strerror', None) or error}; name another --out"
        ) from error
    if known != about:
        differs = ", ".join(name for name in about if known.get(name) != about[name])
        raise ConfigError(f"{out}: begun with another {differs}; name another --out, or remove it")


def _missing(
    stored: Iterable[BulkMessage], out: Path, form: Form, counts: Counts, advance: Callable[[int], None]
) -> Iterator[tuple[int, list[BulkMessage]]]:
    """Numbers and messages of the parts that are not there yet; those that are there are counted."""
    left = iter(stored)
    number = 0
    while part := list(islice(left, PART)):
        if _part(out, number, form).exists():
            counts["before"] += len(part)
            advance(len(part))
        else:
            yield number, part
        number += 1


def _results(
    pool: ProcessPoolExecutor,
    parts: Iterator[tuple[int, list[BulkMessage]]],
    most: int,
    out: Path,
    form: Form,
) -> Iterator[Counts]:
    """What became of each part, as they end; `most` of them wait or are under way at a time."""
    running: set[Future[Counts]] = set()
    for number, part in parts:
        running.add(pool.submit(_judge_part, part, _part(out, number, form), form))
        if len(running) >= most:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in done)
    yield from (one.result() for one in running)


def _part(out: Path, number: int, form: Form) -> Path:
    return out / f"part-{number:06}.{form}"


# In a process that judges.


def _open(path: Path) -> None:
    global _engine  # noqa: PLW0603 (a process has one, made when it starts)
    _engine = open_engine(Config(), path, threads=1)


def _judge_part(part: Sequence[BulkMessage], file: Path, form: Form) -> Counts:
    assert _engine
    rows = [
        row for first in range(0, len(part), AT_ONCE) for row in judge(_engine, part[first : first + AT_ONCE])
    ]
    _put(file, _written(rows, form))
    return Counter("error" if row["error"] else row["label"] for row in rows)


def judge(engine: Engine, messages: Sequence[BulkMessage]) -> list[Row]:
    """A row for each message, in their order."""
    readable = [one for one in messages if one.raw.strip() and not one.error]
    found = iter(
        engine.judge([Message(one.raw, kind=one.kind, id=one.id, source="bulk") for one in readable])
    )
    judged = {id(one): verdict for one, verdict in zip(readable, found, strict=True)}
    return [_row(one, judged.get(id(one))) for one in messages]


def _row(one: BulkMessage, found: Verdict | None) -> Row:
    if found is None:
        why = one.error or "empty, there is nothing to judge"
        return {"id": one.id, "label": "", "probability": None, "points": None, "classes": {}, "error": why}
    return {
        "id": one.id,
        "label": str(found.label),
        "probability": round(found.probability, 6),
        "points": round(found.points, 2),
        "classes": {name: round(p, 6) for name, p in found.classes.items()},
        "error": "",
    }


def _written(rows: Sequence[Row], form: Form) -> bytes:
    """Rows in a form; in tables the classes are JSON in their column."""
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    import pandas as pd

    frame = pd.DataFrame([row | {"classes": json.dumps(row["classes"])} for row in rows])
    return frame.to_csv(index=False).encode() if form == "csv" else bytes(frame.to_parquet(index=False))


def _put(file: Path, content: bytes) -> None:
    """The file whole or not at all, and on the disk. Raises Unwritable."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise Unwritable(f"{file}: {error.strerror}; name another --out, or free some space") from error

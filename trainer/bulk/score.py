"""`trainer score`: verdicts of millions of stored messages, as a folder of parts.

Strategy: this process only reads and cuts the stream of messages into parts, always the same ones. Processes
judge a part each, with an engine of their own, and put the finished part in place by one rename; on a cluster
`cluster.py` does that. So a part is there whole or not at all; a run that was cut short does the parts that
are missing, and no message is judged into two of them. `score.json` says of what inputs and with which
bundle, so that nobody goes on with others.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
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
PART_BYTES: Final = 32 << 20  # of its messages: some parts are in memory for each process
AHEAD: Final = 2  # parts that wait for each process: bounds what is in memory
AT_ONCE: Final = 64  # messages judged at a time
ABOUT: Final = "score.json"
NAMES: Final = {"changed": "version of its inputs", "part": "size of parts"}  # of ABOUT's, for people

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
    end(out)
    return counts


def begin(paths: Sequence[Path], out: Path, model: str, form: Form) -> None:
    """The folder and what it is of. Raises ConfigError where it is of something else, Unwritable."""
    about = {
        "inputs": [str(one.resolve()) for one in paths],
        "changed": [_changed(one) for one in paths],
        "bundle": model,
        "form": form,
        "part": [PART, PART_BYTES],
    }
    file = out / ABOUT
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            put(file, json.dumps(about, indent=1).encode())
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Unwritable(
            f"{file}: {getattr(error, 'strerror', None) or error}; name another --out"
        ) from error
    if known != about:
        differs = ", ".join(NAMES.get(name, name) for name in about if known.get(name) != about[name])
        raise ConfigError(f"{out}: begun with another {differs}; name another --out, or remove it")


def _changed(path: Path) -> list[int]:
    """When a file was written and how long it is: other messages would fall into other parts."""
    if not path.is_file():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def end(out: Path) -> None:
    """All parts are there: remove the drafts of processes that were killed."""
    for draft in out.glob(".part-*"):
        draft.unlink(missing_ok=True)


def cut(
    stored: Iterable[BulkMessage], messages: int, most_bytes: int = PART_BYTES
) -> Iterator[list[BulkMessage]]:
    """The parts: up to so many messages, of so many bytes together, or one."""
    part: list[BulkMessage] = []
    size = 0
    for one in stored:
        if part and (len(part) >= messages or size + len(one.raw) > most_bytes):
            yield part
            part, size = [], 0
        part.append(one)
        size += len(one.raw)
    if part:
        yield part


def _missing(
    stored: Iterable[BulkMessage], out: Path, form: Form, counts: Counts, advance: Callable[[int], None]
) -> Iterator[tuple[int, list[BulkMessage]]]:
    """Numbers and messages of the parts that are not there yet; those that are there are counted."""
    done = there(out, form)
    for number, part in enumerate(cut(stored, PART)):
        if number in done:
            counts["before"] += len(part)
            advance(len(part))
        else:
            yield number, part


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
        running.add(pool.submit(_judge_part, part, place(out, number, form), form))
        if len(running) >= most:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in done)
    yield from (one.result() for one in running)


def there(out: Path, form: Form) -> set[int]:
    """Numbers of the parts that are done."""
    numbers = (part.stem.removeprefix("part-") for part in out.glob(f"part-*.{form}"))
    return {int(number) for number in numbers if number.isdecimal()}  # people put files of theirs there


def place(out: Path, number: int, form: Form) -> Path:
    """Where a part lies once it is whole."""
    return out / f"part-{number:06}.{form}"


# In a process that judges.


def _open(path: Path) -> None:
    global _engine  # noqa: PLW0603 (a process has one, made when it starts)
    _engine = open_engine(Config(), path, threads=1)


def _judge_part(part: Sequence[BulkMessage], file: Path, form: Form) -> Counts:
    assert _engine
    content, counts = judged(_engine, part, form)
    put(file, content)
    return counts


def judged(engine: Engine, part: Sequence[BulkMessage], form: Form) -> tuple[bytes, Counts]:
    """What is written of a part, and how many of its messages have each label."""
    rows = [
        row for first in range(0, len(part), AT_ONCE) for row in judge(engine, part[first : first + AT_ONCE])
    ]
    counts = Counter("error" if row["error"] else row["label"] if _counts(row) else "judged" for row in rows)
    return _written(rows, form), counts


def _counts(row: Row) -> bool:
    """Whether its label is one of a few, so that messages are counted by it."""
    return "value" not in row


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
    said = (
        dict.fromkeys(("label", "probability", "points")) | found.fields()
    )  # a table needs the same columns of all
    return {
        "id": one.id,
        **said,
        "classes": {name: round(p, 6) for name, p in found.classes.items()},
        "error": "",
    }


def _written(rows: Sequence[Row], form: Form) -> bytes:
    """Rows in a form; in tables what is no single value is JSON in its column."""
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    import pandas as pd

    frame = pd.DataFrame(
        [{k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in row.items()} for row in rows]
    )
    return frame.to_csv(index=False).encode() if form == "csv" else bytes(frame.to_parquet(index=False))


def put(file: Path, content: bytes) -> None:
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

"""`trainer score --ray`: the parts of `score.py`, judged by the actors of a Ray cluster.

Strategy: one task on this machine reads and cuts, so the parts are the same whoever judges them. Ray Data
streams them, a row each and some at a time, to a pool of actors, which have opened the bundle once, and
brings back what is to be written of each. This process puts that in place as ever. So a part whose actor dies
is judged by another one and is there once; inputs, bundle and `out` have to be on this machine only.

Ray's processes trust whoever reaches their ports: a cluster belongs into a network of its own.
"""

import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from filterd.api import Kind
from filterd.config import Config
from filterd.errors import ConfigError, FilterdError
from filterd.judge import open_engine
from filterd.kit.hush import hushed
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.bulk import inputs, score
from filterd_trainer.bulk.inputs import BulkMessage
from filterd_trainer.bulk.score import Counts, Form, ScoringDied

LOCAL: Final = "local"  # the address of a cluster that is made for this run, on this machine
ROW_A_BLOCK: Final = 1  # byte, with which a block is full: the first row fills it, so parts spread evenly

# It counts its users over the network unless told not to, and fears for constructors' arguments that we keep.
SETTINGS: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}

Open = Callable[..., Engine]


def run(
    paths: Sequence[Path],
    out: Path,
    *,
    path: Path,
    address: str,
    processes: int = 0,
    form: Form = "jsonl",
    advance: Callable[[int], None] = lambda messages: None,
) -> Counts:
    """As `score.score`, on a cluster. address: of it, or LOCAL; processes: actors, 0 for one a core.

    Raises what that raises, and ConfigError without Ray or where nobody answers at the address.
    """
    score.begin(paths, out, bundle.id_of(path), form)
    counts: Counts = Counter()
    with _connected(address, processes) as ray:
        try:
            for row in _stream(ray, paths, score.there(out, form), path, processes, form):
                found: Counts = Counter(json.loads(row["counts"]))
                if row["content"]:
                    score.put(score.place(out, row["number"], form), row["content"])
                counts += found
                advance(found.total())
        except ray.exceptions.RayError as error:
            if ours := _ours(error):
                raise ours from error
            raise ScoringDied(f"{out}: {_line(error)}; the same command goes on from here") from error
    score.end(out)
    return counts


@contextmanager
def _connected(address: str, processes: int) -> Iterator[Any]:
    """Ray, while this process is part of a cluster."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data
    except ImportError as error:
        raise ConfigError("--ray needs Ray; pip install 'filterd[ray]'") from error
    if "://" in address:
        raise ConfigError(f"--ray {address}: run this on a machine of the cluster, with --ray auto")
    own = {"num_cpus": processes or None, "include_dashboard": False} if address == LOCAL else {}
    try:
        with hushed():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises bare ones, too
        raise ConfigError(f"--ray {address}: {_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _stream(
    ray: Any, paths: Sequence[Path], there: Collection[int], path: Path, processes: int, form: Form
) -> Iterator[dict[str, Any]]:
    """What became of each part, as they end: its number, counts, and what is to be written."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = ROW_A_BLOCK
    files = {file.name: file.read_bytes() for file in path.resolve().iterdir() if file.is_file()}
    actors = processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
    parts = ray.data.read_datasource(
        _source([one.resolve() for one in paths], there, score.PART),
        num_cpus=0,  # the actors have them all
    )
    judged = parts.map_batches(
        ScoringActor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_kwargs={"get": ray.get, "files": ray.put(files), "form": form, "opener": open_engine},
        num_cpus=1,
    )
    return iter(judged.iter_rows())


def _source(paths: Sequence[Path], there: Collection[int], messages: int) -> Any:
    """The inputs as Ray Data reads them: one task that makes a block of each part."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class PartSource(Datasource):  # type: ignore[misc, unused-ignore]
        """Parts of messages; of those that are there only how many they are."""

        supports_distributed_reads = False  # but where this process is: the inputs are

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[Any]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None)
            return [ReadTask(lambda: _blocks(paths, there, messages), unknown)]

    return PartSource()


# In the processes of the cluster.


def _blocks(paths: Sequence[Path], there: Collection[int], messages: int) -> Iterator[Any]:
    """A table of one row for each part."""
    for number, part in enumerate(score.cut(inputs.read(paths), messages)):
        packed = b"" if number in there else msgspec.msgpack.encode([list(one) for one in part])
        yield _table(number=number, count=len(part), messages=packed)


def _table(**row: Any) -> Any:
    import pyarrow as pa

    return pa.table({name: [value] for name, value in row.items()})


class ScoringActor:
    """Judges parts with an engine of its own. get(files): of the bundle, by name."""

    def __init__(self, get: Callable[[Any], dict[str, bytes]], files: Any, form: Form, opener: Open) -> None:
        self._form = form
        with tempfile.TemporaryDirectory(prefix="filterd-") as folder:
            for name, content in get(files).items():
                (Path(folder) / name).write_bytes(content)
            self._engine = opener(Config(), Path(folder), threads=1)

    def __call__(self, parts: Any) -> Any:
        """One part in, what is to be written of it out."""
        (row,) = parts.to_pylist()
        content, counts = b"", Counter(before=row["count"])
        if row["messages"]:
            part = msgspec.msgpack.decode(row["messages"], type=list[tuple[str, bytes, Kind | None, str]])
            content, counts = score.judged(self._engine, [BulkMessage(*one) for one in part], self._form)
        return _table(number=row["number"], counts=json.dumps(counts), content=content)


def _ours(error: BaseException | None) -> FilterdError | None:
    """What our own code raised in a process of the cluster, such as that an input is missing."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, FilterdError):
            return error
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

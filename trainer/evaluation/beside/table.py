"""One table of all: each classifier fitted to the training part and judged on the test part, with its costs.

Strategy: a file for every row that is done, so that the same command goes on where it was stopped. Rows are
scikit-learn's three of `trainer compare`, those of this package, encoders by their folders, and runs and
bundles of ours, which were trained already. Accuracy calls each message by its most probable class.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from filterd.errors import BadInput, ConfigError
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation import baselines, judge, measure, unfinished
from filterd_trainer.evaluation.judge import EvaluationSplit
from filterd_trainer.evaluation.results import Table

SPLIT = "test"
WEIGHTS = (".safetensors", ".bin")  # how files with a model's weights end
TIMED = 100  # messages whose latency is measured
NOTE = (
    "fit: CPU seconds of training; of a run of ours its log's seconds, of a bundle a dash. MB: what judging"
    " needs: on disk, of what is fitted here in memory. ms: one message alone, median. J: energy of one,"
    " a dash where nobody tells it."
)


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A row. fit_seconds: None where it is not known; joules: of one message, None where nobody tells."""

    name: str
    setting: str
    accuracy: float
    macro_f1: float
    fit_seconds: float | None
    bytes: int
    median_ms: float
    joules: float | None


@dataclass(frozen=True, kw_only=True)
class RowMaker:
    """A row to be made. work: does it."""

    name: str
    setting: str
    work: Callable[["RowMaker"], RowResult]


@dataclass(frozen=True, kw_only=True)
class BesideRequest:
    """What to put side by side. only: rows by their names; by default all that there are."""

    data: Path
    out: Path
    models: Sequence[Path] = ()
    encoders: Sequence[Path] = ()
    only: Sequence[str] = ()


def fitted_here() -> Mapping[str, tuple[str, Callable[[], Any]]]:
    """Setting and maker of every classifier that needs nothing but the training part."""
    from filterd_trainer.evaluation.beside.networks import ConvolutionNet, RecurrentNet, WordNetwork
    from filterd_trainer.evaluation.beside.word2vec import Word2Vec

    own = {one.name: (one.setting, one.make) for one in baselines.BASELINES}
    return own | {
        "word2vec": ("skip-grams of the training part, mean vector, LogisticRegression()", Word2Vec),
        "CNN": ("Kim 2014, random vectors, 10 epochs", partial(WordNetwork, ConvolutionNet)),
        "LSTM": ("both ways, 128 units, random vectors, 10 epochs", partial(WordNetwork, RecurrentNet)),
    }


def run(
    request: BesideRequest, report: Callable[[str], None], advance: Callable[[int], None] = lambda _: None
) -> list[RowResult]:
    """Every row, those that are there already read.

    Raises the errors of what is read, ConfigError for a name that no row has or another dataset's folder.
    """
    data = Dataset.load(request.data)
    data.task.only_exclusive("trainer beside")
    rows = makers(request)
    unfinished.claim(request.out, name="data.txt", said=data.fingerprint, what="data")
    found = []
    for row in rows:
        digest = hashlib.sha256(f"{row.name}\0{row.setting}".encode()).hexdigest()[:12]
        file = request.out / f"row-{digest}.json"
        found.append(unfinished.read(file, RowResult) or _make(row, file, report))
        advance(1)
    return found


def makers(request: BesideRequest) -> list[RowMaker]:
    """The rows that are asked for. Raises ConfigError, and the errors of reading the dataset."""
    found = list(_makers(request))
    unknown = set(request.only) - {one.name for one in found}
    if unknown:
        names = ", ".join(one.name for one in found)
        raise ConfigError(f"--only {min(unknown)}: no such row; there are {names}")
    return [one for one in found if not request.only or one.name in request.only]


def table(rows: Sequence[RowResult]) -> Table:
    """The most accurate first."""
    lines = [
        [
            one.name,
            f"{one.accuracy:.2%}",
            f"{one.macro_f1:.2%}",
            "–" if one.fit_seconds is None else f"{one.fit_seconds:.1f}",
            f"{one.bytes / measure.MEGA:.1f}",
            f"{one.median_ms:.2f}",
            measure.joules(one.joules),
        ]
        for one in sorted(rows, key=lambda one: -one.accuracy)
    ]
    return ["", "accuracy", "macro F1", "fit, s", "MB", "ms", "J"], lines


def macro_f1(called: Sequence[int], truth: Sequence[int], classes: int) -> float:
    """The mean of the classes' F1, each as 2 TP / (2 TP + FP + FN); of classes that nobody names, none."""
    said, true = np.asarray(called), np.asarray(truth)
    scores = []
    for i in range(classes):
        both, any_of = int(((said == i) & (true == i)).sum()), int((said == i).sum() + (true == i).sum())
        if any_of:
            scores.append(2 * both / any_of)
    return float(np.mean(scores))


def held(what: Any) -> int:
    """Bytes of the numbers and words that a fitted classifier holds, each object once."""
    seen: dict[int, Any] = {}  # keeps them, so that no number of one comes again
    waiting, found = [what], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen[id(one)] = one
        if hasattr(one, "parameters") and hasattr(one, "buffers"):  # a module of torch
            found += sum(t.numel() * t.element_size() for t in (*one.parameters(), *one.buffers()))
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif hasattr(one, "__dict__"):
            waiting.append(vars(one))
        else:
            found += _bytes(one)
    return found


def _bytes(one: Any) -> int:
    if isinstance(one, np.ndarray):
        return one.nbytes
    if isinstance(one, str):
        return len(one.encode("utf-8", "surrogatepass"))
    return 8 if isinstance(one, int | float | np.generic) else 0


def _makers(request: BesideRequest) -> Iterator[RowMaker]:
    data = Dataset.load(request.data)
    test = EvaluationSplit.load(request.data, SPLIT)
    for name, (setting, make) in fitted_here().items():
        yield RowMaker(name=name, setting=setting, work=partial(_fit, data, test, make))
    for folder, short in zip(request.encoders, judge.names(request.encoders), strict=True):
        from filterd_trainer.evaluation.beside import encoder

        for how, kind in (("frozen", encoder.FrozenEncoder), ("fine-tuned", encoder.TunedEncoder)):
            setting = _which(folder)
            yield RowMaker(
                name=f"{short}, {how}", setting=setting, work=partial(_fit, data, test, partial(kind, folder))
            )
    for path, short in zip(request.models, judge.names(request.models), strict=True):
        yield RowMaker(name=short, setting=_which(path), work=partial(_judge, test, path))


def _which(path: Path) -> str:
    """A run, bundle or encoder, and what its folder holds now: a new one there is another row."""
    if judge.is_bundle(path):
        return f"{path.resolve()} {bundle.id_of(path)}"
    files = sorted(one for one in path.glob("*") if one.suffix in WEIGHTS)
    digest = hashlib.sha256("".join(bundle.sha256(one) for one in files).encode()).hexdigest()[:12]
    return f"{path.resolve()} {digest}"


def _fit(data: Dataset, test: EvaluationSplit, make: Callable[[], Any], row: RowMaker) -> RowResult:
    texts, truth = _columns(data.split("train"))
    if len(set(truth)) < 2:
        raise BadInput("the training part has one class only; a comparison needs two")
    asked, expected = _columns(test.frame)
    started = time.process_time()
    try:
        fitted = make().fit(texts, truth)
    except ValueError as error:
        raise BadInput(f"{row.name} cannot be fitted: {error}") from error
    seconds = time.process_time() - started
    say: Any = getattr(fitted, "predict_log_proba", None) or fitted.decision_function
    scores = np.asarray(say(asked))
    places = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
    cost = measure.of_messages(say, asked[:TIMED])
    called = fitted.classes_[places].tolist()
    return _result(row, called, expected, len(data.labels), seconds, held(fitted), cost)


def _judge(test: EvaluationSplit, path: Path, row: RowMaker) -> RowResult:
    scored = judge.judge(path, row.name, test)
    say, size = _sayer(path)
    some = test.frame.head(TIMED)
    alone = [some.iloc[i : i + 1] for i in range(len(some))]
    cost = measure.of_messages(lambda rows: say(rows[0] if len(rows) == 1 else pd.concat(rows)), alone)
    called, truth = scored.called.tolist(), scored.truth.tolist()
    return _result(row, called, truth, len(scored.labels), _logged(path), size, cost)


def _sayer(path: Path) -> tuple[Callable[[pd.DataFrame], object], int]:
    """What judges a dataset's rows with a run or bundle, loaded, and its bytes on disk."""
    if judge.is_bundle(path):
        return partial(judge.verdicts_of, Engine.open(path, fast_path=True)), measure.size(path)
    from filterd_trainer.gpt2 import model
    from filterd_trainer.training import runs

    classifier, _ = model.from_safetensors(runs.weights_of(path))
    say = partial(judge.rows_of, runs.read_config(path), classifier)
    return say, measure.size(runs.weights_of(path))


def _result(
    row: RowMaker,
    called: Sequence[int],
    truth: Sequence[int],
    classes: int,
    seconds: float | None,
    size: int,
    cost: measure.MessageCost,
) -> RowResult:
    return RowResult(
        name=row.name,
        setting=row.setting,
        accuracy=float((np.asarray(called) == np.asarray(truth)).mean()),
        macro_f1=macro_f1(called, truth, classes),
        fit_seconds=seconds,
        bytes=size,
        median_ms=cost.median_ms,
        joules=cost.joules,
    )


def _columns(frame: pd.DataFrame) -> tuple[list[str], list[int]]:
    return frame["Text"].astype(str).tolist(), frame["Label"].astype(int).tolist()


def _logged(run: Path) -> float | None:
    file = run / judge.LOG
    if not file.is_file():
        return None
    try:
        lines = file.read_text("utf-8").splitlines()
        return float(json.loads(lines[-1])["seconds"]) if lines else None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not a training log of ours ({error}); train the run again") from error


def _make(row: RowMaker, file: Path, report: Callable[[str], None]) -> RowResult:
    from filterd_trainer.gpt2.checkpoint import write_text

    report(f"{row.name}: {row.setting}")
    result = row.work(row)
    write_text(file, msgspec.json.encode(result).decode())
    return result

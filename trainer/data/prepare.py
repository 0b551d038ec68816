"""What `trainer data` does, from inputs to a dataset folder, and what a person sees of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from filterd.api import Kind
from filterd.errors import ConfigError, NotFound
from filterd.reading import text
from filterd_trainer.data import corpus, fetch, marks, sources
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.grouping import Report, quiet
from filterd_trainer.data.marks import AllMarks
from filterd_trainer.data.rows import UNLABELLED
from filterd_trainer.data.rules import SourceRules
from filterd_trainer.data.sources import ReadingLosses, Source
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.choice import HAM_AND_SPAM

LECTURES = ("lecture", "lecture-slide")  # its book's code, and its slide's
RECIPES = ("grouped", *LECTURES)
KINDS: Mapping[str, Kind | None] = {"auto": None, "mail": Kind.MAIL, "sms": Kind.SMS}


@dataclass(frozen=True)
class PrepareRequest:
    """The options of `trainer data prepare`, as they were given."""

    inputs: Sequence[str]
    out: Path
    _: KW_ONLY
    recipe: str = "grouped"
    task: str = "spam"
    format: str = "auto"
    label_column: str = ""
    text_column: str = ""
    delimiter: str = ""
    encoding: str = ""
    kind: str = "auto"
    labels: Sequence[str] = ()
    ham: Sequence[str] = ()
    hold_out: Sequence[Path] = ()
    test_source: str = ""
    rules: str = ""
    traps: Path | None = None
    jobs: int = 1
    envelopes: bool = False
    calibrate_sources: Sequence[str] = ()


def prepare(request: PrepareRequest, report: Report = quiet) -> tuple[Dataset, ReadingLosses]:
    """A dataset folder of labelled messages, and what was lost on the way.

    Raises ConfigError, NotFound, BadInput, Unwritable.
    """
    _one_of("--recipe", request.recipe, RECIPES)
    _one_of("--format", request.format, sources.FORMATS)
    tasks.kind(request.task)
    if request.task != "spam" and request.recipe in LECTURES:
        raise ConfigError(f"--recipe {request.recipe} is for --task spam; use --recipe grouped")
    _one_of("--kind", request.kind, KINDS)
    return _lecture(request) if request.recipe in LECTURES else _grouped(request, report)


def _lecture(request: PrepareRequest) -> tuple[Dataset, ReadingLosses]:
    if len(request.inputs) != 1:
        raise ConfigError("the lecture's recipe takes one --input, the UCI SMS file")
    parts = corpus.lecture(_uci(Path(request.inputs[0])), slide=request.recipe == "lecture-slide")
    about = {"read": corpus.LECTURE_ROWS}
    return corpus.write(request.out, parts, HAM_AND_SPAM, request.recipe, about), ReadingLosses()


def _grouped(request: PrepareRequest, report: Report) -> tuple[Dataset, ReadingLosses]:
    losses = ReadingLosses()
    found = as_sources(request)
    rules = SourceRules.load(request.rules)
    messages = chain.from_iterable(sources.read(each, losses) for each in found)
    reading = corpus.CorpusReading(
        KINDS[request.kind], _traps(request.traps, found), rules, request.envelopes, request.jobs
    )
    frame = rules.capped(corpus.canonical(messages, losses, reading, report))
    unlabelled = frame[frame["Label"] == UNLABELLED].drop_duplicates("Text")
    frame = frame[frame["Label"] != UNLABELLED]
    frame, task = corpus.coded(frame, tasks.kind(request.task), request.ham, losses)
    once = corpus.distinct(frame, losses, task)
    if request.hold_out:
        once = corpus.without(once, corpus.held_out(request.hold_out), losses)
    asked = {"--test-source": [request.test_source], "--calibrate-source": request.calibrate_sources}
    for option, names in asked.items():
        for name in filter(None, names):
            if name not in set(once["Source"]):
                raise ConfigError(f"{option} {name}: no --input has that name")
    parts = corpus.grouped(once, task, report, request.test_source, request.calibrate_sources)
    natural = "test_natural" if "test_natural" in parts else "test"
    groups = sum(parts[name]["Group"].nunique() for name in ("train", "validation", natural))
    about = {"read": len(frame), "lost": dict(+losses.counts), "kept": len(once), "groups": groups}
    about["text_format"] = text.TEXT_FORMAT
    return corpus.write(request.out, parts, task, "grouped", about, unlabelled), losses


def as_sources(request: PrepareRequest) -> list[Source]:
    """The inputs of a request, as readers take them. Raises ConfigError, NotFound."""
    table = _renames(request.labels)
    rules = SourceRules.load(request.rules)
    found = [
        (name or sources.called(file), file)
        for name, path in map(sources.located, request.inputs)
        for file in _files(_uci(path))
    ]
    return [
        Source(
            path,
            name,
            format=request.format,
            label_column=request.label_column,
            text_column=request.text_column,
            delimiter=request.delimiter,
            encoding=request.encoding,
            rename=table,
            rule=rules.of(name),
            task=tasks.kind(request.task),
        )
        for name, path in found
    ]


def _files(path: Path) -> list[Path]:
    """A folder's tables of JSON lines, each an input by its name; else the path alone."""
    tables = sorted(each for each in path.iterdir() if ".jsonl" in each.suffixes) if path.is_dir() else []
    return tables or [path]


def _traps(given: Path | None, found: Sequence[Source]) -> AllMarks:
    """The marks of `--traps`, or of the files `traps.json` that lie beside the inputs."""
    if given:
        return AllMarks.load(given)
    beside = {source.path.parent / marks.FILE: None for source in found}
    all_marks = [AllMarks.load(file).by_name for file in beside if file.is_file()]
    return AllMarks({name: one for by_name in all_marks for name, one in by_name.items()})


def _uci(path: Path) -> Path:
    """The UCI file where `path` is the folder that `trainer data fetch` made, else `path` itself."""
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder; `trainer data fetch` gets the UCI SMS messages")
    return next((path / name for name in fetch.NAMES if (path / name).is_file()), path)


def _renames(given: Sequence[str]) -> dict[str, str]:
    table = {}
    for option in given:
        old, _, new = option.rpartition("=")
        if not old or not new:
            raise ConfigError(f"--label {option}: write OLD=NEW, as in --label junk=spam")
        table[old] = new
    return table


def _one_of(option: str, given: str, known: Iterable[str]) -> None:
    if given not in known:
        raise ConfigError(f"{option} {given}: not one of {', '.join(known)}")


# -- what a person sees ------------------------------------------------------------------------------------


@contextmanager
def progress(console: Console) -> Iterator[Report]:
    """A bar for each stage of the work; nothing where the output is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield report


def show(console: Console, dataset: Dataset, losses: ReadingLosses) -> None:
    """How tables were read, what was lost and where, what was written, and what leaks."""
    for line in losses.read:
        console.print(line, soft_wrap=True, markup=False)
    for reason, places in losses.places.items():
        more = losses.counts[reason] - len(places)
        console.print(
            f"{reason}: {', '.join(places)}{f' and {more:,} more' if more > 0 else ''}",
            soft_wrap=True,
            markup=False,
        )
    about = dataset.about
    counted = ", ".join(f"{count:,} {reason}" for reason, count in about.get("lost", {}).items())
    console.print(
        f"{about['read']:,} messages read{f'; {counted}' if counted else ''}", soft_wrap=True, markup=False
    )
    if "groups" in about:
        console.print(f"{about['kept']:,} kept, in {about['groups']:,} groups of near-duplicates")
    console.print(_table(dataset))
    for line in leaks(dataset):
        console.print(line, soft_wrap=True)
    if dataset.recipe in LECTURES:
        console.print(
            f"The lecture's slide says {corpus.LECTURE_SLIDE}; its code gives what is above.", soft_wrap=True
        )


def leaks(dataset: Dataset) -> list[str]:
    """A line for each test part: how much of it training has seen."""
    return [
        f"{name}.csv: {found['verbatim']:,} of {found['rows']:,} texts occur verbatim in train.csv,"
        f" {found['near']:,} are near-duplicates of one there"
        for name, found in dataset.about["leaked"].items()
    ]


def _table(dataset: Dataset) -> Table:
    table = Table(title=str(dataset.folder), title_justify="left")
    share = ["spam share"] if dataset.ham else []
    files: dict[str, dict[str, Any]] = dataset.about["files"]
    labels = list(dict.fromkeys(label for file in files.values() for label in file["labels"]))
    for name in ("file", "rows", *labels, *share, "sha256"):
        table.add_column(name, justify="left" if name in {"file", "sha256"} else "right", no_wrap=True)
    for name, file in files.items():
        counts = [f"{file['labels'].get(label, 0):,}" for label in labels]
        shares = [f"{file['spam_share']:.1%}"] if share else []
        table.add_row(f"{name}.csv", f"{file['rows']:,}", *counts, *shares, file["sha256"][:16])
    return table

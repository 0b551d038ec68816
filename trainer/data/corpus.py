"""Labelled messages to a dataset folder: the lecture's split to the letter, or ours without leaks.

A dataset folder has `train.csv`, `validation.csv`, `test.csv`, for `grouped` also `test_natural.csv`, and
`dataset.json` with what is in them and what became of the rest. Columns: Label (as its task writes it: an
index into the labels where they exclude one another) and Text; ours add Kind, Group (near-duplicates share
one, so a split never cuts it), Source, Lang and Year. Rows without a label are in `unlabelled.csv`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from filterd.api import Kind, Message
from filterd.errors import BadInput, ConfigError, NotFound, Unwritable
from filterd.reading import text
from filterd.scoring.answers import Target
from filterd.scoring.bundle import sha256
from filterd_trainer.data.envelopes import addressed, is_bare
from filterd_trainer.data.grouping import Report, group, joined, quiet, tokens
from filterd_trainer.data.marks import NO_MARKS, AllMarks
from filterd_trainer.data.rows import folded
from filterd_trainer.data.rules import NO_RULES, SourceRules
from filterd_trainer.data.sources import LabelledMessage, ReadingLosses
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.task import Task

SEED = 123  # the lecture's
TRAIN, VALIDATION = 0.7, 0.1  # the rest is the test part
SPLITS = ("train", "validation", "test")
CALIBRATION = "calibration"  # the part of sources that were left out for it
MAX_CALIBRATION = 1000  # messages of a source and label there: no source outweighs the others
MANIFEST = "dataset.json"
UNLABELLED_FILE = "unlabelled.csv"
LECTURE_ROWS = 5572  # of the UCI file, as pandas reads it
LECTURE_SLIDE = "1,046 / 149 / 299"  # the slide's figures; the lecture's code gives 1,045 / 149 / 300
# Of its stratum's share of the test part: a larger campaign would make every figure one about itself.
MAX_CAMPAIGN = 0.05

Parts = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset. task: what its labels are; about: dataset.json."""

    folder: Path
    task: Task
    recipe: str
    about: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names by index."""
        return self.task.labels

    @property
    def ham(self) -> tuple[str, ...]:
        """Those that count as ham."""
        return self.task.ham

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """Read a dataset folder. Raises NotFound, BadInput."""
        file = folder / MANIFEST
        try:
            about = json.loads(file.read_text("utf-8"))
            labels, ham, recipe = about["labels"], about["ham"], about["recipe"]
            target = Target(**about["target"]) if "target" in about else None
            return cls(folder, tasks.of(about.get("task", ""), labels, ham, target), recipe, about)
        except OSError as error:
            raise NotFound(f"{file}: {error.strerror}; make it with `trainer data prepare`") from error
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise BadInput(f"{file}: not a dataset's; make it again with `trainer data prepare`") from error

    def split(self, name: str) -> pd.DataFrame:
        """The rows of a split: Label, Text, Kind (sms where the file has none). Raises NotFound, BadInput."""
        file = self.folder / f"{name}.csv"
        try:
            frame = pd.read_csv(file, dtype={"Text": str}, keep_default_na=False, encoding="utf-8")
        except OSError as error:
            raise NotFound(f"{file}: {error.strerror}; make it with `trainer data prepare`") from error
        except ValueError as error:  # pandas' parser errors and wrong encodings are ValueErrors
            raise BadInput(f"{file}: {error}; make it again with `trainer data prepare`") from error
        if not {"Label", "Text"} <= set(frame.columns):
            raise BadInput(f"{file}: needs columns Label and Text")
        try:
            frame["Label"] = [self.task.cell(value) for value in frame["Label"]]
        except (ValueError, TypeError) as error:
            raise BadInput(f"{file}: needs a column Label of {self.task.name}, not {error}") from error
        if "Kind" not in frame:
            frame["Kind"] = Kind.SMS.value
        return frame

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names and hashes of the files, in the order of their names."""
        files = sorted(self.folder.glob("*.csv"))
        return hashlib.sha256("".join(f"{f.name} {sha256(f)}\n" for f in files).encode()).hexdigest()

    @property
    def ham_indices(self) -> tuple[int, ...]:
        """Positions of the ham classes among the labels."""
        return tuple(i for i, name in enumerate(self.labels) if name in self.ham)


# -- the lecture's recipe ----------------------------------------------------------------------------------


def read_uci(file: Path) -> pd.DataFrame:
    """The UCI file as the lecture reads it, with pandas' default quoting: Label, Text.

    Raises NotFound, and BadInput where it is not that file.
    """
    try:
        frame = pd.read_csv(file, sep="\t", header=None, names=["Label", "Text"])
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}; fetch it with `trainer data fetch`") from error
    except ValueError as error:
        raise BadInput(f"{file}: {error}; the lecture's recipe takes the UCI SMS file") from error
    if len(frame) != LECTURE_ROWS or set(frame["Label"]) != {"ham", "spam"}:
        raise BadInput(
            f"{file}: {len(frame):,} rows; the lecture's recipe takes the UCI SMS file, which has"
            f" {LECTURE_ROWS:,}; use --recipe grouped for another"
        )
    return frame


def lecture(file: Path, *, slide: bool = False) -> Parts:
    """The lecture's balanced split of the UCI file: 1,045 / 149 / 300.

    slide: as the code on its slide, which shuffles once more while it balances: the same 1,494 messages in
    another order, so another split.
    """
    kept = balanced(read_uci(file))
    return cut(kept.sample(frac=1, random_state=SEED).reset_index(drop=True) if slide else kept)


def balanced(frame: pd.DataFrame) -> pd.DataFrame:
    """As many ham as there are spam, drawn with SEED; ham first."""
    spam = frame[frame["Label"] == "spam"]
    ham = frame[frame["Label"] == "ham"].sample(len(spam), random_state=SEED)
    return pd.concat([ham, spam])


def cut(frame: pd.DataFrame) -> Parts:
    """Ham and spam as 0 and 1, shuffled with SEED and cut 70/10/20."""
    numbered = frame.assign(Label=frame["Label"].map({"ham": 0, "spam": 1}))
    shuffled = numbered.sample(frac=1, random_state=SEED).reset_index(drop=True)
    first = int(len(shuffled) * TRAIN)
    second = first + int(len(shuffled) * VALIDATION)
    return {"train": shuffled[:first], "validation": shuffled[first:second], "test": shuffled[second:]}


# -- our recipe --------------------------------------------------------------------------------------------


COLUMNS = ["Label", "Text", "Kind", "Source", "Lang", "Year", "Links"]
SLICE = 4096  # messages read at a time by all processes; some 100 MB of mails
CHUNK = 64  # messages handed to a process at once


@dataclass(frozen=True)
class CorpusReading:
    """How messages become rows. kind: None looks at each message that does not say; jobs: processes.

    envelopes: half of the mails that come without headers get invented ones.
    """

    kind: Kind | None = None
    marks: AllMarks = NO_MARKS
    rules: SourceRules = NO_RULES
    envelopes: bool = False
    jobs: int = 1


AS_IT_IS = CorpusReading()


def canonical(
    messages: Iterable[LabelledMessage],
    losses: ReadingLosses,
    reading: CorpusReading = AS_IT_IS,
    report: Report = quiet,
) -> pd.DataFrame:
    """Messages as the model sees them: Label (name), Text, Kind, Source, Lang, Year, Links; none is empty.

    Of several readings the first, which nearly always is the only one.
    """
    done: list[tuple[Any, ...]] = []
    stream = iter(messages)
    with Pool(reading.jobs) if reading.jobs > 1 else nullcontext() as pool:
        for some in iter(lambda: [*islice(stream, SLICE)], []):
            work = partial(_row, reading=reading)
            found = pool.map(work, some, CHUNK) if pool else map(work, some)
            for message, row in zip(some, found, strict=True):
                if row is None:
                    losses.add("no text left", message.where)
                else:
                    done.append(row)
            report("messages", len(done), 0)
    report("messages", len(done), len(done))
    return pd.DataFrame(done, columns=COLUMNS)


def _row(message: LabelledMessage, reading: CorpusReading) -> tuple[Any, ...] | None:
    """A message's row of `canonical`; None where nothing is left of it."""
    marks = reading.marks.of(message.source)
    said = message.facts
    raw = marks.of_raw(message.raw)
    kind = reading.kind or said.kind or text.detect(raw)
    bare = reading.envelopes and kind is Kind.MAIL and is_bare(raw)
    invented = addressed(raw) if bare else None
    found = text.read(Message(invented or raw, kind=kind))[0]
    whole = marks.of_text(found.canonical)
    if bare and not invented:
        whole = text.without_head(whole)
    if not text.without_head(whole).strip():
        return None
    whole = text.again(whole, found.kind) if whole != found.canonical else whole
    links = [reading.rules.family(link) for link in said.links]
    if found.kind is Kind.SMS and (letters := folded(message.raw.decode("utf-8", "replace"))):
        links.append(f"uci:{letters}")
    lang = said.lang or reading.rules.of(message.source).lang
    return message.label, whole, found.kind.value, message.source, lang, said.year, tuple(links)


def coded(
    frame: pd.DataFrame, kind: type[Task], ham: Sequence[str], losses: ReadingLosses
) -> tuple[pd.DataFrame, Task]:
    """The rows with labels as a dataset holds them and a column Stratum, and the task that knows them.

    ham: what `--ham` says. Raises BadInput, ConfigError.
    """
    if frame.empty:
        raise BadInput("the inputs hold no message that can be used; check --input and --format")
    found = kind.coded(frame["Label"].tolist(), ham, losses.read.append)
    return frame.assign(Label=found.cells, Stratum=found.strata), found.task


def distinct(frame: pd.DataFrame, losses: ReadingLosses, task: Task) -> pd.DataFrame:
    """One row a text, labelled as its task agrees; where it does not, no label of the text can be trusted."""
    told = frame["Text"].map(text.without_head)  # the same text from two senders is the same text
    doubted = frame.groupby(told)["Label"].transform("nunique") > 1
    agreed = {one: task.agreed(some.tolist()) for one, some in frame[doubted].groupby(told)["Label"]}
    lost = told.map(lambda one: one in agreed and agreed[one] is None)
    losses.counts["the same text with different labels"] += int(lost.sum())
    frame = frame[~lost]
    if settled := {one: label for one, label in agreed.items() if label is not None}:
        mine = zip(told[frame.index], frame["Label"], strict=True)
        frame = frame.assign(Label=[settled.get(one, label) for one, label in mine])
    once = frame[~told[frame.index].duplicated()].reset_index(drop=True)
    losses.counts["verbatim copy"] += len(frame) - len(once)
    return once


def held_out(files: Iterable[Path]) -> set[str]:
    """What the texts of some tables (column Text) come down to, for `without`. Raises NotFound, BadInput."""
    found: set[str] = set()
    for file in files:
        try:
            column = pd.read_csv(file, dtype=str, keep_default_na=False, usecols=["Text"])["Text"]
        except OSError as error:
            raise NotFound(
                f"{file}: {error.strerror}; --hold-out names a table with a column Text"
            ) from error
        except ValueError as error:
            raise BadInput(f"{file}: {error}; --hold-out names a table with a column Text") from error
        found.update(_folded(t) for t in column)
    return found


def without(frame: pd.DataFrame, held: set[str], losses: ReadingLosses) -> pd.DataFrame:
    """The rows whose text is none of those, whatever its case, punctuation and numbers, nor made from one."""
    ours = frame["Text"].map(_folded).isin(held)
    if "Links" in frame:
        made_from = {link for links in frame.loc[ours, "Links"] for link in links if link.startswith("uci:")}
        ours |= frame["Links"].map(lambda links: not made_from.isdisjoint(links))
    losses.counts["held out"] += int(ours.sum())
    return frame[~ours].reset_index(drop=True)


def _folded(message: str) -> str:
    """A text's words without case and punctuation; of a mail without words, the text itself."""
    told = text.without_head(message)
    return " ".join(tokens(told)) or told


def grouped(
    frame: pd.DataFrame,
    task: Task,
    report: Report = quiet,
    test_source: str = "",
    calibrate_sources: Collection[str] = (),
) -> Parts:
    """Our split of distinct texts as `coded` has them: near-duplicates on one side, each stratum and source
    cut 70/10/20.

    test_source: all groups with a message of that source are the test part, and no others.
    calibrate_sources: these are the part `calibration`, at most MAX_CALIBRATION of a source and label; what
    is near them is left out.

    train, validation and test_natural keep the rates of the data; test is test_natural with the larger
    classes undersampled to the smallest, kind by kind, so that to be a mail is no sign of spam. Where labels
    are no classes test is all of it, and there is no test_natural.
    """
    groups = joined(group(frame["Text"].map(text.without_head).tolist(), report), frame.get("Links", ()))
    more = [name for name in ("Lang", "Year") if name in frame]
    frame = frame.assign(Group=groups)[["Label", "Stratum", "Text", "Kind", "Group", "Source", *more]]
    side = _sides(frame)
    if test_source:
        side = np.where(side == SPLITS.index("test"), SPLITS.index("train"), side)
        tested = set(frame.loc[frame["Source"] == test_source, "Group"])
        side[frame["Group"].isin(tested)] = SPLITS.index("test")
    aside, calibration = _set_aside(frame, calibrate_sources)
    parts = {name: frame[~aside & (side == i)].reset_index(drop=True) for i, name in enumerate(SPLITS)}
    for name, part in parts.items():
        there = {label for cell in part["Label"].unique() for label in task.names(cell)}
        if part.empty or (task.balanced and there != set(task.labels)):
            raise BadInput(
                f"{len(frame):,} distinct messages leave {name} without a class; give more --input"
            )
    if task.balanced:
        parts["test_natural"] = parts["test"]
        parts["test"] = _undersampled(parts["test_natural"], len(task.labels))
    if len(calibration):
        parts[CALIBRATION] = calibration
    return {name: part.drop(columns="Stratum") for name, part in parts.items()}


def _set_aside(frame: pd.DataFrame, sources: Collection[str]) -> tuple[npt.NDArray[np.bool_], pd.DataFrame]:
    """Which rows are of these sources' groups, and those of the sources themselves, so many of each label."""
    ours = frame["Source"].isin(list(sources))
    near = frame["Group"].isin(set(frame.loc[ours, "Group"])).to_numpy()
    mixed = frame[ours].sample(frac=1, random_state=SEED)
    some = mixed.groupby(["Source", "Stratum"]).head(MAX_CALIBRATION).sort_index()
    return near, some.reset_index(drop=True)


def _sides(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """0 train, 1 validation, 2 test for each row: whole groups, in a chance order within their stratum.

    The order is by a hash of each group's first text in the alphabet, so that another source moves nothing
    between the parts of the others: what was test stays test.
    """
    groups = frame.groupby("Group").agg(
        Stratum=("Stratum", "first"), Source=("Source", "first"), Size=("Text", "size"), Text=("Text", "min")
    )
    chance = groups["Text"].map(lambda text: hashlib.sha256(f"{SEED} {text}".encode()).digest())
    side = np.zeros(len(groups), np.int64)
    for _, members in groups.groupby(["Stratum", "Source"], sort=True):
        numbers, sizes = members.index.to_numpy(), members["Size"].to_numpy()
        order = chance[numbers].argsort(kind="stable").to_numpy()
        large = sizes[order] > max(1.0, MAX_CAMPAIGN * (1 - TRAIN - VALIDATION) * sizes.sum())
        order = np.concatenate([order[large], order[~large]])  # the front is train
        middle = np.cumsum(sizes[order]) - sizes[order] / 2
        side[numbers[order]] = np.digitize(middle / sizes.sum(), [TRAIN, TRAIN + VALIDATION])
    chosen: npt.NDArray[np.int64] = side[frame["Group"].to_numpy()]
    return chosen


def _undersampled(frame: pd.DataFrame, classes: int) -> pd.DataFrame:
    """As many of each class, kind by kind; a kind that lacks a class is left out, unless all do."""
    kinds = [kind for _, kind in frame.groupby("Kind", sort=True) if kind["Label"].nunique() == classes]
    kept = []
    for kind in kinds or [frame]:
        least = int(kind["Label"].value_counts().min())
        kept += [members.sample(least, random_state=SEED) for _, members in kind.groupby("Label", sort=True)]
    return pd.concat(kept).sort_index().reset_index(drop=True)


# -- what leaks, and the folder ----------------------------------------------------------------------------


def leaked(parts: Parts) -> dict[str, dict[str, int]]:
    """For each test part, of how many rows train holds the text verbatim, or a member of the same group."""
    names = [name for name in parts if name.startswith("test")]
    frames = [parts["train"], *(parts[name] for name in names)]
    if "Group" in parts["train"]:
        numbers = [frame["Group"].to_numpy() for frame in frames]
    else:
        together = group([str(t) for frame in frames for t in frame["Text"]])
        numbers = np.split(together, np.cumsum([len(frame) for frame in frames])[:-1])
    known = set(parts["train"]["Text"])
    return {
        name: {
            "rows": len(parts[name]),
            "verbatim": int(parts[name]["Text"].isin(known).sum()),
            "near": int(np.isin(mine, numbers[0]).sum()),
        }
        for name, mine in zip(names, numbers[1:], strict=True)
    }


def write(
    folder: Path,
    parts: Parts,
    task: Task,
    recipe: str,
    about: Mapping[str, Any] | None = None,
    unlabelled: pd.DataFrame | None = None,
) -> Dataset:
    """Write a dataset folder; `dataset.json` last, so that a half-written one is not taken for whole.

    Raises Unwritable.
    """
    task = task.fitted(parts["train"]["Label"].tolist())
    described: dict[str, Any] = {"recipe": recipe, "task": task.name, "labels": list(task.labels)}
    described |= {"ham": list(task.ham), "seed": SEED, **(about or {})}
    if task.target:
        described["target"] = msgspec.structs.asdict(task.target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in ("test_natural.csv", f"{CALIBRATION}.csv", UNLABELLED_FILE):
            (folder / name).unlink(missing_ok=True)
        for name, frame in parts.items():
            frame.to_csv(folder / f"{name}.csv", index=False)
        if unlabelled is not None and len(unlabelled):
            unlabelled.drop(columns=["Label", "Links"]).to_csv(folder / UNLABELLED_FILE, index=False)
        described["leaked"] = leaked(parts)
        described["files"] = {name: _described(folder, name, frame, task) for name, frame in parts.items()}
        (folder / MANIFEST).write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise Unwritable(f"{error.filename or folder}: {error.strerror}; choose another --out") from error
    return Dataset.load(folder)


def _described(folder: Path, name: str, frame: pd.DataFrame, task: Task) -> dict[str, Any]:
    found = Counter(label for cell in frame["Label"] for label in task.names(cell))
    counts = dict.fromkeys(task.labels if task.counted else (), 0) | dict(sorted(found.items()))
    described: dict[str, Any] = {"rows": len(frame), "labels": counts}
    if task.ham:
        spam = sum(count for label, count in counts.items() if label not in task.ham)
        described["spam_share"] = round(spam / max(len(frame), 1), 4)
    described["sha256"] = sha256(folder / f"{name}.csv")
    for column in ("Kind", "Source", "Lang", "Group"):
        if column in frame:
            counted = frame[column].value_counts()
            described[column.lower()] = len(counted) if column == "Group" else counted.sort_index().to_dict()
    return described

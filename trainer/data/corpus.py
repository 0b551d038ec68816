"""Labelled messages to a dataset folder: the lecture's split to the letter, or ours without leaks.

A dataset folder has `train.csv`, `validation.csv`, `test.csv`, for `grouped` also `test_natural.csv`, and
`dataset.json` with what is in them and what became of the rest. Columns: Label (index into the labels) and
Text; ours add Kind, Group (near-duplicates share one, so a split never cuts it), Source, Lang and Year.
Rows without a label are in `unlabelled.csv`.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from filterd.api import Kind, Message
from filterd.errors import BadInput, ConfigError, NotFound, Unwritable
from filterd.reading import text
from filterd.scoring.bundle import sha256
from filterd_trainer.data.envelopes import addressed, is_bare
from filterd_trainer.data.grouping import Report, group, joined, quiet, tokens
from filterd_trainer.data.marks import NO_MARKS, AllMarks
from filterd_trainer.data.rows import folded
from filterd_trainer.data.rules import NO_RULES, SourceRules
from filterd_trainer.data.sources import LabelledMessage, ReadingLosses

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
    """A prepared dataset. labels: class names by index; ham: those that count as ham; about: dataset.json."""

    folder: Path
    labels: tuple[str, ...]
    ham: tuple[str, ...]
    recipe: str
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """Read a dataset folder. Raises NotFound, BadInput."""
        file = folder / MANIFEST
        try:
            about = json.loads(file.read_text("utf-8"))
            return cls(folder, tuple(about["labels"]), tuple(about["ham"]), about["recipe"], about)
        except OSError as error:
            raise NotFound(f"{file}: {error.strerror}; make it with `trainer data prepare`") from error
        except (ValueError, KeyError, TypeError) as error:
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
        if not {"Label", "Text"} <= set(frame.columns) or not self._labelled(frame["Label"]):
            raise BadInput(f"{file}: needs columns Label (0 to {len(self.labels) - 1}) and Text")
        if "Kind" not in frame:
            frame["Kind"] = Kind.SMS.value
        return frame

    def _labelled(self, column: "pd.Series[Any]") -> bool:
        return column.dtype.kind == "i" and bool(column.between(0, len(self.labels) - 1).all())

    @property
    def task(self) -> str:
        """`spam`: ham against spam; `classes`: labels of which none is ham."""
        return "spam" if self.ham else "classes"

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


def without_case(found: "pd.Series[Any]", losses: ReadingLosses) -> "pd.Series[Any]":
    """Labels that differ by case alone become one: ham and spam so, others as most are spelled."""
    spelled = {name: name for name in ("ham", "spam")}
    for name in found.value_counts().index:  # the commonest first, of equals the one that came first
        spelled.setdefault(name.casefold(), name)
    for name in sorted(set(found)):
        if (ours := spelled[name.casefold()]) != name:
            losses.read.append(f"label {name!r} is {ours!r}: labels compare without case")
    return found.map(lambda name: spelled[name.casefold()])


def class_names(
    found: Iterable[str], ham: Sequence[str], task: str = "spam"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels in the order of their indices, ham first, and those that are ham. Raises BadInput, ConfigError.

    ham: what `--ham` says; nothing stands for the label called "ham". task `classes` has no ham.
    """
    there = sorted(set(found))
    if not there:
        raise BadInput("the inputs hold no message that can be used; check --input and --format")
    if task == "classes":
        if ham:
            raise ConfigError("--ham is for --task spam; of classes none is ham")
        if len(there) < 2:
            raise ConfigError(f"every message is labelled {there[0]!r}; give messages of another class")
        return tuple(there), ()
    spelled = {name.casefold(): name for name in there}
    named = tuple(dict.fromkeys(spelled.get(name.casefold(), name) for name in ham)) or ("ham",)
    if missing := [name for name in named if name not in there]:
        raise ConfigError(
            f"no message is labelled {missing[0]!r}, only {', '.join(there[:10])}; say with"
            " --ham which labels are ham, or rename one with --label OLD=NEW"
        )
    if len(there) == len(named):
        raise ConfigError("every label counts as ham; give an --input with spam as well")
    return (*named, *(name for name in there if name not in named)), named


def distinct(frame: pd.DataFrame, losses: ReadingLosses) -> pd.DataFrame:
    """One row a text; a text that comes with different labels is left out, as none of them can be trusted."""
    told = frame["Text"].map(text.without_head)  # the same text from two senders is the same text
    contradictory = frame.groupby(told)["Label"].transform("nunique") > 1
    losses.counts["the same text with different labels"] += int(contradictory.sum())
    frame = frame[~contradictory]
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
    labels: Sequence[str],
    report: Report = quiet,
    test_source: str = "",
    calibrate_sources: Collection[str] = (),
) -> Parts:
    """Our split of distinct texts: near-duplicates on one side, each label and source cut 70/10/20.

    test_source: all groups with a message of that source are the test part, and no others.
    calibrate_sources: these are the part `calibration`, at most MAX_CALIBRATION of a source and label; what
    is near them is left out.

    train, validation and test_natural keep the rates of the data; test is test_natural with the larger
    classes undersampled to the smallest, kind by kind, so that to be a mail is no sign of spam.
    """
    frame = frame.assign(
        Label=frame["Label"].map({name: i for i, name in enumerate(labels)}),
        Group=joined(group(frame["Text"].map(text.without_head).tolist(), report), frame.get("Links", ())),
    )[["Label", "Text", "Kind", "Group", "Source", *(name for name in ("Lang", "Year") if name in frame)]]
    side = _sides(frame)
    if test_source:
        side = np.where(side == SPLITS.index("test"), SPLITS.index("train"), side)
        tested = set(frame.loc[frame["Source"] == test_source, "Group"])
        side[frame["Group"].isin(tested)] = SPLITS.index("test")
    aside, calibration = _set_aside(frame, calibrate_sources)
    parts = {name: frame[~aside & (side == i)].reset_index(drop=True) for i, name in enumerate(SPLITS)}
    for name, part in parts.items():
        if set(part["Label"]) != set(range(len(labels))):
            raise BadInput(
                f"{len(frame):,} distinct messages leave {name} without a class; give more --input"
            )
    parts["test_natural"] = parts["test"]
    parts["test"] = _undersampled(parts["test_natural"], len(labels))
    if len(calibration):
        parts[CALIBRATION] = calibration
    return parts


def _set_aside(frame: pd.DataFrame, sources: Collection[str]) -> tuple[npt.NDArray[np.bool_], pd.DataFrame]:
    """Which rows are of these sources' groups, and those of the sources themselves, so many of each label."""
    ours = frame["Source"].isin(list(sources))
    near = frame["Group"].isin(set(frame.loc[ours, "Group"])).to_numpy()
    mixed = frame[ours].sample(frac=1, random_state=SEED)
    some = mixed.groupby(["Source", "Label"]).head(MAX_CALIBRATION).sort_index()
    return near, some.reset_index(drop=True)


def _sides(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """0 train, 1 validation, 2 test for each row: whole groups, in a chance order within their stratum.

    The order is by a hash of each group's first text in the alphabet, so that another source moves nothing
    between the parts of the others: what was test stays test.
    """
    groups = frame.groupby("Group").agg(
        Label=("Label", "first"), Source=("Source", "first"), Size=("Text", "size"), Text=("Text", "min")
    )
    chance = groups["Text"].map(lambda text: hashlib.sha256(f"{SEED} {text}".encode()).digest())
    side = np.zeros(len(groups), np.int64)
    for _, members in groups.groupby(["Label", "Source"], sort=True):
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
    labels: Sequence[str],
    ham: Sequence[str],
    recipe: str,
    about: Mapping[str, Any] | None = None,
    unlabelled: pd.DataFrame | None = None,
) -> Dataset:
    """Write a dataset folder; `dataset.json` last, so that a half-written one is not taken for whole.

    Raises Unwritable.
    """
    described = {"recipe": recipe, "labels": list(labels), "ham": list(ham), "seed": SEED, **(about or {})}
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
        described["files"] = {
            name: _described(folder, name, frame, labels, ham) for name, frame in parts.items()
        }
        (folder / MANIFEST).write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise Unwritable(f"{error.filename or folder}: {error.strerror}; choose another --out") from error
    return Dataset.load(folder)


def _described(
    folder: Path, name: str, frame: pd.DataFrame, labels: Sequence[str], ham: Sequence[str]
) -> dict[str, Any]:
    counts = {label: int((frame["Label"] == i).sum()) for i, label in enumerate(labels)}
    spam = sum(count for label, count in counts.items() if ham and label not in ham)
    described = {"rows": len(frame), "spam_share": round(spam / max(len(frame), 1), 4), "labels": counts}
    described["sha256"] = sha256(folder / f"{name}.csv")
    for column in ("Kind", "Source", "Lang", "Group"):
        if column in frame:
            counted = frame[column].value_counts()
            described[column.lower()] = len(counted) if column == "Group" else counted.sort_index().to_dict()
    return described

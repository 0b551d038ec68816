"""A run, a bundle or the baselines on one split of a dataset: what `evaluate` and `compare` do.

A run is judged by its PyTorch weights as its recipe feeds them, uncalibrated; a bundle through filterd's own
engine, exactly as it is shipped, with its calibrated probability and its labels. A dataset holds an SMS as it
came or as its canonical text (which is its own canonical text), and a mail as its canonical text.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from filterd.api import Kind, Message, ModelAnswer, Verdict
from filterd.errors import BadInput, NotFound
from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.answers import Reader
from filterd.scoring.engine import Engine, ModelInput, ModelLook, by_message
from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation import baselines, results
from filterd_trainer.evaluation.results import Comparison, Evaluation, MeasuredOn, Result, ResultHistory
from filterd_trainer.evaluation.scores import Floats, Indices, SplitAnswers, SplitScores, from_logits
from filterd_trainer.tasks import tasks
from filterd_trainer.tasks.task import Task

if TYPE_CHECKING:
    from filterd_trainer.gpt2.model import SpamClassifier
    from filterd_trainer.training.runs import RunConfig

CONFIG, LOG = "config.json", "log.jsonl"  # of a run; see filterd_trainer.training.train
MESSAGES_A_PASS = 64  # of a run's forward pass; sorted by length, so hardly padded


@dataclass(frozen=True)
class MessageFilter:
    """Which messages of a split are judged; by default all of them.

    sources: names of inputs (column Source). without: other datasets, whose training and validation texts
    are left out: what earlier steps of a model's training have read.
    """

    sources: Sequence[str] = ()
    kind: Kind | None = None
    without: Sequence[Path] = ()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Those rows. Raises BadInput where the dataset lacks a column that is asked for, NotFound."""
        if self.sources:
            known = set(frame["Source"]) if "Source" in frame else set()
            for name in self.sources:
                if name not in known:
                    raise BadInput(f"no message of the source {name!r}; there are {', '.join(sorted(known))}")
            frame = frame[frame["Source"].isin(self.sources)]
        if self.kind:
            frame = frame[frame["Kind"] == self.kind.value]
        for folder in self.without:
            other = Dataset.load(folder)
            read = {one for part in ("train", "validation") for one in other.split(part)["Text"]}
            frame = frame[~frame["Text"].isin(read)]
        return frame

    def __str__(self) -> str:
        without = ", ".join(folder.name for folder in self.without)
        words = (", ".join(self.sources), self.kind, without and f"without {without}")
        return "; ".join(word for word in words if word)


ALL = MessageFilter()


@dataclass(frozen=True)
class EvaluationSplit:
    """What is judged: one split of a dataset, [n] rows, and which of its texts are in the training part."""

    dataset: Dataset
    split: str
    frame: pd.DataFrame
    leaked: npt.NDArray[np.bool_]
    only: MessageFilter = ALL

    @classmethod
    def load(cls, folder: Path, split: str, only: MessageFilter = ALL) -> "EvaluationSplit":
        """Read a dataset's split, or some of it. Raises NotFound, BadInput."""
        dataset = Dataset.load(folder)
        frame = only.of(dataset.split(split))
        if frame.empty:
            raise BadInput(
                f"{folder}: split {split} is empty; prepare the data again or name another --split"
                if only == ALL
                else f"{folder}: nothing in split {split} is {only}; ask for more of it"
            )
        seen = set() if split == "train" else set(dataset.split("train")["Text"])
        return cls(dataset, split, frame, frame["Text"].isin(seen).to_numpy(), only)

    def of(self, kind: Kind) -> "EvaluationSplit":
        """Its messages of a kind; may be none."""
        chosen = (self.frame["Kind"] == kind.value).to_numpy()
        only = replace(self.only, kind=kind)
        return replace(self, frame=self.frame[chosen], leaked=self.leaked[chosen], only=only)

    def truth(self, task: Task) -> Indices:
        """Each message's class as a position among a model's labels, [n]. Raises BadInput."""
        self.fits(task)
        labels = task.labels
        missing = [name for name in self.dataset.labels if name not in labels]
        if missing:
            raise BadInput(f"the dataset's label {missing[0]!r} is none of the model's: {', '.join(labels)}")
        places = np.array([list(labels).index(name) for name in self.dataset.labels], dtype=np.int64)
        found: Indices = places[self.frame["Label"].to_numpy()]
        return found

    def answers(self, task: Task) -> list[ModelAnswer]:
        """What each message should be answered, [n]. Raises BadInput where the model has other labels."""
        self.fits(task)
        if missing := set(self.dataset.labels) - set(task.labels):
            raise BadInput(f"the dataset's label {min(missing)!r} is none of the model's")
        return [self.dataset.task.truth(cell) for cell in self.frame["Label"]]

    def fits(self, task: Task) -> None:
        """Raises BadInput where a model answers another question than the dataset's."""
        ours = self.dataset.task
        if ours.head != task.head:
            raise BadInput(f"{self.dataset.folder}: labelled for {ours.name}, the model is of {task.name}")

    def facts(self) -> MeasuredOn:
        """The record of it."""
        return MeasuredOn(
            folder=str(self.dataset.folder),
            split=self.split,
            messages=len(self.frame),
            spam=self._spam(),
            leaked=int(self.leaked.sum()),
            fingerprint=bundle.sha256(self.dataset.folder / f"{self.split}.csv"),
            only=str(self.only),
            task=self.dataset.task.name,
        )

    def _spam(self) -> int | None:
        ham = self.dataset.ham_indices
        return int((~self.frame["Label"].isin(ham)).sum()) if ham else None

    def assess(self, scored: SplitScores | SplitAnswers) -> Result:
        """All figures of a model on it."""
        groups = self.frame["Group"].to_numpy() if "Group" in self.frame else None
        return results.assess(scored, self.split, self.leaked, groups, self.dataset.task)


def evaluate_models(
    models: Sequence[Path], subject: EvaluationSplit
) -> tuple[Evaluation, list[SplitScores | SplitAnswers], list[ResultHistory | None]]:
    """Judge a split with one or several models. Raises NotFound, BadInput, BundleError, RuntimeMissing."""
    scored = [answers(path, name, subject) for path, name in zip(models, names(models), strict=True)]
    record = results.evaluation(subject.facts(), [subject.assess(one) for one in scored])
    return record, scored, [read_log(path) for path in models]


def compare_models(models: Sequence[Path], subject: EvaluationSplit) -> tuple[Comparison, list[SplitScores]]:
    """The baselines and then the models; each model beside each before it. Raises as `evaluate_models`."""
    data = subject.dataset
    data.task.only_spam("trainer compare")
    train, validation = (_texts(data.split(name)) for name in ("train", "validation"))
    test = _texts(subject.frame)
    scored: list[SplitScores] = []
    settings: dict[str, str] = {}
    for baseline in baselines.BASELINES:
        scored.append(
            baselines.run(
                baseline,
                train=train,
                validation=validation,
                test=test,
                labels=data.labels,
                ham=data.ham_indices,
            )
        )
        settings[baseline.name] = baseline.setting
    for path, name in zip(models, names(models), strict=True):
        scored.append(judge(path, name, subject))
        settings[name] = str(path)
    first = len(baselines.BASELINES)
    pairs = [
        baselines.disagreement(scored[i], other) for i in range(first, len(scored)) for other in scored[:i]
    ]
    return Comparison(subject.facts(), settings, [subject.assess(one) for one in scored], pairs), scored


def answers(path: Path, name: str, subject: EvaluationSplit) -> SplitScores | SplitAnswers:
    """What the run or bundle at `path` says of each message. Raises as `evaluate_models`."""
    if subject.dataset.task.exclusive:
        return judge(path, name, subject)
    subject.fits(_task(path))
    started = time.perf_counter()
    task, found = _answers(path, subject.frame)
    pace = len(found) / (time.perf_counter() - started)
    said, truth = [one for one, _ in found], subject.answers(task)
    return SplitAnswers(
        name, subject.dataset.task, said, truth, np.array([p for _, p in found]), messages_per_second=pace
    )


def judge(path: Path, name: str, subject: EvaluationSplit, fast_path: bool = True) -> SplitScores:
    """The same with P of each class, where labels exclude one another. Raises as `evaluate_models`.

    fast_path: whether a bundle's own is used, as it is where filterd judges.
    """
    if is_bundle(path):
        return _by_bundle(path, name, subject, fast_path)
    return _by_run(_run(path), name, subject)


def of_texts(path: Path, texts: Sequence[str]) -> list[tuple[str, float]]:
    """What a run or a bundle says of SMS, and P(spam), or of what it says. Raises as `evaluate_models`."""
    frame = pd.DataFrame({"Label": 0, "Text": list(texts), "Kind": Kind.SMS.value})
    task = _task(path)
    if task.ham:
        nobody = EvaluationSplit(Dataset(path, task, "", {}), "", frame, np.zeros(len(texts), dtype=bool))
        scored = judge(path, path.name, nobody)
        pairs = zip(scored.called, scored.probability, strict=True)
        return [(scored.labels[i], float(p)) for i, p in pairs]
    return [(answer.text, p) for answer, p in _answers(path, frame)[1]]


def _task(path: Path) -> Task:
    """What a run or a bundle has learned. Raises NotFound, BundleError."""
    if is_bundle(path):
        manifest = bundle.read(path).manifest
        return tasks.of(manifest.task, manifest.labels, manifest.ham, manifest.target)
    from filterd_trainer.training import runs

    return runs.read_config(_run(path)).learns


def _run(path: Path) -> Path:
    if not (path / CONFIG).is_file():
        raise NotFound(
            f"{path}: neither a run ({CONFIG}) nor a bundle ({bundle.MANIFEST}); name one of the two"
        )
    return path


def _answers(path: Path, frame: pd.DataFrame) -> tuple[Task, list[tuple[ModelAnswer, float]]]:
    """What a model that knows no spam has learned, and its answers with their P, a row each."""
    task = _task(path)
    if is_bundle(path):
        verdicts = verdicts_of(Engine.open(path), frame)
        return task, [(v.answer, v.probability) for v in verdicts if v.answer]
    found = map(_reader(task).read, _rows_of_run(path, frame))
    return task, [(one.answer, one.probability) for one in found]


def _reader(task: Task) -> Reader:
    """Of a task that knows no spam. Raises BadInput."""
    found = task.reader()
    if found is None:
        raise BadInput("the model tells ham from spam, the dataset has other labels; prepare it again")
    return found


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle, by its manifest's name."""
    return (path / bundle.MANIFEST).is_file()


def names(models: Sequence[Path]) -> list[str]:
    """A short name a model: its folder's, or the whole path where two folders have the same."""
    short = [path.resolve().name for path in models]
    return [str(path) if short.count(name) > 1 else name for path, name in zip(models, short, strict=True)]


def read_log(run: Path) -> ResultHistory | None:
    """The training curves of a run; None for a bundle or a run without them. Raises BadInput."""
    file = run / LOG
    if not file.is_file():
        return None
    from filterd_trainer.training import runs

    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return results.history(rows, runs.read_config(run).recipe.keep)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not a training log of ours ({error}); train the run again") from error


def _texts(frame: pd.DataFrame) -> baselines.LabelledTexts:
    return baselines.LabelledTexts(
        frame["Text"].astype(str).tolist(), frame["Label"].to_numpy(dtype=np.int64)
    )


def _by_bundle(path: Path, name: str, subject: EvaluationSplit, fast_path: bool) -> SplitScores:
    engine = Engine.open(path, fast_path=fast_path)
    manifest = engine.bundle.manifest
    truth = subject.truth(tasks.of(manifest.task, manifest.labels, manifest.ham, manifest.target))
    started = time.perf_counter()
    verdicts = verdicts_of(engine, subject.frame)
    seconds = time.perf_counter() - started
    kinds = {verdict.kind for verdict in verdicts}
    return SplitScores(
        name=name,
        classes=np.array([[v.classes[label] for label in manifest.labels] for v in verdicts]),
        probability=np.array([v.probability for v in verdicts]),
        truth=truth,
        labels=manifest.labels,
        ham=manifest.ham_indices,
        verdicts=[v.label for v in verdicts] if manifest.ham else None,
        thresholds=manifest.thresholds[kinds.pop()] if len(kinds) == 1 and manifest.ham else None,
        messages_per_second=len(verdicts) / seconds,
    )


def verdicts_of(engine: Engine, frame: pd.DataFrame) -> list[Verdict]:
    """What a bundle says of a dataset's rows (Text, Kind), in their order."""
    prepared = _prepared(engine, frame)
    rows = engine.logits([window for one in prepared for window in one.windows])
    each = by_message(rows, [len(one.windows) for one in prepared])
    return [engine.conclude(*pair) for pair in zip(prepared, each, strict=True)]


def _prepared(engine: Engine, frame: pd.DataFrame) -> list[ModelInput]:
    """A dataset's rows as the engine reads them: an SMS as it comes in, a mail's canonical text as it is."""
    found = []
    for content, kind in zip(frame["Text"].astype(str), frame["Kind"], strict=True):
        if kind == Kind.SMS:
            found.append(engine.prepare(Message(content.encode(errors="replace"), kind=Kind.SMS)))
        else:
            found.append(engine.prepare_canonical(content, Kind.MAIL))
    return found


def _by_run(path: Path, name: str, subject: EvaluationSplit) -> SplitScores:
    from filterd_trainer.training import runs

    task = runs.read_config(path).learns
    truth = subject.truth(task)
    ham = tuple(i for i, label in enumerate(task.labels) if label in task.ham)
    started = time.perf_counter()
    each = _rows_of_run(path, subject.frame)
    if ham:
        looks = [ModelLook.of(own, ham) for own in each]
        logits = np.array([look.rows[look.deciding] for look in looks])
        pace = len(logits) / (time.perf_counter() - started)
        return from_logits(name, logits, truth, task.labels, ham, messages_per_second=pace)
    classes = _reader(task).shares(np.array([own.mean(axis=0) for own in each]))
    pace = len(classes) / (time.perf_counter() - started)
    return SplitScores(name, classes, classes.max(axis=1), truth, task.labels, ham, messages_per_second=pace)


def _rows_of_run(path: Path, frame: pd.DataFrame) -> list[Floats]:
    """The model's numbers for each window of each message, [windows, outputs] a message."""
    from filterd_trainer.gpt2 import model
    from filterd_trainer.training import runs

    config, (classifier, _) = runs.read_config(path), model.from_safetensors(runs.weights_of(path))
    return list(rows_of(config, classifier, frame))


def rows_of(config: "RunConfig", classifier: "SpamClassifier", frame: pd.DataFrame) -> list[Floats]:
    """What a run says of each window of a dataset's rows, [windows, classes] a row."""
    cut = [_windows(ids, config) for ids in _ids(frame, config)]
    rows = _logits(classifier, [window for windows in cut for window in windows])
    return list(by_message(rows, [len(windows) for windows in cut]))


def _ids(frame: pd.DataFrame, config: "RunConfig") -> list[list[int]]:
    """Token ids of each message as the run's recipe reads it."""
    tokenizer = _tokenizer()
    found = []
    for content, kind in zip(frame["Text"].astype(str), frame["Kind"], strict=True):
        as_it_stands = config.recipe.way == "lecture" or kind == Kind.MAIL
        found.append(tokenizer.encode(content if as_it_stands else text.of_sms(content).canonical))
    return found


@cache
def _tokenizer() -> Tokenizer:
    """Runs read as the default bundle does; loading it takes 0.2 s."""
    return Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)


def _windows(ids: list[int], config: "RunConfig") -> list[list[int]]:
    """What the model is shown of a message. The lecture's way pads, as in training."""
    if config.recipe.way == "lecture":
        return [ids[: config.max_tokens] + [END_OF_TEXT_ID] * (config.max_tokens - len(ids))]
    return text.windows(ids or [END_OF_TEXT_ID], config.max_tokens, config.recipe.windows)


def _logits(classifier: "SpamClassifier", ids: list[list[int]]) -> Floats:
    """[windows, classes], in the order given."""
    import torch

    from filterd_trainer.training.batches import Rows, sorted_batches

    rows = Rows.of(ids)
    found = np.zeros((len(ids), classifier.head.out_features))
    with torch.inference_mode():
        for batch in sorted_batches(rows.lengths(), MESSAGES_A_PASS):
            found[batch] = classifier(*rows.batch(batch, END_OF_TEXT_ID)).double().numpy()
    return found

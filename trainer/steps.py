"""The lecture's steps as functions, in its order; `import filterd_trainer` offers them.

    frame = load("SMSSpamCollection")            # 5,572 rows
    data = split(frame, "dataset")               # 747 + 747, cut 70/10/20
    batches = loaders(data)                      # [8, 120] and [8]
    classifier = model("gpt2")                   # the output layer replaced by 768 -> 2
    run = train(data, "run", recipe="lecture", base="gpt2")
    evaluate(run, data)["accuracy"]
    classify(run, ["Congratulations! You have won"])
    to_bundle(run, data, "bundle")               # `export` is a room of this package

Each is a thin shell around one module, which the commands of `trainer` call as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from filterd_trainer.data.corpus import Dataset
    from filterd_trainer.gpt2.model import SpamClassifier

__all__ = [
    "Batches",
    "balance",
    "classify",
    "evaluate",
    "load",
    "loaders",
    "model",
    "split",
    "to_bundle",
    "train",
]

StrPath = str | Path


def load(file: StrPath) -> "pd.DataFrame":
    """The UCI file (or the folder that holds it) as the lecture reads it: Label, Text, 5,572 rows.

    Raises NotFound, BadInput.
    """
    from filterd_trainer.data import corpus, fetch

    path = Path(file)
    return corpus.read_uci(next((path / name for name in fetch.NAMES if (path / name).is_file()), path))


def balance(frame: "pd.DataFrame") -> "pd.DataFrame":
    """As many ham as spam, drawn with the lecture's seed: 747 + 747 of the UCI file."""
    from filterd_trainer.data import corpus

    return corpus.balanced(frame)


def split(frame: "pd.DataFrame", out: StrPath) -> "Dataset":
    """Balance, shuffle and cut 70/10/20; written as a dataset folder. Raises Unwritable."""
    from filterd_trainer.data import corpus
    from filterd_trainer.tasks.choice import HAM_AND_SPAM

    return corpus.write(Path(out), corpus.cut(corpus.balanced(frame)), HAM_AND_SPAM, "lecture")


class Batches:
    """A split in batches of token ids, padded to the longest training message, as in the lecture.

    Iterating gives pairs of [B, T] int64 and of what the task's loss compares with, [B] int64 for classes,
    [B, labels] for several labels, [B] of floats for a number. len() is the number of batches; training
    leaves out the last one where it is smaller. The order is drawn anew each time from torch's generator
    for `train`.
    """

    def __init__(self, ids: list[list[int]], targets: "Tensor", size: int, shuffled: bool) -> None:
        self._ids, self._targets, self._size, self._shuffled = ids, targets, size, shuffled

    def __len__(self) -> int:
        whole, rest = divmod(len(self._ids), self._size)
        return whole + (1 if rest and not self._shuffled else 0)

    def __iter__(self) -> "Iterator[tuple[Tensor, Tensor]]":
        import torch

        order = torch.randperm(len(self._ids)).tolist() if self._shuffled else list(range(len(self._ids)))
        for i in range(len(self)):
            chosen = order[i * self._size : (i + 1) * self._size]
            yield (
                torch.tensor([self._ids[j] for j in chosen]),
                self._targets[chosen],
            )


def loaders(data: "Dataset", batch_size: int = 8) -> dict[str, Batches]:
    """Batches of `train`, `validation` and `test`, padded with token 50256 to the longest of train."""
    from filterd.scoring import bundle
    from filterd.scoring.tokenizer import END_OF_TEXT_ID, Tokenizer
    from filterd_trainer.data.corpus import SPLITS

    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    frames = {name: data.split(name) for name in SPLITS}
    ids = {name: [tokenizer.encode(text) for text in frame["Text"]] for name, frame in frames.items()}
    longest = max(map(len, ids["train"]))
    padded = {
        name: [row[:longest] + [END_OF_TEXT_ID] * (longest - len(row)) for row in rows]
        for name, rows in ids.items()
    }
    targets = {name: data.task.targets(frame["Label"].tolist()) for name, frame in frames.items()}
    return {name: Batches(padded[name], targets[name], batch_size, name == "train") for name in SPLITS}


def model(
    base: str = "gpt2",
    labels: Sequence[str] = ("ham", "spam"),
    *,
    trains: str = "last_block",
    seed: int = 123,
) -> "SpamClassifier":
    """A GPT-2 whose output layer has len(labels) rows, frozen but for `trains`. Raises NotFound."""
    from filterd_trainer.gpt2 import strategies
    from filterd_trainer.tasks import tasks
    from filterd_trainer.training import runs

    ham = [name for name in labels if name == "ham"]
    classifier = runs.begin(base, tasks.of("", labels, ham=ham), seed)
    strategies.begin(classifier, trains)
    return classifier


def train(data: "Dataset", out: StrPath, *, recipe: str = "lecture", seed: int = 123, **changes: Any) -> Path:
    """Fine-tune by a recipe with `changes` (`base`, `epochs`, …: docs/training.md); returns the run's folder.

    Raises the errors of `trainer train`.
    """
    from filterd_trainer.training import recipe as recipes
    from filterd_trainer.training import runs

    runs.train(data, data.folder, Path(out), recipes.load(recipe, **changes), seed=seed)
    return Path(out)


def evaluate(of: StrPath, data: "Dataset", split: str = "test") -> dict[str, Any]:
    """Figures of a run or bundle on a split, at P(spam) = 0.5: accuracy, precision, recall, f1, roc_auc, ….

    `confusion` is [[ham as ham, ham as spam], [spam as ham, spam as spam]] for two classes; `misjudged` lists
    (text, truth, P(spam)) of what it got wrong. Without ham the figures are the task's own, and `by_label`.

    Raises NotFound, BadInput, BundleError, RuntimeMissing.
    """
    from filterd_trainer.evaluation import judge

    subject = judge.EvaluationSplit.load(data.folder, split)
    if not data.ham:
        found = subject.assess(judge.answers(Path(of), Path(of).name, subject)).classes[split]
        figures = {name: one.value for name, one in found.estimates.items()}
        return figures | {"confusion": found.confusion, "by_label": found.by_class}
    scored = judge.judge(Path(of), Path(of).name, subject)
    metrics = subject.assess(scored).parts[split]
    said = scored.probability >= metrics.threshold
    wrong = [i for i in range(len(scored)) if said[i] != scored.spam[i]]
    texts = subject.frame["Text"].tolist()
    return {name: found.value for name, found in metrics.estimates.items()} | {
        "confusion": metrics.confusion,
        "misjudged": [
            (texts[i], scored.labels[scored.truth[i]], float(scored.probability[i])) for i in wrong
        ],
    }


def classify(of: StrPath, texts: Sequence[str]) -> list[tuple[str, float]]:
    """The most probable label and P(spam) of each text, by a run or a bundle; texts are read as SMS.

    Of a model that knows no spam its answer in one line, and P of it.

    Raises NotFound, BundleError, RuntimeMissing.
    """
    from filterd_trainer.evaluation import judge

    return judge.of_texts(Path(of), texts)


def to_bundle(run: StrPath, data: "Dataset", out: StrPath, **options: Any) -> Path:
    """A bundle that `filterd check --bundle` judges with. Raises BundleError, ConfigError."""
    from filterd_trainer.export import export as exporting
    from filterd_trainer.export.assembly import ExportRequest

    request = replace(ExportRequest(run=Path(run), data=data.folder, out=Path(out)), **options)
    return exporting.export(request).path

"""Categories with subcategories: two heads, one of categories and one of what is within each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from filterd.api import ModelAnswer
from filterd.scoring.answers import SEPARATOR, HierarchicalReader, LabelFacts, TaskName, path_of
from filterd_trainer.tasks.choice import Classes
from filterd_trainer.tasks.task import (
    CoarserLabels,
    CodedLabels,
    Floats,
    LabelError,
    Rename,
    TaskLoss,
    Tell,
    said,
    spelling,
)

if TYPE_CHECKING:
    from torch import Tensor

# Between the levels in one column, the first that is there: "food > fruit/nuts" is of "food".
MARKS: Final = ("::", ">", SEPARATOR)


class Hierarchical(Classes):
    """A category and its subcategory. A dataset holds the index of the pair."""

    name: ClassVar[TaskName] = "hierarchical"
    head: ClassVar[str] = "hierarchical"
    columns: ClassVar[Sequence[Sequence[str]]] = (
        ("category", "subcategory"),
        ("category", "sub_category"),
        ("class", "subclass"),
    )
    balanced: ClassVar[bool] = False
    method: ClassVar[str] = (
        "Each message is called by its most probable category and within it by the most probable subcategory;"
        " MCC is the Matthews correlation of all."
    )

    @classmethod
    def written(cls, values: Mapping[str, object], rename: Rename) -> str:
        """Two columns, or one with ::, > or / between the levels; a category may stand alone."""
        parts = [rename(said(value)) for value in values.values()]
        if len(parts) == 1:
            mark = next((mark for mark in MARKS if mark in parts[0]), SEPARATOR)
            parts = [part.strip() for part in parts[0].split(mark, 1)]
        if not parts[0]:
            raise LabelError("no label")
        if SEPARATOR in parts[0]:
            raise LabelError(f"a {SEPARATOR} in a category; it parts levels: rename with --label OLD=NEW")
        return SEPARATOR.join(filter(None, parts))

    @classmethod
    def coded(cls, written: Sequence[str], ham: Sequence[str], tell: Tell) -> CodedLabels:
        """See `Task`."""
        pairs = [one.partition(SEPARATOR) for one in written]
        ours = spelling((category for category, _, _ in pairs), tell)
        return super().coded([f"{ours[category]}{mark}{rest}" for category, mark, rest in pairs], ham, tell)

    @property
    def outputs(self) -> int:
        """Of both heads."""
        return HierarchicalReader(LabelFacts(self.labels)).outputs

    def judged(self, out: "Tensor", targets: "Tensor") -> TaskLoss:
        """Cross entropy of the category, and of the subcategory among those of the true category, in nats."""
        import torch
        from torch.nn.functional import cross_entropy

        reader = HierarchicalReader(LabelFacts(self.labels))
        parents = torch.tensor(reader.parents, device=out.device)  # [labels]
        count = len(reader.categories)
        categories, within = out[:, :count], out[:, count:]
        siblings = parents == parents[targets][:, None]  # [B, labels]
        loss = cross_entropy(categories, parents[targets])
        loss = loss + cross_entropy(within.masked_fill(~siblings, -torch.inf), targets)
        called = parents == categories.argmax(-1)[:, None]
        best = within.masked_fill(~called, -torch.inf).argmax(-1)
        return TaskLoss(loss, int((best == targets).sum()), len(targets))

    def truth(self, cell: Any) -> ModelAnswer:
        """See `Task`."""
        label = self.labels[cell]
        return ModelAnswer(task=self.name, text=label, labels=path_of(label))

    def coarser(self, shares: Floats, truth: npt.NDArray[np.int64]) -> CoarserLabels:
        """The categories."""
        reader = HierarchicalReader(LabelFacts(self.labels))
        return CoarserLabels(reader.categories, reader.of_categories(shares), reader.parents[truth])

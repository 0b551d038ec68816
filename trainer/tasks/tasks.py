"""All tasks by their names."""

from collections.abc import Sequence
from typing import Final

from filterd.errors import ConfigError
from filterd.scoring.answers import Target
from filterd_trainer.tasks.choice import Classes, Spam
from filterd_trainer.tasks.hierarchical import Hierarchical
from filterd_trainer.tasks.multilabel import Multilabel
from filterd_trainer.tasks.regression import Regression
from filterd_trainer.tasks.task import Task

TASKS: Final[dict[str, type[Task]]] = {
    one.name: one for one in (Spam, Classes, Multilabel, Regression, Hierarchical)
}


def kind(name: str) -> type[Task]:
    """The task of that name. Raises ConfigError."""
    if name not in TASKS:
        raise ConfigError(f"--task {name}: not one of {', '.join(TASKS)}")
    return TASKS[name]


def of(name: str, labels: Sequence[str], ham: Sequence[str] = (), target: Target | None = None) -> Task:
    """A task with its labels; "" stands for `spam`, or `classes` without ham. Raises ConfigError."""
    return kind(name or ("spam" if ham else "classes"))(labels=tuple(labels), ham=tuple(ham), target=target)


def outputs(head: str, labels: Sequence[str]) -> int:
    """Numbers that a model with that head gives of a message. Raises ConfigError."""
    return kind(Classes.name if head == Classes.head else head)(labels=tuple(labels)).outputs

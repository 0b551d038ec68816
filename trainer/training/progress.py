"""What a person sees of a run: a progress bar on a terminal, plain lines anywhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from filterd_trainer.training.train import Fit, LogRow, PartMetrics

SMOOTHING = 0.95  # of the loss beside the bar: about the last 20 batches


class Display:
    """Shows a run; use it as a context manager. lecture: say things as the lecture prints them."""

    def __init__(self, run: Fit, lecture: bool, console: Console | None = None) -> None:
        self._run, self._lecture, self._hit = run, lecture, run.plan.task.hit
        self._console = console or Console(highlight=False)
        self._loss: float | None = None
        self._before: dict[str, PartMetrics] = {}
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.0f} messages/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=run.steps, completed=run.state.step, epoch=1, loss=0, speed=0
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """One line, above the bar."""
        self._console.print(line, soft_wrap=True)

    def before(self, baselines: list[PartMetrics]) -> None:
        """Figures before training."""
        self._before = {figures.part: figures for figures in baselines}
        for figures in baselines:
            self.say(
                f"before training: {figures.part} loss {figures.loss:.3f}, {self._hit} {figures.accuracy:.2%}"
            )

    def after(self, finals: list[PartMetrics]) -> None:
        """How long it took, why it ended, and the final accuracies beside the initial ones."""
        state, recipe = self._run.state, self._run.plan.recipe
        self.say(f"Training completed in {state.seconds / 60:.2f} minutes.")
        if self._run.stopped_early:
            self.say(
                f"stopped early after epoch {state.epoch} of {recipe.epochs}: {state.worse} evaluations"
                f" without a lower validation loss; kept: {recipe.keep}, step {state.best_step:,} was best"
            )
        for final in finals:
            first = self._before.get(final.part)
            began = f", before training {first.accuracy:.2%}" if first else ""
            self.say(
                f"{final.part.capitalize()} {self._hit}: {final.accuracy:.2%}{began}; loss {final.loss:.3f}"
            )

    def step(self, loss: float) -> None:
        """After each step of the optimiser."""
        self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        state = self._run.state
        self._bar.update(
            self._task, completed=state.step, epoch=state.epoch + 1, loss=self._loss, speed=_speed(self._run)
        )

    def evaluation(self, row: LogRow) -> None:
        """After each evaluation."""
        if not self._lecture:
            self.say(
                f"epoch {row.epoch}, step {row.step:,}:"
                f" loss {row.train_loss:.4f}, validation {row.validation_loss:.4f};"
                f" {self._hit} {row.train_accuracy:.2%}, validation {row.validation_accuracy:.2%};"
                f" {_speed(self._run):.0f} messages/s{'; best so far' if row.best else ''}"
            )
        elif row.epoch_end:
            self.say(
                f"Training accuracy: {row.train_accuracy:.2%} |"
                f" Validation accuracy: {row.validation_accuracy:.2%}"
            )
        else:
            self.say(
                f"Ep {row.epoch + 1} (Step {row.step - 1:06d}): "
                f"Train loss {row.train_loss:.3f}, Val loss {row.validation_loss:.3f}"
            )


def _speed(run: Fit) -> float:
    return run.state.seen / run.state.seconds if run.state.seconds else 0.0

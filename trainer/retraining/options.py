"""`trainer retrain` as people type it: options and configuration to a request, and the outcome in words."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from rich.console import Console

from filterd import config as configuration
from filterd.config import Config, Promotion
from filterd.errors import ConfigError
from filterd_trainer.retraining import gate
from filterd_trainer.retraining.report import PAGE, figures_table
from filterd_trainer.retraining.retrain import RetrainOutcome, RetrainRequest, retrain

STAGES = {
    "gather": "reading corrections",
    "train": "training",
    "export": "exporting the challenger",
    "judge": "comparing with the champion",
    "promote": "promoting",
}


@dataclass(frozen=True, kw_only=True)
class RetrainOptions:
    """The command's options, as they were given; None and "" where they were not."""

    feedback: str
    bundle: str
    rehearsal: list[str] | None
    strategy: str
    promotion: str | None
    runs: Path | None
    seed: int


def run(options: RetrainOptions, config: Path | None, as_json: bool) -> int:
    """Retrain and say what became of it; returns the exit status. Raises as `retrain.retrain`."""
    request = request_of(options, configuration.in_force(config)[1])
    console = Console(stderr=True, highlight=False)
    outcome = retrain(
        request, lambda stage: console.print(STAGES[stage], markup=False) if stage in STAGES else None
    )
    print(_as_json(outcome) if as_json else "\n".join(described(outcome)))
    return 0


def request_of(options: RetrainOptions, config: Config) -> RetrainRequest:
    """What is not given is as the configuration says. Raises ConfigError."""
    promotion = options.promotion or config.retrain.promotion
    if promotion not in get_args(Promotion):
        raise ConfigError(f"--promotion {promotion}: choose one of {', '.join(get_args(Promotion))}")
    return RetrainRequest(
        feedback=options.feedback or config.feedback_url,
        bundles=config.bundles,
        runs=options.runs or Path(config.state) / "retrain",
        champion=_champion(options.bundle, config),
        rehearsal=config.retrain.rehearsal if options.rehearsal is None else options.rehearsal,
        strategy=options.strategy,
        promotion=cast(Promotion, promotion),
        seed=options.seed,
        keep_runs=config.retrain.keep_runs,
        state=Path(config.state),
        remembers=config.feedback.memory,
    )


def _champion(given: str, config: Config) -> Path | None:
    if given != "current":
        return Path(given)
    if config.model.bundle:
        raise ConfigError(
            f"model.bundle: {config.model.bundle} is fixed in the configuration, so that no promotion could"
            " take effect; remove the key, or name --bundle"
        )
    return None


def described(outcome: RetrainOutcome) -> list[str]:
    """The outcome for a terminal: the gate, both models' figures, the verdict, where the report is."""
    record = outcome.record
    lines = gate.lines(record.gate)
    if record.models:
        header, rows = figures_table(record)
        lines += ["", *("  ".join(f"{cell:>12}" for cell in row) for row in [header, *rows]), ""]
    lines.append(f"promoted: {record.challenger}" if outcome.promoted else f"not promoted: {outcome.reason}")
    return [*lines, f"report: {outcome.folder / PAGE}"]


def _as_json(outcome: RetrainOutcome) -> str:
    return json.dumps(
        {
            "promoted": outcome.promoted,
            "reason": outcome.reason,
            "bundle": outcome.record.challenger,
            "folder": str(outcome.folder),
            "gate": {one.rule: one.passed for one in outcome.record.gate},
        }
    )

"""trainer: from labelled messages to a bundle that filterd judges with. May import torch."""

import os
from typing import Any

# Read when torch loads its OpenMP. By default a thread that waits for another spins; on two cores that also
# serve mail, the one spun for is often not running: a step then took ten times the CPU time (1.7 s for 0.2).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

STEPS = (
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
)
__all__ = list(STEPS)


def __getattr__(name: str) -> Any:
    """The lecture's steps (`steps.py`), imported when one is asked for: the commands start without them."""
    if name in STEPS:
        from filterd_trainer import steps

        return getattr(steps, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

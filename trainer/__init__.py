"""trainer: from labelled messages to a bundle that filterd judges with. May import torch."""

import os

from filterd_trainer.steps import (
    Batches,
    balance,
    classify,
    evaluate,
    load,
    loaders,
    model,
    split,
    to_bundle,
    train,
)

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

# Read when torch loads its OpenMP. By default a thread that waits for another spins; on two cores that also
# serve mail, the one spun for is often not running: a step then took ten times the CPU time (1.7 s for 0.2).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

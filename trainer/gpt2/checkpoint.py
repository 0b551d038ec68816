"""Where a run stands, in one file: tensors and, in the header, the numbers beside them. Never a pickle.

One file and one rename, so that a run killed at any moment finds either the old state or the new one,
never tensors of one step with counters of another.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from filterd.errors import BadInput, NotFound, Unwritable
from filterd.kit.disk import sync

FILE = "checkpoint.safetensors"
_STATE = "state"


def save(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint, atomically and durably. Raises Unwritable."""
    write_tensors(folder / FILE, tensors, {_STATE: json.dumps(state)})


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The folder's checkpoint. Raises NotFound without one and BadInput for a damaged one."""
    file = folder / FILE
    if not file.is_file():
        raise NotFound(f"{file}: no checkpoint to resume from; start the run without --resume")
    try:
        with safe_open(file, framework="pt") as stream:
            state = json.loads(stream.metadata()[_STATE])
            return {name: stream.get_tensor(name) for name in stream.keys()}, state  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{file}: not a checkpoint of ours ({error}); start without --resume") from error


def write_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file that is there whole or not at all. Raises Unwritable."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, temporary, metadata)
        _replace(temporary, file)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise Unwritable(f"{file}: {error}; free some space or choose another --out") from error


def write_text(file: Path, text: str) -> None:
    """A text file that is there whole or not at all. Raises Unwritable."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        _replace(temporary, file)
    except OSError as error:
        raise Unwritable(f"{file}: {error.strerror}; free some space or choose another --out") from error


def _replace(temporary: Path, file: Path) -> None:
    sync(temporary)
    temporary.replace(file)
    sync(file.parent)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments and step counts, named `optimizer.<parameter>.<what>`."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{what}": t for i, of in state.items() for what, t in of.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; learning rates are the caller's."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match name.split("."):
            case ["optimizer", index, what]:
                state.setdefault(int(index), {})[what] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def random_tensors() -> dict[str, Tensor]:
    """The state of torch's generators, named `random.<device>`."""
    states = {"random.cpu": torch.get_rng_state()}
    return states | ({"random.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def restore_random(tensors: dict[str, Tensor]) -> None:
    """The inverse of `random_tensors`."""
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])

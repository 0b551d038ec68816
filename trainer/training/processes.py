"""One run on several processes, as `torchrun` starts them.

    torchrun --nproc-per-node 2 --no-python trainer train --data data --out run

Strategy: a step's batch is what the recipe says, however many processes there are. Each takes its share of
it, the gradients are summed, and every process makes the same step of the same optimiser. So the weights are
those of one process up to rounding (and up to chance, where there is dropout), a checkpoint does not know how
many wrote it, and a run goes on with another number. Process 0 alone writes and speaks.

What each message costs is divided; what is done once, reading the data and the frozen blocks' output, is not.
"""

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from filterd.errors import ConfigError, FilterdError

NCCL = "nccl"  # what carries sums between graphics cards
WORLD, RANK, LOCAL = "WORLD_SIZE", "RANK", "LOCAL_RANK"  # torchrun's
PATIENCE = timedelta(minutes=30)  # for the slowest process; the frozen blocks' output may take as long


class ProcessLost(FilterdError):
    """Another process of this run has ended; its own line says why."""

    exit_status = 75  # what was done until the last checkpoint is there


@dataclass(frozen=True)
class Processes:
    """Those of this run. rank: which one this is, from 0; count: how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[int]) -> tuple[list[int], float]:
        """Every count-th of them, and how much of the whole they are.

        Of a batch sorted by length each process has as much to do. Of fewer than `count` some have the first
        once more, which then counts nothing.
        """
        mine = list(items[self.rank :: self.count])
        return mine or list(items[:1]), len(mine) / len(items)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.count == 1:
            return
        found = [p for p in parameters if p.grad is not None]
        dense = [p.grad for p in found if p.grad is not None and not p.grad.is_sparse]
        whole = torch.cat([grad.flatten() for grad in dense])
        _add(whole)
        for grad, summed in zip(dense, torch.split(whole, [grad.numel() for grad in dense]), strict=True):
            grad.copy_(summed.view_as(grad))
        for p in found:
            if p.grad is not None and p.grad.is_sparse:  # rows differ by process
                p.grad = _sum_of_rows(p.grad)

    def sums(self, *values: float) -> list[float]:
        """Each value's sum over the processes, the same bits in all of them."""
        if self.count == 1:
            return list(values)
        both = torch.tensor(values, dtype=torch.float64, device=self._device())
        _add(both)
        found: list[float] = both.tolist()
        return found

    def agreed(self, value: float) -> float:
        """Process 0's value."""
        return self.sums(value if self.first else 0.0)[0]

    def same_chance(self) -> None:
        """Let every process draw what process 0 draws from here on."""
        if self.count > 1:
            state = torch.get_rng_state().to(self._device())
            distributed.broadcast(state, src=0)
            torch.set_rng_state(state.cpu())

    def wait(self) -> None:
        """Until all are here."""
        self.sums(0.0)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """What is done within is done by the first process, then by the others, who find its result."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def _device(self) -> torch.device:
        on_cards = distributed.get_backend() == NCCL
        return torch.device("cuda", torch.cuda.current_device()) if on_cards else torch.device("cpu")


def _add(tensor: Tensor) -> None:
    try:
        distributed.all_reduce(tensor)
    except RuntimeError as error:
        said = "another process of this run has ended; go on with --resume"
        raise ProcessLost(f"{said} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _sum_of_rows(grad: Tensor) -> Tensor:
    """The sum of gradients [rows, width] that have only some rows. NCCL adds dense tensors alone."""
    if distributed.get_backend() != NCCL:
        summed = grad.coalesce()
        _add(summed)
        return summed
    dense = grad.to_dense()
    there = torch.zeros(len(dense), dtype=dense.dtype, device=dense.device)
    there[grad.coalesce().indices()[0]] = 1.0  # a row of zeros is there as well, and the optimiser moves it
    _add(dense)
    _add(there)
    rows = there.nonzero()[:, 0]
    return torch.sparse_coo_tensor(
        rows[None], dense[rows], dense.shape, is_coalesced=True, check_invariants=False
    )


ALONE = Processes()


def join(device: torch.device) -> Processes:
    """The processes that torchrun started, or this one alone. Raises ConfigError where they do not find each
    other. They stay together until they end: the same store does not serve a second meeting."""
    count = int(os.environ.get(WORLD, "1"))
    if count < 2:
        return ALONE
    if not distributed.is_initialized():
        try:
            if device.type == "cuda":
                torch.cuda.set_device(int(os.environ.get(LOCAL, "0")))  # fails for more processes than cards
            backend = NCCL if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            said = f"torchrun: the {count} processes do not find each other"
            raise ConfigError(f"{said} ({_first_line(error)})") from error
        atexit.register(distributed.destroy_process_group)
    return Processes(int(os.environ[RANK]), count)

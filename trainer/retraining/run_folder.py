"""The folders of retrainings: one a run, numbered; which of them is to go on with, and which are old.

A folder's `state.json` says what the run was begun with (`Plan`) and, once it has ended, how. A run without
an end was killed. It goes on where the champion, the corrections and the options are still those that it
was begun with; otherwise it is ended as given up, and a new one begins.
"""

import shutil
from pathlib import Path

import msgspec

from filterd.errors import BadInput
from filterd_trainer.gpt2 import checkpoint
from filterd_trainer.retraining.gate import GateRules

STATE = "state.json"
PRIVATE = ("data", "run/checkpoint.safetensors")  # people's mail, and what only a resume needs
GIVEN_UP = "given up: it was killed, and since then the champion, the corrections or the options have changed"


class RetrainPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run is begun with.

    champion: the bundle's id; since, until: revisions of the corrections store; rewritten: its `withdrawn`:
    a run may not go on with what somebody took back.
    """

    champion: str
    since: int
    until: int
    rewritten: int
    strategy: str
    rehearsal: tuple[str, ...]
    rules: GateRules
    seed: int

    def same_run(self, other: "RetrainPlan") -> bool:
        """Whether a run of the other plan can go on as one of this: corrections that came later wait."""
        later = msgspec.structs.replace(other, until=self.until)
        return later == self and other.until <= self.until


class _State(msgspec.Struct, forbid_unknown_fields=True):
    plan: RetrainPlan
    ended: bool = False
    reason: str = ""


class RetrainFolder:
    """A run's folder and what it was begun with."""

    def __init__(self, folder: Path, plan: RetrainPlan) -> None:
        self.folder, self.plan = folder, plan

    def end(self, reason: str) -> None:
        """Note that it has ended; "" where its challenger was promoted. Raises Unwritable."""
        _write(self.folder, _State(self.plan, ended=True, reason=reason))
        clean(self.folder)


def claim(runs: Path, plan: RetrainPlan) -> RetrainFolder:
    """The run to go on with, else a new one. Raises Unwritable."""
    for folder in reversed(folders(runs)):
        state = _read(folder)
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
        elif not state.ended and plan.same_run(state.plan):
            return RetrainFolder(folder, state.plan)
        elif not state.ended:
            RetrainFolder(folder, state.plan).end(GIVEN_UP)
    numbers = [int(folder.name) for folder in folders(runs)]
    folder = runs / f"{max(numbers, default=0) + 1:06d}"
    folder.mkdir(mode=0o700)
    _write(folder, _State(plan))
    return RetrainFolder(folder, plan)


def folders(runs: Path) -> list[Path]:
    """Those of runs, the oldest first."""
    return sorted(p for p in runs.iterdir() if p.name.isdigit() and p.is_dir())


def prune(runs: Path, keep: int) -> None:
    """Delete the oldest ended runs, so that `keep` are left; and all but one of those without a model."""
    ended = [f for f in folders(runs) if (state := _read(f)) is None or state.ended]
    empty = [f for f in ended if not (f / "challenger").is_dir()]
    for folder in {*ended[:-keep], *empty[:-1]}:
        shutil.rmtree(folder, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove what an ended run has no use for: copies of people's mail first of all."""
    for name in PRIVATE:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _read(folder: Path) -> _State | None:
    try:
        return msgspec.json.decode((folder / STATE).read_bytes(), type=_State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInput(f"{folder / STATE}: not a retraining's ({error}); delete the folder") from error


def _write(folder: Path, state: _State) -> None:
    content = msgspec.json.format(msgspec.json.encode(state), indent=1).decode() + "\n"
    checkpoint.write_text(folder / STATE, content)

"""One at a time, and behind everybody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filterd.errors import Unwritable
from filterd_trainer.retraining.lock import RetrainingBusy, only_one

LOOK = """
import os
from filterd_trainer.retraining import lock
lock.step_back()
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)
"""


def test_the_second_says_who_is_first(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "runs"),
        pytest.raises(RetrainingBusy, match=f"process {os.getpid()}"),
        only_one(tmp_path / "runs"),
    ):
        pass
    with only_one(tmp_path / "runs"):  # and afterwards the place is free
        pass
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unwritable, match="file/runs: Not a directory"), only_one(tmp_path / "file" / "runs"):
        pass


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has idle scheduling")
def test_it_steps_back() -> None:
    said = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["19", "True"]

"""The lecture as it is told: the commands of docs/lecture.md and the notebook, on a small model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import typed
from tests.conftest import ROOT, SHARED

UCI = SHARED / "sms_uci"
NOTEBOOK = ROOT / "docs" / "tutorials" / "lecture.ipynb"
FETCHES = "  # fetches"  # a line that needs the network; what it would bring is there
SMALL = """
import sys, torch
from pathlib import Path
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2
torch.manual_seed(1)
small = Architecture(vocabulary=50257, context=128, width=48, layers=3, heads=6)
weights.save(GPT2(small), Path(sys.argv[1]), "a test")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to type in, with a small model where `trainer weights fetch gpt2` would have put OpenAI's."""
    folder = typed.place(tmp_path)
    base = folder / "home" / "cache" / "filterd" / "weights" / "gpt2"
    base.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", SMALL, str(base)], check=True, cwd=ROOT)
    (folder / "data").symlink_to(UCI)
    return folder


@pytest.mark.shared
@pytest.mark.slow
def test_every_command_of_the_page(place: Path) -> None:
    lines = "\n".join(typed.blocks(ROOT / "docs" / "lecture.md")).splitlines()
    commands = [line for line in lines if not line.endswith(FETCHES)]
    assert len(commands) >= 8
    said = typed.run("\n".join(commands), place)
    for line in ("5,572 rows", "130 batches of 8", "input [8, 120]", "Training completed in", "misjudged"):
        assert line in said
    assert said.count("before training") >= 3


@pytest.mark.shared
@pytest.mark.slow
def test_the_notebook_runs(place: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (place / "cells.py").write_text(code, "utf-8")
    said = typed.run(f"{sys.executable} cells.py", place, {"LECTURE_MESSAGES": str(UCI)})
    assert "{'train': 130, 'validation': 19, 'test': 38}" in said
    assert "accuracy" in said

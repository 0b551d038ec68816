"""What an installed filterd puts into site-packages, and that it brings all it needs."""

import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.conftest import ROOT, need_program

NEEDED = {
    "filterd/bundles/default/manifest.json",
    "filterd/bundles/default/model.onnx",
    "filterd/bundles/default/tokenizer.tiktoken",
    "filterd/reading/vocabulary.txt",
    "filterd/py.typed",
    "filterd_plugins/milter/server.py",
    "filterd_trainer/cli.py",
    "filterd_trainer/evaluation/templates/report.html",
    "filterd_trainer/training/presets/gpt2.yaml",
    "filterd_trainer/data/messages/slots.txt",
}


@pytest.mark.slow
def test_the_wheel_takes_no_names_of_others_and_lacks_nothing(tmp_path: Path) -> None:
    need_program("git")
    packed = subprocess.run(["git", "archive", "HEAD"], capture_output=True, cwd=ROOT, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path)], cwd=tmp_path / "source", check=True)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        said = wheel.read(metadata).decode()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if "." not in name} == {"filterd", "filterd_trainer", "filterd_plugins"}
    assert set(names) >= NEEDED
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in said

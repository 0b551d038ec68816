"""The `gpu` extra where no GPU is: it installs, judges on the CPU, and says nothing alarming."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_gpu_runtime_judges_quietly_without_a_gpu(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", f"{ROOT}[gpu]"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False, cwd=tmp_path)
    if installed.returncode:
        last = (installed.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"program pip cannot install the gpu extra here: {last}")
    packages = subprocess.run(
        [str(python), "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "onnxruntime-gpu" in packages
    assert "torch" not in packages
    done = subprocess.run(
        [str(python), "-m", "filterd", "check", str(ROOT / "examples/ham/mail-work.eml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "FILTERD_SOCKET": ""},
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.split()[0] in {"ham", "unsure", "spam"}


def test_without_a_runtime_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [sys.executable, "-m", "filterd", "check", str(ROOT / "examples/ham/mail-work.eml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FILTERD_SOCKET": "", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "filterd[cpu]" in done.stderr

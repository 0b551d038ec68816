"""The README, typed from top to bottom in a fresh clone and a fresh virtual environment."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import typed
from tests.conftest import ROOT, SHARED

SERVING_S = 60  # until a daemon that was just started answers


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed, with a home beside it."""
    folder = tmp_path_factory.mktemp("newcomer")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "filterd")], check=True)
    (folder / "filterd" / "home").mkdir()
    typed.configure(folder / "filterd")
    return folder / "filterd"


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy that is no git checkout cannot be cloned")
def test_the_readme_as_it_is_written(clone: Path) -> None:
    script = "\n".join(typed.blocks(ROOT / "README.md"))
    assert script.count("make test") == 1
    script = script.replace("make test", "true")  # that is what runs here
    script = script.replace("trainer data fetch", f"trainer data fetch --from {SHARED / 'sms_uci'}")
    own = {"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    said = typed.run(script, clone, own)
    checked = re.findall(r"^(ham|unsure|spam) +([01]\.\d+) +mail +(\S*)", said, re.M)
    assert len(checked) >= 17, said[-2000:]
    assert checked[-1][0] == "ham", "the correction holds without a daemon"
    assert "Training completed in" in said
    made = re.search(r"bundle: (\S+)", said)
    assert made and made.group(1) in bundle_that_answers(clone, own)


def bundle_that_answers(clone: Path, own: dict[str, str]) -> str:
    """Start the daemon as the newcomer would and ask it which model judges."""
    program = clone / "home" / "filterd" / "bin" / "filterd"
    environment = typed.environment(clone) | own
    with subprocess.Popen([program, "serve"], cwd=clone, env=environment) as daemon:
        try:
            end = time.monotonic() + SERVING_S
            while time.monotonic() < end:
                asked = [str(program), "status", "--once", "--json"]
                run = subprocess.run(asked, cwd=clone, env=environment, capture_output=True, check=False)
                if run.returncode == 0:
                    return str(json.loads(run.stdout)["model"])
                time.sleep(0.5)
            pytest.fail(f"no daemon answers after {SERVING_S} s")
        finally:
            os.kill(daemon.pid, signal.SIGTERM)
            daemon.wait(30)

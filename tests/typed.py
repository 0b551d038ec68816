"""Typing a page of the documents: its `sh` blocks as one shell script, in a folder and a home of its own.

A block that begins with ```sh is typed. One with ```sh example is not: it changes a server, or needs what no
test has.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT

SECONDS = 1200  # for a page; installing and training a small model is among it


def blocks(page: Path, language: str = "sh") -> list[str]:
    """The fenced blocks of a page whose fence says exactly `language`."""
    found: list[list[str]] = []
    inside = wanted = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
            wanted = inside and line[3:].strip() == language
            if wanted:
                found.append([])
        elif wanted:
            found[-1].append(line)
    return ["\n".join(lines) for lines in found]


def place(folder: Path) -> Path:
    """A copy's examples and deploy/ to type beside, and an empty home."""
    for name in ("examples", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "home").mkdir()
    configure(folder)
    return folder


CONFIG = """
state: {home}/state/filterd
http: {{listen: ["unix:{home}/http.sock"]}}
spamd: {{listen: ["unix:{home}/spamd.sock"]}}
"""


def configure(folder: Path) -> None:
    """A configuration that keeps all in the folder's home; root's own places are the machine's."""
    (folder / "home" / "filterd.yaml").write_text(CONFIG.format(home=folder / "home"), "utf-8")


def environment(folder: Path) -> dict[str, str]:
    """Where `filterd` and `trainer` are this tree's, and nobody's configuration or state is seen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FILTERD_", "XDG_"))}
    bins = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    states = {
        f"XDG_{name.upper()}_HOME": str(folder / "home" / name) for name in ("config", "state", "cache")
    }
    return {
        **kept,
        **states,
        "HOME": str(folder / "home"),
        "FILTERD_CONFIG": str(folder / "home" / "filterd.yaml"),
        "FILTERD_SOCKET": str(folder / "home" / "http.sock"),
        "PATH": os.pathsep.join(bins),
        "PYTHONPATH": str(ROOT),
    }


def run(script: str, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """What a script says, both streams; it stops at the first command that fails, and so does the test."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-x", "-c", script],
        cwd=folder,
        env=environment(folder) | dict(more or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-4000:]
    return said

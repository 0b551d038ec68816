"""deploy/haproxy/promote: first in the shadow, then one after another, all back where one does not."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "haproxy" / "promote"
SHA = "0" * 64
# `ssh`: notes what is asked of whom. A trial lasts two looks; the files say how it ends and who refuses.
FAKE = """#!/bin/sh
echo "$@" >> log
case "$2 $3 $4" in
    "filterd bundle use")
        case "$*" in
            *--shadow)
                [ -f refused-$1 ] || { echo 2 > trial; echo "new-1 is on trial; the daemon reloads"; } ;;
            *) if [ -f refused-$1 ]; then echo "filterd: no" >&2; exit 69; fi
               echo "new-1 is current; the daemon judges with it (after 0.10 s)" ;;
        esac ;;
    "filterd status --json")
        left=$(cat trial) model=old-1 trial='{"challenger": "new-1", "seen": 5}'
        case $left in
            0) trial=null; [ -f dropped ] || model=new-1 ;;
            *) echo $((left - 1)) > trial ;;
        esac
        echo '{"version": "0.1", "model": "'$model'", "shadow": {"model": "new-1"}, "trial": '"$trial"'}' ;;
    "filterd bundle rollback") echo "old-1 is current; the daemon judges with it (after 0.05 s)" ;;
esac
"""


def promote(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "ssh").write_text(FAKE)
    (tmp_path / "ssh").chmod(0o755)
    env = {**os.environ, "ON": "./ssh", "LOOK_S": "0", "BEGIN_S": "2"}
    return subprocess.run(
        [SCRIPT, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def asked(tmp_path: Path) -> list[str]:
    said = [line for line in (tmp_path / "log").read_text().splitlines() if "status" not in line]
    return [line.replace(f"filterd bundle use https://host/new --sha256 {SHA}", "use") for line in said]


def test_first_in_the_shadow_then_one_after_another(tmp_path: Path) -> None:
    done = promote(tmp_path, "https://host/new", SHA, "one", "two", "three")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "one: new-1 is on trial",
        *(f"{n}: new-1 judges" for n in ("one", "two", "three")),
    ]
    assert asked(tmp_path) == ["one use --shadow", "two use", "three use"]


def test_what_is_dropped_goes_no_further(tmp_path: Path) -> None:
    (tmp_path / "dropped").touch()
    done = promote(tmp_path, "https://host/new", SHA, "one", "two")
    assert done.returncode == 1 and "one dropped it and judges with old-1" in done.stderr
    assert asked(tmp_path) == ["one use --shadow"]


def test_all_go_back_where_one_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "refused-three").touch()
    done = promote(tmp_path, "https://host/new", SHA, "one", "two", "three", "four")
    assert done.returncode == 1 and "three did not take it" in done.stderr
    back = [f"{name} filterd bundle rollback" for name in ("one", "two")]
    assert asked(tmp_path) == ["one use --shadow", "two use", "three use", *back]


def test_who_refuses_it_at_once_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "refused-one").touch()
    done = promote(tmp_path, "https://host/new", SHA, "one", "two")
    assert done.returncode == 1 and asked(tmp_path) == ["one use --shadow"]


@pytest.mark.parametrize("arguments", [(), ("x", SHA), ("$(id)", SHA, "one"), ("a b", SHA, "one")])
def test_what_a_shell_would_take_apart_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert promote(tmp_path, *arguments).returncode == 64
    assert not (tmp_path / "log").exists()

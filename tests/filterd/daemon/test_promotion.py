"""A running daemon, another bundle, and back: by command, and after a trial."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from filterd.scoring import bundle
from tests.filterd.daemon.test_server import HAM, SHIPPED, Daemon, module_folder

__all__ = ["module_folder"]

pytestmark = pytest.mark.skipif(not SHIPPED, reason="no default bundle here")


def other(folder: Path) -> Path:
    """The bundle that ships under another name, so that it has another id and the same verdicts."""
    opened = bundle.read(bundle.DEFAULT)
    bundle.install(opened, folder)
    made = folder / opened.id
    bundle.rewrite_manifest(made, msgspec.structs.replace(opened.manifest, name="other"))
    return made


@pytest.fixture
def daemon(module_folder: Path) -> Iterator[Daemon]:
    made = Daemon(module_folder)
    yield made
    assert made.end() == 0, made.log.read_text()


def test_use_and_rollback_reach_the_daemon(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start()
    shipped, second = bundle.read(bundle.DEFAULT), bundle.read(other(tmp_path))
    said = daemon.run("bundle", "use", str(second.path))
    assert said.returncode == 0 and b"the daemon judges with it" in said.stdout, said
    assert daemon.ask("GET", "/v1/status")["model"] == second.id
    back = daemon.run("bundle", "rollback")
    assert back.stdout.startswith(f"{shipped.id} is current; the daemon judges with it".encode()), back
    assert daemon.ask("GET", "/v1/status")["model"] == shipped.id


def test_a_trial_ends_in_a_promotion(daemon: Daemon, tmp_path: Path) -> None:
    daemon.configure(model={"shadow_share": 1.0}, retrain={"shadow_messages": 100}, cache={"messages": 0})
    store = daemon.folder / "state" / "bundles"
    challenger = bundle.read(other(tmp_path))
    bundle.put_on_trial(challenger, store)
    daemon.start()
    shadow = daemon.ask("GET", "/v1/status")["shadow"]
    assert isinstance(shadow, dict) and shadow["model"] == challenger.id

    def ask_until_promoted() -> bool:
        daemon.label(HAM)
        return bool(daemon.lines("promoted after its trial"))

    daemon.wait_for(ask_until_promoted)
    daemon.wait_for(lambda: daemon.ask("GET", "/v1/status")["model"] == challenger.id)
    assert not (store / bundle.CHALLENGER).exists()
    assert daemon.ask("GET", "/v1/status")["shadow"] is None
    assert daemon.run("bundle", "rollback").returncode == 0
    assert daemon.ask("GET", "/v1/status")["model"] == bundle.read(bundle.DEFAULT).id


def test_a_broken_challenger_does_not_keep_the_daemon_from_starting(daemon: Daemon) -> None:
    store = daemon.folder / "state" / "bundles"
    store.mkdir(parents=True, exist_ok=True)
    (store / "broken").mkdir()
    (store / bundle.CHALLENGER).unlink(missing_ok=True)
    (store / bundle.CHALLENGER).symlink_to("broken")
    daemon.start()
    assert daemon.lines("nobody on trial") and daemon.label(HAM) == "ham"

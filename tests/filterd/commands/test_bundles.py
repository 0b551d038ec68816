"""`filterd bundle use` as people type it: a folder, an address, a hash, a trial."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from filterd.commands import bundles
from filterd.commands.bundles import app
from filterd.errors import BundleError
from filterd.promotion import remote
from filterd.scoring import bundle
from tests.filterd.promotion.test_remote import Server

HASH = bundle.sha256(bundle.DEFAULT / bundle.MANIFEST)
ID = bundle.id_of(bundle.DEFAULT)


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path}/state\n")
    return str(tmp_path / "filterd.yaml")


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_from_an_address(tmp_path: Path, config: str) -> None:
    server = Server(bundle.DEFAULT.parent)
    address = server.address.replace("/new", "/default")
    try:
        assert said("use", address, "--sha256", HASH, "--config", config).startswith(
            f"{ID} is current; no daemon"
        )
    finally:
        server.close()
    store = tmp_path / "state" / "bundles"
    assert bundle.in_use(store).resolve().name == ID
    assert not [path for path in store.iterdir() if path.name.startswith(".")]


def test_what_could_not_be_fetched_leaves_nothing(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(address: str, sha256: str, target: Path, *_: object) -> None:
        (target / "half").write_bytes(b"x")
        raise BundleError(f"{address}: broke off")

    monkeypatch.setattr(remote, "fetch", broken)
    with pytest.raises(BundleError, match="broke off"):
        said("use", "https://host/new", "--config", config)
    assert list((tmp_path / "state" / "bundles").iterdir()) == []


def test_a_folder_of_another_hash_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(BundleError, match="is not the one"):
        said("use", str(bundle.DEFAULT), "--sha256", "0" * 64, "--config", config)
    assert not (tmp_path / "state").exists()


def test_on_trial(tmp_path: Path, config: str) -> None:
    shown = said("use", str(bundle.DEFAULT), "--sha256", HASH, "--shadow", "--config", config)
    assert shown.startswith(f"{ID} is on trial; ")
    assert (tmp_path / "state" / "bundles" / "challenger").resolve().name == ID


def test_a_bar_goes_on_by_whole_megabytes_of_all_files() -> None:
    steps: list[int] = []
    report = bundles._in_megabytes(steps.append)
    for name, done in (("a", 999_999), ("a", 2_500_000), ("b", 1_000_000), ("a", 3_000_000)):
        report(name, done, 3_000_000)
    assert steps == [0, 2, 1, 1]

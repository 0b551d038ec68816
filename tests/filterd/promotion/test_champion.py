"""Promotion, trial and rollback: what is linked, what is marked, and what a crash in between leaves."""

import shutil
from pathlib import Path

import pytest

from filterd.corrections.store import Store
from filterd.errors import BundleError
from filterd.promotion import champion
from filterd.scoring import bundle
from filterd.scoring.bundle import Lineage
from tests.filterd.scoring.test_bundle import write

NOBODY = "no daemon runs on this state folder"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'feedback.sqlite'}"


def retrained(folder: Path, feedback: str) -> bundle.Bundle:
    lineage = Lineage(champion.fingerprint(feedback), 7, "wide")
    return bundle.read(write(folder, name="new", lineage=lineage))


def test_link_mark_tell(tmp_path: Path, url: str) -> None:
    old, new = bundle.read(write(tmp_path / "old", name="old")), retrained(tmp_path / "new", url)
    with Store.open(url) as store:
        said = champion.promote(new, tmp_path / "bundles", tmp_path, store, before=old.path)
        assert store.retrained() == (new.id, 7)
    assert said == NOBODY and bundle.in_use(tmp_path / "bundles").resolve().name == new.id
    assert champion.roll_back(tmp_path / "bundles", tmp_path) == f"{old.id} is current; {NOBODY}"


def test_what_was_not_retrained_marks_nothing(tmp_path: Path, url: str) -> None:
    made = bundle.read(write(tmp_path / "made", name="made"))
    with Store.open(url) as store:
        champion.link(made, tmp_path / "bundles", store, before=made.path)
        assert store.retrained() == ("", 0)
    assert champion.read_of(made, url) == 0


def test_a_bundle_knows_the_store_that_it_was_made_from(tmp_path: Path, url: str) -> None:
    made = retrained(tmp_path / "made", url)
    assert champion.read_of(made, url) == champion.read_of(made, str(tmp_path / "feedback.sqlite")) == 7
    assert champion.read_of(made, f"sqlite:///{tmp_path / 'other.sqlite'}") == 0
    assert "secret" not in champion.fingerprint("postgresql://a:secret@host/db")


def test_a_challenger_is_tried_out_and_a_rollback_ends_that(tmp_path: Path, url: str) -> None:
    old, new = bundle.read(write(tmp_path / "old", name="old")), retrained(tmp_path / "new", url)
    bundles = tmp_path / "bundles"
    assert champion.try_out(new, bundles, None, before=old.path) == NOBODY
    assert bundle.read(bundles / bundle.CHALLENGER).id == new.id
    assert bundle.in_use(bundles).resolve().name == old.id
    champion.promote(new, bundles, None, None)
    champion.roll_back(bundles, tmp_path)
    assert not (bundles / bundle.CHALLENGER).exists()


def test_nobody_goes_back_to_a_damaged_bundle(tmp_path: Path) -> None:
    store = tmp_path / "bundles"
    with pytest.raises(BundleError, match="no previous bundle"):
        champion.roll_back(store, tmp_path)
    now = bundle.install(bundle.read(bundle.DEFAULT), store)
    bundle.use(store, now)
    shutil.copytree(store / now, store / "old")
    (store / "previous").symlink_to("old")
    with (store / "old" / bundle.MODEL).open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(BundleError, match="does not match its hash"):
        champion.roll_back(store, tmp_path)
    assert (store / "current").readlink() == Path(now)

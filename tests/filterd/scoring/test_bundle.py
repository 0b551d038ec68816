import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from filterd.api import Kind
from filterd.errors import BundleError
from filterd.scoring import bundle
from tests.filterd import fakes


def write(target: Path, **changes: object) -> Path:
    """A bundle whose files are a line each."""
    with bundle.writing(target) as folder:
        for name in bundle.REQUIRED:
            (folder / name).write_text(f"{name} of {target.name}\n")
        bundle.write_manifest(folder, fakes.manifest(files=bundle.entries(folder), **changes))
    return target


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    read = bundle.read(write(tmp_path / "one", name="mini"))
    assert read.manifest.name == "mini"
    assert read.id.startswith("mini-")
    assert len(read.id) == len("mini-") + 12
    assert bundle.read(tmp_path / "one").id == read.id


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Damage: a change of the manifest's JSON."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / bundle.MANIFEST).read_text())
        change(content)
        (folder / bundle.MANIFEST).write_text(json.dumps(content))

    return damage


DAMAGES = [
    pytest.param(lambda f: (f / "manifest.json").unlink(), "No such file", id="no manifest"),
    pytest.param(lambda f: (f / "manifest.json").write_text("{"), "manifest.json", id="cut off"),
    pytest.param(
        lambda f: (f / "manifest.json").write_text(" " * ((1 << 20) + 1)), "larger than", id="huge manifest"
    ),
    pytest.param(lambda f: (f / bundle.MODEL).unlink(), bundle.MODEL, id="no model"),
    pytest.param(lambda f: (f / bundle.MODEL).write_text("x"), "does not match its hash", id="other model"),
    pytest.param(
        lambda f: (f / bundle.WEIGHTS).write_text("model.safetensors of onE\n"), "hash", id="one bit"
    ),
    pytest.param(edit(lambda m: m.update(format=2)), "format", id="another format"),
    pytest.param(edit(lambda m: m.update(surprise=1)), "surprise", id="unknown key"),
    pytest.param(edit(lambda m: m.pop("thresholds")), "thresholds", id="missing key"),
    pytest.param(edit(lambda m: m["thresholds"].pop("sms")), "both mail and sms", id="one kind"),
    pytest.param(
        edit(lambda m: m["thresholds"]["sms"].update(spam=0.1)), "unsure", id="thresholds the wrong way round"
    ),
    pytest.param(edit(lambda m: m["calibration"]["sms"].update(slope=-1)), "slope", id="negative slope"),
    pytest.param(edit(lambda m: m.update(calibration={})), "both mail and sms", id="no calibration"),
    pytest.param(edit(lambda m: m.update(labels=["ham"])), "labels", id="one label"),
    pytest.param(edit(lambda m: m.update(ham=["ham", "spam"])), "ham", id="all ham"),
    pytest.param(edit(lambda m: m.update(max_tokens=65)), "max_tokens", id="beyond the context"),
    pytest.param(edit(lambda m: m["files"].pop("model.onnx")), "model.onnx", id="model not listed"),
    pytest.param(
        edit(lambda m: m["files"].update({"../evil": m["files"]["model.onnx"]})), "leads out", id="path"
    ),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_a_damaged_bundle_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    folder = write(tmp_path / "one")
    damage(folder)
    with pytest.raises(BundleError) as caught:
        bundle.read(folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), bundle.writing(tmp_path / "one") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path) -> None:
    before = bundle.read(write(tmp_path / "one")).id
    with pytest.raises(RuntimeError), bundle.writing(tmp_path / "one"):
        raise RuntimeError("stopped")
    assert bundle.read(tmp_path / "one").id == before
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path / "one", name="first")
    write(tmp_path / "one", name="second")
    assert bundle.read(tmp_path / "one").manifest.name == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_everybody_may_read_a_bundle(tmp_path: Path) -> None:
    with bundle.writing(tmp_path / "one") as folder:
        (folder / "secretive").touch(0o600)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "one" / "secretive").stat().st_mode & 0o777 == 0o644


def test_use_and_rollback_swap_two_links(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, name=name)
    bundle.use(tmp_path, "a")
    with pytest.raises(BundleError, match="no previous"):
        bundle.rollback(tmp_path)
    bundle.use(tmp_path, "b")
    assert bundle.read(tmp_path / "current").manifest.name == "b"
    assert (tmp_path / "previous").readlink() == Path("a")
    assert bundle.rollback(tmp_path) == "a"
    assert bundle.read(tmp_path / "current").manifest.name == "a"
    assert bundle.rollback(tmp_path) == "b"


def test_what_a_killed_command_has_left_goes_and_nothing_else(tmp_path: Path) -> None:
    names = [
        ".fetched.abcd_123",
        ".mini-1.0a1b2c3d",
        ".mini-1.old",
        ".fetched.justnow1",
        ".snapshot",
        "mini-1",
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        if name != ".fetched.justnow1":
            os.utime(tmp_path / name, (0, 0))
    bundle.use(tmp_path, "mini-1")
    bundle.tidy(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        ".fetched.justnow1", ".snapshot", "current", "mini-1",
    ]  # fmt: skip
    bundle.tidy(tmp_path / "nowhere")


def test_using_the_current_bundle_again_keeps_the_previous(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name)
    bundle.use(tmp_path, "a")
    bundle.use(tmp_path, "b")
    bundle.use(tmp_path, "b")
    assert (tmp_path / "previous").readlink() == Path("a")


def test_labels_that_count_as_ham_have_indices() -> None:
    manifest = fakes.manifest(labels=("ham", "spam", "newsletter"), ham=("ham", "newsletter"))
    assert manifest.ham_indices == (0, 2)


def test_a_manifest_survives_its_own_json(tmp_path: Path) -> None:
    manifest = fakes.manifest()
    bundle.write_manifest(tmp_path, manifest)
    raw = (tmp_path / bundle.MANIFEST).read_bytes()
    assert msgspec.json.decode(raw, type=bundle.Manifest) == manifest


def test_an_id_needs_the_manifest_alone(tmp_path: Path) -> None:
    shipped = bundle.read(bundle.DEFAULT)
    shutil.copy(bundle.DEFAULT / bundle.MANIFEST, tmp_path)
    assert bundle.id_of(tmp_path) == bundle.id_of(bundle.DEFAULT) == shipped.id
    (tmp_path / bundle.MANIFEST).write_text("{}")
    with pytest.raises(BundleError, match="use another bundle"):
        bundle.id_of(tmp_path)


def test_an_exit_needs_its_files_and_says_what_it_does() -> None:
    measured = dict.fromkeys(
        Kind, bundle.ExitStatistics(messages=6000, settled=0.8, agrees=1.0, at_least=0.9995)
    )
    found = bundle.ExitEntry(1, bundle.FastPathSide(limit=-2.0, scale=1.0, offset=0.0), None, measured)
    with pytest.raises(ValueError, match=r"first\.onnx"):
        fakes.manifest(exit=found)
    entry = bundle.FileEntry(sha256="", bytes=0)
    files = dict.fromkeys((*bundle.REQUIRED, bundle.FIRST, bundle.REST), entry)
    lines = fakes.manifest(exit=found, files=files).exit_lines()
    assert len(lines) == 2 and "80.0% of the windows of 6,000" in lines[0]
    assert fakes.manifest().exit_lines() == []

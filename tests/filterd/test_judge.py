"""What judges without a daemon: the bundle in use, the fast path and the corrections, for every command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from filterd import judge
from filterd.api import Kind, Label, Message
from filterd.config import Config, Feedback, Model
from filterd.corrections import recall
from filterd.corrections.learner import Learner
from filterd.errors import BundleError
from filterd.scoring import bundle
from filterd.scoring.bundle import Bundle
from filterd.scoring.verdict import Thresholds
from tests.conftest import ROOT

MAIL = b"From: Ann <ann@example.org>\nSubject: lunch on Friday\n\nShall we meet at noon? Bring the plans.\n"
SMS = (ROOT / "examples" / "ham" / "sms-dinner.txt").read_bytes()
Run = Callable[..., str]


def strict(folder: Path) -> Bundle:
    """The shipped bundle under another name, which calls nearly everything spam."""
    shutil.copytree(bundle.DEFAULT, folder)
    manifest = bundle.read(folder).manifest
    thresholds = dict.fromkeys(Kind, Thresholds(1e-9, 1e-8))
    bundle.write_manifest(folder, msgspec.structs.replace(manifest, name="strict", thresholds=thresholds))
    return bundle.read(folder)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`filterd` as a process without a daemon, its state in a folder of the test's."""
    file = tmp_path / "filterd.yaml"
    file.write_text(f"state: {tmp_path / 'state'}\n")
    env = os.environ | {"FILTERD_SOCKET": "", "FILTERD_CONFIG": str(file)}
    env.pop("FILTERD_BUNDLE", None)

    def filterd(*arguments: str, given: bytes = b"", status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "filterd", *arguments],
            input=given,
            env=env,
            capture_output=True,
            check=False,
        )
        assert done.returncode == status, done.stderr.decode()
        return done.stdout.decode()

    return filterd


@pytest.mark.parametrize(("kind", "raw"), [("--mail", MAIL), ("--sms", SMS)])
def test_a_correction_counts_at_once_and_no_longer_when_forgotten(run: Run, kind: str, raw: bytes) -> None:
    def label(*options: str) -> str:
        return run("check", kind, *options, given=raw).split()[0]

    assert label() == "ham"
    run("learn", "--spam", kind, given=raw)
    said = json.loads(run("check", "--json", kind, given=raw))
    assert said["label"] == "spam" and "MEMORY" in said["tests"]
    explained = json.loads(run("explain", "--json", kind, given=raw))
    assert explained["label"] == "spam" and explained["probability"] == said["probability"]
    assert label("--bundle", str(bundle.DEFAULT)) == "spam"  # another bundle, the same corrections
    run("forget", kind, given=raw)
    assert label() == "ham"


def test_the_bundle_in_use_judges(run: Run, tmp_path: Path) -> None:
    made = strict(tmp_path / "made")
    run("bundle", "use", str(made.path))
    said = json.loads(run("check", "--json", given=MAIL))
    assert (said["label"], said["model"]) == ("spam", made.id)
    assert json.loads(run("explain", "--json", given=MAIL))["model"] == made.id
    assert f"* {made.id}" in " ".join(run("bundle", "list").split())
    (tmp_path / "Maildir" / "cur").mkdir(parents=True)
    (tmp_path / "Maildir" / "new").mkdir()
    (tmp_path / "Maildir" / "cur" / "1:2,S").write_bytes(MAIL)
    swept = run("sweep", str(tmp_path / "Maildir"), "--dry-run", "--state", str(tmp_path / "journal"))
    assert swept.startswith("spam")
    run("bundle", "rollback")
    assert json.loads(run("check", "--json", given=MAIL))["label"] == "ham"


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["explain", "--json"],
        ["feedback", "stats"],
        ["feedback", "list"],
        ["feedback", "export"],
        ["bundle", "list"],
        ["bundle", "verify"],
        ["config", "check"],
    ],
    ids=" ".join,
)
def test_who_only_reads_creates_nothing(run: Run, tmp_path: Path, command: list[str]) -> None:
    run(*command, given=MAIL)
    assert [one.name for one in tmp_path.iterdir()] == ["filterd.yaml"]


def test_stats_of_no_store_are_zeros(run: Run) -> None:
    assert "total            0\n" in run("feedback", "stats")


def config(folder: Path, **sections: object) -> Config:
    return Config(state=str(folder), **sections)  # type: ignore[arg-type]


def test_as_configured(tmp_path: Path) -> None:
    made = strict(tmp_path / "made")
    fixed = config(tmp_path / "state", model=Model(bundle=str(made.path), fast_path=False))
    engine = judge.open_judge(fixed, tell=pytest.fail)
    assert engine.bundle.id == made.id and engine.fast_path is None
    engine = judge.open_judge(fixed, bundle.DEFAULT, tell=pytest.fail)
    assert engine.bundle.id == bundle.read(bundle.DEFAULT).id
    shipped = bundle.read(bundle.DEFAULT).manifest
    assert judge.open_engine(config(tmp_path)).fast_path == shipped.fast_path
    with pytest.raises(BundleError):
        judge.open_judge(fixed, tmp_path, tell=pytest.fail)


def test_without_a_memory_where_it_is_turned_off(tmp_path: Path) -> None:
    taught(tmp_path)
    off = config(tmp_path, feedback=Feedback(memory=False))
    assert judge.open_judge(off, tell=pytest.fail).judge([Message(MAIL)])[0].label is Label.HAM


def test_a_damaged_store_is_told_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "feedback.sqlite").write_bytes(b"no database" * 100)
    told: list[str] = []
    assert judge.open_judge(config(tmp_path), tell=told.append).judge([Message(MAIL)])[0].label is Label.HAM
    assert told == [
        f"{tmp_path / 'feedback.sqlite'}: no SQLite database; move it away or name another file;"
        " judged without corrections"
    ]


def test_what_this_user_may_not_read_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("FILTERD_CONFIG", str(tmp_path / "filterd.yaml"))
    (tmp_path / "filterd.yaml").write_text("state: [")
    told: list[str] = []
    assert judge.configuration(told.append) == Config()
    assert judge.open_judge(config(tmp_path), tell=told.append).bundle.path == bundle.DEFAULT
    assert [line.split(";")[0] for line in told] == [
        f"{tmp_path / 'filterd.yaml'}: may not be read by this user",
        f"{tmp_path}: may not be read by this user",
    ]


def taught(folder: Path, *more: bytes) -> Config:
    made = config(folder)
    learner = Learner.open(made)
    for raw in (MAIL, *more):
        learner.learn(Message(raw, kind=Kind.MAIL), Label.SPAM)
    learner.close()
    return made


def test_the_saved_memory_is_enough_where_it_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taught(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("filterd.corrections.store.Store.existing", lambda _: pytest.fail("was opened"))
        assert len(recall.recall(made)) == 1
    old = (tmp_path / recall.MEMORY_FILE).read_bytes()
    taught(tmp_path, b"Subject: another\n\none of them\n")
    (tmp_path / recall.MEMORY_FILE).write_bytes(old)  # as after a daemon that was killed
    assert len(recall.recall(made)) == 2
    (tmp_path / recall.MEMORY_FILE).unlink()
    before = sorted(one.name for one in tmp_path.iterdir())
    assert len(recall.recall(made)) == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/f.sqlite", Path("/var/f.sqlite")),
        ("sqlite:///f.sqlite", Path("f.sqlite")),
        ("f.sqlite", Path("f.sqlite")),
        ("sqlite:///f.sqlite?mode=ro", None),
        ("postgresql://host/db", None),
    ],
)
def test_which_file_a_url_names(url: str, file: Path | None) -> None:
    assert recall.sqlite_file(url) == file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_that_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    taught(tmp_path)
    made = (tmp_path / "feedback.sqlite").stat()
    assert (made.st_uid, made.st_gid) == (4711, 4712)

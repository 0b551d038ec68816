"""Maildir: folders of either layout, names, filing and rewriting."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import ConfigError, NotFound
from filterd.mailboxes import maildir
from filterd.mailboxes.maildir import Folder, MailFile
from tests.filterd.mailboxes.made import mail, put


def only(folder: Path) -> MailFile:
    [found] = maildir.mails(Folder("INBOX", folder))
    return found


def test_folders_of_both_layouts(tmp_path: Path) -> None:
    for name in ("", ".Work", ".Work.Old", "Lists", "Lists/python"):
        put(tmp_path / name, 1)
    (tmp_path / "cur" / ".Hidden" / "cur").mkdir(parents=True)
    (tmp_path / ".Link").symlink_to(tmp_path / ".Work")
    found = [one.name for one in maildir.folders(tmp_path)]
    assert found == ["INBOX", "Work", "Work.Old", "Lists", "Lists/python"]


def test_what_is_no_maildir(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no cur and new"):
        maildir.folders(tmp_path)
    with pytest.raises(NotFound, match="No such file"):
        maildir.folders(tmp_path / "none")


def test_mails_in_the_order_of_their_arrival_and_no_links(tmp_path: Path) -> None:
    put(tmp_path, 3)
    put(tmp_path, 1, sub="new")
    put(tmp_path, 2)
    (tmp_path / "cur" / "17.link.host:2,").symlink_to("/etc/passwd")
    (tmp_path / "cur" / ".nfs0001").write_bytes(b"")
    found = maildir.mails(Folder("INBOX", tmp_path))
    assert [(one.sub, one.flags, one.file[9]) for one in found] == [
        ("new", "", "1"),
        ("cur", "RS", "2"),
        ("cur", "RS", "3"),
    ]
    with pytest.raises(OSError, match="symbolic links"):
        MailFile(tmp_path, "cur", "17.link.host:2,").read(10)


@pytest.mark.parametrize("sub", ["cur", "new"])
def test_moving_keeps_all_but_the_folder(tmp_path: Path, sub: str) -> None:
    before = put(tmp_path, 1, sub=sub)
    content, info = before.read_bytes(), before.stat()
    maildir.make(tmp_path / ".Junk")
    moved = maildir.move(only(tmp_path), tmp_path / ".Junk")
    assert moved.path == tmp_path / ".Junk" / sub / before.name
    assert (moved.path.read_bytes(), moved.path.stat().st_ino) == (content, info.st_ino)
    assert not before.exists()


def test_moving_replaces_nothing(tmp_path: Path) -> None:
    put(tmp_path, 1)
    there = put(tmp_path / ".Junk", 1)
    there.write_bytes(b"another mail")
    moved = maildir.move(only(tmp_path), tmp_path / ".Junk")
    assert there.read_bytes() == b"another mail"
    assert moved.path.read_bytes() == mail(1)
    assert moved.file.startswith("1700000001.R")
    assert moved.file.endswith(f".host,S={len(mail(1))},W={len(mail(1)) + 6}:2,RS")


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        pytest.param("1700000001.M1P7.host,S={},W={}:2,FRS", ",S={},W={}", id="Dovecot"),
        pytest.param("1700000001.M1P7.host,W={1},S={0}:2,FRS", ",W={1},S={0}", id="the other way round"),
        pytest.param("1700000001.V801I2.host:2,FRS", "", id="no hints"),
        pytest.param("odd:2,FRS", "", id="no time"),
    ],
)
def test_rewriting_keeps_flags_times_and_mode(tmp_path: Path, name: str, hints: str) -> None:
    raw = mail(1, line_end=b"\n")
    before = put(tmp_path, 1).rename(tmp_path / "cur" / name.format(len(raw), len(raw) + 6))
    info = before.stat()
    changed = maildir.rewrite(only(tmp_path), lambda head: b"X-Spam-Flag: YES\n" + head, head_bytes=40)
    after = changed.path.stat()
    assert changed.path.read_bytes() == b"X-Spam-Flag: YES\n" + raw
    assert (after.st_mtime_ns, after.st_mode, after.st_uid) == (info.st_mtime_ns, info.st_mode, info.st_uid)
    assert changed.flags == "FRS"
    assert changed.unique.endswith(hints.format(len(raw) + 17, len(raw) + 17 + 7))
    assert changed.unique != name.partition(":")[0]
    assert changed.file.startswith("1700000001.R")
    assert only(tmp_path) == changed
    assert not list((tmp_path / "tmp").iterdir())


def test_rewriting_what_has_another_name_by_now_leaves_it_alone(tmp_path: Path) -> None:
    path = put(tmp_path, 1)
    old = only(tmp_path)
    path.rename(path.with_name(path.name + "T"))
    with pytest.raises(FileNotFoundError):
        maildir.rewrite(old, lambda head: b"x" + head, 100)
    assert only(tmp_path).read(1000) == mail(1)
    assert not list((tmp_path / "tmp").iterdir())
    assert maildir.following(old, lambda one: (one.read(1), one.flags)) == (b"F", "RST")


def test_flags_changed_between_reading_and_rewriting(tmp_path: Path) -> None:
    path = put(tmp_path, 1)

    def change(head: bytes) -> bytes:
        if path.exists():
            path.rename(path.with_name(path.name.replace(":2,RS", ":2,FRS")))
        return b"X-Spam-Flag: YES\n" + head

    changed = maildir.following(only(tmp_path), lambda one: maildir.rewrite(one, change, 1000))
    assert changed == only(tmp_path)
    assert changed
    assert (changed.flags, changed.read(4)) == ("FRS", b"X-Sp")


def test_following_ends(tmp_path: Path) -> None:
    path = put(tmp_path, 1)
    old = only(tmp_path)

    def never(_: MailFile) -> None:
        raise FileNotFoundError

    with pytest.raises(OSError, match="all the time"):
        maildir.following(old, never)
    path.unlink()
    assert maildir.following(old, never) is None


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"ab"]), max_size=30), st.integers(1, 5))
def test_sizes_are_those_of_imap(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], step: int
) -> None:
    raw = b"".join(parts)
    path = tmp_path_factory.mktemp("sizes") / "x"
    path.write_bytes(raw)
    before, maildir.COPY_BYTES = maildir.COPY_BYTES, step
    try:
        sizes = maildir._sizes(path)
    finally:
        maildir.COPY_BYTES = before
    assert sizes == (len(raw), len(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")))


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        pytest.param([], "Junk", ".Junk", id="Maildir++ by default"),
        pytest.param([], ".Junk", ".Junk", id="with its point"),
        pytest.param([".Work"], "Junk", ".Junk", id="as the others"),
        pytest.param(["Work"], "Junk", "Junk", id="nested as the others"),
        pytest.param(["Junk", ".Work"], "Junk", "Junk", id="the one that is there"),
        pytest.param(["Work", ".Junk"], "Junk", ".Junk", id="the one that is there, with a point"),
    ],
)
def test_where_a_folder_is(tmp_path: Path, there: list[str], name: str, expected: str) -> None:
    for folder in ["", *there]:
        put(tmp_path / folder, 1)
    assert maildir.subfolder(tmp_path, name) == tmp_path / expected


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "Müll", "a\nb", "\0"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no folder's name"):
        maildir.subfolder(tmp_path, name)


def test_a_folder_of_a_maildir_has_none_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path / ".Work", 1)
    with pytest.raises(ConfigError, match="--folder Work"):
        maildir.subfolder(tmp_path / ".Work", "Junk")


def test_a_new_folder_is_like_the_others(tmp_path: Path) -> None:
    root = tmp_path / "Maildir"
    put(root, 1)
    root.chmod(0o2770)
    maildir.make(root / ".Junk")
    maildir.make(root / ".Junk")
    assert sorted(path.name for path in (root / ".Junk").iterdir()) == ["cur", "maildirfolder", "new", "tmp"]
    assert {(root / ".Junk" / sub).stat().st_mode & 0o777 for sub in ("", "cur", "new", "tmp")} == {0o770}

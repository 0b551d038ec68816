"""Stored messages in all their forms."""

import csv
import gzip
import json
import lzma
from pathlib import Path

import pytest

from filterd.api import Kind
from filterd.errors import BadInput, NotFound
from filterd_trainer.bulk import inputs
from filterd_trainer.bulk.inputs import BulkMessage

MAIL = b"From: ann@example.org\nSubject: lunch\n\nat noon?\n"


def contents(*paths: Path) -> list[tuple[str, bytes, Kind | None]]:
    return [(one.id.rsplit("/", 1)[-1], one.raw, one.kind) for one in inputs.read(paths)]


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["ID", "Text"], ["x", "hi, there\nyou"], ["", "two"]])
    assert contents(file) == [("x", b"hi, there\nyou", Kind.SMS), ("a.csv:3", b"two", Kind.SMS)]


@pytest.mark.parametrize(
    ("name", "opened"), [("a.jsonl", open), ("a.jsonl.gz", gzip.open), ("a.jsonl.xz", lzma.open)]
)
def test_json_lines(tmp_path: Path, name: str, opened) -> None:  # type: ignore[no-untyped-def]
    rows = [{"mail": MAIL.decode(), "id": 7}, {"text": "hi", "kind": "mail"}, {"other": 1}]
    with opened(tmp_path / name, "wt") as stream:
        stream.write("\n".join(map(json.dumps, rows)) + "\n\nno json\n")
    found = list(inputs.read([tmp_path / name]))
    assert found[0] == BulkMessage("7", MAIL, Kind.MAIL)
    assert (found[1].raw, found[1].kind) == (b"hi", Kind.MAIL)
    assert "none of the columns" in found[2].error and "no JSON" in found[3].error


def test_parquet(tmp_path: Path) -> None:
    pandas, file = pytest.importorskip("pandas"), tmp_path / "a.parquet"
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"id": ["a", "b"], "text": ["hi", "there"]}).to_parquet(file)
    assert contents(file) == [("a", b"hi", Kind.SMS), ("b", b"there", Kind.SMS)]
    file.write_bytes(b"no parquet")
    with pytest.raises(BadInput, match="parquet"):
        list(inputs.read([file]))


def test_mailboxes_and_folders(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(b"From a\n" + MAIL + b"\nFrom b\n" + MAIL)
    for sub in ("cur", "new", "tmp"):
        (tmp_path / "Maildir" / sub).mkdir(parents=True)
    (tmp_path / "Maildir/cur/1.M1.host:2,S").write_bytes(gzip.compress(MAIL))
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/b.eml").write_bytes(MAIL)
    (tmp_path / "folder/a.txt").write_bytes(b"hi")
    names = [name for name, _, _ in contents(*(tmp_path / one for one in ("box", "Maildir", "folder")))]
    assert names == ["box:0", "box:55", "1.M1.host", "a.txt", "b.eml"] or names[2:] == [
        "1.M1.host",
        "a.txt",
        "b.eml",
    ]
    assert [raw for _, raw, _ in contents(tmp_path / "Maildir")] == [MAIL]
    with pytest.raises(NotFound):
        list(inputs.read([tmp_path / "none"]))

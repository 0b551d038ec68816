import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd.errors import BadInput, FilterdError, NotFound
from filterd_trainer.data import sources, tables
from filterd_trainer.data.sources import ReadingLosses, Source

MAIL = b"From: a@example.org\nSubject: Roof\n\nThe roof is done.\n"
WIN = b"From: b@example.org\nSubject: Prize\n\nYou won \xa3100.\n"


def read(path: Path, **options: Any) -> tuple[list[tuple[str, bytes]], ReadingLosses]:
    losses = ReadingLosses()
    found = sources.read(Source(path, "test", **options), losses)
    return [(message.label, message.raw) for message in found], losses


def file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
}
EXPECTED = [("ham", b"see you at noon"), ("spam", b"win, now")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.tsv", "ham\tsee you at noon\nspam\twin, now\n", id="tsv"),
        pytest.param("a.tsv", "ham\tsee you at noon\r\nspam\twin, now", id="tsv-crlf-no-last-newline"),
        pytest.param("SMSSpamCollection", "ham\tsee you at noon\nspam\twin, now\n", id="uci-by-content"),
        pytest.param("a.tsv", "Label\tText\nham\tsee you at noon\nspam\twin, now\n", id="tsv-header"),
        pytest.param("a.csv", 'label,text\nham,see you at noon\nspam,"win, now"\n', id="csv"),
        pytest.param("a.csv", 'ham,see you at noon\nspam,"win, now"\n', id="csv-no-header"),
        pytest.param(
            "a.csv", '\ufeffv1,v2,,,\nham,see you at noon,,,\nspam,"win, now",,,\n', id="kaggle-bom"
        ),
        pytest.param(
            "a.csv", 'id,Message,Category\n1,see you at noon,ham\n2,"win, now",spam\n', id="csv-order"
        ),
        pytest.param(
            "a.jsonl",
            '{"label": "ham", "text": "see you at noon"}\n{"text": "win, now", "label": "spam", "x": 1}\n',
            id="jsonl",
        ),
        pytest.param(
            "a", '{"class":"ham","sms":"see you at noon"}\n{"class":"spam","sms":"win, now"}', id="json"
        ),
    ],
)
@pytest.mark.parametrize("packed", PACKERS)
def test_tables(tmp_path: Path, name: str, content: str, packed: str) -> None:
    found, losses = read(file(tmp_path, name + packed, PACKERS[packed](content.encode())))
    assert found == EXPECTED
    assert not losses.counts


def test_columns_can_be_named_and_labels_renamed(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", 'text,kind of,what\nno,0,see you at noon\nno,1,"win, now"\n')
    rename = {"0": "ham", "1": "spam"}
    assert read(path, label_column="Kind of", text_column="what", rename=rename)[0] == EXPECTED
    path = file(tmp_path, "a.jsonl", '{"y": false, "t": "see you at noon"}\n{"y": 1, "t": "win, now"}\n')
    assert read(path, label_column="y", text_column="t", rename=rename)[0] == EXPECTED


FINE = '{"label":"h","text":"a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "lost"),
    [
        pytest.param("a.tsv", "h\ta\nspam\n", {"row without label or text": 1}, id="tsv-short"),
        pytest.param("a.tsv", "h\ta\n\n\tx\n", {"empty line": 1, "no label": 1}, id="tsv-empty"),
        pytest.param("a.tsv", "h\ta\nh\t \n", {"no text": 1}, id="tsv-no-text"),
        pytest.param("a.jsonl", FINE + "{]\n[]\n", {"not JSON": 1, "not a JSON object": 1}, id="json"),
        pytest.param("a.jsonl", FINE + '{"text":"b"}\n', {"no label": 1}, id="json-no-label"),
        pytest.param("a.jsonl", FINE + '{"label":"h","text":7}\n', {"no text": 1}, id="json-no-text"),
        pytest.param("a.jsonl", FINE + "[" * 100_000, {"not JSON": 1}, id="json-deep"),
    ],
)
def test_rows_that_cannot_be_used_are_counted_and_named(
    tmp_path: Path, name: str, content: str, lost: dict[str, int]
) -> None:
    path = file(tmp_path, name, content)
    found, losses = read(path)
    assert found
    assert losses.counts == lost
    for places in losses.places.values():
        assert all(place.startswith(f"{path}:") for place in places)


def test_only_a_few_places_are_named(tmp_path: Path) -> None:
    _, losses = read(file(tmp_path, "a.tsv", "ham\ta\n" + "\n" * 50))
    assert losses.counts["empty line"] == 50
    assert losses.places["empty line"] == [
        f"{tmp_path / 'a.tsv'}:{n}" for n in range(2, 2 + sources.MAX_PLACES)
    ]


def test_what_is_not_utf8_is_read_as_windows_1252(tmp_path: Path) -> None:
    found, losses = read(file(tmp_path, "a.csv", b"label,text\nspam,win \xa3100\n"))
    assert found == [("spam", "win £100".encode())]
    assert losses.counts == {"not UTF-8, read as Windows-1252": 1}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.csv", "", "empty", id="empty"),
        pytest.param("a.csv", "hello\nworld\n", "one column", id="one-column"),
        pytest.param("a.bin", b"\x00\x01\x02", "--format", id="unknown"),
        pytest.param("a.zip", b"PK\x03\x04", "unpack it", id="zip"),
        pytest.param("a.tsv.xz", b"ham\tno xz\n", "damaged", id="not-xz"),
        pytest.param("a.tsv.gz", gzip.compress(b"ham\ta\n" * 99)[:-9], "damaged", id="cut-gz"),
        pytest.param("a.tar", b"no tar" * 200, "damaged", id="not-tar"),
        pytest.param("a.mbox", b"Subject: x\n\nno mbox", "From ", id="not-mbox"),
        pytest.param("a.eml", MAIL, "folder", id="one-mail"),
    ],
)
def test_bad_inputs_are_one_line(tmp_path: Path, name: str, content: bytes | str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read(file(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_wrong_column_is_said_with_those_there_are(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "label,words\nham,a\n")
    with pytest.raises(BadInput, match="no column 'body' among label, words; use --text-column"):
        read(path, text_column="body")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        read(tmp_path / "absent")
    with pytest.raises(NotFound, match="absent"):
        read(tmp_path / "absent", format="csv")


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_MESSAGE", 10)
    found, losses = read(file(tmp_path, "a.tsv", "ham\t" + "x" * 20 + "\n"))
    assert found == [("ham", b"x" * 10)]
    assert losses.counts == {"cut to its first 0 MB": 1}
    monkeypatch.setattr(tables, "MAX_INPUT", 30)
    with pytest.raises(BadInput, match=r"a\.tsv:2: over"):
        read(file(tmp_path, "a.tsv", "ham\txxxxxxxxxxxxxxxxx\n" * 3))
    assert read(file(tmp_path, "f/ham/1", b"y" * 99).parent)[0] == [("ham", b"y" * 10)]


# -- folders and archives --------------------------------------------------------------------------------

LAYOUTS = {
    "plain": {"ham/1.eml": MAIL, "spam/1.eml": WIN},
    "spamassassin": {"data/easy-ham-1/1": MAIL, "data/spam-2/1": WIN},
    "older-spamassassin": {"hard_ham/1": MAIL, "spam_2/1": WIN},
    "enron": {"enron1/Summary.txt": b"about", "enron1/ham/1.txt": MAIL, "enron2/spam/1.txt": WIN},
    "maildirs": {
        "ham/cur/1:2,S": MAIL,
        "ham/dovecot-uidlist": b"3",
        "spam/new/2": WIN,
        "spam/tmp/3": b"half",
    },
    "maildir-plus-plus": {".ham/cur/1": MAIL, ".spam/cur/2": WIN, ".spam/cur/.nfs": b"x"},
}


def tarred(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["folder", "tar", "tar.xz"])
def test_a_folder_a_label(tmp_path: Path, layout: str, form: str) -> None:
    files = LAYOUTS[layout]
    if form == "folder":
        for name, content in files.items():
            path = file(tmp_path / "mails", name, content).parents[len(Path(name).parts) - 1]
    else:
        path = tarred(tmp_path / f"mails.{form}", files, "w:xz" if form.endswith("xz") else "w")
    found, losses = read(path)
    assert found == [("ham", MAIL), ("spam", WIN)]
    assert losses.counts.total() == len(files) - 2, "every other file is accounted for"


def test_names_in_an_archive_write_nothing(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {"../../ham/x": MAIL, "/etc/spam/y": WIN}, "w")
    assert read(path)[0] == [("ham", MAIL), ("spam", WIN)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_one_folder_alone_is_one_label(tmp_path: Path) -> None:
    path = file(tmp_path, "junk/1", WIN).parent
    assert read(path, rename={"junk": "spam"})[0] == [("spam", WIN)]
    path = file(tmp_path, "Work/cur/1", MAIL).parents[1]
    assert read(path)[0] == [("Work", MAIL)]


def test_an_empty_file_is_counted(tmp_path: Path) -> None:
    file(tmp_path, "in/ham/1", b" \n")
    assert read(tmp_path / "in")[1].counts == {"empty file": 1}


@pytest.mark.parametrize("name", ["junk.mbox", "junk", "junk.mbox.xz"])
def test_mbox(tmp_path: Path, name: str) -> None:
    box = b"From a Mon\n" + MAIL + b"From here on it is one mail\n\nFrom b Tue\n" + WIN + b"\n"
    path = file(tmp_path, name, lzma.compress(box) if name.endswith("xz") else box)
    found, losses = read(path, rename={"junk": "spam"})
    assert found == [("spam", MAIL + b"From here on it is one mail\n\n"), ("spam", WIN + b"\n")]
    assert not losses.counts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("a/b.tar.xz", ("", "a/b.tar.xz"), id="path"),
        pytest.param("enron=a/b.tar.xz", ("enron", "a/b.tar.xz"), id="named"),
        pytest.param("a/x=1.csv", ("", "a/x=1.csv"), id="equals-in-a-path"),
    ],
)
def test_inputs_can_be_named(given: str, expected: tuple[str, str]) -> None:
    name, path = sources.located(given)
    assert (name, str(path)) == expected


def test_an_input_is_called_after_its_file() -> None:
    assert sources.called(Path("a/email_enron.tar.xz")) == "email_enron"
    assert sources.called(Path("a/.Junk")) == "Junk"


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300), form=st.sampled_from(sources.FORMATS))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, form: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        read(path, format=form)
    except FilterdError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"label": st.sampled_from(["ham", "spam"]), "text": st.text().filter(lambda t: bool(t.strip()))}
        )
    )
)
def test_jsonl_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, losses = read(path)
    assert found == [(row["label"], row["text"].encode("utf-8", "replace")) for row in rows]
    assert not losses.counts

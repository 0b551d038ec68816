"""Tables as people have them: encodings, delimiters, headers and none, and rows that swallow others."""

import base64
import codecs
import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd.errors import BadInput, ConfigError
from filterd_trainer.data import prepare, sources, tables
from filterd_trainer.data.sources import ReadingLosses, Source
from filterd_trainer.data.tables import TableForm
from filterd_trainer.tasks.task import spelling

ROWS = [("ham", "see you at noon"), ("spam", "win, now; tomorrow"), ("ham", "ok"), ("spam", "claim: £9")]
MAIL = "From: a@example.org\nSubject: Roof\n\nThe roof is done.\n"


def read(path: Path, **options: Any) -> tuple[list[tuple[str, str]], ReadingLosses]:
    losses = ReadingLosses()
    found = sources.read(Source(path, "test", **options), losses)
    return [(message.label, message.raw.decode()) for message in found], losses


def table(delimiter: str = ",", header: tuple[str, ...] = ("label", "text"), rows: Any = ROWS) -> str:
    made = io.StringIO()
    writer = csv.writer(made, delimiter=delimiter)
    writer.writerows([header] if header else [])
    writer.writerows(rows)
    return made.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [("label", "text"), ()])
def test_encoding_and_delimiter_are_found_and_said(
    tmp_path: Path, encoding: str, delimiter: str, header: tuple[str, ...]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(table(delimiter, header).encode(encoding))
    found, losses = read(path)
    assert found == ROWS
    assert not losses.counts
    said = losses.read[0].removeprefix(f"{path}: ")
    assert (delimiter == ",") is ("delimiter" not in said)
    assert encoding.startswith("utf-8") is ("encoding utf-16" not in said)
    assert ("no header: labels in column 1" if not header else "labels in 'label', texts in 'text'") in said


def test_they_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("label~text\nham~a, b\nspam~£9\n".encode("cp1252"))
    found, losses = read(path, delimiter="~", encoding="cp1252")
    assert found == [("ham", "a, b"), ("spam", "£9")]
    assert losses.read == [f"{path}: delimiter '~', encoding cp1252, labels in 'label', texts in 'text'"]
    for options in ({"delimiter": "ab"}, {"encoding": "klingon"}, {"encoding": "base64"}, {"delimiter": '"'}):
        with pytest.raises(ConfigError, match=f"--{next(iter(options))} "):
            read(path, **options)


@pytest.mark.parametrize("at", [0, 3, 19])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_quotation_mark_that_is_not_closed_is_said(tmp_path: Path, at: int, end: str) -> None:
    lines = [f"{('ham', 'spam')[i % 2]},message {i}" for i in range(20)]
    lines[at] = lines[at].replace("message", '"message')
    path = tmp_path / "a.csv"
    path.write_text("label,text\n" + "\n".join(lines) + end)
    found, losses = read(path)
    assert len(found) + losses.counts.total() == 20
    if at < 19:
        assert losses.counts == {"row lost to a quotation mark that is not closed": 20 - at}
        assert losses.places.popitem()[1] == [f"{path}:{at + 2}"]


def test_two_that_close_each_other_are_said_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('ham,ok\nspam,"one\nham,two\nspam,three\nham,"four\nspam,five\nham,six\n')
    found, losses = read(path)
    assert found == [("ham", "ok"), ("spam", "five"), ("ham", "six")]
    assert losses.counts.total() == 4


def test_mails_with_lines_and_quotes_lose_nothing(tmp_path: Path) -> None:
    body = 'Dear "all",\nspam, ham, eggs\n\nas said, "see you"\nyours\nme'
    path = tmp_path / "a.csv"
    path.write_text(table(rows=[("ham", body), ("spam", body + "!"), ("ham", "ok")]))
    found, losses = read(path)
    assert [text for _, text in found] == [body, body + "!", "ok"]
    assert not losses.counts


def test_a_long_line_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 60)
    for name, long in (("a.csv", "ham," + "x" * 200), ("a.tsv", "ham\t" + "x" * 60)):
        path = tmp_path / name
        mark = "\t" if name.endswith("tsv") else ","
        path.write_text(f"ham{mark}a\n{long}\nspam{mark}b\n")
        found, losses = read(path)
        assert found == [("ham", "a"), ("spam", "b")]
        assert losses.places == {"line over 0 MB": [f"{path}:2"]}
    path = tmp_path / "b.csv"
    path.write_text('ham,a\nham,"' + "x\n" * 60 + '"\nspam,b\n')
    found, losses = read(path)
    assert found == [("ham", "a")]
    assert any(reason.startswith("field over") for reason in losses.counts)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("\n".join(f"text {i},ham" for i in range(9)), "holds no labels", id="other-order"),
        pytest.param("kind,words\n" + "ham,a\nspam,b\n" * 3, "unknown header", id="unknown-header"),
        pytest.param("label,words\nham,a\n", "--text-column", id="half-a-header"),
    ],
)
def test_a_header_is_not_guessed_from_data(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content + "\n")
    if says == "--text-column":
        with pytest.raises(BadInput, match=says):
            read(path, label_column="label")
        return
    with pytest.raises(BadInput, match=says):
        read(path)


def test_columns_have_numbers_where_they_have_no_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(f'"{text}",x,{label}\n' for label, text in ROWS))
    assert read(path, label_column="3", text_column="1")[0] == ROWS
    with pytest.raises(BadInput, match="no column '4'"):
        read(path, label_column="4", text_column="1")
    spam_first = ROWS[1:] + ROWS[:1]  # `spam` is a usual name of the column, too
    path.write_text("".join(f'"{text}",x,{label}\n' for label, text in spam_first))
    assert read(path, label_column="3", text_column="1")[0] == spam_first


def test_columns_with_numbers_and_a_header_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Kategorie,Inhalt\n" + "".join(f'{label},"{text}"\n' for label, text in ROWS))
    with pytest.raises(BadInput, match="'Kategorie', …, looks like an unknown header"):
        read(path, label_column="1", text_column="2")


def test_a_mark_of_byte_order_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + table().encode("utf-16-le"))
    assert read(path, encoding="utf-16-le")[0] == ROWS


def test_labels_are_one_whatever_their_case(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    drawn = random.Random(1)
    words = ["".join(drawn.choices("abcdefghij", k=6)) for _ in range(400)]
    labels = ["Ham", "HAM", "ham ", "SPAM"] * 30
    rows = [(label, " ".join(drawn.sample(words, 6))) for label in labels]
    path.write_text(table(rows=rows))
    dataset, losses = prepare.prepare(prepare.PrepareRequest(inputs=[str(path)], out=tmp_path / "out"))
    assert dataset.labels == ("ham", "spam") and dataset.ham == ("ham",)
    assert "label 'HAM' is 'ham': labels compare without case" in losses.read


def test_other_classes_are_spelled_as_most_are() -> None:
    ours = spelling(["SPORTS", "Sports", "Sports", "Ham"], print)
    assert ours == {"SPORTS": "Sports", "Sports": "Sports", "Ham": "ham"}


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    labels, texts = zip(*ROWS, strict=True)
    parquet.write_table(pa.table({"Label": labels, "Text": texts}), path)
    assert read(path)[0] == ROWS
    bare = tmp_path / "without-suffix"
    path.rename(bare)
    assert read(bare)[0] == ROWS
    parquet.write_table(pa.table({"label": ["ham"], "raw": [MAIL.encode()]}), path)
    assert read(path)[0] == [("ham", MAIL)]
    both = pa.table({"label": ["ham", "spam"], "raw": [MAIL.encode(), None], "text": [None, "win"]})
    parquet.write_table(both, path)
    assert read(path)[0] == [("ham", MAIL), ("spam", "win")]
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(BadInput, match=r"a\.parquet") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [MAIL, base64.b64encode(MAIL.encode()).decode()])
def test_raw_mails_in_json_lines(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"label": "ham", "raw": raw}) + "\n")
    assert read(path)[0] == [("ham", MAIL)]


@settings(max_examples=100, deadline=None)
@given(head=st.binary(max_size=200), kind=st.sampled_from(["csv", "tsv"]))
def test_any_beginning_has_a_form(head: bytes, kind: str) -> None:
    found = tables.form(Path("x"), head, kind)
    assert found.encoding in {"utf-8", "utf-16", "utf-16-le", "utf-16-be"} and len(found.delimiter) == 1


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).map(lambda t: f"a{t}"), min_size=2))
def test_what_csv_writes_is_read_back(texts: list[str]) -> None:
    rows = [("ham", text.replace("\0", "")) for text in texts]
    stream = io.BytesIO(table(rows=rows).encode())
    lost: list[str] = []
    numbered = tables.lines(stream, Path("x"), "utf-8", lambda reason, line: lost.append(reason))
    found = [
        row.cells for row in tables.rows(numbered, TableForm(), lambda reason, line: lost.append(reason))
    ]
    assert found == [["label", "text"], *map(list, rows)]
    assert not lost

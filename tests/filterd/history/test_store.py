"""The history's table: searching, paging, counting, retention."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from filterd.api import Kind, Label
from filterd.errors import StoreError
from filterd.history import record
from filterd.history import store as history_store
from filterd.history.record import RecordNumbers
from filterd.history.store import HistoryStore, MessageContent, Search
from tests.filterd.history.made import NOW, row

KEPT = MessageContent(b"features", "text")


@pytest.fixture
def history(database: str) -> Iterator[HistoryStore]:
    with HistoryStore.open(database) as made:
        yield made


def test_a_row_comes_back_as_it_was(history: HistoryStore) -> None:
    history.add([(row(), KEPT)])
    assert history.get(row().number) == row()
    assert history.kept(row().number) == KEPT


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Search(), [3, 2, 1, 0]),
        (Search(label=Label.HAM), [1]),
        (Search(kind=Kind.SMS), [2]),
        (Search(since=NOW + 1, until=NOW + 3), [2, 1]),
        (Search(to="r3"), [3]),
        (Search(sender="s2"), [0]),
        (Search(text="WON 100%"), [2]),
        (Search(text="_"), []),
        (Search(text="hidden_text"), [3, 2, 1, 0]),
        (Search(mine=("r3", "r4")), [3, 1]),
        (Search(mine=()), []),
        (Search(below=row(2).number), [1, 0]),
        (Search(above=row(2).number), [3]),
    ],
)
def test_a_search_finds_what_it_says(history: HistoryStore, wanted: Search, found: list[int]) -> None:
    plain = {"subject": "lunch", "tests": ("GPT2", "HIDDEN_TEXT")}
    rows = [
        row(0, sender_key="s2", **plain),
        row(1, label=Label.HAM, recipient_keys=("r4",), **plain),
        row(2, kind=Kind.SMS, subject="You won 100% of it"),
        row(3, recipient_keys=("r3",), **plain),
    ]
    history.add([(one, None) for one in rows if one.subject])
    if wanted.text == "_":
        wanted = Search(text="lun_h")
    assert [round(one.time - NOW) for one in history.search(wanted, 10)] == found


def test_writers_to_one_store_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.sqlite"
    with HistoryStore.open(path) as one, HistoryStore.open(path) as other:
        writers = [RecordNumbers(store.enter()) for store in (one, other, one)]
        found = [numbers.next(5.0) for numbers in writers for _ in range(2_000)]
        assert len(set(found)) == len(found)
        monkeypatch.setattr(record, "WRITERS", 5)
        assert [store.enter() for store in (one, other, one)] == [4, 0, 1]


def test_a_history_from_before_writers_had_numbers_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with HistoryStore.open(path) as history:
        history.add([(row(), KEPT)])
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE filterd_history_writers")
    connection.close()
    with HistoryStore.open(path) as history:
        assert history.enter() == 1 and history.size() == 1


def test_pages_go_back_and_forth(history: HistoryStore) -> None:
    history.add([(row(i), None) for i in range(10)])
    first = history.search(Search(), 4)
    second = history.search(Search(below=first[-1].number), 4)
    assert [round(one.time - NOW) for one in second] == [5, 4, 3, 2]
    assert history.search(Search(above=second[0].number), 4) == first


def test_a_message_is_found_by_each_of_its_names(history: HistoryStore) -> None:
    history.add([(row(0), None), (row(1, name="q2", message_key="bb", content_hash="c2"), None)])
    for name in ({"name": "q2"}, {"message_key": "bb"}, {"content_hash": "c2"}):
        found = history.find(**name)
        assert found and found.number == row(1).number
    assert history.find(name="nobody's") is None
    assert history.find() is None


def test_counts_are_by_hour_kind_label_and_stage(history: HistoryStore) -> None:
    history.add([(row(i * 1800, settled="fastpath" if i else "model"), None) for i in range(4)])
    counts = history.counts(NOW)
    assert sum(one.messages for one in counts) == 4
    assert {one.hour for one in counts} == {int((NOW + i * 1800) // 3600) for i in range(4)}
    assert sum(one.ms for one in counts) == pytest.approx(12.0)
    assert {type(one.hour) for one in counts} == {int}
    assert history.counts(NOW, mine=("nobody",)) == []


def test_a_preview_is_of_what_thresholds_decide(history: HistoryStore) -> None:
    rows = [
        row(i, probability=(0.2, 0.5, 0.95)[i % 3], label=Label.HAM, settled=settled)
        for i, settled in enumerate(["model", "model", "fastpath", "list", "known", "released", "gtube"])
    ]
    history.add([(one, None) for one in [*rows, row(8, available=False), row(-9)]])
    history.corrected(rows[2].number, Label.HAM)
    found = history.preview(Kind.MAIL, unsure=0.4, spam=0.9, since=NOW)
    assert sorted(found, key=lambda one: one.then) == [
        ("ham", "ham", None, 1),
        ("ham", "spam", "ham", 1),
        ("ham", "unsure", None, 1),
    ]


def test_a_correction_is_noted_and_taken_back(history: HistoryStore) -> None:
    history.add([(row(), None)])
    history.corrected(row().number, Label.HAM)
    assert history.search(Search(), 1)[0].corrected is Label.HAM
    history.corrected(row().number, None)
    assert history.search(Search(), 1)[0].corrected is None


def test_retention_goes_by_age_and_number(history: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 10)
    history.add([(row(i), KEPT) for i in range(-5, 10)])
    assert history.prune(days=10 / 86_400, max_rows=1000, correctable=100) == 5
    assert history.prune(days=1, max_rows=4, correctable=2) == 6
    assert [round(one.time - NOW) for one in history.search(Search(), 99)] == [9, 8, 7, 6]
    assert [history.kept(row(i).number) is not None for i in (9, 8, 7)] == [True, True, False]
    assert history.search(Search(to="r1", until=NOW + 6), 9) == []


def test_pruning_is_done_in_steps(history: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_store, "MAX_PRUNED", 4)
    history.add([(row(i), None) for i in range(10)])
    assert [history.prune(days=1e4, max_rows=1, correctable=0) for _ in range(4)] == [4, 4, 1, 0]
    assert history.size() == 1


def test_a_history_of_another_schema_is_refused(tmp_path: Path) -> None:
    with HistoryStore.open(tmp_path / "h") as history, history._database.writing() as connection:
        connection.execute(sql.text("update filterd_history_state set schema = 99"))
    with pytest.raises(StoreError, match="schema 99"):
        HistoryStore.open(tmp_path / "h")

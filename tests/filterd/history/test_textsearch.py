"""A search by text finds the same with an index, without one, and while older rows are taken into it."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import StoreError
from filterd.history import textsearch
from filterd.history.record import Record, clean
from filterd.history.store import HistoryStore, Search
from filterd.log import log
from tests.filterd.history.made import NOW, row

SUBJECTS = [
    "You won 100% of it",
    'a "quoted" word',
    "lunch_at AND noon*",
    "Straße, Übung",
    "it's a/b\\c",
    "-",
]
TEXTS = ["WON", "won 100%", '"quoted', "AND noon*", "h_a", "straße", "it's", "a/b\\c", "of", "%", "-", "q4"]
TEXTS += [
    "GPT2",
    "HIDDEN_TEXT",
    "none of them",
    "won\nexample",
    "\x00won",
    "\ud800won",
    "NEAR(won)",
    "x" * 500,
]


def rows() -> list[tuple[Record, None]]:
    return [(row(i, name=f"q{i}", subject=clean(one)), None) for i, one in enumerate(SUBJECTS)]


def found(history: HistoryStore, text: str) -> list[int]:
    return [round(one.time - NOW) for one in history.search(Search(text=text), 100)]


def looked_at(text: str) -> list[int]:
    """What a search finds by going through all rows."""
    wanted = clean(text).lower()
    texts = [
        "\n".join((one.name, one.sender, one.recipients, one.subject, " ".join(one.tests)))
        for one, _ in rows()
    ]
    return [i for i in reversed(range(len(texts))) if wanted in texts[i].lower()]


@pytest.mark.parametrize("indexed", [0, 4, 6])
def test_the_index_finds_what_going_through_all_rows_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: int
) -> None:
    monkeypatch.setattr(textsearch, "AT_ONCE", 2)
    with HistoryStore.open(tmp_path / "history.sqlite") as history:
        history.add(rows())
        assert sum(history.catch_up() for _ in range(indexed // 2)) == indexed
        for text in TEXTS:
            assert found(history, text) == looked_at(text), text
        assert [one.name for one in history.search(Search(text="won", below=row(0).number), 9)] == []


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> HistoryStore:
    history = HistoryStore.open(tmp_path_factory.mktemp("history") / "history.sqlite")
    history.add(rows())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(textsearch, "AT_ONCE", 6)
        assert history.catch_up() == 6
    return history


@given(st.one_of(st.text(), st.sampled_from(SUBJECTS).map(lambda one: one[2:9])))
def test_whatever_is_typed_is_searched_for_as_it_is(full: HistoryStore, text: str) -> None:
    if text.isascii():  # of other letters SQLite without an index knows no upper and lower case
        assert found(full, text) == looked_at(text)
    else:
        found(full, text)


def test_rows_that_go_or_come_late_are_right_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textsearch, "AT_ONCE", 6)
    path = tmp_path / "history.sqlite"
    with HistoryStore.open(path) as history:
        history.add(rows())
        assert history.catch_up() == 6
        assert history.catch_up() == 0
        history.add([(row(0.5, subject="late, but won"), None)])
        assert found(history, "won") == [0, 0]
        history.prune(days=100_000, max_rows=3, correctable=3)
        assert found(history, "won") == found(history, "quoted") == []
        assert found(history, "straße") == [3]
        _check(path)


def _check(path: Path) -> None:
    """SQLite's own check that the index holds together."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO filterd_history_texts(filterd_history_texts) VALUES ('integrity-check')"
        )
    connection.close()


def test_an_older_history_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.sqlite"
    with HistoryStore.open(path) as history:
        history.add(rows())
    with sqlite3.connect(path) as connection:  # as it was before there was an index
        for statement in (
            "DROP TRIGGER filterd_history_added",
            "DROP TRIGGER filterd_history_gone",
            "DROP TABLE filterd_history_texts",
            "DROP TABLE filterd_history_indexed",
            "DROP INDEX filterd_history_by_hour",
            "CREATE INDEX filterd_history_hours ON filterd_history(floor(number / 3600.0))",
        ):
            connection.execute(statement)
    connection.close()
    monkeypatch.setattr(textsearch, "AT_ONCE", 6)
    with HistoryStore.open(path) as history:
        assert found(history, "won") == [0]
        assert history.catch_up() == 6
        assert found(history, "won") == [0] and sum(one.messages for one in history.counts(NOW)) == 6


def test_without_trigrams_everything_is_looked_at_and_nothing_breaks_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.sqlite"
    monkeypatch.setattr(textsearch, "AT_ONCE", 2)
    with HistoryStore.open(path) as history:
        history.add(rows())
        history.catch_up()
    with pytest.MonkeyPatch.context() as patched:  # the same state, by a Python whose SQLite is older
        patched.setattr(textsearch, "_has_fts5", lambda _: False)
        with HistoryStore.open(path) as history:
            assert history.catch_up() == 0 and found(history, "won") == [0]
            history.prune(days=100_000, max_rows=5, correctable=3)
            history.add([(row(0.5, subject="won again"), None)])
    with HistoryStore.open(path) as history:
        while history.catch_up():
            pass
        assert (
            found(history, "won") == [0] and found(history, "again") == [0] and found(history, "noon") == [2]
        )
        _check(path)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_gets_an_index_where_it_may(database: str) -> None:
    with HistoryStore.open(database) as history:
        history.add(rows())
        assert history.make_index() == 6
        assert history.make_index() == 0
        for text in TEXTS:
            assert found(history, text) == looked_at(text), text


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_one_that_may_not_is_searched_all_the_same(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", log.name)
    monkeypatch.setattr(textsearch, "_TRIGRAMS_IN_POSTGRESQL", "CREATE EXTENSION no_such_extension")
    with HistoryStore.open(database) as history:
        history.add(rows())
        assert history.make_index() == 0
        assert found(history, "won") == [0]
    assert len([one for one in caplog.records if "without an index" in one.message]) == 1


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_another_failure_is_no_missing_extension(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textsearch, "_TRIGRAMS_IN_POSTGRESQL", "SELECT 1 / 0")
    with HistoryStore.open(database) as history:
        with pytest.raises(StoreError, match="division by zero"):
            history.make_index()
        monkeypatch.undo()
        history.add(rows())
        assert history.make_index() == 6

"""The corrections store, on SQLite and on a PostgreSQL that is started for the tests."""

import io
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Verdict
from filterd.corrections.correction import MAX_LINE_BYTES, decode, encode
from filterd.corrections.following import catch_up
from filterd.corrections.store import MAX_TEXT, Correction, Store, correct
from filterd.corrections.tables import PAGE
from filterd.errors import BadInput, ConfigError, StoreError
from filterd.scoring.memory import Memory
from filterd.scoring.traits import of_text, pack, unpack

SOON = 30  # seconds within which a server or a child has to have done its part


def mail(i: int, label: Label = Label.SPAM, **more: Any) -> Correction:
    return correct(b"Subject: offer %d\n\nBuy %d now.\n" % (i, i), Kind.MAIL, label, **more)


def at(correction: Correction, time: datetime) -> Correction:
    return msgspec.structs.replace(correction, time=time)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "state" / "feedback.db")
        return
    url = request.getfixturevalue("postgres")
    yield url
    engine = sql.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sql.text("DROP TABLE IF EXISTS filterd_corrections, filterd_state"))
    engine.dispose()


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    with Store.open(where) as opened:
        yield opened


class TestCorrection:
    def test_holds_what_was_said(self) -> None:
        verdict = Verdict(label=Label.HAM, probability=0.25, points=1.0, kind=Kind.MAIL, model="mini-0123")
        raw = b"X-Spam-Flag: NO\r\nSubject: hi\r\n\r\nhello\r\n"
        made = correct(
            raw, Kind.MAIL, Label.SPAM, verdict=verdict, source="imap", message_id="<1@x>", text="hi"
        )
        assert (made.verdict, made.probability, made.bundle) == (Label.HAM, 0.25, "mini-0123")
        assert (made.label, made.source, made.message_id, made.text) == (Label.SPAM, "imap", "<1@x>", "hi")
        assert made.content_hash == correct(b"Subject: hi\n\nhello", Kind.MAIL, Label.HAM).content_hash
        traits = unpack(made.features, made.content_hash, Kind.MAIL)
        assert len(traits.words) == 3  # hi, hello, and the two as neighbours
        assert len(traits.head) == len("Subject: hi") - 3

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            pytest.param({"content_hash": "ABC"}, "content_hash", id="hash"),
            pytest.param({"label": Label.UNSURE}, "ham or spam", id="label"),
            pytest.param({"time": datetime(2025, 1, 1)}, "zone", id="naive-time"),  # noqa: DTZ001
            pytest.param({"probability": 1.5}, "probability", id="probability"),
            pytest.param({"features": b"abc"}, "damaged", id="features"),
            pytest.param({"changes": -1}, "positive", id="changes"),
        ],
    )
    def test_refuses(self, change: dict[str, Any], complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            msgspec.structs.replace(mail(1), **change)

    @given(
        st.builds(
            Correction,
            content_hash=st.text("0123456789abcdef", min_size=64, max_size=64),
            label=st.sampled_from([Label.HAM, Label.SPAM]),
            kind=st.sampled_from(Kind),
            features=st.text(max_size=400).map(lambda t: pack(of_text("", t, Kind.SMS))),
            time=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
            text=st.none() | st.text(),
            verdict=st.none() | st.sampled_from(Label),
            probability=st.none() | st.floats(0, 1),
            source=st.text(),
            changes=st.integers(0, 99),
        )
    )
    def test_round_trips_as_a_line(self, correction: Correction) -> None:
        line = encode(correction)
        assert line.count(b"\n") == 1
        assert list(decode(io.BytesIO(line), "x")) == [correction]


class TestStore:
    def test_keeps_what_it_is_given(self, store: Store) -> None:
        given_ = at(mail(1, text="offer", source="cli"), datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
        assert store.learn(given_)
        assert store.get(given_.content_hash) == msgspec.structs.replace(given_, number=1)
        assert store.get("0" * 64) is None

    def test_is_idempotent_and_the_last_word_wins(self, store: Store) -> None:
        assert [store.learn(mail(1)), store.learn(mail(1))] == [True, False]
        assert store.position() == (1, 0)
        assert store.learn(mail(1, Label.HAM))
        [only] = store.iterate()
        assert (only.label, only.changes, only.number) == (Label.HAM, 1, 2)
        assert store.position() == (2, 0)
        assert store.learn(mail(1, Label.SPAM))
        assert [c.changes for c in store.iterate()] == [2]

    def test_learns_many_at_once(self, store: Store) -> None:
        many = [mail(i) for i in range(PAGE + 50)]
        assert store.learn_many([*many, mail(0), mail(1, Label.HAM)]) == len(many) + 1
        assert store.learn_many(many[2:]) == 0
        numbers = [c.number for c in store.iterate()]
        assert numbers == sorted(numbers)
        assert len(numbers) == len(many)

    def test_all_or_none(self, store: Store) -> None:
        def failing() -> Iterator[Correction]:
            yield from (mail(i) for i in range(PAGE + 1))
            raise RuntimeError

        with pytest.raises(RuntimeError):
            store.learn_many(failing())
        assert store.stats().total == 0

    def test_forgets(self, store: Store) -> None:
        store.learn_many([mail(1), mail(2)])
        assert store.forget(mail(1).content_hash)
        assert not store.forget(mail(1).content_hash)
        assert [c.content_hash for c in store.iterate()] == [mail(2).content_hash]
        assert store.position() == (3, 0)

    def test_iterates_over_a_part(self, store: Store) -> None:
        store.learn_many([mail(i, Label.HAM if i % 3 else Label.SPAM) for i in range(9)])
        assert [c.number for c in store.iterate(since=2, until=6)] == [3, 4, 5, 6]
        assert [c.number for c in store.iterate(label=Label.SPAM)] == [1, 4, 7]

    def test_prunes(self, store: Store) -> None:
        old = datetime.now(UTC) - timedelta(days=10)
        store.learn_many([at(mail(0), old), *(mail(i) for i in range(1, 6))])
        assert store.prune(days=1000) == 0
        assert store.prune(days=11, max_rows=6) == 0
        assert store.position() == (6, 0)
        assert store.prune(days=9) == 1
        assert store.prune(max_rows=2) == 3
        assert [c.content_hash for c in store.iterate()] == [mail(4).content_hash, mail(5).content_hash]

    def test_counts(self, store: Store) -> None:
        assert store.stats().oldest is None
        first = mail(1, text="x", source="imap")
        store.learn_many([first, mail(2, Label.HAM), correct(b"win", Kind.SMS, Label.SPAM)])
        store.mark_retrained("mini-1", 2)
        stats = store.stats()
        assert (stats.total, stats.spam, stats.ham, stats.mail, stats.sms) == (3, 2, 1, 2, 1)
        assert (stats.with_text, stats.changed, stats.since_retrain) == (1, 0, 1)
        assert (stats.retrained_bundle, stats.sources) == ("mini-1", {"": 2, "imap": 1})
        assert stats.oldest == first.time
        assert store.retrained() == ("mini-1", 2)

    def test_takes_any_text(self, store: Store) -> None:
        odd = mail(1, text="a\0b\ud800c" + "x" * MAX_TEXT, source="\udcff", message_id="<\0>")
        store.learn(odd)
        [kept] = store.iterate()
        assert (kept.text or "")[:4] == "ab?c"
        assert len(kept.text or "") <= MAX_TEXT
        assert (kept.source, kept.message_id) == ("?", "<>")

    def test_survives_reopening(self, where: str) -> None:
        with Store.open(where) as store:
            store.learn(mail(1))
        with Store.open(where) as store, Store.open(where) as peer:
            assert not store.learn(mail(1))
            assert peer.learn(mail(2))
            assert store.position() == (2, 0)

    def test_many_threads_and_two_stores(self, where: str) -> None:
        answers: list[bool] = []
        with Store.open(where) as one, Store.open(where) as two:

            def work(store: Store) -> None:
                answers.extend(store.learn(mail(i)) for i in range(40))

            threads = [threading.Thread(target=work, args=(store,)) for store in (one, two) * 3]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(answers) == 240
            assert sum(answers) == 40
            assert [c.number for c in one.iterate()] == list(range(1, 41))

    def test_refuses_another_schema(self, where: str) -> None:
        with Store.open(where) as store, store._database.writing() as connection:
            connection.execute(sql.text("UPDATE filterd_state SET schema = 9"))
        with pytest.raises(StoreError, match=r"schema 9, this filterd has 2; upgrade"):
            Store.open(where)


class TestExport:
    def test_round_trips(self, store: Store, tmp_path: Path) -> None:
        store.learn_many([mail(i, Label.HAM if i % 2 else Label.SPAM, text=f"é{i}") for i in range(PAGE + 3)])
        store.learn(mail(1, Label.SPAM))
        exported = io.BytesIO()
        assert store.export_lines(exported) == PAGE + 3
        before = [msgspec.structs.replace(c, number=0) for c in store.iterate()]
        with Store.open(tmp_path / "copy.db") as copy:
            assert copy.import_lines(io.BytesIO(exported.getvalue())) == PAGE + 3
            assert copy.import_lines(io.BytesIO(exported.getvalue())) == 0
            assert [msgspec.structs.replace(c, number=0) for c in copy.iterate()] == before

    def test_the_later_word_wins(self, store: Store) -> None:
        now = datetime.now(UTC)
        store.learn(at(mail(1, Label.SPAM), now))
        for hours, changed in ((-1, 0), (1, 1)):
            line = encode(at(mail(1, Label.HAM), now + timedelta(hours=hours)))
            assert store.import_lines(io.BytesIO(line)) == changed

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param(b"\n", id="empty"),
            pytest.param(b"{}\n", id="nothing-in-it"),
            pytest.param(encode(mail(7))[:-20], id="cut-off"),
            pytest.param(encode(mail(7)).replace(b'"format":2', b'"format":9'), id="format"),
            pytest.param(encode(mail(7)).replace(b'"kind"', b'"sort"'), id="unknown-key"),
            pytest.param(encode(mail(7)).replace(b'"spam"', b'"unsure"'), id="label"),
            pytest.param(encode(mail(7)).replace(b'"features":"A', b'"features":"/'), id="features"),
            pytest.param(b"\xff\n", id="not-utf-8"),
            pytest.param(b" " * (MAX_LINE_BYTES + 1) + b"\n", id="too-long"),
        ],
    )
    def test_a_bad_line_imports_nothing(self, store: Store, bad: bytes) -> None:
        lines = b"".join(encode(mail(i)) for i in range(PAGE + 1))
        with pytest.raises(
            BadInput, match=rf"^backup\.jsonl: line {PAGE + 2}: .*nothing was imported$"
        ) as caught:
            store.import_lines(io.BytesIO(lines + bad), "backup.jsonl")
        assert "\n" not in str(caught.value)
        assert store.stats().total == 0


class TestCatchUp:
    def test_follows_the_store(self, store: Store) -> None:
        memory = Memory()
        store.learn_many([mail(1), mail(2, Label.HAM)])
        assert catch_up(store, memory) is memory
        store.learn(mail(3))
        assert catch_up(store, memory) is memory
        assert (len(memory), memory.revision) == (3, 3)

    def test_what_was_taken_back_or_changed_costs_no_rebuild(self, store: Store) -> None:
        store.learn_many([mail(1), mail(2, Label.HAM)])
        memory = catch_up(store, Memory())
        store.forget(mail(1).content_hash)
        store.learn(mail(2))
        assert catch_up(store, memory) is memory
        assert memory.recollect(mail(1).traits()).word == 0
        assert memory.recollect(mail(2).traits()).word == 1
        assert len(memory) == 1

    def test_starts_over_after_pruning(self, store: Store) -> None:
        store.learn_many([mail(1), mail(2, Label.HAM)])
        memory = catch_up(store, Memory())
        store.prune(max_rows=1)
        store.learn(mail(3))
        followed = catch_up(store, memory)
        assert followed is not memory
        assert len(memory) == 2  # who asks it meanwhile is not disturbed
        assert [followed.recollect(mail(i).traits()).word for i in (1, 2, 3)] == [0, -1, 1]

    def test_the_lock_is_free_while_the_database_is_read(self, store: Store) -> None:
        store.learn_many([mail(i) for i in range(PAGE + 1)])
        lock, held = threading.Lock(), []
        follow = store.follow

        def watched(*asked: Any) -> Iterator[Any]:
            for word in follow(*asked):
                held.append(lock.locked())
                yield word

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "follow", watched)
            assert len(catch_up(store, Memory(), lock)) == PAGE + 1
        assert held == [False] * (PAGE + 1)

    def test_notices_another_store(self, store: Store) -> None:
        store.learn(mail(1))
        memory = Memory.rebuild([(mail(i).traits(), Label.SPAM, "", 0.0) for i in range(5)])
        memory.revision = 5
        assert len(catch_up(store, memory)) == 1


class TestOwners:
    def test_each_has_his_own_word(self, store: Store) -> None:
        ann, bob = mail(1, owner="ann"), mail(1, Label.HAM, owner="bob")
        assert store.learn(ann)
        assert store.learn(bob)
        assert not store.learn(ann)
        assert [(c.owner, c.label) for c in store.iterate()] == [("ann", "spam"), ("bob", "ham")]
        assert store.stats().owners == 2

    def test_nobody_forgets_for_another(self, store: Store) -> None:
        store.learn(mail(1, owner="ann"))
        assert not store.forget(mail(1).content_hash, "bob")
        assert store.forget(mail(1).content_hash, "ann")
        assert not store.forget(mail(1).content_hash, "ann")
        assert store.stats().total == 0
        assert store.get(mail(1).content_hash) is None

    def test_what_is_forgotten_leaves_no_text_and_can_be_said_again(self, store: Store) -> None:
        store.learn(mail(1, owner="ann", text="private"))
        store.forget(mail(1).content_hash, "ann")
        (word,) = store.follow(0, 9)
        assert (word.taken_back, word.correction.text) == (True, None)
        assert store.learn(mail(1, owner="ann"))
        assert next(iter(store.iterate())).changes == 0

    def test_of_one_owner(self, store: Store) -> None:
        store.learn_many([mail(i, owner="ann" if i % 2 else "bob") for i in range(5)])
        assert [c.number for c in store.iterate(owner="ann")] == [2, 4]


class TestPruning:
    def test_a_wrong_clock_deletes_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.learn_many([mail(i) for i in range(20)])
        later = store._now
        monkeypatch.setattr(store, "_now", lambda connection: later(connection) + 10**15)
        with pytest.raises(StoreError, match=r"20 of 20 corrections are older .* feedback prune --all"):
            store.prune(days=365)
        assert store.stats().total == 20
        assert store.prune(days=365, even_most=True) == 20

    def test_forgotten_rows_go_after_a_while(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.learn_many([mail(i) for i in range(3)])
        store.forget(mail(1).content_hash)
        store.prune()
        assert len(list(store.follow(0, 9))) == 3
        later = store._now
        monkeypatch.setattr(store, "_now", lambda connection: later(connection) + 40 * 86_400 * 10**6)
        store.prune()
        assert len(list(store.follow(0, 9))) == 2
        assert store.position() == (4, 4)  # who was not there for so long starts over


OLD = """
CREATE TABLE filterd_corrections (content_hash VARCHAR(64) NOT NULL, number BIGINT NOT NULL, label VARCHAR(8)
 NOT NULL, kind VARCHAR(8) NOT NULL, features {blob} NOT NULL, time BIGINT NOT NULL, text TEXT,
 verdict VARCHAR(8), probability {double}, bundle TEXT NOT NULL, source TEXT NOT NULL,
 message_id TEXT NOT NULL, changes INTEGER NOT NULL, PRIMARY KEY (content_hash), UNIQUE (number));
CREATE INDEX ix_filterd_corrections_time ON filterd_corrections (time);
CREATE TABLE filterd_state (schema INTEGER NOT NULL, revision BIGINT NOT NULL, rewritten BIGINT NOT NULL,
 retrained BIGINT NOT NULL, retrained_bundle TEXT NOT NULL, PRIMARY KEY (schema));
INSERT INTO filterd_state VALUES (1, 7, 3, 2, 'b-1')
"""  # as SQLAlchemy wrote schema 1
OLD_ROW = """INSERT INTO filterd_corrections VALUES ('{hash}', {n}, 'spam', 'mail', {features},
 1700000000000000, {text}, 'ham', 0.5, 'b-1', 'imap', '<1@x>', 0)"""


def old_store(where: str, rows: int) -> None:
    postgres = where.startswith("postgresql")
    types = {"blob": "BYTEA" if postgres else "BLOB", "double": "DOUBLE PRECISION"}
    if not postgres:
        Path(where).parent.mkdir()
    url = where.replace("postgresql:", "postgresql+psycopg:") if postgres else f"sqlite:///{where}"
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        for statement in OLD.format(**types).split(";"):
            connection.exec_driver_sql(statement)
        for n in range(1, rows + 1):
            text = f"'win prize {n} in our great lottery of today for free'" if n % 2 else "NULL"
            features = f"'{chr(92)}x00'" if postgres else "x'00'"
            row = OLD_ROW.format(hash=f"{n:064x}", n=n, text=text, features=features)
            connection.exec_driver_sql(row)
    engine.dispose()


class TestMigration:
    def test_an_old_store_is_brought_up_once_and_says_so(
        self, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        old_store(where, PAGE + 3)
        for _ in range(2):
            with Store.open(where) as store:
                assert store.stats().total == PAGE + 3
                assert store.retrained() == ("b-1", 2)
                assert store.position() == (8, 8)
                (first, second, *_) = store.iterate()
        assert [r.getMessage().split(": ", 1)[1] for r in caplog.records] == [
            "203 corrections brought to schema 2; 101 of them, kept without text, have no effect until"
            " given again"
        ]
        assert (first.owner, first.source, first.probability) == ("", "imap", 0.5)
        assert len(first.traits().words) > 5
        assert second.traits().empty

    def test_an_old_export_is_read(self, store: Store) -> None:
        line = (
            b'{"format":1,"content_hash":"%064d","label":"spam","kind":"sms","features":"AAAA",'
            b'"time":"2025-01-01T00:00:00Z","text":"win a prize"}\n' % 1
        )
        assert store.import_lines(io.BytesIO(line)) == 1
        assert len(next(store.iterate()).traits().words) == 5


class TestSqliteFile:
    def test_is_private(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "state" / "feedback.db") as store:
            store.learn(mail(1))
            modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "state").iterdir()}
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
        assert set(modes.values()) == {0o600}
        assert "feedback.db-wal" in modes

    def test_tightens_a_mode(self, tmp_path: Path) -> None:
        (tmp_path / "f.db").touch(0o644)
        Store.open(tmp_path / "f.db").close()
        assert (tmp_path / "f.db").stat().st_mode & 0o777 == 0o600

    def test_syncs_each_commit(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "f.db") as store, store._database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"

    @pytest.mark.parametrize(
        "content", [b"not a database, but text " * 50, b"SQLite format 3\0" + b"\xff" * 5000]
    )
    def test_refuses_another_file(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "f.db"
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"f\.db: (no SQLite database|damaged); move it away"):
            Store.open(path)
        assert path.read_bytes() == content

    def test_refuses_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot be opened|may not be"):
            Store.open(tmp_path)

    def test_says_who_is_in_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("filterd.corrections.database.LOCK_TIMEOUT_S", 0.1)
        path = tmp_path / "f.db"
        with Store.open(path) as store:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked by another program"):
                store.learn(mail(1))
            other.close()
            assert store.learn(mail(1))

    def test_a_full_disk_loses_nothing(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "f.db") as store:
            store.learn(mail(1))
            with store._database.reading() as connection:  # the pool hands the same connection out again
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
                connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            with pytest.raises(StoreError, match="no space left"):
                store.learn(mail(2, text="x" * 50_000))
            assert [c.content_hash for c in store.iterate()] == [mail(1).content_hash]
            with store._database.reading() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count=100000")
            assert store.learn(mail(2))

    def test_read_only(self, tmp_path: Path) -> None:
        path = tmp_path / "f.db"
        with Store.open(path) as store:
            store.learn(mail(1))
            with store._database.reading() as connection:
                connection.exec_driver_sql("PRAGMA query_only=1")
            with pytest.raises(StoreError, match="may not be written"):
                store.learn(mail(2))
            assert store.stats().total == 1

    def test_a_damaged_row_is_named(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "f.db") as store:
            store.learn(mail(1))
            with store._database.writing() as connection:
                connection.execute(sql.text("UPDATE filterd_corrections SET features = x'00'"))
            with pytest.raises(
                StoreError, match=r"correction 1: features of 1 bytes are damaged.*; forget [0-9a-f]{64}"
            ):
                list(store.iterate())


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "error"),
        [
            pytest.param("mysql://u:secret@h/d", ConfigError, id="other-database"),
            pytest.param("sqlite://", ConfigError, id="in-memory"),
            pytest.param("://", ConfigError, id="nothing"),
            pytest.param("postgresql://u:secret@127.0.0.1:1/d", StoreError, id="nobody-there"),
            pytest.param("postgres://u:secret@127.0.0.1:1/d", StoreError, id="other-spelling"),
        ],
    )
    def test_refuses_in_one_line_without_the_password(self, url: str, error: type[Exception]) -> None:
        if error is StoreError:
            pytest.importorskip("psycopg")
        with pytest.raises(error) as caught:
            Store.open(url)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_sqlite_by_url(self, tmp_path: Path) -> None:
        Store.open(f"sqlite:///{tmp_path}/f.db").close()
        assert (tmp_path / "f.db").exists()


STORM = """
import os, sys, threading
from filterd.api import Kind, Label
from filterd.corrections.store import Store, correct

def work(first):
    for i in range(first, int(sys.argv[3]), 8):
        correction = correct(b"storm %d" % i, Kind.SMS, Label.SPAM)
        store.learn(correction)
        os.write(1, correction.content_hash.encode() + b"\\n")  # one write: a line is whole or not there

store = Store.open(sys.argv[1])
for k in range(8):
    threading.Thread(target=work, args=(int(sys.argv[2]) + k,)).start()
"""


@pytest.mark.slow
def test_kill_9_in_a_storm_loses_nothing_answered(where: str) -> None:
    """8 threads learn; the process is killed four times in the midst of it; 10,000 answers on SQLite."""
    answered, answers = set[str](), 500 if where.startswith("postgresql") else 2_500
    for first in range(0, 40_000, 10_000):
        arguments = [sys.executable, "-c", STORM, where, str(first), str(first + 10_000)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(answers):
                answered.add(child.stdout.readline().decode().strip())
            child.kill()
            answered |= {line.decode().strip() for line in child.stdout if line.endswith(b"\n")}
    with Store.open(where) as store:
        kept = {correction.content_hash for correction in store.iterate()}
    assert len(answered) >= 4 * answers
    assert answered <= kept


def test_postgres_commits_are_durable(postgres: str) -> None:
    with Store.open(postgres) as store, store._database.reading() as connection:
        assert connection.execute(sql.text("SHOW synchronous_commit")).scalar() == "on"

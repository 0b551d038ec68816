"""Scoring by parts: the same verdicts, each message once, on from a kill."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from filterd.api import Kind, Message
from filterd.errors import ConfigError, Unwritable
from filterd.scoring import bundle
from filterd_trainer.bulk import score as scoring
from filterd_trainer.bulk.inputs import BulkMessage
from tests.filterd import fakes

TEXTS = [("our prize winner" if i % 3 == 0 else f"see you at {i}") for i in range(25)] + [" "]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of messages; the model is `fakes`, also in the processes, which are forked."""
    monkeypatch.setattr(scoring, "open_engine", lambda *_, **__: fakes.engine()[0])
    monkeypatch.setattr(bundle, "id_of", lambda _: "fake-1")
    monkeypatch.setattr(scoring, "PART", 4)
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps({"id": f"m{i}", "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    return file


def run(given: Path, **options: object) -> Counter[str]:
    out = given.parent / "out"
    return scoring.score([given], out, path=Path("fake"), processes=2, **options)  # type: ignore[arg-type]


def rows(given: Path) -> list[dict[str, object]]:
    parts = sorted((given.parent / "out").glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def test_the_verdicts_are_those_of_one_engine(given: Path) -> None:
    assert run(given) == Counter(spam=9, ham=16, error=1)
    found = rows(given)
    assert [row["id"] for row in found] == [f"m{i}" for i in range(len(TEXTS))]
    alone = fakes.engine()[0].judge([Message(text.encode(), kind=Kind.SMS) for text in TEXTS[:-1]])
    assert [row["label"] for row in found] == [*(one.label for one in alone), ""]
    assert found[0]["probability"] == round(alone[0].probability, 6)
    assert sum(found[0]["classes"].values()) == pytest.approx(1, abs=1e-5)  # type: ignore[attr-defined]
    assert found[-1]["error"] == "empty, there is nothing to judge"


def test_it_goes_on_and_judges_none_twice(given: Path) -> None:
    run(given)
    parts = sorted((given.parent / "out").glob("part-*"))
    written = {part: part.stat().st_mtime_ns for part in parts}
    for part in parts[2:4]:
        part.unlink()
    (given.parent / "out" / ".part-000002.jsonl.1").write_text("half a part")
    counts = run(given)
    assert not list((given.parent / "out").glob(".*"))
    assert counts["before"] == len(TEXTS) - 8 and counts.total() == len(TEXTS)
    assert sorted(str(row["id"]) for row in rows(given)) == sorted(f"m{i}" for i in range(len(TEXTS)))
    assert all(part.stat().st_mtime_ns == written[part] for part in (*parts[:2], *parts[4:]))


def test_a_killed_process_is_said_and_the_rest_is_kept(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = scoring.judge

    def dying(engine, messages: list[BulkMessage]):  # type: ignore[no-untyped-def]
        if any(one.id == "m9" for one in messages):
            os.kill(os.getpid(), signal.SIGKILL)
        return judge(engine, messages)

    monkeypatch.setattr(scoring, "judge", dying)
    with pytest.raises(scoring.ScoringDied, match="goes on from here"):
        run(given)
    monkeypatch.setattr(scoring, "judge", judge)
    run(given)
    assert sorted(str(row["id"]) for row in rows(given)) == sorted(f"m{i}" for i in range(len(TEXTS)))


def test_other_inputs_or_another_bundle_are_refused(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(given)
    monkeypatch.setattr(bundle, "id_of", lambda _: "fake-2")
    with pytest.raises(ConfigError, match="another bundle"):
        run(given)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables(given: Path, form: str) -> None:
    pandas = pytest.importorskip("pandas")
    run(given, form=form)
    parts = sorted((given.parent / "out").glob(f"part-*.{form}"))
    frame = pandas.concat([getattr(pandas, f"read_{form}")(part) for part in parts])
    assert list(frame.columns) == ["id", "label", "probability", "points", "classes", "error"]
    assert len(frame) == len(TEXTS) and json.loads(frame["classes"].iloc[0]).keys() == {"ham", "spam"}


def test_a_folder_that_cannot_be_written(given: Path) -> None:
    (given.parent / "out").write_text("a file")
    with pytest.raises(Unwritable):
        run(given)


def test_parts_wait_in_bounded_number(given: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def parts() -> Iterator[tuple[int, list[BulkMessage]]]:
        for number in range(8):
            asked.append(number)
            yield number, [BulkMessage("a", b"hi")]

    scoring._open(Path("fake"))
    with ProcessPoolExecutor(1) as pool:
        results = scoring._results(pool, parts(), 2, tmp_path, "jsonl")
        next(results)
        assert len(asked) <= 3
        list(results)
    assert len(asked) == 8


def test_large_mails_make_short_parts() -> None:
    sizes = [3, 3, 3, 9, 1, 1, 1]
    found = scoring.cut([BulkMessage("a", b"x" * size) for size in sizes], 3, 8)
    assert [[len(one.raw) for one in part] for part in found] == [[3, 3], [3], [9], [1, 1, 1]]


def test_a_file_that_has_changed_is_another_input(given: Path) -> None:
    run(given)
    with given.open("a") as stream:
        stream.write('{"text": "one more"}\n')
    with pytest.raises(ConfigError, match="another version of its inputs"):
        run(given)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("part-000003.jsonl", "part-all.jsonl", "part-000004.csv"):
        (tmp_path / name).touch()
    assert scoring.there(tmp_path, "jsonl") == {3}

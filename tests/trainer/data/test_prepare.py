"""`trainer data`, as people type it."""

import io
import json
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from filterd.errors import ConfigError, FilterdError, NotFound
from filterd.reading.text import TEXT_FORMAT
from filterd_trainer.cli import app
from filterd_trainer.data import corpus, prepare, rows, sources
from filterd_trainer.data.prepare import PrepareRequest
from filterd_trainer.data.sources import ReadingLosses, Source
from tests.conftest import SHARED


def table(folder: Path, name: str = "sms.tsv", count: int = 40) -> Path:
    """Ham and spam of our own with nothing in common, by the line."""
    lines = [
        f"{label}\t{label}{i} {label}{i}a {label}{i}b {label}{i}c"
        for i in range(count)
        for label in ("ham", "spam")
    ]
    path = folder / name
    path.write_text("\n".join(line.translate(str.maketrans("0123456789", "qwertyuiop")) for line in lines))
    return path


def run(*arguments: object) -> str:
    """What a command prints; raises what it raises."""
    result = CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "120"})
    if result.exception:
        raise result.exception
    return result.output


def test_prepare_prints_what_it_did(tmp_path: Path) -> None:
    path = table(tmp_path)
    with path.open("a") as file:
        file.write("\nham\nspam\tspamq spamqa spamqb spamqc")
    said = run("prepare", "--input", path, "--out", tmp_path / "out")
    assert f"row without label or text: {path}:81" in said
    assert "81 messages read; 1 row without label or text, 1 verbatim copy" in said
    assert "80 kept, in 80 groups of near-duplicates" in said
    assert "train.csv" in said and "50.0%" in said and "test_natural.csv" in said
    assert "0 of 16 texts occur verbatim in train.csv, 0 are near-duplicates of one there" in said
    data = corpus.Dataset.load(tmp_path / "out")
    assert data.about["files"]["train"]["sha256"][:16] in said
    assert data.about["files"]["train"]["source"] == {"sms": 56}


def test_several_inputs_with_names_and_labels_of_their_own(tmp_path: Path) -> None:
    for i in range(20):
        body = " ".join(f"{chr(97 + i)}{letter}" for letter in "klmnop")
        for folder in ("Work", "Junk"):
            file = tmp_path / "mails" / folder / "cur" / f"{i}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"From: a@example.org\nSubject: {folder}\n\n{body} {folder * 20}\n")
    inputs = ["--input", table(tmp_path), "--input", f"home={tmp_path / 'mails'}"]
    run(
        "prepare", *inputs, "--out", tmp_path / "out", "--label", "Junk=spam", "--ham", "ham", "--ham", "Work"
    )
    data = corpus.Dataset.load(tmp_path / "out")
    assert (data.labels, data.ham) == (("ham", "Work", "spam"), ("ham", "Work"))
    frame = data.split("train")
    assert set(frame["Source"]) == {"sms", "home"}
    assert set(frame["Kind"]) == {"sms", "mail"}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        pytest.param(
            PrepareRequest(["x"], Path("o"), recipe="lectur"),
            "--recipe lectur: not one of grouped, lecture",
            id="recipe",
        ),
        pytest.param(PrepareRequest(["x"], Path("o"), format="xml"), "--format xml", id="format"),
        pytest.param(PrepareRequest(["x"], Path("o"), kind="fax"), "--kind fax", id="kind"),
        pytest.param(
            PrepareRequest(["x", "y"], Path("o"), recipe="lecture"), "one --input", id="lecture-of-two"
        ),
    ],
)
def test_wrong_options_are_one_line(request_: PrepareRequest, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        prepare.prepare(request_)


@pytest.mark.parametrize("option", ["junk", "=spam", "junk="])
def test_a_label_option_is_old_and_new(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match="OLD=NEW"):
        prepare.prepare(PrepareRequest(inputs=[str(table(tmp_path))], out=tmp_path / "o", labels=[option]))


@pytest.mark.parametrize("recipe", prepare.RECIPES)
def test_nothing_fetched_yet(tmp_path: Path, recipe: str) -> None:
    with pytest.raises(NotFound, match="trainer data fetch"):
        prepare.prepare(PrepareRequest(inputs=[str(tmp_path / "data")], out=tmp_path / "o", recipe=recipe))


def test_bars_are_for_terminals_only() -> None:
    for terminal in (False, True):
        written = io.StringIO()
        with prepare.progress(Console(file=written, force_terminal=terminal)) as report:
            report("messages", 3, 0)
            report("messages", 7, 7)
        assert ("7/7" in written.getvalue()) == terminal


@pytest.mark.shared
@pytest.mark.parametrize("given", ["sms_uci", "sms_uci/SMSSpamCollection"])
def test_the_lecture_from_end_to_end(tmp_path: Path, given: str) -> None:
    said = run("prepare", "--recipe", "lecture", "--input", SHARED / given, "--out", tmp_path / "out")
    assert "5,572 messages read" in said
    assert "37 of 300 texts occur verbatim in train.csv" in said
    assert corpus.LECTURE_SLIDE in said
    for figure in ("1,045", "149", "300", "a5764d4eed041dad"):
        assert figure in said


@pytest.mark.shared
def test_fetch_from_a_folder_and_prepare_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sha256 7d039a24" in run("fetch", "--from", SHARED / "sms_uci")
    run("prepare", "--out", "out")
    data = corpus.Dataset.load(Path("out"))
    assert (data.about["read"], data.about["kept"]) == (5574, 5160)
    assert data.about["leaked"]["test_natural"] == {"rows": 1031, "verbatim": 0, "near": 0}
    assert set(data.split("train")["Source"]) == {"SMSSpamCollection"}


@pytest.mark.shared
def test_the_mail_archives_are_understood(tmp_path: Path) -> None:
    for name, where in (("enron", "email_enron"), ("spamassassin", "email_spamassassin")):
        source = Source(SHARED / where / f"{where}.tar.xz", name)
        found = [*islice(sources.read(source, ReadingLosses()), 6000)]
        assert {message.label for message in found} == {"ham", "spam"}
        assert {message.source for message in found} == {name}


def test_errors_are_of_ours() -> None:
    with pytest.raises(FilterdError):
        run("prepare", "--input", "/absent", "--out", "/absent/out")


def more(folder: Path) -> Path:
    """A folder as the public sources come: a file a source, marks beside them."""
    folder.mkdir()
    words = ["".join(chr(97 + (i * 7 + j * 3) % 26) for j in range(5)) + chr(97 + i) for i in range(20)]
    for name, label in (("talk", "ham"), ("bait", "spam")):
        lines = [
            {"label": label, "kind": "sms", "lang": "de", "text": f"{label}{w} {w} {w}{label} trap", "id": w}
            for w in words
        ]
        lines += [{**lines[0], "text": f"translated {name}", "uci": words[0] + "trap"}]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "text.jsonl").write_text('{"label": "none", "kind": "text", "text": "Es regnet heute."}\n')
    (folder / "traps.json").write_text('{"bait": {"replace": [["trap", "nothing"]]}}')
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_of_sources_with_marks_and_unlabelled_text(tmp_path: Path, jobs: int) -> None:
    run("prepare", "--input", more(tmp_path / "more"), "--out", tmp_path / "out", "--jobs", jobs)
    data = corpus.Dataset.load(tmp_path / "out")
    frames = [data.split(name) for name in ("train", "validation", "test_natural")]
    whole = pd.concat(frames)
    assert whole["Source"].value_counts().to_dict() == {"talk": 21, "bait": 21}
    assert set(whole["Lang"]) == {"de"} and set(whole["Kind"]) == {"sms"}
    assert not whole[whole["Source"] == "bait"]["Text"].str.contains("trap").any()
    assert whole[whole["Source"] == "talk"]["Text"].str.contains("trap").sum() == 20
    together = whole[whole["Text"].str.startswith("translated")]
    assert together["Group"].nunique() == 1
    (line,) = pd.read_csv(tmp_path / "out" / "unlabelled.csv")["Text"]
    assert line == "Es regnet heute." and data.about["text_format"] == TEXT_FORMAT


def test_a_translation_of_a_held_out_message_is_held_out(tmp_path: Path) -> None:
    folder = more(tmp_path / "more")
    held = tmp_path / "test.csv"
    row = json.loads((folder / "talk.jsonl").read_text().splitlines()[1])
    pd.DataFrame({"Label": [0], "Text": [row["text"]]}).to_csv(held, index=False)
    with (folder / "talk.jsonl").open("a") as file:
        file.write(json.dumps({**row, "text": "made from it", "uci": rows.folded(row["text"])}) + "\n")
    said = run("prepare", "--input", folder, "--out", tmp_path / "out", "--hold-out", held)
    assert "2 held out" in said


def test_sources_that_only_calibrate_are_in_no_other_part(tmp_path: Path) -> None:
    folder = more(tmp_path / "more")
    near = json.loads((folder / "bait.jsonl").read_text().splitlines()[0])
    aside = [{**near, "text": f"other {i} words{i} of{i} it{i}", "id": str(i)} for i in "abcdef"]
    aside += [{**near, "id": "copy", "text": near["text"] + " indeed"}]
    (folder / "aside.jsonl").write_text("".join(json.dumps(one) + "\n" for one in aside))
    run("prepare", "--input", folder, "--out", tmp_path / "out", "--calibrate-source", "aside")
    data = corpus.Dataset.load(tmp_path / "out")
    assert set(data.split("calibration")["Source"]) == {"aside"} and len(data.split("calibration")) == 7
    rest = pd.concat([data.split(name) for name in ("train", "validation", "test_natural")])
    assert "aside" not in set(rest["Source"])
    assert not rest["Group"].isin(data.split("calibration")["Group"]).any()
    with pytest.raises(ConfigError, match="--calibrate-source gone"):
        run("prepare", "--input", folder, "--out", tmp_path / "out", "--calibrate-source", "gone")


def test_mails_without_headers_get_some_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    words = [f"{chr(97 + i)}{chr(97 + j)}x" for i in range(8) for j in range(10)]
    rows_of = [
        {"label": ("ham", "spam")[i % 2], "kind": "mail", "subject": word, "text": f"{word}k {word}l {word}m"}
        for i, word in enumerate(words)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows_of))
    run("prepare", "--input", path, "--out", tmp_path / "out", "--envelopes")
    assert len(corpus.Dataset.load(tmp_path / "out").split("train")) > 40

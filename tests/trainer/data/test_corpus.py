import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from filterd.api import Kind
from filterd.errors import BadInput, ConfigError, NotFound, Unwritable
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.sources import LabelledMessage, ReadingLosses
from filterd_trainer.tasks.choice import HAM_AND_SPAM, Spam
from tests.conftest import SHARED

UCI = SHARED / "sms_uci" / "SMSSpamCollection"
LECTURE = {
    "train": (1045, "c89a1156b8476e6f4c0bfa4bc944f3d934e3db2942c5dc2a1456a65a795afcde"),
    "validation": (149, "0ac7a07215729476975e070029ced8452a3d4e49fcdd8b17c167a317150b5439"),
    "test": (300, "a5764d4eed041dada859601e1715bc68885aa5e74713e127968ead8ddf6a9e04"),
}


def messages(count: int, label: str, source: str = "one", kind: str = "sms") -> pd.DataFrame:
    """Distinct messages with nothing in common."""
    words = [f"{label}{source}{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(count)]
    texts = [" ".join(word + letter for letter in "abcdefgh") for word in words]
    return pd.DataFrame({"Label": label, "Text": texts, "Kind": kind, "Source": source})


def grouped(frame: pd.DataFrame, **asked: Any) -> corpus.Parts:
    """The split of rows whose labels are names."""
    return corpus.grouped(*corpus.coded(frame, Spam, (), ReadingLosses()), **asked)


def campaign(count: int, label: str, source: str = "one", name: str = "x") -> pd.DataFrame:
    """Messages that differ in their last word only."""
    body = " ".join(f"{name}{letter}" for letter in "abcdefghijkl")
    texts = [f"{body} {name}{chr(97 + i % 26)}{i // 26}z" for i in range(count)]
    return pd.DataFrame({"Label": label, "Text": texts, "Kind": "sms", "Source": source})


# -- the lecture -----------------------------------------------------------------------------------------


@pytest.mark.shared
def test_the_lectures_numbers_to_the_letter(tmp_path: Path) -> None:
    frame = corpus.read_uci(UCI)
    assert frame["Label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}
    data = corpus.write(tmp_path, corpus.lecture(UCI), HAM_AND_SPAM, "lecture")
    written = {name: (file["rows"], file["sha256"]) for name, file in data.about["files"].items()}
    assert written == LECTURE
    assert data.about["leaked"] == {"test": {"rows": 300, "verbatim": 37, "near": 74}}
    assert list(pd.read_csv(tmp_path / "train.csv")) == ["Label", "Text"]
    whole = pd.concat([data.split(name) for name in corpus.SPLITS])
    assert whole["Label"].value_counts().to_dict() == {0: 747, 1: 747}
    assert set(whole["Kind"]) == {"sms"}


def test_the_lecture_takes_no_other_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="trainer data fetch"):
        corpus.lecture(tmp_path / "absent")
    (tmp_path / "other").write_text("ham\thello\nspam\twin\n")
    with pytest.raises(BadInput, match=r"2 rows.*--recipe grouped"):
        corpus.lecture(tmp_path / "other")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(BadInput):
        corpus.lecture(tmp_path / "binary")


# -- canonical texts and labels --------------------------------------------------------------------------


def test_messages_are_read_as_the_filter_reads_them() -> None:
    mail = b"From: a@example.org\nSubject: Roof\n\nThe roof\nis done.\n"
    given = [
        LabelledMessage(label="ham", raw=mail, where="1", source="home"),
        LabelledMessage(label="spam", raw=b"WIN  \xe2\x80\x8bnow", where="2", source="phone"),
        LabelledMessage(label="ham", raw=b" \n ", where="3", source="phone"),
    ]
    losses = ReadingLosses()
    unsaid: dict[str, object] = {"Lang": "", "Year": 0, "Links": ()}
    frame = corpus.canonical(given, losses)
    head = "`from a@example.org\nto nobody\nid none\ndate none\nparts plain"
    assert frame.to_dict("records") == [
        {
            "Label": "ham",
            "Text": head + "\n\nRoof\n\nThe roof\nis done.",
            "Kind": "mail",
            "Source": "home",
            **unsaid,
        },
        {
            "Label": "spam",
            "Text": "WIN now",
            "Kind": "sms",
            "Source": "phone",
            **unsaid,
            "Links": ("uci:winnow",),
        },
    ]
    assert losses.counts == {"no text left": 1}
    assert set(corpus.canonical(given, losses, corpus.CorpusReading(Kind.SMS))["Kind"]) == {"sms"}


@pytest.mark.parametrize(
    ("found", "ham", "expected"),
    [
        pytest.param("spam ham", [], (("ham", "spam"), ("ham",)), id="usual"),
        pytest.param("b a ham", [], (("ham", "a", "b"), ("ham",)), id="three"),
        pytest.param(
            "work junk home", ["work", "home"], (("work", "home", "junk"), ("work", "home")), id="two-ham"
        ),
    ],
)
def test_labels_are_ordered_ham_first(
    found: str, ham: list[str], expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    task = Spam.coded(found.split(), ham, print).task
    assert (task.labels, task.ham) == expected


@pytest.mark.parametrize(
    ("found", "ham", "says"),
    [
        pytest.param("good bad", [], "'ham', only bad, good", id="none-called-ham"),
        pytest.param("ham spam", ["hma"], "'hma'", id="misspelt"),
        pytest.param("ham", [], "spam as well", id="one-class"),
    ],
)
def test_labels_that_do_not_do(found: str, ham: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Spam.coded(found.split(), ham, print)


def test_no_messages_at_all() -> None:
    with pytest.raises(BadInput, match="--input"):
        corpus.coded(pd.DataFrame({"Label": []}), Spam, [], ReadingLosses())


def test_copies_go_and_contradictions_too() -> None:
    texts = ["a", "a", "b", "b", "c", "a"]
    labels = ["ham", "ham", "ham", "spam", "spam", "ham"]
    frame = pd.DataFrame({"Label": labels, "Text": texts, "Kind": "sms", "Source": "x"})
    losses = ReadingLosses()
    once = corpus.distinct(frame, losses, HAM_AND_SPAM)
    assert once[["Label", "Text"]].to_numpy().tolist() == [["ham", "a"], ["spam", "c"]]
    assert losses.counts == {"the same text with different labels": 2, "verbatim copy": 2}
    assert len(once) + losses.counts.total() == len(frame)


# -- the grouped split -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed() -> corpus.Parts:
    frames = [messages(300, "ham", "one"), messages(200, "ham", "two", "mail"), messages(60, "spam", "one")]
    frames += [messages(100, "spam", "two", "mail"), messages(50, "ham", "three")]
    frames += [
        campaign(9, "spam", source, name)
        for source, name in zip(cycle(["one", "two"]), "pqrstuvw", strict=False)
    ]
    return grouped(pd.concat(frames, ignore_index=True))


def test_every_message_is_in_one_part(mixed: corpus.Parts) -> None:
    texts = [t for name in ("train", "validation", "test_natural") for t in mixed[name]["Text"]]
    assert len(texts) == len(set(texts)) == 300 + 200 + 60 + 100 + 50 + 72
    assert all(list(part) == ["Label", "Text", "Kind", "Group", "Source"] for part in mixed.values())


def test_no_group_is_cut(mixed: corpus.Parts) -> None:
    sides = [set(mixed[name]["Group"]) for name in ("train", "validation", "test_natural")]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert corpus.leaked(mixed) == {
        name: {"rows": len(mixed[name]), "verbatim": 0, "near": 0} for name in ("test", "test_natural")
    }


@pytest.mark.parametrize(("name", "share"), [("train", 0.7), ("validation", 0.1), ("test_natural", 0.2)])
def test_each_label_and_source_is_cut_alike(mixed: corpus.Parts, name: str, share: float) -> None:
    whole = pd.concat([mixed[n] for n in ("train", "validation", "test_natural")])
    sizes = whole.groupby(["Label", "Source"]).size()
    part = mixed[name].groupby(["Label", "Source"]).size()
    assert part.to_numpy() == pytest.approx((sizes * share).to_numpy(), abs=6)


def test_the_balanced_test_is_even_in_each_kind(mixed: corpus.Parts) -> None:
    test, natural = mixed["test"], mixed["test_natural"]
    assert set(test["Text"]) < set(natural["Text"])
    counts = test.groupby(["Kind", "Label"]).size().unstack()
    assert (counts[0] == counts[1]).all()
    assert counts[1].sum() == (natural["Label"] == 1).sum(), "spam is the smaller class of each kind here"


def test_a_kind_without_spam_is_not_in_the_balanced_test() -> None:
    frames = [
        messages(100, "ham", "one", "sms"),
        messages(60, "ham", "two", "mail"),
        messages(60, "spam", "two", "mail"),
    ]
    parts = grouped(pd.concat(frames, ignore_index=True))
    assert set(parts["test"]["Kind"]) == {"mail"}
    assert set(parts["test_natural"]["Kind"]) == {"mail", "sms"}


def test_a_large_campaign_trains() -> None:
    frames = [messages(200, "ham"), messages(100, "spam"), campaign(40, "spam")]
    parts = grouped(pd.concat(frames, ignore_index=True))
    assert parts["train"]["Text"].str.startswith("xa xb").sum() == 40


def test_near_duplicates_of_different_sources_stay_together() -> None:
    frames = [messages(80, "ham", "one"), messages(80, "spam", "two")]
    frames += [campaign(2, "spam", source) for source in ("one", "two")]
    frame = pd.concat(frames, ignore_index=True)
    frame.loc[frame.index[-2:], "Text"] += " more"
    parts = grouped(frame)
    whole = pd.concat([parts[name] for name in ("train", "validation", "test_natural")])
    assert whole[whole["Text"].str.startswith("xa xb")]["Group"].nunique() == 1


def test_what_is_held_out_is_known_by_its_words(tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    pd.DataFrame({"Label": [1], "Text": ["WIN 500 now, call!"]}).to_csv(table, index=False)
    frame = pd.DataFrame({"Text": ["win 900 now call", "win 900 now", "???"]})
    losses = ReadingLosses()
    left = corpus.without(frame, corpus.held_out([table]), losses)
    assert left["Text"].tolist() == ["win 900 now", "???"]
    assert losses.counts["held out"] == 1
    with pytest.raises(NotFound, match="--hold-out"):
        corpus.held_out([tmp_path / "none.csv"])
    with pytest.raises(BadInput, match="column Text"):
        table.write_text("a,b\n1,2\n")
        corpus.held_out([table])


def test_one_source_and_its_near_duplicates_are_the_test_part() -> None:
    frame = pd.concat(
        [
            *(messages(60, label, source) for label in ("ham", "spam") for source in ("one", "two")),
            campaign(4, "spam", "one"),
            campaign(1, "spam", "two").assign(Text=lambda f: f["Text"] + " more"),
        ]
    ).reset_index(drop=True)
    parts = grouped(frame, test_source="two")
    assert set(parts["train"]["Source"]) == set(parts["validation"]["Source"]) == {"one"}
    tested = parts["test_natural"]
    assert (tested["Source"] == "two").sum() == 121
    assert (tested["Source"] == "one").sum() == 4  # the campaign that the two share


def test_the_split_is_the_same_every_time(mixed: corpus.Parts) -> None:
    whole = pd.concat([messages(90, "ham"), messages(90, "spam")], ignore_index=True)
    first, second = (grouped(whole) for _ in range(2))
    assert all(first[name].equals(second[name]) for name in first)


def test_another_source_moves_nothing_between_the_parts_of_the_others() -> None:
    known = [messages(90, label, "one") for label in ("ham", "spam")]
    new = [messages(40, label, "another") for label in ("spam", "ham")]
    few = grouped(pd.concat(known, ignore_index=True))
    more = grouped(pd.concat([*new, *known], ignore_index=True))
    for name in ("train", "validation", "test_natural"):
        of_known = more[name][more[name]["Source"] == "one"]
        assert set(of_known["Text"]) == set(few[name]["Text"])


def test_three_classes_are_balanced_too() -> None:
    frames = [messages(100, "ham"), messages(50, "spam"), messages(30, "phish")]
    parts = grouped(pd.concat(frames, ignore_index=True))
    assert parts["test"]["Label"].value_counts().to_dict() == {0: 6, 1: 6, 2: 6}


def test_too_few_messages_are_refused() -> None:
    frames = [messages(50, "ham"), messages(2, "spam")]
    with pytest.raises(BadInput, match=r"52 distinct messages leave \w+ without a class"):
        grouped(pd.concat(frames, ignore_index=True))


# -- the folder ------------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was_written(tmp_path: Path, mixed: corpus.Parts) -> None:
    mixed = mixed | {"train": mixed["train"].copy()}
    mixed["train"].loc[0, "Text"] = 'null\n"quoted", and ü'
    mixed["train"].loc[1, "Text"] = "NA"
    mixed["train"].loc[2, "Text"] = "123"
    data = corpus.write(tmp_path / "out", mixed, HAM_AND_SPAM, "grouped", {"read": 800})
    again = Dataset.load(tmp_path / "out")
    assert again == data
    assert (again.labels, again.ham, again.ham_indices, again.recipe) == (
        ("ham", "spam"),
        ("ham",),
        (0,),
        "grouped",
    )
    for name, part in mixed.items():
        pd.testing.assert_frame_equal(again.split(name), part, check_dtype=False)
    assert again.about["read"] == 800
    spam = again.about["files"]["train"]["labels"]["spam"]
    assert again.about["files"]["train"]["spam_share"] == round(spam / len(mixed["train"]), 4)


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    part = pd.DataFrame({"Label": [0, 1], "Text": ["0012", "1e5"]})
    parts = dict.fromkeys(corpus.SPLITS, part)
    data = corpus.write(tmp_path, parts, HAM_AND_SPAM, "lecture")
    assert data.split("train")["Text"].tolist() == ["0012", "1e5"]


def test_the_fingerprint_is_of_the_files(tmp_path: Path, mixed: corpus.Parts) -> None:
    data = corpus.write(tmp_path / "a", mixed, HAM_AND_SPAM, "grouped")
    same = corpus.write(tmp_path / "b", mixed, HAM_AND_SPAM, "grouped")
    assert data.fingerprint == same.fingerprint
    with (tmp_path / "b" / "test.csv").open("a") as file:
        file.write("0,more,sms,9,one\n")
    assert data.fingerprint != same.fingerprint


def test_a_folder_written_over_keeps_nothing_old(tmp_path: Path, mixed: corpus.Parts) -> None:
    corpus.write(tmp_path, mixed, HAM_AND_SPAM, "grouped")
    few = {name: mixed[name] for name in corpus.SPLITS}
    corpus.write(tmp_path, few, HAM_AND_SPAM, "lecture")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "dataset.json",
        "test.csv",
        "train.csv",
        "validation.csv",
    ]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"labels": 3}', "\x00"])
def test_a_damaged_description_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / corpus.MANIFEST).write_text(content)
    with pytest.raises(BadInput, match="make it again"):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Text\nhello\n",
        b"Label,Text\n2,x\n",
        b"Label,Text\n-1,x\n",
        b"Label,Text\nham,x\n",
        b'Label,Text\n0,"x',
        b"\xff\xfe",
    ],
)
def test_a_damaged_split_is_one_line(tmp_path: Path, content: bytes) -> None:
    described = {"labels": ["ham", "spam"], "ham": ["ham"], "recipe": "grouped"}
    (tmp_path / corpus.MANIFEST).write_text(json.dumps(described))
    (tmp_path / "test.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"test\.csv") as caught:
        Dataset.load(tmp_path).split("test")
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFound, match="trainer data prepare"):
        Dataset.load(tmp_path).split("train")


def test_no_folder_and_no_room(tmp_path: Path, mixed: corpus.Parts) -> None:
    with pytest.raises(NotFound, match="trainer data prepare"):
        Dataset.load(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="--out"):
        corpus.write(tmp_path / "file", mixed, HAM_AND_SPAM, "grouped")

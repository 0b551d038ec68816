"""What is learned from, and what it is judged by: nothing twice, nothing on both sides."""

from pathlib import Path

import pandas as pd
import pytest

from filterd.api import Label
from filterd.corrections.store import Store
from filterd.errors import BadInput, NotFound
from filterd_trainer.retraining import material
from filterd_trainer.retraining.gate import GateRules
from filterd_trainer.retraining.material import Material, gather, rehearse
from tests.trainer import tiny
from tests.trainer.retraining.corrections import correction, corrections

SPAM, HAM = Label.SPAM, Label.HAM


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "feedback.sqlite")


def gathered(
    store: Store, since: int = 0, rehearsal: pd.DataFrame | None = None, rules: GateRules | None = None
) -> Material:
    return gather(store, since, store.position().revision, rehearsal, rules or GateRules())


def test_the_newest_of_each_label_are_held_out(store: Store) -> None:
    store.learn_many(corrections(40))
    found = gathered(store)
    held, train = found.side("held"), found.side("train")
    assert len(held) == 12 and len(train) == 28
    for label in ("ham", "spam"):
        newest = held.loc[held["Label"] == label, "Number"]
        assert len(newest) == 6 and newest.min() > train.loc[train["Label"] == label, "Number"].max()
    assert found.new == {"cli": 40} and found.labelled(SPAM) == found.labelled(HAM) == 14


def test_where_a_fit_is_cheap_all_are_set_aside(store: Store) -> None:
    store.learn_many(corrections(40))
    found = gather(store, 10, store.position().revision, crossed=True)
    assert len(found.side("crossed")) == 30 and found.side("held").empty
    assert set(found.side("train")["Role"]) == {"earlier"}
    assert found.compared == found.side("crossed")["Group"].nunique()
    assert found.labelled(SPAM) == found.labelled(HAM) == 20


def test_earlier_corrections_rehearse(store: Store) -> None:
    store.learn_many(corrections(40))
    found = gathered(store, since=30)
    roles = found.frame.groupby("Role").size().to_dict()
    assert roles == {"earlier": 30, "new": 10}
    assert set(found.side("held")["Role"]) == {"new"} and found.new == {"cli": 10}


def test_near_duplicates_stay_together_and_the_known_are_not_asked(store: Store) -> None:
    words = "the parcel with the blue ribbon for the lady on the third floor arrives {}"
    store.learn_many([correction(words.format(i), HAM, i) for i in range(8)])
    store.learn_many(corrections(20, first=8))
    found = gathered(store)
    side = found.frame.groupby("Group")["Side"].nunique()
    assert side.max() == 1
    known = gathered(store, since=4)
    copies = known.frame[known.frame["Text"].str.startswith("the parcel")]
    assert set(copies["Side"]) == {"train"} and set(copies["Role"]) == {"new", "earlier"}


def test_the_last_word_wins_and_lone_contradictions_go(store: Store) -> None:
    words = "a loan of {} pounds for all who ask us within the next hour by phone"
    store.learn_many([correction(words.format(i), SPAM, i) for i in range(5)])
    store.learn(correction(words.format(5), HAM, 5))  # one says otherwise
    store.learn_many(corrections(20, first=6))
    found = gathered(store)
    assert found.left_out["contradicted by near-duplicates"] == 1
    assert not (found.frame["Text"] == words.format(5)).any()
    store.learn(correction(words.format(0), HAM, 99))  # a person changed their mind: now 4 to 2
    assert gathered(store).left_out["contradicted by near-duplicates"] == 2


def test_a_campaign_is_told_ten_times_at_most(store: Store) -> None:
    words = "win {} now with the great lottery of the north and its many prizes"
    store.learn_many([correction(words.format(i), SPAM, i) for i in range(30)])
    found = gathered(store)
    assert found.left_out == {"more than 10 near-duplicates": 20}
    assert found.frame["Number"].tolist() == list(range(21, 31))


def test_a_source_keeps_its_quota(store: Store) -> None:
    store.learn_many(corrections(40, "web"))
    store.learn_many(corrections(10, "cli", first=40))
    rules = GateRules(source_floor=5)
    found = gathered(store, rules=rules)
    assert found.new == {"cli": 10, "web": 10} and found.dropped == {"web": 30}
    assert gathered(store).dropped == {}  # nobody's 500 are reached


def test_what_has_no_text_is_counted(store: Store) -> None:
    import msgspec

    store.learn(msgspec.structs.replace(corrections(1)[0], text=None))
    store.learn(msgspec.structs.replace(corrections(1, first=1)[0], text="  "))
    assert gathered(store).left_out == {"no text kept": 1, "empty text": 1}
    assert gathered(store).frame.empty


def test_a_folder_of_data_rehearses_by_its_own_splits(store: Store, tmp_path: Path) -> None:
    tiny.dataset(tmp_path / "data")
    rows = rehearse([str(tmp_path / "data")], ("ham",))
    assert rows is not None and set(rows["Label"]) == {"ham", "spam"}
    store.learn_many(corrections(20))
    found = gathered(store, rehearsal=rows)
    assert set(found.frame.loc[found.frame["Role"] == "rehearsal", "Side"]) == {"train", "calibrate", "held"}
    assert found.frame.groupby("Group")["Side"].nunique().max() >= 1


def test_rehearsal_like_a_held_out_correction_is_left_out(store: Store) -> None:
    store.learn_many(corrections(20))
    newest = gathered(store).side("held")["Text"].iloc[0]
    rows = pd.DataFrame(
        [("ham", f"{newest} indeed", "sms", "rehearsal", "rehearsal", "", 0, "train")],
        columns=[*material.COLUMNS, "Split"],
    )
    found = gathered(store, rehearsal=rows)
    assert found.left_out == {"rehearsal like a held-out correction": 1}


def test_a_table_is_split_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "MAX_REHEARSAL", 40)
    lines = [f"{'spam' if i % 3 == 0 else 'ham'}\tmessage number {i} of many" for i in range(120)]
    (tmp_path / "own.tsv").write_text("\n".join(lines))
    rows = rehearse([str(tmp_path / "own.tsv")], ("ham",))
    assert rows is not None and rows["Label"].value_counts().to_dict() == {"ham": 20, "spam": 20}


def test_wrong_rehearsal_is_refused(tmp_path: Path) -> None:
    assert rehearse([], ("ham",)) is None
    (tmp_path / "own.tsv").write_text("blue\tone message\ngreen\tanother message\n")
    with pytest.raises(BadInput, match="name folders ham and spam"):
        rehearse([str(tmp_path / "own.tsv")], ("ham",))
    with pytest.raises(NotFound):
        rehearse([str(tmp_path / "none")], ("ham",))

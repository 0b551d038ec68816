"""What is replayed: mixed by the seed, whole groups set aside, what a model has seen left out."""

from pathlib import Path

import pandas as pd
import pytest

from filterd.errors import BadInput
from filterd_trainer.data import corpus
from filterd_trainer.simulation import stream
from filterd_trainer.simulation.stream import Stream, StreamSettings
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from tests.trainer.simulation import mails


def load(where: Path, settings: StreamSettings | None = None, known: corpus.Dataset | None = None) -> Stream:
    return stream.load(stream.located([f"site={where}"]), settings or StreamSettings(), known)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mails.folders(tmp_path_factory.mktemp("mails"), 40)


def test_clean_mail_shares_no_group_with_the_stream(where: Path, tmp_path: Path) -> None:
    for i in range(12):  # a campaign: the same mail to others
        (where / "spam" / f"copy{i}.eml").write_text(mails.mail("spam", "the same again", 500) + f"{i}\n")
    found = load(where, StreamSettings(clean=0.3))
    groups = found.groups
    assert not set(groups[: found.n]) & set(groups[list(found.clean)])
    assert len(set(groups)) < len(groups)
    assert 0.2 < len(found.clean) / len(found.mails) < 0.5
    assert len(found.mails) == 92


def test_the_same_seed_gives_the_same_days(where: Path) -> None:
    one, two, other = load(where), load(where), load(where, StreamSettings(seed=4))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert 0 < one.is_spam[: one.n // 2].sum() < one.n // 2, "mixed, and not ham first"


def test_a_limit_keeps_the_clean_share(where: Path) -> None:
    found = load(where, StreamSettings(messages=30, clean=0.25))
    assert found.n == 30
    assert 10 <= len(found.clean) <= 22


def test_what_the_bundle_was_trained_on_is_left_out(where: Path, tmp_path: Path) -> None:
    texts = [mail.texts[0] for mail in load(where).mails]
    some = pd.DataFrame({"Label": 0, "Text": texts, "Kind": "mail"})
    parts = {"train": some[:30], "validation": some[30:40], "test": some[40:]}
    known = corpus.write(tmp_path, parts, HAM_AND_SPAM, "grouped")
    found = load(where, known=known)
    assert {mail.texts[0] for mail in found.mails} == set(texts[40:])
    assert found.lost["not of the dataset's test part"] == 40


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="12 mails to replay"):
        load(mails.folders(tmp_path, 6))


def test_other_labels_are_counted(where: Path, tmp_path: Path) -> None:
    mails.folders(tmp_path, 12)
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts" / "1.eml").write_text("Subject: x\n\ny\n")
    assert load(tmp_path).lost == {"label that is neither ham nor spam": 1}


@pytest.mark.parametrize(
    "wrong",
    [{"clean": 0.0}, {"clean": 1.0}, {"corrects": 0.0}, {"wrong": 1.0}, {"hostile": -0.1}, {"day": 0}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="--"):
        StreamSettings(**wrong)  # type: ignore[arg-type]


def test_segments_end_with_a_night() -> None:
    assert StreamSettings(every=500).starts(1200) == [0, 500, 1000, 1200]
    assert StreamSettings(every=500).starts(1000) == [0, 500, 1000]

"""The arms: ours judges as the engine does and learns as the product does; Bogofilter is the real one."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from filterd.api import Kind, Label, Message
from filterd.corrections.store import Store
from filterd.reading import text
from filterd.scoring import bundle
from filterd.scoring.engine import Engine
from filterd_trainer.retraining import lock, retrain
from filterd_trainer.simulation import arms, stream
from filterd_trainer.simulation.arms import Bogofilter, Margins, Ours
from filterd_trainer.simulation.stream import Stream, StreamSettings
from filterd_trainer.simulation.users import USER, StreamCorrection
from filterd_trainer.training import train
from tests.conftest import need_program
from tests.trainer.simulation import mails

SETTINGS = StreamSettings(clean=0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    where = mails.folders(tmp_path_factory.mktemp("mails"), 12)
    return stream.load(stream.located([f"site={where}"]), SETTINGS)


@pytest.fixture(scope="module")
def margins(site: Stream, tmp_path_factory: pytest.TempPathFactory) -> Margins:
    return Margins(site, tmp_path_factory.mktemp("margins"))


def ours(
    site: Stream, margins: Margins, folder: Path, remembers: bool = False, retrains: bool = False
) -> Ours:
    return Ours(site, SETTINGS, margins, bundle.DEFAULT, folder, remembers=remembers, retrains=retrains)


def said(site: Stream, place: int, copy: int = 0) -> StreamCorrection:
    label = Label.HAM if site.mails[place].is_spam else Label.SPAM
    return StreamCorrection(at=20, mail=place, label=label, source=USER, copy=copy)


def test_judges_as_the_engine_does(site: Stream, margins: Margins, tmp_path: Path) -> None:
    got = ours(site, margins, tmp_path).judge(range(site.n))
    wanted = Engine.open().judge([Message(mail.raw) for mail in site.mails[: site.n]])
    assert [one.label for one in got] == [one.label for one in wanted]
    assert [one.probability for one in got] == pytest.approx([one.probability for one in wanted], abs=1e-4)


def test_nothing_is_judged_twice(site: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Margins(site, tmp_path).of(bundle.DEFAULT, range(6))
    asked: list[str] = []

    def margins(self: Engine, texts: list[str], kinds: list[Kind]) -> list[float]:
        asked.extend(texts)
        return [0.0] * len(texts)

    monkeypatch.setattr(Engine, "margins", margins)
    Margins(site, tmp_path).of(bundle.DEFAULT, range(8))
    assert asked == [site.mails[6].texts[0], site.mails[7].texts[0]]


def test_the_memory_learns_at_once_and_is_restored(site: Stream, margins: Margins, tmp_path: Path) -> None:
    arm, again = (ours(site, margins, tmp_path / name, remembers=True) for name in ("one", "two"))
    frozen, learned = ours(site, margins, tmp_path / "three"), [said(site, 0), said(site, 1)]
    for one in learned:
        arm.learn(one)
        frozen.learn(one)
        assert arm.judge([one.mail])[0].label is one.label
    assert arm.alone(range(9)) == frozen.judge(range(9))
    again.learn(said(site, 5))
    again.restore(learned)
    assert again.judge(range(site.n)) == arm.judge(range(site.n))
    assert not (tmp_path / "three").exists(), "a frozen filter keeps nothing"
    for filter_ in (arm, again, frozen):
        filter_.close()


def test_a_flood_is_stored_as_other_mails(site: Stream, margins: Margins, tmp_path: Path) -> None:
    arm = ours(site, margins, tmp_path, retrains=True)
    for copy in (1, 2, 3):
        arm.learn(said(site, 0, copy))
    arm.close()
    with Store.open(tmp_path / "feedback.sqlite") as store:
        kept = list(store.iterate())
    assert len({one.content_hash for one in kept}) == len({one.text for one in kept}) == 3
    assert site.mails[0].texts[0] not in {one.text for one in kept}


def test_a_night_is_a_retraining(
    site: Stream, margins: Margins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[retrain.RetrainRequest] = []

    def night(request: retrain.RetrainRequest) -> SimpleNamespace:
        asked.append(request)
        return SimpleNamespace(reason="better: no")

    monkeypatch.setattr(retrain, "retrain", night)
    arm = ours(site, margins, tmp_path, retrains=True)
    arm.learn(said(site, 0))
    champion = bundle.read(bundle.DEFAULT).id
    assert arm.night() == arms.Night(champion, False, "better: no")
    assert asked[0].champion == bundle.DEFAULT
    assert asked[0].feedback == str(tmp_path / "feedback.sqlite")
    assert asked[0].state is None, "no daemon is told"
    arm.close()
    assert ours(site, margins, tmp_path).night() is None


def test_a_promoted_bundle_judges(
    site: Stream, margins: Margins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    made = bundle.install(bundle.read(bundle.DEFAULT), tmp_path / "made")
    folder = tmp_path / "made" / made
    manifest = msgspec.structs.replace(bundle.read(folder).manifest, name="better")
    bundle.rewrite_manifest(folder, manifest)

    def night(request: retrain.RetrainRequest) -> SimpleNamespace:
        assert request.champion is not None
        bundle.promote(bundle.read(folder), request.bundles, request.champion)
        return SimpleNamespace(reason="")

    monkeypatch.setattr(retrain, "retrain", night)
    arm = ours(site, margins, tmp_path / "arm", retrains=True)
    found = arm.night()
    assert found is not None
    assert found.promoted
    assert found.duty.startswith("better-")
    assert arm.judge([0])[0].label in set(Label)
    arm.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_night_that_ends_otherwise(
    site: Stream, margins: Margins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    def night(request: retrain.RetrainRequest) -> SimpleNamespace:
        raise train.TrainingInterrupted("stopped") if stopped else lock.RetrainingBusy("another one")

    monkeypatch.setattr(retrain, "retrain", night)
    arm = ours(site, margins, tmp_path, retrains=True)
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            arm.night()
    else:
        found = arm.night()
        assert found is not None
        assert (found.promoted, found.reason) == (False, "another one")
    arm.close()


def test_bogofilter_learns_and_unlearns(site: Stream, tmp_path: Path) -> None:
    need_program("bogofilter")
    arm = Bogofilter(site, tmp_path)
    arm.restore([])
    assert set(arm.judge(range(site.n))) == {arms.ArmVerdict(arms.UNKNOWN, Label.UNSURE)}
    truth = [
        StreamCorrection(at=0, mail=i, label=mail.label, source=USER) for i, mail in enumerate(site.mails)
    ]
    for one in truth:
        arm.learn(one)
    told = arm.judge(range(site.n))
    assert [one.label for one in told] == [mail.label for mail in site.mails[: site.n]]
    assert arm.alone([3]) == [told[3]]
    arm.learn(said(site, 0))
    changed = arm.judge([0])[0]
    assert (changed.probability < told[0].probability) is site.mails[0].is_spam
    arm.restore(truth)
    assert arm.judge(range(site.n)) == told
    assert arm.night() is None


def test_without_bogofilter_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "not installed" in arms.bogofilter_missing()


def test_readings_of_an_ambiguous_mail_all_count(site: Stream, margins: Margins) -> None:
    assert all(mail.texts[0] == text.read(Message(mail.raw))[0].canonical for mail in site.mails)
    engine = margins.engine(bundle.DEFAULT)
    texts = [mail.texts[0] for mail in site.mails[:2]]
    double = stream.StreamMail(b"", site.mails[0].kind, tuple(texts), False, 0)
    assert arms._highest(engine, [double]) == [max(engine.margins(texts, [site.mails[0].kind] * 2))]

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from filterd.api import Kind, Label, Message
from filterd.errors import BadInput, BundleError, ConfigError, FilterdError, NotFound
from filterd.scoring import bundle, verdict
from filterd.scoring.bundle import Bundle
from filterd.scoring.engine import Engine
from filterd.scoring.verdict import Thresholds
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.export import card, export, parity
from filterd_trainer.export.assembly import ExportRequest
from filterd_trainer.export.files import locations
from filterd_trainer.export.texts import SplitTexts, messages
from filterd_trainer.gpt2.model import from_safetensors
from filterd_trainer.training.recipe import Recipe
from tests.trainer import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    tiny.dataset(folder / "data")
    tiny.run(folder / "run")
    return folder


@pytest.fixture(scope="module", params=export.QUANTIZATIONS)
def made(place: Path, request: pytest.FixtureRequest) -> Bundle:
    name = request.param
    return export.export(
        ExportRequest(run=place / "run", data=place / "data", out=place / name, quantization=name)
    )


def test_the_engine_judges_with_it(made: Bundle) -> None:
    engine = Engine.open(made.path, threads=1)
    spam, ham = engine.judge(
        [
            Message(b"free prize 77 waiting, click here", kind=Kind.SMS),
            Message(b"the train is 77 minutes late", kind=Kind.SMS),
        ]
    )
    assert (spam.label, ham.label) == (Label.SPAM, Label.HAM)


def test_what_is_shipped_passed_its_checks(made: Bundle) -> None:
    found = msgspec.convert(made.manifest.metrics["parity"], parity.Parity)
    assert found.fp32 <= parity.MAX_DIFFERENCE
    assert found.alone <= parity.MAX_DIFFERENCE
    assert found.flipped <= parity.MAX_FLIPPED * found.messages
    assert (found.shipped == 0) == (made.manifest.quantization == "fp32")


def test_calibrated_on_sources_left_out(place: Path) -> None:
    request = ExportRequest(
        run=place / "run", data=place / "data", out=place / "left_out", calibrate_on="test"
    )
    found = export.export(dataclasses.replace(request, quantization="fp32", fast_path=False))
    held = found.manifest.metrics["left_out"]
    assert sum(one["ham"] + one["spam"] for one in held.values()) == len(tiny_test(place))
    assert "Sources left out" in (found.path / "MODEL_CARD.md").read_text()


def test_another_bundles_linear_half_is_weighed_on_what_is_left_out(place: Path) -> None:
    request = ExportRequest(run=place / "run", data=place / "data", out=place / "wide_of", fast_path=False)
    request = dataclasses.replace(request, quantization="fp32", wide_of=Path("default"))
    found = export.export(dataclasses.replace(request, calibrate_on="test"))
    shipped = bundle.read(bundle.DEFAULT)
    assert (found.path / bundle.WIDE).read_bytes() == (shipped.path / bundle.WIDE).read_bytes()
    assert found.manifest.wide and shipped.manifest.wide
    assert found.manifest.wide.scale != shipped.manifest.wide.scale
    with pytest.raises(ConfigError, match="give one of them"):
        export.export(dataclasses.replace(request, wide_with=bundle.DEFAULT))


def tiny_test(place: Path) -> list[str]:
    return messages(Dataset.load(place / "data"), "test").texts


def test_the_wide_half_learns_messages_with_ham_of_their_kind_around_them() -> None:
    texts = ["win a prize", "see you at noon", "buy now", "Minutes\n\nthe board met on Monday"]
    kinds = [Kind.SMS, Kind.SMS, Kind.MAIL, Kind.MAIL]
    learnt = SplitTexts(texts, np.array([True, False, True, False]), kinds)
    sms, mail = export._surrounded(learnt, slice(None, None, 2))
    assert "win a prize" in sms and "noon" in sms and "board" not in sms
    assert "buy now" in mail and "Monday" in mail and "noon" not in mail


def test_a_fast_path_is_measured(made: Bundle) -> None:
    fits = made.manifest.fast_path
    assert fits is not None
    assert [fit.messages for fit in fits.values()] == [20, 20]
    assert all(fit.ham is None and fit.spam is None for fit in fits.values())  # 20 messages show nothing
    lines = made.manifest.fast_path_lines()
    assert all("could not be shown" in line for line in lines)
    assert Engine.open(made.path, threads=1, fast_path=True).fast_path is not None


def test_the_card_says_what_the_manifest_holds(made: Bundle) -> None:
    card = (made.path / bundle.CARD).read_text()
    assert made.manifest.metrics["data"]["dataset_sha256"] in card
    assert f"{made.manifest.thresholds[Kind.SMS].spam:.4f}" in card
    assert "cannot be observed" in card  # 40 ham a kind prove no rate of 0.1%
    for section in ("## Data", "## Parity", "## Size and speed", "## Limits", "## Licences"):
        assert section in card


def test_the_card_names_the_terms_of_what_was_trained_on_and_of_nothing_else(made: Bundle) -> None:
    licences = (made.path / bundle.CARD).read_text().partition("## Licences")[2]
    assert "GPT-2 vocabulary (MIT)" in licences
    assert not any(name in licences for name in ("Enron", "Almeida", "SpamAssassin", "SmolLM2"))
    sources = {"mine": 7, "uci": 5}
    metrics = made.manifest.metrics
    data = metrics["data"] | {"sources": sources, "origins": ["SmolLM2-135M (Apache-2.0)"]}
    known = metrics | {"data": data}
    said = card.write(msgspec.structs.replace(made.manifest, metrics=known, parent="old-1"))
    assert "derive from SmolLM2-135M (Apache-2.0)." in said and "derive from old-1 too" in said
    assert "| mine | 7 | not known to us" in said and "| uci | 5 | free use" in said
    assert "Enron" not in said


def test_the_table_is_stored_once(made: Bundle) -> None:
    sizes = {name: entry.bytes for name, entry in made.manifest.files.items()}
    table = tiny.TINY.vocabulary * tiny.TINY.width
    assert sizes[bundle.MODEL] < table / 10
    assert sizes[bundle.WEIGHTS] > table


def test_retraining_can_start_from_it(made: Bundle) -> None:
    model, labels = from_safetensors(made.path / bundle.WEIGHTS)
    assert labels == ("ham", "spam")
    row = [[1, 2, 3]]
    expected = parity.TorchBackend(tiny.classifier()).score(row).logits
    assert np.abs(parity.TorchBackend(model).score(row).logits - expected).max() < 0.1


def test_probes_cover_both_kinds(made: Bundle) -> None:
    assert len(made.manifest.probes) == 12
    assert {probe.kind for probe in made.manifest.probes} == set(Kind)


def test_a_changed_table_is_refused(made: Bundle, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made.path, copy)
    content = bytearray((copy / bundle.WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / bundle.WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match="does not match its hash"):
        bundle.read(copy)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        pytest.param({"run": Path("nowhere")}, NotFound, "nowhere", id="no run"),
        pytest.param({"data": Path("nowhere")}, NotFound, "trainer data prepare", id="no data"),
        pytest.param({"quantization": "int3"}, ConfigError, "int8 or fp32", id="unknown quantization"),
    ],
)
def test_a_wrong_request_is_one_line(
    place: Path, tmp_path: Path, changes: dict[str, object], error: type[FilterdError], says: str
) -> None:
    given = {"run": place / "run", "data": place / "data", "out": tmp_path / "out"} | changes
    with pytest.raises(error) as caught:
        export.export(ExportRequest(**given))  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quantization", export.QUANTIZATIONS)
def test_a_run_that_reads_the_padding_is_served_as_it_was_trained(
    place: Path, tmp_path: Path, quantization: str
) -> None:
    run = tiny.run(tmp_path / "run", recipe=Recipe(way="lecture"))
    asked = ExportRequest(
        run=run, data=place / "data", out=tmp_path / "out", quantization=quantization, max_flipped=1.0
    )
    made = export.export(asked)
    manifest = made.manifest
    assert manifest.padded and manifest.max_windows == 1 and not manifest.wide and not manifest.fast_path
    texts = ["free prize 7 waiting, click here", "ok 12 it is", "the train is 5 minutes late " * 20]
    ids = [tiny.encode([one])[0][: manifest.max_tokens] for one in texts]
    padded = torch.tensor([one + [manifest.pad_token] * (manifest.max_tokens - len(one)) for one in ids])
    lengths = torch.tensor([len(one) for one in ids])
    with torch.inference_mode():
        logits = from_safetensors(run / "model.safetensors")[0](padded, lengths, "last_padded").double()
    margins = (logits[:, 1] - logits[:, 0]).tolist()
    line = manifest.calibration[Kind.SMS]
    wanted = [verdict.probability(margin, line) for margin in margins]
    got = [one.probability for one in Engine.open(made.path).judge([sms(one) for one in texts])]
    assert np.abs(np.subtract(wanted, got)).max() < (1e-4 if quantization == "fp32" else 0.1)


def sms(content: str) -> Message:
    return Message(content.encode(), kind=Kind.SMS)


def test_other_labels_are_refused(place: Path, tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "run", labels=("ham", "spam", "fraud"))
    with pytest.raises(BadInput, match="fraud"):
        export.export(ExportRequest(run=run, data=place / "data", out=tmp_path / "out"))


def test_a_failed_check_leaves_the_old_bundle(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    monkeypatch.setattr(parity, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(BundleError, match="differs from PyTorch"):
        export.export(ExportRequest(run=place / "run", data=place / "data", out=out))
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (out / "old").read_text() == "old"


def test_too_many_changed_verdicts_fail() -> None:
    cut = dict.fromkeys(Kind, Thresholds(unsure=0.5, spam=0.9))
    floats, shipped = np.full(1000, 0.2), np.full(1000, 0.2)
    kinds = [Kind.SMS] * 1000
    shipped[:3] = 0.95
    assert parity.check_flipped(parity.flipped(shipped, floats, kinds, cut)) == 3
    shipped[3] = 0.6
    with pytest.raises(BundleError, match="4 of 1000"):
        parity.check_flipped(parity.flipped(shipped, floats, kinds, cut))


@pytest.mark.parametrize(("ham", "cautious"), [(50, True), (2000, False)])
def test_few_ham_make_the_threshold_cautious(ham: int, cautious: bool) -> None:
    p = np.concatenate([np.full(ham, 0.01), [0.9], np.full(100, 0.92)])
    is_spam = np.array([False] * (ham + 1) + [True] * 100)
    highest_ham = 0.9 if cautious else 0.01
    found = export._thresholds(p, is_spam).spam
    odds = np.log(found / (1 - found)) - np.log(highest_ham / (1 - highest_ham))
    assert odds >= export.CAUTION if cautious else found < 0.92


def test_locations_are_those_of_the_tensors(place: Path) -> None:
    file = place / "run" / "model.safetensors"
    at = locations(file)["head.bias"]
    values = np.frombuffer(file.read_bytes()[at.offset : at.offset + at.length], np.float32)
    assert (values == tiny.classifier().head.bias.detach().numpy()).all()


def test_a_mean_of_linear_halves_needs_one_for_both_kinds(place: Path, tmp_path: Path) -> None:
    request = ExportRequest(
        run=place / "run", data=place / "data", out=tmp_path / "made", wide_with=bundle.DEFAULT
    )
    assert export._earlier(request) is not None
    assert export._earlier(dataclasses.replace(request, wide_with=None)) is None
    bundle.install(bundle.read(bundle.DEFAULT), tmp_path / "store")
    other = next((tmp_path / "store").iterdir())
    manifest = bundle.read(other).manifest
    bundle.write_manifest(other, msgspec.structs.replace(manifest, wide=None, fast_path=None))
    with pytest.raises(BadInput, match="no linear half for mail and SMS together"):
        export.export(dataclasses.replace(request, wide_with=other))
    assert not (tmp_path / "made").exists()

"""The two files compute what the whole does, and a window stops early whatever its neighbours are."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from filterd.api import Kind, Message, Verdict
from filterd.config import Config, Model
from filterd.scoring import bundle, exits
from filterd.scoring.backend import StagedBackend, open_backend, open_staged
from filterd.scoring.bundle import Bundle, ExitEntry, FastPathSide
from filterd.scoring.engine import Engine
from filterd.service.service import Service
from filterd_trainer.export import exits as made
from filterd_trainer.export import files, graph, quantize
from filterd_trainer.gpt2.model import SpamClassifier, from_safetensors, to_safetensors
from tests.filterd import fakes
from tests.trainer import tiny

DRAW = np.random.default_rng(7)
ROWS = [DRAW.integers(0, 50257, n).tolist() for n in (1, 2, 3, 17, 40, 64)]
FIT = ExitEntry(
    1, FastPathSide(limit=-0.2, scale=1.0, offset=-5.0), FastPathSide(limit=0.2, scale=1.0, offset=5.0)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpamClassifier:
    """The tiny classifier with an exit behind its first block that has something to say."""
    file = tmp_path_factory.mktemp("exit") / "m.safetensors"
    to_safetensors(tiny.classifier(), file, ("ham", "spam"))
    found, _ = from_safetensors(file)
    found.add_exit(1)
    assert found.exit is not None
    torch.manual_seed(3)
    torch.nn.init.normal_(found.exit.head.weight, std=0.3)
    return found


@pytest.fixture(scope="module", params=["fp32", "int8"])
def folder(
    model: SpamClassifier, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    to_safetensors(model, place / bundle.WEIGHTS, ("ham", "spam"))
    weights, where = load_file(place / bundle.WEIGHTS), files.locations(place / bundle.WEIGHTS)
    linears = None
    if request.param == "int8":
        files.save(graph.build(weights, tiny.TINY, taps=True), "fp32", place / "taps.onnx")
        names = graph.linear_names(tiny.TINY)
        ranges = quantize.observe(place / "taps.onnx", names, ROWS)
        weights, linears = quantize.int8(weights, tiny.TINY, ranges)
        where = {name: at for name, at in where.items() if name == graph.TABLE}
    built = graph.build(weights, tiny.TINY, linears, external=where)
    files.save(built, request.param, place / bundle.MODEL)
    made.write(place, model, weights, linears, where, request.param)
    return place


def staged(folder: Path, fit: ExitEntry = FIT) -> StagedBackend:
    return open_staged(folder, exits.settling(fit, (0,)), threads=1)


def test_both_files_together_are_the_whole(folder: Path) -> None:
    whole = open_backend(folder, threads=1).score(ROWS)
    found = staged(folder).score(ROWS)
    np.testing.assert_allclose(found.logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(found.hidden, whole.hidden, atol=1e-5)


def test_their_weights_are_there_once(folder: Path) -> None:
    both = sum((folder / name).stat().st_size for name in (bundle.FIRST, bundle.REST))
    assert both < 60_000


def test_the_exit_is_pytorchs(folder: Path, model: SpamClassifier) -> None:
    backend = open_staged(folder, made._all, threads=1)
    with torch.no_grad():
        expected = [model.both(torch.tensor([row]), torch.tensor([len(row)]))[0][0].numpy() for row in ROWS]
    tolerance = 1e-4 if (folder / "taps.onnx").exists() is False else 0.1
    np.testing.assert_allclose(backend.early(ROWS).logits, expected, atol=tolerance)


def test_a_window_stops_early_alone_as_in_company(folder: Path) -> None:
    backend = staged(folder)
    early = exits.margins(open_staged(folder, made._all, threads=1).early(ROWS).logits, (0,))
    settled = ~np.isnan(exits.estimates(early, FIT))
    assert 0 < settled.sum() < len(ROWS) or settled.any()
    together = backend.early(ROWS).logits
    alone = np.concatenate([backend.early([row]).logits for row in ROWS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    whole = backend.score(ROWS).logits
    np.testing.assert_allclose(together[~settled], whole[~settled], atol=1e-5)
    found = exits.margins(together, (0,))[settled]
    np.testing.assert_allclose(found, exits.estimates(early, FIT)[settled], atol=1e-5)


@pytest.mark.parametrize("ham", [(0,), (0, 2)])
def test_rows_that_stand_for_an_estimate_have_its_margin(ham: tuple[int, ...]) -> None:
    early = np.array([[3.0, -3.0, 2.5], [0.0, 0.05, 0.0], [-4.0, 4.0, -4.0]], np.float32)
    fit = ExitEntry(
        1, FastPathSide(limit=-2.0, scale=0.5, offset=-1.0), FastPathSide(limit=2.0, scale=2.0, offset=1.0)
    )
    rows, settled = exits.settling(fit, ham)(early)
    estimates = exits.estimates(exits.margins(early, ham), fit)
    assert settled.tolist() == (~np.isnan(estimates)).tolist()
    np.testing.assert_allclose(exits.margins(rows, ham)[settled], estimates[settled], atol=1e-5)


def test_an_exit_without_sides_settles_nothing() -> None:
    assert np.isnan(exits.estimates(np.array([-99.0, 0.0, 99.0]), ExitEntry(1, None, None))).all()


class Counting:
    """A session that counts the windows and tokens it is given."""

    def __init__(self, session: Any) -> None:
        self._session, self.windows, self.tokens = session, 0, 0

    def run(self, outputs: list[str], feed: dict[str, Any]) -> Any:
        self.windows += len(feed["lengths"])
        self.tokens += int(feed["lengths"].sum())
        return self._session.run(outputs, feed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


async def test_in_the_daemons_queue_no_window_is_looked_at_twice(folder: Path) -> None:
    """Company changes no verdict, and behind the exit come those alone that it leaves."""
    given = fakes.manifest(architecture=tiny.TINY, max_tokens=64, max_windows=2)
    opened = Bundle(folder, given, "tiny-1")
    all_of_it = open_staged(folder, made._all, threads=1)
    texts = [
        f"{word} {'and so on ' * n}" for n in range(0, 40, 4) for word in ("free prize", "see you", "ok")
    ]
    messages = [Message(text.encode(), kind=Kind.SMS) for text in texts]
    reader = Engine(opened, fakes.tokenizer(), all_of_it)
    windows = [window for one in messages for window in reader.prepare(one).windows]
    low, high = np.quantile(exits.margins(all_of_it.early(windows).logits, (0,)), [0.3, 0.7])
    ham, spam = (FastPathSide(limit=float(at), scale=1.0, offset=0.0) for at in (low, high))

    backend = staged(folder, ExitEntry(1, ham, spam))
    first, rest = Counting(backend._first_alone), Counting(backend._alone)
    backend._first_alone, backend._alone = first, rest
    engine = Engine(opened, fakes.tokenizer(), backend)
    engine.staged = backend
    alone = [engine.judge([message])[0] for message in messages]
    seen = first.windows, first.tokens, rest.windows, rest.tokens
    assert 0 < rest.windows < first.windows == len(windows)

    service = Service(Config(model=Model(workers=2)), engine, None)
    together: list[Verdict] = await asyncio.gather(*(service.check(message) for message in messages))
    await service.close(5)
    assert (first.windows, first.tokens, rest.windows, rest.tokens) == tuple(2 * count for count in seen)
    for one, other in zip(alone, together, strict=True):
        assert one.label is other.label
        assert one.probability == pytest.approx(other.probability, abs=1e-4)

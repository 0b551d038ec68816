import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from filterd.scoring import bundle
from filterd.scoring.backend import OnnxBackend, Scores, open_backend
from filterd_trainer.export import files, graph
from filterd_trainer.export.assembly import ExportRequest, manifest_of
from filterd_trainer.export.parity import TorchBackend
from filterd_trainer.gpt2 import strategies
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, to_safetensors
from filterd_trainer.training.runs import read_config
from tests.trainer import tiny

DRAW = np.random.default_rng(7)
ROWS = [DRAW.integers(0, 50257, n).tolist() for n in (1, 2, 3, 17, 40, 64)]


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> OnnxBackend:
    folder = tmp_path_factory.mktemp("floats")
    config = read_config(tiny.run(folder / "run"))
    files.write_floats(tiny.classifier(), config, folder)
    return open_backend(folder, threads=1)


def close(a: Scores, b: Scores, most: float = 1e-4) -> bool:
    return all(np.abs(x - y).max() <= most for x, y in zip(a, b, strict=True))


def test_the_graph_computes_what_pytorch_does(floats: OnnxBackend) -> None:
    expected = TorchBackend(tiny.classifier()).score(ROWS)
    assert np.ptp(expected.logits) > 1  # or any graph would do
    assert close(floats.score(ROWS), expected)


@pytest.mark.parametrize("strategy", ["adapters", "prefix", "prompt"])
def test_the_graph_carries_what_a_strategy_adds(strategy: str, tmp_path: Path) -> None:
    model = added(strategy)
    expected = TorchBackend(model).score(ROWS)
    assert not close(expected, TorchBackend(tiny.classifier()).score(ROWS), 0.1)  # or it would show nothing
    config = read_config(tiny.run(tmp_path / "run", model))
    floats = files.write_floats(model, config, tmp_path)
    assert close(open_backend(tmp_path, threads=1).score(ROWS), expected)
    (tmp_path / "int8").mkdir()
    manifest = manifest_of(ExportRequest(run=tmp_path, data=tmp_path, out=tmp_path), config, tiny.TINY)
    sample = tiny.encode(tiny.texts(40, 3)[0]) + [row[:48] for row in ROWS]
    files.write_int8(model, config, floats, tmp_path / files.WATCHED, sample, manifest, tmp_path / "int8")
    shipped = open_backend(tmp_path / "int8", threads=1)
    few = tiny.encode(tiny.texts(20, 4)[0])
    assert close(shipped.score(few), TorchBackend(model).score(few), 0.3)
    alone = np.concatenate([shipped.score([row]).logits for row in few])
    assert np.abs(alone - shipped.score(few).logits).max() < 1e-4


def added(strategy: str) -> SpamClassifier:
    """The tiny classifier with an addition that says much."""
    model = copy.deepcopy(tiny.classifier())
    torch.manual_seed(2)
    strategies.begin(model, strategy, 5)
    strategies.settle(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "after_" in name or "prefix" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def test_logits_are_a_linear_function_of_hidden(floats: OnnxBackend) -> None:
    scores = floats.score(ROWS)
    head = tiny.classifier().head
    expected = scores.hidden @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    assert np.allclose(scores.logits, expected, atol=1e-4)


def test_padding_is_never_seen(floats: OnnxBackend) -> None:
    alone = [floats.score([row]) for row in ROWS]
    together = floats.score(ROWS)
    for i, one in enumerate(alone):
        assert np.abs(one.logits[0] - together.logits[i]).max() < 1e-5


def test_a_model_inside_its_own_file_needs_no_other(tmp_path: Path) -> None:
    model = SpamClassifier(GPT2(tiny.TINY), 3).eval()
    to_safetensors(model, tmp_path / "w.safetensors", ("ham", "spam", "fraud"))
    built = graph.build(load_file(tmp_path / "w.safetensors"), tiny.TINY)
    (tmp_path / "alone").mkdir()
    file = tmp_path / "alone" / bundle.MODEL
    file.write_bytes(built.SerializeToString())
    scores = open_backend(file, threads=1).score(ROWS)
    assert scores.logits.shape == (len(ROWS), 3)
    assert close(scores, TorchBackend(model).score(ROWS))


def test_taps_show_the_inputs_of_every_matrix(tmp_path: Path) -> None:
    to_safetensors(tiny.classifier(), tmp_path / "w.safetensors", ("ham", "spam"))
    built = graph.build(load_file(tmp_path / "w.safetensors"), tiny.TINY, taps=True)
    outputs = {output.name for output in built.graph.output}
    assert outputs == {"logits", "hidden", *graph.linear_names(tiny.TINY)}

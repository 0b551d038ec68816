"""Language modelling: the estimated loss is right, it learns, it is repeatable and goes on after a break."""

import json
import lzma
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from filterd.errors import BadInput, ConfigError, NotFound
from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2
from filterd_trainer.pretraining import pretrain, tokens
from filterd_trainer.pretraining.pretrain import LanguageHead, PretrainSettings
from filterd_trainer.training.train import TrainingInterrupted

TINY = Architecture(vocabulary=50257, context=32, width=8, layers=1, heads=1)
SENTENCE = "The parcel for number {} comes on Tuesday, please be at home.\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("<|endoftext|>\n".join(SENTENCE.format(i % 7) * 40 for i in range(900)))
    return file


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    weights.save(GPT2(TINY), tmp_path / "base", "a test")
    return tmp_path / "base"


def small(base: Path, **changes: object) -> PretrainSettings:
    given = {"steps": 30, "batch_tokens": 256, "lengths": [8, 32], "frequent": 64, "sampled": 64}
    return pretrain.settings(**{"base": str(base), **given, **changes})


def silent(line: str) -> None: ...


def test_learns_and_leaves_a_base(text: Path, base: Path, tmp_path: Path) -> None:
    pretrain.pretrain([text], tmp_path / "run", small(base, learning_rate=2e-2), tell=silent)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [30]
    assert rows[0]["validation_loss"] < math.log(TINY.vocabulary) - 1
    assert weights.load(tmp_path / "run").architecture == TINY


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return weights.load(folder).state_dict()


def test_interrupted_and_resumed_equals_uninterrupted(
    text: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain.pretrain([text], tmp_path / "whole", small(base), tell=silent)

    usual = pretrain.Pretraining.step

    def step(run: pretrain.Pretraining) -> None:
        usual(run)
        if run.state.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(TrainingInterrupted):
        patched.setattr(pretrain.Pretraining, "step", step)
        pretrain.pretrain([text], tmp_path / "cut", small(base), tell=silent)
    settings, files = pretrain.read_settings(tmp_path / "cut")
    assert (settings, files) == (small(base), [text])
    pretrain.pretrain(files, tmp_path / "cut", settings, resume=True, tell=silent)
    whole, cut = parameters(tmp_path / "whole"), parameters(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("frequent", [0, 5, 40, 100])
def test_the_estimated_loss_is_near_the_exact_one(frequent: int) -> None:
    torch.manual_seed(0)
    hidden, embedding = torch.randn(64, 8) / 2, torch.randn(100, 8)
    targets = torch.randint(0, 30, (64,))
    exact = torch.nn.functional.cross_entropy(hidden @ embedding.T, targets)
    head = LanguageHead(torch.arange(100, 0, -1), frequent, sampled=50)
    estimates = torch.stack([head.loss(hidden, embedding=embedding, targets=targets) for _ in range(200)])
    assert estimates.mean() == pytest.approx(float(exact), abs=0.02)
    if frequent == 100:
        assert estimates[0] == pytest.approx(float(exact), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.txt", b"one\ntwo\n<|endoftext|>\nthree\n", id="text"),
        pytest.param("a.txt.xz", lzma.compress(b"one\ntwo\n<|endoftext|>\nthree\n"), id="compressed text"),
        pytest.param("a.jsonl", b'{"text": "one\\ntwo\\n"}\n{"text": "three\\n", "id": 1}\n', id="lines"),
        pytest.param(
            "a.jsonl.xz",
            lzma.compress(b'{"text":"one\\ntwo\\n"}\n{"text":"three\\n"}\n'),
            id="compressed lines",
        ),
    ],
)
def test_documents(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(tokens.documents(tmp_path / name)) == ["one\ntwo\n", "three\n"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.txt.xz", b"not xz", id="no xz"),
        pytest.param("a.txt.xz", lzma.compress(b"one\n" * 9)[:-9], id="cut off"),
        pytest.param("a.jsonl", b'{"body": "x"}\n', id="another key"),
        pytest.param("a.jsonl", b"[1]\n", id="no object"),
        pytest.param("a.jsonl", b"{\n", id="no JSON"),
    ],
)
def test_bad_text_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
        list(tokens.documents(tmp_path / name))


def test_held_out_text_is_never_trained_on(text: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    found = tokens.prepare([text], tmp_path, tokenizer, silent)
    row = np.arange(len(found.row)) % 65521  # a token says where it is from
    numbered = tokens.Tokens(row.astype(np.uint16), found.about)
    training, held_out = numbered.blocks(held_out=False), numbered.blocks(held_out=True)
    assert held_out and len(training) > 50 * len(held_out)
    seen = set((numbered.windows(training, 500, 32).flatten() // tokens.BLOCK).tolist())
    assert not seen & set(held_out)


def test_tokens_are_made_once(text: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    told: list[str] = []
    one = tokens.prepare([text], tmp_path, tokenizer, told.append)
    two = tokens.prepare([text], tmp_path, tokenizer, told.append)
    assert one.about == two.about and len(told) == 1
    text.write_text(text.read_text() + "more")
    assert tokens.prepare([text], tmp_path, tokenizer, told.append).about != one.about


def test_what_is_missing_is_one_line(text: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="budget"):
        pretrain.settings(base="filterd-mini")
    with pytest.raises(NotFound, match="no-such"):
        pretrain.pretrain([tmp_path / "no-such.txt"], tmp_path / "run", small(base), tell=silent)
    short = tmp_path / "short.txt"
    short.write_text("too short")
    with pytest.raises(BadInput, match="tokens"):
        pretrain.pretrain([short], tmp_path / "run", small(base), tell=silent)

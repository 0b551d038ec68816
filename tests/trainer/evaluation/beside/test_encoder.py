"""An encoder from a folder: a BERT of a few thousand parameters that transformers writes here."""

from pathlib import Path

import numpy as np
import pytest

from filterd.errors import BadInput, NotFound
from filterd_trainer.evaluation.beside import encoder
from filterd_trainer.evaluation.beside.encoder import FrozenEncoder, TextEncoder, TunedEncoder
from tests.trainer.samples import labelled

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bert")
    texts, _ = labelled(60)
    known = sorted({word for text in texts for word in text.lower().replace(",", " ,").split()})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known]
    (out / "vocab.txt").write_text("\n".join(dict.fromkeys(names)))
    transformers.BertTokenizerFast(
        vocab={name: i for i, name in enumerate(dict.fromkeys(names))}
    ).save_pretrained(out)
    config = transformers.BertConfig(
        vocab_size=len(set(names)),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(out)
    return out


def test_padding_changes_no_vector(folder: Path) -> None:
    read = TextEncoder(folder).eval()
    texts, _ = labelled(6)
    alone = np.concatenate([read([text]).detach().numpy() for text in texts])
    assert np.allclose(read(texts).detach().numpy(), alone, atol=1e-5)
    assert read(["a " * 5000]).shape == (1, 32)


def test_frozen_features_and_a_line(folder: Path) -> None:
    texts, truth = labelled(60)
    fitted = FrozenEncoder(folder).fit(texts, truth.tolist())
    scores = fitted.predict_log_proba(texts)
    assert (scores.argmax(axis=1) == truth).mean() > 0.9


def test_fine_tuned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "RATE", 5e-3)  # a random BERT has all to learn
    texts, truth = labelled(60)
    one, other = (TunedEncoder(folder).fit(texts, truth.tolist()).predict_log_proba(texts) for _ in range(2))
    assert (one.argmax(axis=1) == truth).mean() > 0.9
    assert np.array_equal(one, other)


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no config\.json"):
        TextEncoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot read it"):
        TextEncoder(tmp_path)


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(BadInput, match="cannot read it"):
        TextEncoder(tmp_path)

"""Distillation: targets stand where both tokenisers end, what stands right never matters, it is learned."""

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from filterd.errors import BadInput, ConfigError, NotFound
from filterd.scoring import bundle
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2
from filterd_trainer.pretraining import pretrain, student, teacher
from filterd_trainer.pretraining import texts as reading
from filterd_trainer.pretraining.teacher import Projection, Teacher, TeacherFeatures
from filterd_trainer.tasks.choice import HAM_AND_SPAM
from tests.trainer.tiny import TINY, texts

STATES = 24  # width of the teacher below


class Words:
    """A tokeniser that cuts at blanks, of which it knows the bytes: a word is its own token."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        pieces = [(" " if i else "") + word for i, word in enumerate(text.split(" "))]
        self.known += [piece for piece in pieces if piece not in self.known]
        return SimpleNamespace(input_ids=[self.known.index(piece) for piece in pieces])

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.known[i] for i in ids]


class Reader(nn.Module):
    """A causal model: the state is the running sum of what each word stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2000, STATES)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(ids).cumsum(1))


@pytest.fixture
def teaching(monkeypatch: pytest.MonkeyPatch) -> Teacher:
    monkeypatch.setattr(teacher, "COMPONENTS", 8)
    monkeypatch.setattr(student, "COMPONENTS", 8)
    torch.manual_seed(3)
    return Teacher(Reader().eval(), Words())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)


def silent(line: str) -> None: ...


def test_targets_stand_where_both_have_an_end(teaching: Teacher, tokenizer: Tokenizer) -> None:
    text = "meet me at unbelievablylongstationname then"
    (one,) = teacher.examples(teaching, tokenizer, [text])
    ends = teacher.byte_ends(tokenizer, tokenizer.encode(text))
    found = [text.encode()[: ends[i]].decode() for i in one.positions]
    words = text.split(" ")
    assert found == [" ".join(words[: i + 1]) for i in range(len(words))]
    assert one.states.shape == (len(words), 2 * STATES)


def test_states_are_the_last_and_the_mean() -> None:
    hidden = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    assert teacher.states(hidden).tolist() == [[1.0, 0.0, 1.0, 0.0], [3.0, 2.0, 2.0, 1.0]]


def test_a_text_has_the_same_states_in_any_company(teaching: Teacher, tokenizer: Tokenizer) -> None:
    (alone,) = teacher.examples(teaching, tokenizer, ["see you then"])
    among = [*teacher.examples(teaching, tokenizer, ["see you then", "a much longer text stands beside it"])]
    assert torch.equal(alone.states, next(e.states for e in among if e.ids == alone.ids))


def test_the_projection_keeps_what_varies() -> None:
    torch.manual_seed(0)
    low = torch.randn(500, 3)
    values = low @ torch.randn(3, 12) + 5.0
    projected = Projection.fit(values)(values)
    assert projected[:, :3].var() > 10 * projected[:, 3:].var()
    assert projected.mean().abs() < 1e-4


def features(folder: Path, teaching: Teacher, tokenizer: Tokenizer, count: int = 300) -> TeacherFeatures:
    made, _ = texts(count, seed=4)
    teacher.compute(teaching, tokenizer, made, folder, silent)
    return TeacherFeatures.load([folder])


def test_parts_are_shared_and_kept(
    teaching: Teacher, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "PART_TEXTS", 10)
    made, _ = texts(35, seed=4)
    teacher.compute(teaching, tokenizer, made, tmp_path, silent, "2/2")
    assert [file.name for file in sorted(tmp_path.glob("part*"))] == [
        "part-00001.safetensors",
        "part-00003.safetensors",
    ]
    before = (tmp_path / "part-00001.safetensors").stat().st_mtime_ns
    teacher.compute(teaching, tokenizer, made, tmp_path, silent)
    assert len(TeacherFeatures.load([tmp_path])) == 35
    assert (tmp_path / "part-00001.safetensors").stat().st_mtime_ns == before


def base(folder: Path) -> Path:
    torch.manual_seed(5)
    weights.save(GPT2(TINY), folder, "a test")
    return folder


def settings(folder: Path, **changes: object) -> pretrain.PretrainSettings:
    return pretrain.settings(
        **{"base": str(folder), "steps": 40, "batch_tokens": 512, "learning_rate": 5e-3, **changes}
    )


def test_a_student_learns_and_leaves_a_base(teaching: Teacher, tokenizer: Tokenizer, tmp_path: Path) -> None:
    features(tmp_path / "features", teaching, tokenizer)
    budget = settings(base(tmp_path / "base"), steps=80)
    student.distil([tmp_path / "features"], tmp_path / "run", budget, tell=silent)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 80
    assert rows[-1]["validation_loss"] < 0.7  # 1.0 is what guessing the mean gets
    assert weights.load(tmp_path / "run").architecture == TINY


def test_disguised_texts_are_others_with_the_same_end(
    teaching: Teacher, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found = features(tmp_path / "features", teaching, tokenizer)
    gpt = weights.load(base(tmp_path / "base"))
    run = student.Distillation(student.Student(gpt), found, settings(tmp_path / "base"), tmp_path)
    plain = tokenizer.encode("Dear customer, your account has been locked. Please visit our office.")
    seen = [run._disguise(plain, Random(seed)) for seed in range(20)]
    assert sum(ids != plain for ids in seen) >= 5  # what the reader undoes is no other text
    assert max(map(len, seen)) <= min(student.LONGEST_DISGUISED, TINY.context)
    loss, tokens = run._disguised_error([0, 1, 2])
    assert 0 < float(loss.detach()) < 5
    assert tokens > 3


def test_the_table_begins_as_the_teachers(tokenizer: Tokenizer) -> None:
    found = student.table(Teacher(Reader(), Letters()), tokenizer, 8)
    assert found.shape == (50257, 8)
    assert 0.01 < float(found.std()) < 0.04
    one, same, other = (tokenizer.encode(word)[0] for word in ("ab", "ba", "xy"))
    assert torch.allclose(found[one], found[same])  # of the same letters
    assert not torch.allclose(found[one], found[other])


class Letters:
    """A tokeniser of single characters."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[ord(c) % 2000 for c in text])

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return ["x" for _ in ids]


def test_what_is_not_there_is_one_line(tmp_path: Path, teaching: Teacher, tokenizer: Tokenizer) -> None:
    with pytest.raises(NotFound, match="distill features"):
        TeacherFeatures.load([tmp_path])
    with pytest.raises(NotFound, match="no such file"):
        Teacher.load(tmp_path / "none.gguf")
    with pytest.raises(BadInput, match="write it as 1/2"):
        teacher.compute(teaching, tokenizer, ["a"], tmp_path, silent, "3/2")
    with pytest.raises(NotFound, match="distill texts"):
        reading.read(tmp_path / "none.jsonl")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / bundle.WEIGHTS).touch()
    with pytest.raises(ConfigError, match="holds a run already"):
        student.distil([tmp_path], tmp_path / "run", settings(tmp_path))


# -- the texts ---------------------------------------------------------------------------------------------


def prepared(folder: Path) -> Dataset:
    made, labels = texts(40, seed=1)
    rows = {"Label": labels, "Text": [f"{t} {i}" for i, t in enumerate(made)], "Kind": "sms"}
    frame = pd.DataFrame({**rows, "Group": range(40), "Source": ["a"] * 30 + ["b"] * 10})
    return corpus.write(folder, {"train": frame}, HAM_AND_SPAM, "grouped", {})


def test_each_source_and_label_has_its_share(tmp_path: Path) -> None:
    chosen = [*reading.messages(prepared(tmp_path), 24, Random(1))]
    assert len(chosen) == 24
    numbers = [int(text.split()[-1]) for text in chosen]
    assert sum(number >= 30 for number in numbers) == 10


def test_long_texts_are_cut_at_words() -> None:
    whole = " ".join(f"word{i}" for i in range(400))
    cuts = [reading.cut(whole, Random(seed)) for seed in range(30)]
    assert all(cut in whole and len(cut) <= reading.LONGEST for cut in cuts)
    assert all(cut.startswith("word") for cut in cuts) and len(set(cuts)) > 20
    assert reading.cut("short", Random(1)) == "short"


def test_the_mix_is_the_same_every_time(tmp_path: Path) -> None:
    prose = tmp_path / "prose.txt"
    prose.write_text(
        "<|endoftext|>\n".join(f"Passage {i} of a book, long enough to count.\n" for i in range(9))
    )
    data = prepared(tmp_path / "data")
    found: list[Any] = []
    for name in "ab":
        assert reading.mix(tmp_path / name, data, prose, (20, 5), 1) == 25
        found.append(reading.read(tmp_path / name))
    assert found[0] == found[1]

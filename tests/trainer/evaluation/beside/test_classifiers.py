"""Classifiers of other kinds: each learns a difference that is there, by its seed, and takes any text."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from filterd_trainer.evaluation.beside import words
from filterd_trainer.evaluation.beside.networks import ConvolutionNet, RecurrentNet, WordNetwork
from filterd_trainer.evaluation.beside.word2vec import SkipGrams, Word2Vec
from filterd_trainer.evaluation.beside.words import WordNumbers
from tests.trainer.samples import ADVERT, FRAUD, HAM, labelled

KINDS: list[Callable[[], Any]] = [
    Word2Vec,
    partial(WordNetwork, ConvolutionNet, epochs=4),
    partial(WordNetwork, RecurrentNet, epochs=6),
]
NAMES = ["word2vec", "CNN", "LSTM"]


@pytest.mark.parametrize("make", KINDS, ids=NAMES)
def test_it_learns_and_takes_any_text(make: Callable[[], Any]) -> None:
    kinds = (HAM, ADVERT, FRAUD)
    texts, truth = labelled(180, kinds)
    names = truth + 3  # classes need not begin at 0
    fitted = make().fit(texts, names.tolist())
    unseen, expected = labelled(40, kinds)
    scores = fitted.predict_log_proba(unseen)
    assert scores.shape == (40, 3) and np.exp(scores).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert (fitted.classes_[scores.argmax(axis=1)] == expected + 3).mean() > 0.9
    odd = fitted.predict_log_proba(["", "\x00", "☃" * 5000, "never seen words"])
    assert np.isfinite(odd).all()


@pytest.mark.parametrize("make", KINDS, ids=NAMES)
def test_the_same_seed_gives_the_same_answers(make: Callable[[], Any]) -> None:
    texts, truth = labelled(40)
    state = torch.get_rng_state()
    one, other = (make().fit(texts, truth.tolist()).predict_log_proba(texts[:5]) for _ in range(2))
    assert np.array_equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_words_of_one_sight_are_unknown_and_marks_are_words() -> None:
    numbers = WordNumbers(["Win cash, now!", "win now", "lunch?"])
    assert set(numbers.numbers) == {"win", "now"} and len(numbers) == 4
    assert numbers.row("WIN lunch") == [numbers.numbers["win"], words.UNKNOWN]
    rows, lengths = numbers.batch(["win", ""], least=3)
    assert rows.shape == (2, 3) and lengths.tolist() == [1, 1]


def test_a_text_and_a_vocabulary_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MOST_WORDS", 2)
    assert len(WordNumbers(["a a b b c c"])) == 4
    assert len(words.split("a " * 10_000)) == words.MOST_OF_A_TEXT


def test_skip_grams_put_words_of_like_company_together() -> None:
    texts = ["the cat eats fish", "the dog eats meat", "buy cheap pills now", "buy cheap watches now"] * 30
    fitted = Word2Vec().fit(texts, [0, 0, 1, 1] * 30)
    at = fitted.numbers.numbers

    def like(a: str, b: str) -> float:
        one, other = fitted.vectors[at[a]], fitted.vectors[at[b]]
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert like("pills", "watches") > like("pills", "cat") and like("cat", "dog") > like("cat", "cheap")


def test_the_loss_of_skip_grams_begins_where_nothing_is_known() -> None:
    loss = SkipGrams(10)(torch.tensor([[1, 2], [1, 2]]), torch.tensor([[3, 4, 5], [6, 7, 8]]))
    assert loss.item() == pytest.approx(4 * np.log(2))


def test_texts_without_a_word_twice_are_no_error() -> None:
    fitted = Word2Vec().fit(["one", "two", "three", "four"], [0, 1, 0, 1])
    assert np.isfinite(fitted.predict_log_proba(["five"])).all()

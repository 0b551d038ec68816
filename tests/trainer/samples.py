"""Messages of our own, for tests that need a small labelled set."""

import numpy as np

from filterd_trainer.evaluation.scores import Indices, SplitScores, from_logits

HAM = ("see you at {} for lunch", "the meeting moved to {} in room four", "thanks, I got your note of {}")
ADVERT = ("cheap watches, {} percent off today only", "our summer sale starts at {}, all shoes reduced")
FRAUD = ("your account is locked, confirm code {} now", "you have won {} pounds, call to claim your prize")


def labelled(n: int, kinds: tuple[tuple[str, ...], ...] = (HAM, ADVERT + FRAUD)) -> tuple[list[str], Indices]:
    """n texts and their classes, in turn."""
    texts = [kinds[i % len(kinds)][i // len(kinds) % len(kinds[i % len(kinds)])].format(i) for i in range(n)]
    return texts, np.arange(n) % len(kinds)


def scored(n: int = 120, classes: int = 2, seed: int = 0, name: str = "a model") -> SplitScores:
    """Made-up scores that are right most of the time."""
    rng, truth = np.random.default_rng(seed), np.arange(n) % classes
    logits = rng.normal(size=(n, classes)) + 2.5 * np.eye(classes)[truth]
    return from_logits(name, logits, truth, ("ham", "spam", "fraud", "scam")[:classes], (0,))

"""A memory brought up to its store, without a lock while the database is read.

What is new is read and unpacked first, a page at a time; then the memory's lock is held for the microseconds
that learning takes. Where the store was pruned the memory is built anew beside the one that is asked.
"""

import threading
from collections.abc import Iterator
from itertools import islice

from filterd.api import Label
from filterd.corrections.store import Store, StoreChange
from filterd.scoring.memory import Memory
from filterd.scoring.traits import Traits

PAGE = 50  # corrections learned under one holding of the lock, 10 ms at the most


def catch_up(store: Store, known: Memory, lock: "threading.Lock | None" = None) -> Memory:
    """The memory at the store's revision: the same object with what is new, or another one where something
    old went. lock: of whoever asks `known` meanwhile. Raises StoreError.
    """
    position = store.position()
    if position.rewritten > known.revision or position.revision < known.revision:
        known, lock = Memory(known.agreement), None
    if position.revision > known.revision:
        words = store.follow(known.revision, position.revision)
        while page := list(islice(words, PAGE)):
            _learn(known, page, lock or threading.Lock())
    known.revision = position.revision
    for name in sorted(known.guessed):  # his table was let go, so that his steps have to be reckoned again
        wake(store, known, name, lock or threading.Lock())
    return known


def wake(store: Store, known: Memory, name: str, lock: threading.Lock) -> None:
    """Give an owner his table again. lock: of the memory. Raises StoreError."""
    corrections = list(of_owner(store, name))
    with lock:
        known.awake(name, corrections)


def _learn(known: Memory, page: list[StoreChange], lock: threading.Lock) -> None:
    seen = [(one.correction.traits(), one) for one in page]
    with lock:
        for traits, (one, taken_back) in seen:
            if taken_back:
                known.forget(traits, one.owner)
            else:
                known.learn(traits, one.label, one.owner, one.model or 0.0)
        known.revision = page[-1].correction.number


def of_owner(store: Store, owner: str) -> Iterator[tuple[Traits, Label, float]]:
    """All corrections of an owner: traits, label, the model's log-odds."""
    for one in store.iterate(owner=owner):
        yield one.traits(), one.label, one.model or 0.0

"""A short run of the fuzzer: nothing raises, whatever the bytes, and what comes out is bounded."""

from random import Random

from filterd.api import Message
from filterd.reading import text
from tests.fuzz.mutate import MAX_BYTES, mutated, seeds


def test_mutated_mails_are_read() -> None:
    rng, beginnings = Random(16), seeds()
    for _ in range(150):
        data = mutated(beginnings, rng)
        assert len(data) <= MAX_BYTES
        for read in text.read(Message(data)):
            assert len(read.body) <= 2 * text.MAX_BODY
            read.canonical.encode()  # no half characters: they would stop a tokenizer

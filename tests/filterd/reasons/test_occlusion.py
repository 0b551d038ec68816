"""Words by what they moved, whichever stage decided."""

import pytest

from filterd.api import Kind, Message
from filterd.reading.text import read
from filterd.reasons.occlusion import MAX_PIECES, explain, occlude, strongest
from filterd.scoring.bundle import FastPathEntry, FastPathSide
from filterd.scoring.engine import Engine
from tests.filterd.fakes import engine


def test_the_spam_word_moved_the_score_and_the_others_did_not() -> None:
    made, _ = engine()
    found = explain(made, Message(b"you are our prize today", kind=Kind.SMS))
    spam, ham = strongest(found.pieces, 3)
    assert [word for word, _ in spam] == ["prize"]
    assert spam[0][1] == 8.0  # what the stand-in gives for a word
    assert not ham
    assert found.by == "model"


def test_the_pieces_are_the_whole_text() -> None:
    made, _ = engine()
    text = "one two  three\nfour"
    assert "".join(piece for piece, _ in occlude(made, text, Kind.SMS)) == text


def test_long_texts_are_taken_in_runs() -> None:
    made, backend = engine()
    occlude(made, "word " * 5000, Kind.MAIL)
    assert len(occlude(made, "word " * 5000, Kind.MAIL)) <= MAX_PIECES
    assert backend.batches


def test_a_settled_message_is_explained_by_what_settled_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Engine.open(threads=1)
    # Whatever the linear half says is certain enough, so that this does not hang on the bundle that ships.
    shipped.fast_path = dict.fromkeys(
        Kind, FastPathEntry(ham=FastPathSide(limit=50.0, scale=1.0, offset=0.0))
    )
    message = Message(b"Subject: prize\n\nYou are a WINNER! Claim your free prize now.\n", kind=Kind.MAIL)
    found = explain(shipped, message)
    assert found.verdict.tests == ("FASTPATH",)
    assert found.by == "linear"
    assert any(points for _, points in found.pieces)
    monkeypatch.delattr(Engine, "logits")  # the model is not asked
    assert occlude(shipped, read(message)[0].canonical, Kind.MAIL, linear=True) == found.pieces


def test_no_words_are_no_pieces() -> None:
    made, _ = engine()
    assert occlude(made, "", Kind.SMS) == ()

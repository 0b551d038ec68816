"""Known words under signs and capitals, and what only looks like one."""

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.reading.unicode import normalise
from filterd.reading.words import (
    MAX_WORD,
    MIN_WORD,
    VOCABULARY,
    plain_case,
    read_leet,
    read_mixed,
    read_parted,
    read_short,
)
from filterd.scoring.bundle import DEFAULT

LIMIT = 2_000


def test_the_vocabulary_is_gpt2s() -> None:
    ranks: dict[str, int] = {}
    for line in (DEFAULT / "tokenizer.tiktoken").read_bytes().splitlines():
        token, _, rank = line.partition(b" ")
        word = b64decode(token)
        if word[:1] == b" " and word[1:].isalpha() and len(word) > MIN_WORD:
            ranks.setdefault(word[1:].decode().lower(), int(rank))
    assert sorted(ranks, key=ranks.__getitem__) == VOCABULARY.read_text().split()


@pytest.mark.parametrize(
    ("disguised", "shown"),
    [
        pytest.param("a w1nner, fr33 $ave c@sh ca11", "a winner, free save cash call", id="leet"),
        pytest.param("8efore, w!nner, 9ifts", "before, winner, gifts", id="further-signs"),
        pytest.param("M0B1LE Cal1", "MOBILE Call", id="leet-keeps-case"),
        pytest.param("mo-ney via.gra clai/m pri_ze cl,aim", "money via.gra claim prize claim", id="parted"),
        pytest.param("a fReE thing", "a free thing", id="mixed-case-of-one-word"),
        pytest.param("fReE MoNEy foR yOU caLl nOw", "free MONEY for YOU call now", id="all-mixed"),
        pytest.param("w1nn3r g3ts pr1zes, g0 t0 th!s", "winner gets prizes, go to this", id="all-leet"),
        pytest.param("hxxp://example[.]com/a h++ps://example.com", "http://example.com/a http://example.com",
                     id="defanged"),
    ],
)  # fmt: skip
def test_disguised_words_are_read(disguised: str, shown: str) -> None:
    assert normalise(disguised, LIMIT) == shown


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("B2B 4x4 2nd 7pm gr8 l8r c u 2nite m8 b4", id="words-with-digits"),
        pytest.param("SE11 4QA, BA11, G-2041, A1B2C3, 481920", id="postcodes-and-codes"),
        pytest.param("DE89 3704 0044 0532 0130 00", id="iban"),
        pytest.param("level5 game4 iPhone5 win7 mp3 10bar 50mb", id="names-with-a-number"),
        pytest.param("@live bob@home.example a.b/fr33 www.fr33.example", id="handles-and-addresses"),
        pytest.param("e-mails, e-mail, on-line, Wi-Fi, well-known, don't, we'll, yes/no, in.to", id="signs"),
        pytest.param("ok.Thanks lor.I said", id="no-blank-after-a-full-stop"),
        pytest.param("iPhone eBay PayPal GmbH McDonald TVs LinkedIn", id="names-with-capitals"),
    ],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    assert normalise(text, LIMIT) == text


def test_short_words_are_few() -> None:
    assert [read_short(word) for word in ("t0", "th3", "b4", "4u", "5g")] == ["to", "the", "b4", "4u", "5g"]


def test_capitals_stay_where_they_are_most() -> None:
    assert [plain_case(word) for word in ("wINNER", "WiNner", "fReE")] == ["WINNER", "Winner", "free"]


@given(st.text(alphabet="aeilmnorst0134!$@|+-._',/ AEMN:w", max_size=80))
def test_reading_twice_changes_nothing(text: str) -> None:
    once = normalise(text, LIMIT)
    assert normalise(once, LIMIT) == once


@pytest.mark.parametrize("read", [read_leet, read_parted, read_mixed])
@pytest.mark.parametrize("piece", ["a1", "a-", "aB", "1!|l", "a1 ", "a-b ", "aBaB "])
def test_long_rows_stay_as_they_are_beyond_a_word(read: object, piece: str) -> None:
    row = piece.strip() * MAX_WORD
    assert callable(read)
    assert read(row) == row

"""The rank file that ships, against OpenAI's own files and the hash that tiktoken has for the same ranks."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Tokenizer

from filterd.errors import BundleError
from filterd.scoring import bundle
from filterd.scoring.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, Tokenizer, ranks_from_gpt2

RANKS = bundle.DEFAULT / bundle.TOKENIZER
# tiktoken publishes GPT-2's ranks as r50k_base and checks this hash (tiktoken_ext/openai_public.py).
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
OPENAI = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "gpt2_bpe"
needs_openai_files = pytest.mark.skipif(not OPENAI.is_dir(), reason="../shared/data/gpt2_bpe is not here")

TOKENIZER = Tokenizer.load(RANKS)

EXAMPLES = [
    pytest.param("", id="empty"),
    pytest.param("Lunch at 1? I'll bring the papers, we're nearly done.", id="contractions"),
    pytest.param("  two  blanks\n\n\tand a tab \r\n ", id="white space"),
    pytest.param("WIN £1000!!! Txt 80082 n0w >>> http://example.com/?a=1&b=2", id="sms spam"),
    pytest.param("Größe, naïve façade — “quotes” … 漢字 かな 한국어 العربية עברית", id="scripts"),
    pytest.param("👩‍👩‍👧‍👦 🎉🇸🇪 a\u200bb\u202ec\x00d", id="emoji, bidi and control characters"),
]


def openai_tokenizer() -> GPT2Tokenizer:
    return GPT2Tokenizer(vocab=str(OPENAI / "encoder.json"), merges=str(OPENAI / "vocab.bpe"))


def test_the_shipped_ranks_are_the_ones_tiktoken_knows() -> None:
    assert hashlib.sha256(RANKS.read_bytes()).hexdigest() == RANKS_SHA256


@pytest.mark.shared
@needs_openai_files
def test_ranks_come_from_the_merges() -> None:
    assert ranks_from_gpt2((OPENAI / "vocab.bpe").read_bytes()) == RANKS.read_bytes()


@pytest.mark.shared
@needs_openai_files
def test_all_ids_are_those_of_encoder_json() -> None:
    ids: dict[str, int] = json.loads((OPENAI / "encoder.json").read_text(encoding="utf-8"))
    theirs = openai_tokenizer()
    assert len(ids) == 50_257
    assert ids.pop(END_OF_TEXT) == END_OF_TEXT_ID
    for token, i in ids.items():
        # Many tokens are pieces of a character; both decoders replace those alike.
        assert TOKENIZER.decode([i]) == theirs.convert_tokens_to_string([token]), token


@pytest.mark.shared
@needs_openai_files
@pytest.mark.parametrize("text", EXAMPLES)
def test_encodes_as_another_implementation_does(text: str) -> None:
    assert TOKENIZER.encode(text) == openai_tokenizer().encode(text)


def test_the_lectures_sentence() -> None:
    assert TOKENIZER.encode("Every effort moves you") == [6109, 3626, 6100, 345]


@pytest.mark.parametrize("text", EXAMPLES)
def test_decoding_gives_the_text_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert all(0 <= i < END_OF_TEXT_ID for i in ids)
    assert TOKENIZER.decode(ids) == text


def test_a_message_cannot_end_the_text() -> None:
    ids = TOKENIZER.encode(f"before {END_OF_TEXT} after")
    assert END_OF_TEXT_ID not in ids
    assert TOKENIZER.decode([END_OF_TEXT_ID]) == END_OF_TEXT


def test_lone_surrogates_become_replacement_characters() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")) == "a\ufffdb"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "holds 0 tokens", id="empty"),
        pytest.param(b"IQ== 0\nIg== 1\n", "holds 2 tokens", id="too few"),
        pytest.param(RANKS.read_bytes()[:-200], "tokens|not a tiktoken rank file", id="cut off"),
        pytest.param(b"IQ==\n", "not a tiktoken rank file", id="no rank"),
        pytest.param(b"!!!! 0\n", "not a tiktoken rank file", id="no base64"),
        pytest.param(b"IQ== one\n", "not a tiktoken rank file", id="rank is no number"),
        pytest.param(bytes(range(256)) * 4, "not a tiktoken rank file", id="binary"),
    ],
)
def test_a_damaged_rank_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / bundle.TOKENIZER
    file.write_bytes(content)
    with pytest.raises(BundleError, match=reason):
        Tokenizer.load(file)


def test_a_missing_rank_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"No such file.*restore the bundle"):
        Tokenizer.load(tmp_path / "nowhere")


def test_foreign_merges_are_refused() -> None:
    with pytest.raises(ValueError, match="257 distinct tokens"):
        ranks_from_gpt2(b"#version: 0.2\na b\n")

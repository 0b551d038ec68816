"""GPT-2's byte-pair encoding, built from the rank file of the model's own bundle: no network, ever.

The rank file is tiktoken's format: one line a token, base64 of its bytes, a blank, its rank.
Source of pattern and special token: Radford et al. 2019 and tiktoken's `gpt2` encoding.
"""

import base64
import binascii
from functools import partial
from pathlib import Path

import tiktoken

from filterd.errors import BundleError

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 50256  # also the padding token, as in the lecture
VOCABULARY_SIZE = 50257


class Tokenizer:
    """Text to token ids and back. `encode` treats "<|endoftext|>" in a message as ordinary text."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        self._encoding = tiktoken.Encoding(
            "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: END_OF_TEXT_ID}
        )

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a rank file. Raises BundleError where it is not one of 50,256 tokens."""
        try:
            words = path.read_bytes().split()
            tokens = map(partial(binascii.a2b_base64, strict_mode=True), words[::2])
            ranks = dict(zip(tokens, map(int, words[1::2]), strict=True))
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror}; restore the bundle") from error
        except (ValueError, binascii.Error) as error:
            raise BundleError(f"{path}: not a tiktoken rank file; restore the bundle") from error
        if sorted(ranks.values()) != list(range(END_OF_TEXT_ID)):
            raise BundleError(f"{path}: holds {len(ranks)} tokens, not GPT-2's {END_OF_TEXT_ID:,}")
        return cls(ranks)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; lone surrogates become U+FFFD."""
        return self._encoding.encode_ordinary(text)

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for; of a character that several tokens share, its part."""
        return self._encoding.decode_single_token_bytes(token)

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, `<|endoftext|>` included."""
        return self._encoding.decode(ids)


def ranks_from_gpt2(vocab_bpe: bytes) -> bytes:
    """The rank file for OpenAI's `vocab.bpe`: 256 bytes first, then one token a merge, in order.

    Raises ValueError where the merges are not GPT-2's. The byte-to-character table is the one of
    OpenAI's encoder.py: printable Latin-1 stands for itself, the other bytes for 256, 257, ….
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printable + [byte for byte in range(256) if byte not in set(printable)]
    characters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    byte_of = dict(zip(characters, order, strict=True))
    tokens = [bytes([byte]) for byte in order]
    for line in vocab_bpe.decode("utf-8").split("\n")[1:]:
        if line:
            left, right = line.split(" ")
            tokens.append(bytes(byte_of[character] for character in left + right))
    if len(set(tokens)) != END_OF_TEXT_ID:
        raise ValueError(f"{len(set(tokens)):,} distinct tokens, GPT-2 has {END_OF_TEXT_ID:,}")
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))

"""Text files to one long row of tokens on disk, for language modelling.

Documents are separated by GPT-2's end-of-text token. The row is cut into blocks, and every HELD_OUT-th block
is validation: both parts then hold every source in the same shares, and no training window touches the other.
"""

import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from filterd.errors import BadInput, NotFound, Unwritable
from filterd.scoring.bundle import sha256
from filterd.scoring.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, Tokenizer
from filterd_trainer.gpt2.checkpoint import write_text

FILE, ABOUT = "tokens.u16", "tokens.json"
BLOCK = 4096  # tokens; several times the longest window, so that little is lost at its end
HELD_OUT = 100  # one block of so many is validation


class TokensOrigin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a row of tokens was made from: sha256 of each file by its path, and how many tokens came out."""

    files: dict[str, str]
    documents: int
    tokens: int


@dataclass(frozen=True)
class Tokens:
    """A row of tokens, memory-mapped."""

    row: NDArray[np.uint16]
    about: TokensOrigin

    def blocks(self, held_out: bool) -> list[int]:
        """Numbers of the whole blocks of one part."""
        count = len(self.row) // BLOCK
        return [i for i in range(count) if (i % HELD_OUT == HELD_OUT - 1) == held_out]

    def windows(self, blocks: Sequence[int], number: int, length: int) -> Tensor:
        """`number` random windows of length + 1 tokens, each within a block: int64 [number, length + 1]."""
        chosen = torch.randint(len(blocks), (number,)).tolist()
        offsets = torch.randint(BLOCK - length, (number,)).tolist()
        starts = [blocks[i] * BLOCK + offset for i, offset in zip(chosen, offsets, strict=True)]
        return torch.from_numpy(np.stack([self.row[s : s + length + 1] for s in starts]).astype(np.int64))


def prepare(files: Sequence[Path], folder: Path, tokenizer: Tokenizer, tell: Callable[[str], None]) -> Tokens:
    """The tokens of some files, made once and kept in the folder. Raises NotFound, BadInput, Unwritable."""
    hashes = {str(file.resolve()): _hash(file) for file in files}
    about = _read_about(folder / ABOUT)
    if about is None or about.files != hashes:
        tell(f"tokenising {', '.join(file.name for file in files)} …")
        about = _write(files, hashes, folder, tokenizer)
    row = np.memmap(folder / FILE, dtype=np.uint16, mode="r")
    if len(row) != about.tokens or len(row) < HELD_OUT * BLOCK:
        raise BadInput(
            f"{folder / FILE}: {len(row):,} tokens; language modelling wants {HELD_OUT * BLOCK:,} at least"
        )
    return Tokens(row, about)


def documents(file: Path) -> Iterator[str]:
    """Documents of a text file (separated by a line `<|endoftext|>`) or of JSON lines with a key `text`.

    Either may be xz-compressed. Raises BadInput.
    """
    opened = lzma.open if file.suffix == ".xz" else open
    json_lines = ".jsonl" in file.suffixes
    try:
        with opened(file, "rt", encoding="utf-8", errors="replace") as stream:
            yield from (_from_json(line) for line in stream) if json_lines else _separated(stream)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BadInput(f"{file}: cannot be read as text ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f'{file}: needs one JSON object a line with a "text" ({error})') from error


def _from_json(line: str) -> str:
    return str(json.loads(line)["text"])


def _separated(lines: Iterator[str]) -> Iterator[str]:
    document: list[str] = []
    for line in lines:
        if line.rstrip("\n") != END_OF_TEXT:
            document.append(line)
            continue
        yield "".join(document)
        document.clear()
    yield "".join(document)


def _write(files: Sequence[Path], hashes: dict[str, str], folder: Path, tokenizer: Tokenizer) -> TokensOrigin:
    number = total = 0
    try:
        with (folder / FILE).open("wb") as out:
            for text in (text for file in files for text in documents(file) if text.strip()):
                ids = np.array([*tokenizer.encode(text), END_OF_TEXT_ID], dtype=np.uint16)
                out.write(ids.tobytes())
                number, total = number + 1, total + len(ids)
    except OSError as error:
        raise Unwritable(f"{folder / FILE}: {error.strerror}; free some space") from error
    about = TokensOrigin(hashes, number, total)
    write_text(folder / ABOUT, msgspec.json.format(msgspec.json.encode(about), indent=1).decode() + "\n")
    return about


def _read_about(file: Path) -> TokensOrigin | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=TokensOrigin)
    except (OSError, msgspec.MsgspecError):
        return None


def _hash(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}; name a text file") from error

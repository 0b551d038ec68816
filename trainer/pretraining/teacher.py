"""What a teacher makes of every beginning of a text: the targets of distillation.

A causal language model reads from left to right, so one pass over a text gives its hidden state after every
token: the last hidden state, and the mean of all so far, of every beginning of the text. Teacher and student
cut text differently; wherever both have a token that ends at the same byte, the student can be asked for what
the teacher had there. So a text of 30 tokens gives some 25 targets where its end alone would give one.

A target is those two states, standardised and projected to their principal components (fitted on the first
texts), scaled to a mean variance of 1. A part is written when done and never again: an interrupted run goes
on with the next one, and several processes can share the work.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from filterd.errors import BadInput, FilterdError, NotFound
from filterd.scoring.tokenizer import Tokenizer
from filterd_trainer.gpt2.checkpoint import write_tensors

COMPONENTS = 256  # 89% of the variance on the lecture's SMS; the width of the student
FITTED_TEXTS = 3000  # that the projection is fitted on; it has 1,152 x 256 numbers
FITTED_POSITIONS = 8  # of each of them, its end among them
PART_TEXTS = 2048  # a minute of work
BATCH_TOKENS = 4096  # of one pass; activations of the larger MLPs stay within the caches
MAX_TOKENS = 160  # of a text, in the teacher's tokens; digits are one each
PROJECTION = "projection.safetensors"

Tell = Callable[[str], None]


class DistillMissing(FilterdError):
    """The packages of the extra `distill` are not installed."""

    exit_status = 69


@dataclass(frozen=True)
class Teacher:
    """A causal model of `transformers`. ends: for a text, token ids and the byte at which each ends."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, source: Path) -> "Teacher":
        """A folder in the hub's layout or a GGUF file. Nothing is fetched. Raises NotFound, Missing."""
        try:
            import transformers
        except ImportError as error:
            raise DistillMissing("a teacher needs transformers; pip install 'filterd[distill]'") from error
        if not source.exists():
            raise NotFound(f"{source}: no such file; docs/training.md says where a teacher comes from")
        folder = source
        kwargs: dict[str, Any] = {}
        if source.suffix == ".gguf":
            folder, kwargs = source.parent, {"gguf_file": source.name}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, **kwargs)
        if kwargs and hasattr(transformers, "GgufConfig"):  # the newest keep a GGUF packed, which is slow
            kwargs["quantization_config"] = transformers.GgufConfig(dequantize=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, **kwargs
        )
        return cls(model.base_model.to(torch.bfloat16).eval(), tokenizer)

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids, and the byte of the text at which each ends."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids[:MAX_TOKENS]
        # A byte-level vocabulary writes each byte as one character.
        sizes = [len(token) for token in self.tokenizer.convert_ids_to_tokens(ids)]
        return ids, [int(end) for end in np.cumsum(sizes)]

    @torch.inference_mode()
    def hidden(self, ids: Tensor) -> Tensor:
        """[B, T] -> [B, T, C] float32 after the final norm; what stands right of a token never matters."""
        found: Tensor = self.model(ids, use_cache=False).last_hidden_state
        return found.float()


def byte_ends(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The byte at which each of our tokens ends."""
    return [int(end) for end in np.cumsum([len(tokenizer.token_bytes(i)) for i in ids])]


def states(hidden: Tensor) -> Tensor:
    """[T, C] -> [T, 2C]: the state after each token, and the mean of all up to it."""
    count = torch.arange(1, len(hidden) + 1)[:, None]
    return torch.cat([hidden, hidden.cumsum(0) / count], dim=1)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Standardises and projects states: mean and scale [2C], components [2C, K] with their scale in them."""

    mean: Tensor
    scale: Tensor
    components: Tensor

    @classmethod
    def fit(cls, found: Tensor) -> "Projection":
        """Principal components of states [n, 2C]."""
        mean, scale = found.mean(0), found.std(0).clamp_min(1e-6)
        values = (found - mean) / scale
        variances, vectors = torch.linalg.eigh(values.T @ values / len(values))  # ascending
        vectors, variances = vectors[:, -COMPONENTS:].flip(1), variances[-COMPONENTS:]
        return cls(mean=mean, scale=scale, components=vectors / variances.mean().sqrt())

    def __call__(self, found: Tensor) -> Tensor:
        """[n, 2C] -> [n, K]."""
        return ((found - self.mean) / self.scale) @ self.components

    def save(self, file: Path) -> None:
        """Raises Unwritable."""
        write_tensors(
            file, {"mean": self.mean, "scale": self.scale, "components": self.components.contiguous()}, {}
        )

    @classmethod
    def load(cls, file: Path) -> "Projection":
        """Raises BadInput."""
        with safe_open(file, framework="pt") as stream:
            return cls(**{name: stream.get_tensor(name) for name in ("mean", "scale", "components")})


@dataclass(frozen=True)
class TeacherExample:
    """A text in our tokens; the teacher's states at `positions` of them."""

    ids: list[int]
    positions: list[int]
    states: Tensor


def examples(teacher: Teacher, tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[TeacherExample]:
    """In order of length, not of the texts. Texts that share no token end are left out."""
    encoded = [(teacher.encode(text), tokenizer.encode(text)) for text in texts]
    encoded = [pair for pair in encoded if pair[0][0] and pair[1]]
    encoded.sort(key=lambda pair: len(pair[0][0]))
    for first, last in _passes([len(pair[0][0]) for pair in encoded]):
        batch = encoded[first:last]
        longest = len(batch[-1][0][0])
        rows = torch.tensor([ids + [0] * (longest - len(ids)) for (ids, _), _ in batch])
        for ((ids, ends), ours), hidden in zip(batch, teacher.hidden(rows), strict=True):
            at = {end: i for i, end in enumerate(ends)}
            shared = [(i, at[end]) for i, end in enumerate(byte_ends(tokenizer, ours)) if end in at]
            if shared:
                found = states(hidden[: len(ids)])[[theirs for _, theirs in shared]]
                mine = [i for i, _ in shared]
                yield TeacherExample(ours[: mine[-1] + 1], mine, found)


def _passes(lengths: list[int]) -> Iterator[tuple[int, int]]:
    first = 0
    for i, length in enumerate(lengths):
        if i > first and (i + 1 - first) * length > BATCH_TOKENS:
            yield first, i
            first = i
    if lengths:
        yield first, len(lengths)


def fit(teacher: Teacher, tokenizer: Tokenizer, texts: Sequence[str]) -> Projection:
    """The projection, from some positions of the first texts."""
    found = [
        one.states[torch.linspace(0, len(one.states) - 1, min(FITTED_POSITIONS, len(one.states))).long()]
        for one in examples(teacher, tokenizer, texts[:FITTED_TEXTS])
    ]
    return Projection.fit(torch.cat(found))


def compute(
    teacher: Teacher, tokenizer: Tokenizer, texts: Sequence[str], folder: Path, tell: Tell, share: str = "1/1"
) -> None:
    """Write the parts of a features folder that are not there yet; share "2/3" does the second third.

    Raises BadInput, Unwritable.
    """
    mine, of = _share(share)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / PROJECTION).exists():
        tell(f"fitting the projection on {min(FITTED_TEXTS, len(texts)):,} texts")
        fit(teacher, tokenizer, texts).save(folder / PROJECTION)
    projection = Projection.load(folder / PROJECTION)
    numbers = range(-(-len(texts) // PART_TEXTS))
    for number in numbers[mine - 1 :: of]:
        file = folder / f"part-{number:05}.safetensors"
        if file.exists():
            continue
        of_part = texts[number * PART_TEXTS : (number + 1) * PART_TEXTS]
        _write(file, list(examples(teacher, tokenizer, of_part)), projection)
        tell(f"part {number + 1} of {len(numbers)}")


def _share(share: str) -> tuple[int, int]:
    try:
        mine, of = map(int, share.split("/"))
    except ValueError:
        mine, of = 0, 0
    if not 1 <= mine <= of:
        raise BadInput(f"--share {share}: write it as 1/2 for the first of two halves")
    return mine, of


def _write(file: Path, found: list[TeacherExample], projection: Projection) -> None:
    ids = [np.array(one.ids, np.int32) for one in found]
    places = [np.array(one.positions, np.int32) for one in found]
    tensors = {
        "ids": torch.from_numpy(np.concatenate(ids)),
        "tokens": torch.tensor([len(row) for row in ids]),
        "positions": torch.from_numpy(np.concatenate(places)),
        "targets": torch.tensor([len(row) for row in places]),
        "states": projection(torch.cat([one.states for one in found])).half(),
    }
    write_tensors(file, tensors, {})


@dataclass(frozen=True, kw_only=True)
class TeacherFeatures:
    """All examples of some folders. ids of text i: flat[starts[i] : starts[i + 1]]; likewise its targets."""

    ids: Tensor
    starts: NDArray[np.int64]
    positions: Tensor
    firsts: NDArray[np.int64]
    states: Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def load(cls, folders: Sequence[Path]) -> "TeacherFeatures":
        """Raises NotFound where there are none, BadInput where folders have different projections."""
        files = [file for folder in folders for file in sorted(folder.glob("part-*.safetensors"))]
        if not files:
            raise NotFound(f"{folders[0]}: holds no features; make them with `trainer distill features`")
        projections = {(folder / PROJECTION).read_bytes() for folder in folders}
        if len(projections) > 1:
            raise BadInput(f"{folders[1]}: another projection than {folders[0]}'s; copy that one there first")
        parts: dict[str, list[Tensor]] = {
            name: [] for name in ("ids", "tokens", "positions", "targets", "states")
        }
        for file in files:
            with safe_open(file, framework="pt") as stream:
                for name, tensors in parts.items():
                    tensors.append(stream.get_tensor(name))
        whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
        starts, firsts = (
            np.concatenate([[0], np.cumsum(whole[name].numpy())]) for name in ("tokens", "targets")
        )
        return cls(
            ids=whole["ids"],
            starts=starts,
            positions=whole["positions"],
            firsts=firsts,
            states=whole["states"],
        )

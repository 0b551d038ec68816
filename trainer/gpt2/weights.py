"""Pretrained GPT-2 weights: from a folder, from the hub, and a look at whether they work.

A weights folder has the hub's layout (`openai-community/gpt2`): config.json and model.safetensors, an index
and its shards, or pytorch_model.bin; or it is OpenAI's own checkpoint (`tf_checkpoint.py`). Beside them lies
`hashes.json` with what was fetched, from where and each file's sha256; where it is, every load checks it.
Only `fetch` ever uses the network.
"""

import os
import pickle  # for its error alone: torch.load raises it
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import torch
from torch import Tensor

from filterd.errors import BadInput, BundleError, ConfigError, FilterdError, NotFound, Unwritable
from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture, FileEntry
from filterd.scoring.tokenizer import VOCABULARY_SIZE, Tokenizer, ranks_from_gpt2
from filterd_trainer.gpt2 import model, tf_checkpoint
from filterd_trainer.gpt2.checkpoint import write_tensors, write_text
from filterd_trainer.gpt2.model import GPT2

HUB = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
# OpenAI's 124M weights as the hub holds them (548,105,171 bytes, revision 607a30d783df).
KNOWN_SHA256 = {"gpt2": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"}

SHIPPED = "default"  # the name of the bundle that ships, as a base
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
HASHES = "hashes.json"
PICKLED = "pytorch_model.bin"  # read with weights_only, which runs nothing that the file says
# Sizes by the names that people know: the lecture's, OpenAI's folders, parameters.
ALIASES = {
    "gpt2": ("124m", "117m", "small", "gpt2-small"),
    "gpt2-medium": ("355m", "345m", "medium"),
    "gpt2-large": ("774m", "762m", "large"),
    "gpt2-xl": ("1558m", "1542m", "1.5b", "xl"),
}
MERGES = ("vocab.bpe", "merges.txt")  # OpenAI's name and the hub's for the same file

Json = TypeVar("Json")

PROMPTS = (  # the lecture's two, with the number of tokens it lets the model write
    ("Every effort moves you", 25),
    (
        "Is the following text 'spam'? Answer with 'yes' or 'no': 'Congratulations! You have won a $1000 cash"
        " prize. Click here to claim it now.'",
        23,
    ),
)

# Buffers of old PyTorch versions (the causal mask), not weights.
_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias")


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the hub's config.json that decides what the weights mean."""

    model_type: Literal["gpt2"]
    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int | None = None
    activation_function: Literal["gelu_new", "gelu_pytorch_tanh"] = "gelu_new"
    layer_norm_epsilon: float = model.EPSILON
    scale_attn_by_inverse_layer_idx: bool = False
    architectures: tuple[str, ...] = ("GPT2LMHeadModel",)

    def __post_init__(self) -> None:
        if self.n_inner not in (None, 4 * self.n_embd) or self.scale_attn_by_inverse_layer_idx:
            raise ValueError("a variant of GPT-2 that is not supported here")
        if self.layer_norm_epsilon != model.EPSILON or self.n_embd % self.n_head:
            raise ValueError("layer_norm_epsilon has to be 1e-5 and n_embd a multiple of n_head")

    def architecture(self) -> Architecture:
        """The same in filterd's words."""
        return Architecture(
            vocabulary=self.vocab_size,
            context=self.n_positions,
            width=self.n_embd,
            layers=self.n_layer,
            heads=self.n_head,
        )


class WeightHashes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hashes.json`: where the files came from, and what they have to be."""

    source: str
    revision: str
    files: dict[str, FileEntry]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


class HubUnavailable(FilterdError):
    """The hub could not be reached or refused."""

    exit_status = 69  # EX_UNAVAILABLE


# ---- Reading ---------------------------------------------------------------------------------------------


def called(size: str) -> str:
    """The hub's name of a size that may have another, such as 124M or gpt2-small (any case)."""
    folded = size.lower()
    if folded in HUB:
        return folded
    return next((name for name, others in ALIASES.items() if folded in others), size)


def find(base: str) -> Path:
    """The folder of a base: a folder by its path, a size by name where `fetch` put it, `default`.

    Raises NotFound.
    """
    if Path(base).is_dir():
        return Path(base)
    if base == SHIPPED:
        return bundle.DEFAULT
    base = called(base)
    here = default_folder(base)
    if any((here / name).is_file() for name in (bundle.WEIGHTS, INDEX, PICKLED, tf_checkpoint.INDEX)):
        return here
    advice = f"run `trainer weights fetch {base}`" if base in HUB else "name a folder with weights"
    raise NotFound(f"{base}: no such weights here; {advice}")


def default_folder(name: str) -> Path:
    """Where the weights of a size are kept: below $XDG_CACHE_HOME, by default ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "filterd" / "weights" / name


def load(folder: Path) -> GPT2:
    """The GPT-2, fp32, of a weights folder, a run or a bundle (a classifier's head is left off).

    Raises NotFound, BadInput that names file and tensor, and BundleError where a hash does not match.
    """
    check(folder)
    files = _files(folder)
    if files[0].suffix == ".safetensors" and "labels" in model.read_header(files[0]):
        return model.from_safetensors(files[0])[0].gpt
    architecture, tensors = _tensors(folder, files)
    head = tensors.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, tensors.get("wte.weight", head)):
        raise BadInput(f"{folder}: lm_head.weight is not wte.weight; GPT-2 has one matrix for both")
    return model.gpt2_from_tensors(architecture, tensors, folder).eval()


def _tensors(folder: Path, files: list[Path]) -> tuple[Architecture, dict[str, Tensor]]:
    """Sizes, and tensors by OpenAI's names, from whichever form the folder has."""
    if files[0].name == tf_checkpoint.INDEX:
        return tf_checkpoint.read(folder)
    architecture = _read(folder / CONFIG, HubConfig).architecture()
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _named(_pickled(file) if file.name == PICKLED else model.read_tensors(file)[0])
    return architecture, tensors


def _pickled(file: Path) -> dict[str, Tensor]:
    """A state dict that `torch.save` wrote. Raises BadInput for anything but tensors by name."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise BadInput(f"{file}: no state dict of PyTorch ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict) or not all(isinstance(one, Tensor) for one in found.values()):
        raise BadInput(f"{file}: holds more than tensors by name; copy the hub's file again")
    return {str(name): tensor.float() for name, tensor in found.items()}


def check(folder: Path) -> WeightHashes | None:
    """Compare a folder with its hashes.json (None: it has none), a bundle with its manifest.

    Raises BundleError where a file is not what it was.
    """
    if (folder / bundle.MANIFEST).is_file():
        bundle.read(folder)
    if not (folder / HASHES).is_file():
        return None
    hashes = _read(folder / HASHES, WeightHashes)
    for name, entry in hashes.files.items():
        if Path(name).name != name or _entry(folder / name) != entry:
            raise BundleError(f"{folder / name}: does not match its hash in {HASHES}; fetch it again")
    return hashes


def tokenizer(folder: Path) -> Tokenizer:
    """GPT-2's tokenizer, from the rank file that ships. Raises BadInput for a folder with other merges."""
    shipped = bundle.DEFAULT / bundle.TOKENIZER
    for file in (folder / name for name in MERGES if (folder / name).is_file()):
        try:
            same = ranks_from_gpt2(file.read_bytes()) == shipped.read_bytes()
        except (ValueError, KeyError):
            same = False
        if not same:
            raise BadInput(f"{file}: not GPT-2's merges; weights of another tokenizer cannot be used here")
    return Tokenizer.load(shipped)


def _files(folder: Path) -> list[Path]:
    if (folder / bundle.WEIGHTS).is_file():
        return [folder / bundle.WEIGHTS]
    if (folder / tf_checkpoint.INDEX).is_file():
        return [folder / name for name in (tf_checkpoint.INDEX, tf_checkpoint.DATA)]
    if not (folder / INDEX).is_file() and (folder / PICKLED).is_file():
        return [folder / PICKLED]
    if not (folder / INDEX).is_file():
        raise NotFound(
            f"{folder}: no {bundle.WEIGHTS}, {INDEX}, {PICKLED} or {tf_checkpoint.INDEX};"
            " name a folder with GPT-2 weights"
        )
    names = sorted(set(_read(folder / INDEX, _Index).weight_map.values()))
    if not names or any(Path(name).name != name for name in names):
        raise BadInput(f"{folder / INDEX}: its shards have to be files of the same folder")
    return [folder / name for name in names]


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By OpenAI's names: without transformers' prefix, and without the buffers."""
    short = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in short.items() if not _BUFFER.fullmatch(name)}


def _read(file: Path, kind: type[Json]) -> Json:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}; name a folder with GPT-2 weights") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{file}: {error}") from error


def _entry(file: Path) -> FileEntry:
    try:
        return FileEntry(sha256=bundle.sha256(file), bytes=file.stat().st_size)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}; fetch the weights again") from error


# ---- Writing ---------------------------------------------------------------------------------------------


def save(gpt: GPT2, folder: Path, source: str) -> None:
    """Write a weights folder that `load` and `transformers` read. source: who made it. Raises Unwritable."""
    a = gpt.architecture
    config = HubConfig(
        model_type="gpt2",
        vocab_size=a.vocabulary,
        n_positions=a.context,
        n_embd=a.width,
        n_layer=a.layers,
        n_head=a.heads,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / bundle.WEIGHTS, model.gpt2_tensors(gpt), {"format": "pt"})
    write_text(folder / CONFIG, _pretty(config))
    record(folder, source)


def record(folder: Path, source: str, revision: str = "") -> WeightHashes:
    """Write hashes.json for a folder as it is now. Raises NotFound and Unwritable."""
    files = [folder / (tf_checkpoint.HPARAMS if tf_checkpoint.is_one(folder) else CONFIG), *_files(folder)]
    files += [folder / name for name in (INDEX, *MERGES) if (folder / name).is_file()]
    hashes = WeightHashes(source, revision, {file.name: _entry(file) for file in files})
    write_text(folder / HASHES, _pretty(hashes))
    return hashes


def fetch(size: str, folder: Path) -> WeightHashes:
    """Download a size of OpenAI's GPT-2 from the hub; what is there already is not downloaded again.

    Raises ConfigError for an unknown size, Unavailable offline, and BundleError where the hub's own hash, or
    the one that is known here, does not match what arrived.
    """
    size = called(size)
    if size not in HUB:
        raise ConfigError(f"{size!r} is not on the hub; choose one of {', '.join(HUB)}")
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        info = hub.model_info(HUB[size], files_metadata=True)
        stated = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or []}
        for name in (CONFIG, MERGES[1], bundle.WEIGHTS):
            hub.hf_hub_download(HUB[size], name, revision=info.sha, local_dir=folder)
    except Exception as error:  # requests', httpx's or httpx2's own, as the hub's version has it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HubUnavailable(
            f"{HUB[size]}: the hub cannot be reached ({reason}); connect, or copy its files to {folder}"
        ) from error
    hashes = record(folder, HUB[size], info.sha or "")
    found = hashes.files[bundle.WEIGHTS].sha256
    if found != (stated.get(bundle.WEIGHTS) or found) or found != KNOWN_SHA256.get(size, found):
        (folder / HASHES).unlink()
        raise BundleError(
            f"{folder / bundle.WEIGHTS}: sha256 {found} is not OpenAI's; delete it, fetch again"
        )
    return hashes


def _pretty(value: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"


# ---- Do they work? ---------------------------------------------------------------------------------------


def describe(folder: Path) -> str:
    """One line for people: what the folder's hashes say, recorded now where they were not."""
    hashes = check(folder)
    if hashes is None and not (folder / bundle.MANIFEST).is_file():
        try:
            hashes = record(folder, "local folder")
        except Unwritable:
            return f"{folder}: no {HASHES}, and none can be written there"
    if hashes is None:
        return f"{folder}: a bundle, as its manifest says"
    found = {entry.sha256 for entry in hashes.files.values()}
    known = [name for name, sha256 in KNOWN_SHA256.items() if sha256 in found]
    said = f"OpenAI's {known[0]}" if known else "unknown hash: no weights that are known here"
    return f"{folder}: {hashes.source}, hashes match; {said}"


def verify(gpt: GPT2, words: Tokenizer) -> Iterator[tuple[str, str]]:
    """The lecture's two prompts and what the model writes after each, greedily. Raises BadInput."""
    if gpt.architecture.vocabulary != VOCABULARY_SIZE:
        raise BadInput(
            f"these weights know {gpt.architecture.vocabulary:,} tokens, GPT-2 has {VOCABULARY_SIZE:,}"
        )
    for prompt, count in PROMPTS:
        ids = words.encode(prompt)
        written = gpt.generate(torch.tensor([ids]), count)[0, len(ids) :]
        yield prompt, words.decode(written.tolist())

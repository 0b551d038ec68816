"""Weights in the hub's layout, as `transformers` writes them: an implementation that is not ours."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from filterd.errors import BadInput, BundleError, ConfigError, NotFound
from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture
from filterd_trainer.gpt2 import weights
from filterd_trainer.gpt2.model import GPT2, SpamClassifier, to_safetensors

MAX_DIFFERENCE = 1e-4  # float32
SMALL = {"vocab_size": 50257, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4}


def random_gpt2(**sizes: Any) -> GPT2LMHeadModel:
    """A GPT-2 of transformers' own; larger weights than at the start of training, so that errors show."""
    torch.manual_seed(1)
    config = GPT2Config(**sizes, initializer_range=0.05, bos_token_id=0, eos_token_id=0)
    theirs: GPT2LMHeadModel = GPT2LMHeadModel(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.dim() == 1:  # biases and norms start at 0 and 1, which would hide a swap
                parameter.add_(torch.randn_like(parameter), alpha=0.1 if "ln" in name else 0.02)
    return theirs


def differences(theirs: GPT2LMHeadModel, ours: GPT2, tokens: int) -> tuple[float, float]:
    """Largest difference of the hidden states and of the LM logits, on two rows of random tokens."""
    ids = torch.randint(
        0, ours.architecture.vocabulary, (2, tokens), generator=torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        expected, hidden = theirs(ids, output_hidden_states=True), ours(ids)
        last = float((expected.hidden_states[-1] - hidden).abs().max())
        inner = ours.run(ours.embed(ids), stop=2)
        between = float((expected.hidden_states[2] - inner).abs().max())
        logits = float((expected.logits - ours.logits(hidden)).abs().max())
    return max(last, between), logits


def greedy(theirs: GPT2LMHeadModel, ids: Tensor, n: int) -> Tensor:
    """Their own forward pass in a loop: their `generate` would stop at an end-of-text token."""
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat([ids, theirs(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids


@pytest.fixture(scope="module")
def theirs() -> GPT2LMHeadModel:
    return random_gpt2(**SMALL)


@pytest.fixture
def folder(theirs: GPT2LMHeadModel, tmp_path: Path) -> Path:
    theirs.save_pretrained(tmp_path / "hub")
    return tmp_path / "hub"


def rewritten(folder: Path, change: dict[str, Tensor | None], prefix: str = "") -> Path:
    """The folder's file with every name prefixed and some tensors replaced or, None, left out."""
    file = folder / "model.safetensors"
    tensors = {prefix + name.removeprefix("transformer."): t for name, t in load_file(file).items()}
    new = tensors | change
    save_file({name: t.clone() for name, t in new.items() if t is not None}, file, {"format": "pt"})
    return folder


def test_small_model_of_transformers(theirs: GPT2LMHeadModel, folder: Path) -> None:
    ours = weights.load(folder)
    assert max(differences(theirs, ours, tokens=50)) <= 1e-5
    start = torch.tensor([[6109, 3626, 6100, 345]])
    assert torch.equal(ours.generate(start, 40), greedy(theirs, start, 40))


@pytest.mark.slow
def test_full_size_model_of_transformers(tmp_path: Path) -> None:
    """The proof without OpenAI's file: 124M parameters, random, saved by transformers, read by us."""
    theirs = random_gpt2()
    assert sum(p.numel() for p in theirs.parameters()) == 124_439_808
    theirs.save_pretrained(tmp_path)
    ours = weights.load(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # half a gigabyte that pytest would keep
    hidden, logits = differences(theirs, ours, tokens=100)
    print(f"124M: max |Δ| hidden {hidden:.1e}, logits {logits:.1e}")
    assert hidden <= MAX_DIFFERENCE
    assert logits <= MAX_DIFFERENCE
    start = torch.tensor([weights.tokenizer(tmp_path).encode("Every effort moves you")])
    assert torch.equal(ours.generate(start, 25), greedy(theirs, start, 25))


def test_transformers_reads_what_we_save(theirs: GPT2LMHeadModel, folder: Path, tmp_path: Path) -> None:
    ours = weights.load(folder)
    weights.save(ours, tmp_path / "ours", "a test")
    again = GPT2LMHeadModel.from_pretrained(tmp_path / "ours").eval()  # type: ignore[no-untyped-call]
    assert max(differences(again, ours, tokens=20)) <= 1e-5
    assert all(
        torch.equal(tensor, weights.load(tmp_path / "ours").state_dict()[name])
        for name, tensor in ours.state_dict().items()
    )


def test_shards(theirs: GPT2LMHeadModel, folder: Path, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="5MB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    whole, sharded = (weights.load(f).state_dict() for f in (folder, tmp_path / "shards"))
    assert all(torch.equal(tensor, sharded[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_names_of_other_versions(folder: Path, prefix: str) -> None:
    expected = weights.load(folder).state_dict()
    mask = torch.ones(64, 64).tril()[None, None]
    old: dict[str, Tensor | None] = {f"{prefix}h.{i}.attn.bias": mask for i in range(3)}
    old |= {f"{prefix}h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(3)}
    old |= {"lm_head.weight": expected["wte.weight"]}
    found = weights.load(rewritten(folder, old, prefix)).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        pytest.param("h.2.attn.c_attn.bias", None, "lacks tensor h.2.attn.c_attn.bias", id="missing"),
        pytest.param("h.0.attn.c_attn.weight", torch.zeros(144, 48), r"shape \(144, 48\)", id="turned"),
        pytest.param("h.0.crossattention.q", torch.zeros(1), "holds a tensor h.0.cross", id="other model"),
        pytest.param("lm_head.weight", torch.zeros(50257, 48), "one matrix for both", id="head of its own"),
    ],
)
def test_a_wrong_tensor_is_named(folder: Path, name: str, tensor: Tensor | None, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        weights.load(rewritten(folder, {name: tensor}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "llama"),
        ("activation_function", "relu"),
        ("n_inner", 100),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_by_inverse_layer_idx", True),
        ("n_head", 5),
        ("n_embd", "wide"),
    ],
)
def test_other_models_are_refused_by_their_config(folder: Path, key: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(BadInput, match=r"config\.json"):
        weights.load(folder)


def test_shards_outside_the_folder_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"wte.weight": "../../model.safetensors"}}
    (folder / weights.INDEX).write_text(json.dumps(index))
    with pytest.raises(BadInput, match="files of the same folder"):
        weights.load(folder)


def test_a_folder_without_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="name a folder with GPT-2 weights"):
        weights.load(tmp_path)


def test_hashes_are_recorded_and_checked_at_every_load(folder: Path) -> None:
    hashes = weights.record(folder, "a test")
    file = folder / "model.safetensors"
    assert hashes.files[file.name].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    weights.load(folder)
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(BundleError, match="does not match its hash"):
        weights.load(folder)


def test_a_run_gives_its_gpt2(theirs: GPT2LMHeadModel, folder: Path, tmp_path: Path) -> None:
    gpt = weights.load(folder)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"recipe": "ours"}')
    to_safetensors(SpamClassifier(gpt, 2), run / "model.safetensors", ["ham", "spam"])
    assert max(differences(theirs, weights.load(run), tokens=20)) <= 1e-5


def test_the_tokenizer_is_the_one_that_ships(folder: Path) -> None:
    assert weights.tokenizer(folder).encode("Every effort moves you") == [6109, 3626, 6100, 345]
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(BadInput, match="not GPT-2's merges"):
        weights.tokenizer(folder)


def test_verify_shows_the_lectures_prompts(folder: Path) -> None:
    ours, words = weights.load(folder), weights.tokenizer(folder)
    shown = dict(weights.verify(ours, words))
    assert list(shown) == [prompt for prompt, _ in weights.PROMPTS]
    start = words.encode("Every effort moves you")
    written = ours.generate(torch.tensor([start]), 25)[0, 4:].tolist()
    assert shown["Every effort moves you"] == words.decode(written)


def test_verify_needs_gpt2s_vocabulary() -> None:
    gpt = GPT2(Architecture(vocabulary=100, context=8, width=8, layers=1, heads=1))
    with pytest.raises(BadInput, match="know 100 tokens"):
        next(weights.verify(gpt, weights.tokenizer(Path("nowhere"))))


def test_verify_command(folder: Path) -> None:
    result = trainer("weights", "verify", "--from", str(folder))
    assert result.returncode == 0, result.stderr
    assert "local folder, hashes match" in result.stdout
    assert "Is the following text 'spam'?" in result.stdout
    assert weights.check(folder) is not None


def test_verify_command_without_weights(tmp_path: Path) -> None:
    result = trainer("weights", "verify", "gpt2-medium", XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == NotFound.exit_status
    advice = "trainer: gpt2-medium: no such weights here; run `trainer weights fetch gpt2-medium`\n"
    assert result.stderr == advice


def test_fetched_weights_are_found_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    there = weights.default_folder("gpt2")
    there.parent.mkdir(parents=True)
    folder.rename(there)
    assert weights.find("gpt2") == there
    assert weights.find(str(there)) == there


def test_openais_own_file_is_recognised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.record(folder, "a test")
    assert "a test, hashes match; unknown hash" in weights.describe(folder)
    monkeypatch.setitem(weights.KNOWN_SHA256, "gpt2", bundle.sha256(folder / "model.safetensors"))
    assert weights.describe(folder).endswith("hashes match; OpenAI's gpt2")


def test_an_unknown_size_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of gpt2, gpt2-medium"):
        weights.fetch("gpt5", tmp_path)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs: a model's list of files, and the files."""

    REVISION = "0" * 40

    def __init__(self, folder: Path, sha256: str, *args: object) -> None:
        self.folder, self.sha256 = folder, sha256
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = Path(self.path.partition("?")[0]).name
        if self.path.startswith("/api/models/"):
            lfs = {"sha256": self.sha256, "size": 1, "pointerSize": 1}
            files = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors", "lfs": lfs}]
            repository = {"id": "openai-community/gpt2-medium", "sha": self.REVISION, "siblings": files}
            self._answer(json.dumps(repository).encode())
        elif (self.folder / name).is_file():
            self._answer((self.folder / name).read_bytes())
        else:
            self.send_error(404)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(folder: Path) -> Path:
    """A folder with all that `fetch` asks for."""
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def fetch(folder: Path, sha256: str, out: Path) -> "subprocess.CompletedProcess[str]":
    """`trainer weights fetch` against a hub on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, sha256))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        return trainer_fetch(out, HF_HUB_OFFLINE="0", HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def trainer_fetch(out: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    home = {"HF_HOME": str(out.parent / "hf")}
    return trainer("weights", "fetch", "gpt2-medium", "--out", str(out), **home, **environment)


def trainer(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own; no proxy stands between it and 127.0.0.1."""
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-m", "filterd_trainer.cli", *arguments]
    everything = inherited | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, env=everything, capture_output=True, text=True, timeout=120, check=False)


def test_fetch_records_what_it_fetched(served: Path, tmp_path: Path) -> None:
    sha256 = bundle.sha256(served / "model.safetensors")
    result = fetch(served, sha256, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert sha256 in result.stdout
    hashes = weights.check(tmp_path / "out")
    assert hashes is not None
    assert (hashes.source, hashes.revision) == ("openai-community/gpt2-medium", Hub.REVISION)
    assert set(hashes.files) == {"config.json", "model.safetensors", "merges.txt"}
    weights.load(tmp_path / "out")


def test_fetch_refuses_what_is_not_what_the_hub_says(served: Path, tmp_path: Path) -> None:
    result = fetch(served, "0" * 64, tmp_path / "out")
    assert result.returncode == BundleError.exit_status
    assert "is not OpenAI's; delete it" in result.stderr
    assert not (tmp_path / "out" / weights.HASHES).exists()


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"HF_HUB_OFFLINE": "1"}, id="told to stay offline"),
        pytest.param({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, id="nobody answers"),
    ],
)
def test_fetch_without_the_hub_is_one_line(tmp_path: Path, environment: dict[str, str]) -> None:
    result = trainer_fetch(tmp_path / "out", **environment)
    assert result.returncode == weights.HubUnavailable.exit_status
    assert "the hub cannot be reached" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr

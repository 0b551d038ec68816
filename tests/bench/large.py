"""The daemon with a bundle of GPT-2 124M in 8 bits (random weights serve: speed is the same), and spamd.

Sizes as in `daemon`: BENCH_MAILS, BENCH_TURNS. Making the bundle takes a minute.
"""

from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Group

from filterd.scoring import bundle
from filterd.scoring.bundle import Architecture, Bundle
from filterd.scoring.tokenizer import Tokenizer
from tests.bench import _load as load
from tests.bench import _peers as peers
from tests.bench import daemon, inference

OBSERVED = 32  # SMS that ranges are measured on


def run() -> Group:
    """The table of `daemon` with these two."""
    with ExitStack() as stack:
        where = stack.enter_context(peers.folder())
        write(where / "gpt2")
        beginning(where / "gpt2", where / "short")
        ours, short = (
            stack.enter_context(peers.filterd(model={"bundle": str(where / name)}))
            for name in ("gpt2", "short")
        )
        spamd = stack.enter_context(peers.spamassassin())
        asks = {
            "filterd, GPT-2 124M, spamd protocol": load.spamd(ours.spamd),
            "filterd, GPT-2 124M, HTTP": load.http(ours.http, "/v1/check"),
            "the same, one window a mail": load.spamd(short.spamd),
            "spamd -L -m 2": load.spamd(spamd),
        }
        table = daemon.against(asks)
        memory = f"{peers.rss_mb(ours.pid):.0f} MB of memory, ready in {ours.ready_s:.1f} s"
    return Group(table, memory)


def beginning(whole: Path, target: Path) -> None:
    """The same bundle, which reads one window of a mail; what the default one reads is in its manifest."""
    with bundle.writing(target) as folder:
        for file in whole.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        manifest = msgspec.structs.replace(bundle.read(whole).manifest, max_windows=1)
        bundle.write_manifest(folder, manifest)


def write(target: Path) -> None:
    """A whole bundle: the default one's settings around the larger model, without probes."""
    shipped: Bundle = bundle.read(bundle.DEFAULT)
    tokenizer = Tokenizer.load(bundle.DEFAULT / bundle.TOKENIZER)
    model = inference.classifier()
    with bundle.writing(target) as folder:
        inference.write(model, folder, [tokenizer.encode(text) for text in inference.uci()[:OBSERVED]])
        (folder / "compact.safetensors").rename(folder / bundle.WEIGHTS)
        for name in ("float.onnx", "watched.onnx", "float.safetensors"):
            (folder / name).unlink()
        for name in (bundle.TOKENIZER, bundle.CARD):
            (folder / name).write_bytes((bundle.DEFAULT / name).read_bytes())
        sizes = msgspec.structs.asdict(model.gpt.architecture)
        manifest = msgspec.structs.replace(
            shipped.manifest,
            name="gpt2-random",
            architecture=Architecture(**{key: sizes[key] for key in Architecture.__struct_fields__}),
            probes=(),
            fast_path=None,
            wide=None,
            files=bundle.entries(folder),
        )
        bundle.write_manifest(folder, manifest)

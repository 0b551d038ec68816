"""What an export measures of a bundle, and the model card that tells people about it."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from filterd.api import Kind, Label
from filterd.scoring.backend import Backend
from filterd.scoring.bundle import Manifest
from filterd.scoring.tokenizer import END_OF_TEXT_ID
from filterd_trainer.evaluation.calibrate import MAX_FALSE_POSITIVE_RATE, rate_bound
from filterd_trainer.evaluation.intervals import NAMES, Metrics, Spread
from filterd_trainer.evaluation.results import MeasuredOn
from filterd_trainer.export import terms
from filterd_trainer.export.left_out import MAX_KNOWN_SPAM, MAX_SPAM, MAX_UNSURE
from filterd_trainer.export.parity import MAX_DIFFERENCE, MAX_FLIPPED, Parity, unit

SHAPES = ((1, 16), (1, 32), (1, 128), (8, 32), (8, 128))  # messages x tokens, as in docs/design.md
REPETITIONS = 9  # the median of them counts
FEW_HAM = 1_000  # with fewer, a rate of 0.1% cannot be observed


class HeldOutCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one kind of held-out messages, through the shipped bundle."""

    ham: int
    ham_called_spam: int
    ham_unsure: int
    spam: int
    spam_called_spam: int
    spam_unsure: int


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Measured in the process that exported. latency_ms: of one message by its tokens; messages_per_second:
    of the model by "messages x tokens"; by_kind: of the engine, from text to verdict, on held-out messages.
    """

    cpu: str
    cores: int
    load_seconds: float
    latency_ms: dict[str, float]
    messages_per_second: dict[str, float]
    by_kind: dict[str, float]


def seconds(call: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """Median time of a call, after one that does not count."""
    call()
    taken = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(backend: Backend, max_tokens: int, load_seconds: float, engine: dict[str, float]) -> Speed:
    """Time the model on made-up messages; engine: messages a second from text to verdict, by kind."""
    rate, latency = {}, {}
    for messages, tokens in SHAPES:
        rows = [_made_up(i, min(tokens, max_tokens)) for i in range(messages)]
        taken = seconds(lambda rows=rows: backend.score(rows))  # type: ignore[misc]
        rate[f"{messages}x{tokens}"] = round(messages / taken, 1)
        if messages == 1:
            latency[str(tokens)] = round(1000 * taken, 2)
    return Speed(
        cpu=cpu(),
        cores=os.cpu_count() or 1,
        load_seconds=round(load_seconds, 3),
        latency_ms=latency,
        messages_per_second=rate,
        by_kind=engine,
    )


def _made_up(seed: int, tokens: int) -> list[int]:
    return [(7919 * (seed + 1) * (i + 1)) % END_OF_TEXT_ID for i in range(tokens)]


def cpu() -> str:
    """The processor's name, as far as the system tells it, and which of the relevant instructions it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    entries = dict(line.split("\t", 1) for line in lines if "\t" in line)
    flags = set(next((v for k, v in entries.items() if k.startswith("flags")), "").split())
    name = next((v.strip("\t: ") for k, v in entries.items() if k.startswith("model name")), "")
    has = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{name or platform.machine()} ({', '.join(has) or 'no AVX2'})"


class ScoreRange(msgspec.Struct, frozen=True, kw_only=True):
    """Of the messages whose P(spam) lies from low to high: their number, mean P(spam) and share of spam."""

    low: float
    high: float
    messages: int
    mean: float
    spam: float


class KindResult(msgspec.Struct, frozen=True):
    """One kind of held-out messages through the shipped bundle; seeds: the same figures of other seeds."""

    metrics: Metrics
    reliability: list[ScoreRange]
    seeds: dict[str, Spread]


class HeldOutResults(msgspec.Struct, frozen=True):
    """What `trainer card` puts into the manifest: the held-out part, and by kind what came of it."""

    data: MeasuredOn
    kinds: dict[Kind, KindResult]


class ClassResults(msgspec.Struct, frozen=True):
    """What a model that knows no spam made of the validation part, through the shipped bundle."""

    messages: int
    figures: dict[str, float | None]
    by_class: dict[str, dict[str, float | None]]


def write(manifest: Manifest) -> str:
    """MODEL_CARD.md, from what the manifest's `metrics` hold."""
    metrics = manifest.metrics
    if manifest.reader:
        return "\n".join(
            [
                _what(manifest, metrics["megabytes"]),
                _data(metrics["data"]),
                _answers(manifest, msgspec.convert(metrics["validation"], ClassResults)),
                _parity(msgspec.convert(metrics["parity"], Parity), unit(manifest)),
                _speed(msgspec.convert(metrics["speed"], Speed)),
                _licences(manifest, metrics["data"]),
            ]
        )
    evaluated = metrics.get("evaluation")
    parts = [
        _what(manifest, metrics["megabytes"]),
        _data(metrics["data"]),
        _decisions(
            manifest,
            msgspec.convert(metrics["validation"], dict[Kind, HeldOutCounts]),
            left_out="left_out" in metrics,
        ),
        *(
            [_left_out(msgspec.convert(metrics["left_out"], dict[Kind, HeldOutCounts]))]
            if "left_out" in metrics
            else []
        ),
        _parity(msgspec.convert(metrics["parity"], Parity), unit(manifest)),
        _speed(msgspec.convert(metrics["speed"], Speed)),
        *([_evaluation(msgspec.convert(evaluated, HeldOutResults))] if evaluated else []),
        LIMITS,
        _licences(manifest, metrics["data"]),
    ]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _answers(manifest: Manifest, held: ClassResults) -> str:
    figures = [[NAMES[name], _number(value)] for name, value in held.figures.items()]
    cuts = dict(zip(manifest.labels, manifest.cuts, strict=bool(manifest.cuts)))
    rows = [
        [
            name,
            *([f"{cuts[name]:.3f}"] if cuts else []),
            *(_number(row[key]) for key in ("precision", "recall", "f1")),
            f"{row['support']:,.0f}",
        ]
        for name, row in held.by_class.items()
    ]
    header = ["label", *(["called from P"] if cuts else []), "precision", "recall", "F1", "messages"]
    target = manifest.target
    range_ = f" Numbers from {target.low:g} to {target.high:g}." if target else ""
    return f"""## Answers

Task `{manifest.task}`.{range_} On the validation part, {held.messages:,} messages, through this very \
bundle. What was fitted was fitted to it, so these figures flatter.

{_table(["figure", "value"], figures)}
{_table(header, rows) if rows else ""}"""


def _what(manifest: Manifest, megabytes: dict[str, float]) -> str:
    a = manifest.architecture
    files = ", ".join(f"{name} {size:.1f} MB" for name, size in megabytes.items())
    counts = "the most spam-like counts" if manifest.ham else "the mean counts"
    parent = f" Retrained from {manifest.parent}." if manifest.parent else ""
    return f"""# {manifest.name}

A GPT-2 of {a.layers} layers, {a.width} channels, {a.heads} heads and {a.context} positions with one \
linear layer on its last token, for {" / ".join(manifest.labels)}. It judges mail and SMS as text; \
a longer message is judged in up to {manifest.max_windows} windows of {manifest.max_tokens} tokens, of which \
{counts}. Matrices: {manifest.quantization}. Text format {manifest.text_format}.{parent} \
Made {manifest.created:%Y-%m-%d}.

{sum(megabytes.values()):.1f} MB: {files}. `model.onnx` refers to the token table in `model.safetensors`: \
keep them together.
"""


def _data(data: dict[str, Any]) -> str:
    shown = {key: value for key, value in data.items() if key not in {"sources", "origins"}}
    rows = [(key.replace("_", " "), f"`{value}`") for key, value in shown.items()]
    return "## Data\n\n" + _table(["what", "value"], rows)


def _decisions(manifest: Manifest, held: dict[Kind, HeldOutCounts], *, left_out: bool) -> str:
    rows = []
    for kind in Kind:
        line, cut, h = manifest.calibration[kind], manifest.thresholds[kind], held.get(kind)
        shares = "none held out"
        if h is not None:
            bound = rate_bound(h.ham_called_spam, h.ham) if h.ham else 1.0
            shares = (
                f"{h.ham_called_spam} of {h.ham} ham (true rate below {bound:.2%} with 95% confidence),"
                f" {h.spam_called_spam} of {h.spam} spam; unsure {h.ham_unsure} and {h.spam_unsure}"
            )
        rows.append(
            [kind, f"{line.slope:.3f}·m {line.offset:+.3f}", f"{cut.unsure:.4f}", f"{cut.spam:.4f}", shares]
        )
    few = [kind for kind, h in held.items() if h.ham < FEW_HAM]
    warning = (
        f"\nWith fewer than {FEW_HAM:,} held-out ham ({', '.join(few)}) a rate of"
        f" {MAX_FALSE_POSITIVE_RATE:.1%} cannot be observed: the spam threshold lies above all of them, and"
        " the bound above is all that this proves.\n"
        if few
        else ""
    )
    rates = MAX_KNOWN_SPAM if left_out else dict.fromkeys(Kind, MAX_FALSE_POSITIVE_RATE)
    most = ", ".join(f"{rate:.1%} of that {kind} ham" for kind, rate in rates.items())
    fitted = "Thresholds keep their rates" if left_out else "Fitted"
    return f"""## Calibration and thresholds

{fitted} on the validation part with its own share of spam, through this very bundle; so the figures below \
flatter it. At most {most} may be called spam.

{_table(["kind", "log-odds", "unsure from", "spam from", "called spam on validation"], rows)}{warning}"""


def _left_out(held: dict[Kind, HeldOutCounts]) -> str:
    """What the thresholds did with sources that never trained."""
    rows = [
        (kind, h.ham, h.ham_unsure, h.ham_called_spam, h.spam, h.spam_unsure, h.spam_called_spam)
        for kind, h in held.items()
    ]
    return f"""### Sources left out

Calibration was fitted to sources that never trained. At most {MAX_SPAM:.1%} of their ham may be called spam \
and {MAX_UNSURE:.0%} spam or unsure, or one message where that is more; so these figures flatter it as well, \
by less.

{_table(["kind", "ham", "of it unsure", "spam", "spam", "of it unsure", "spam"], rows)}"""


def _parity(p: Parity, of: str) -> str:
    rows = [
        ["ONNX in floats against PyTorch", f"{p.fp32:.1e} in {of}", f"{MAX_DIFFERENCE}"],
        ["a message alone against the same in a batch", f"{p.alone:.1e} in {of}", f"{MAX_DIFFERENCE}"],
        [
            "shipped arithmetic against floats",
            f"{p.flipped} of {p.messages} verdicts, at most {p.shipped:.1e} in {of}",
            f"{MAX_FLIPPED:.1%} of verdicts",
        ],
    ]
    return "## Parity\n\n" + _table(["compared", "largest difference", "allowed"], rows)


def _speed(s: Speed) -> str:
    by_shape = [[shape, rate] for shape, rate in s.messages_per_second.items()]
    latency = ", ".join(f"{ms} ms at {tokens} tokens" for tokens, ms in s.latency_ms.items())
    engine = ", ".join(f"{rate:,.0f} {kind}/s" for kind, rate in s.by_kind.items())
    return f"""## Size and speed

Measured on {s.cpu}, {s.cores} cores, while other things may have been running. Open and checked \
in {s.load_seconds} s. One message: {latency}. From text to verdict, all by GPT-2: {engine or "not measured"}.

{_table(["messages x tokens", "messages/s"], by_shape)}"""


def _evaluation(found: HeldOutResults) -> str:
    data = found.data
    of = f", of it: {data.only}" if data.only else ""
    parts = [
        f"## Evaluation\n\n`{data.split}` of `{data.folder}`{of}: {data.messages:,} messages that trained"
        f" nothing, {data.spam:,} of them spam; fingerprint of the whole part `{data.fingerprint}`. Intervals"
        " are of 95%, over groups of near-duplicates.\n"
    ]
    parts += [_of_kind(kind, one) for kind, one in found.kinds.items()]
    return "\n".join(parts)


def _of_kind(kind: Kind, found: KindResult) -> str:
    metrics = found.metrics
    rows = []
    for name, e in metrics.estimates.items():
        seeds = found.seeds.get(name)
        over = [f"{_number(seeds.mean)} ± {_number(seeds.sd)}"] if seeds else []
        rows.append([NAMES[name], *(_number(value) for value in (e.value, e.low, e.high)), *over])
    runs = next((s.runs for s in found.seeds.values()), 0)
    header = ["figure", "value", "low", "high", *([f"{runs} seeds, mean ± sd"] if runs else [])]
    called = [
        [truth, *(f"{n:,} ({n / max(1, sum(counts)):.2%})" for n in counts)]
        for truth, counts in zip(("ham", "spam"), metrics.decisions or [], strict=False)
    ]
    ranges = [
        [f"{r.low:g} to {r.high:g}", f"{r.messages:,}", f"{r.mean:.3f}", f"{r.spam:.3f}"]
        for r in found.reliability
    ]
    name = "SMS" if kind is Kind.SMS else "Mail"
    return f"""### {name}: {metrics.messages:,} messages, {metrics.spam:,} spam

{_table(header, rows)}
{_table(["truth", *(f"called {label.value}" for label in Label)], called)}
{_table(["P(spam)", "messages", "mean P(spam)", "spam"], ranges)}"""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


LIMITS = """## Limits

- It knows what its training data knew. Mail and SMS of other years, countries and languages are judged \
worse; correct it (`filterd learn`) and retrain.
- It reads text: what a message shows, readable attachments, and what a mail's head says of its sender. \
Pictures and what a link leads to are invisible to it.
- An attacker who can query it can find wordings that pass. Keep sender checks (SPF, DKIM, \
DMARC) and block lists.
- A probability is only as good as the validation part is like your mail: where the share of spam is \
another, thresholds shift.

"""


def _licences(manifest: Manifest, data: dict[str, Any]) -> str:
    """What the bundle was made from, each with its terms: only what it really was."""
    parts = [f"## Licences\n\n{terms.TOKENIZER}"]
    parts += [f"The weights derive from {origin}." for origin in data.get("origins", ())]
    if manifest.parent:
        parts.append(f"They derive from {manifest.parent} too, whose card names what that was made from.")
    sources = data.get("sources", {})
    if not sources:
        return "\n".join([*parts, "The sources of its training messages are not recorded.", ""])
    rows = [[name, f"{count:,}", terms.of(name)] for name, count in sources.items()]
    return "\n".join([*parts, "", _table(["trained on", "messages", "terms"], rows)])

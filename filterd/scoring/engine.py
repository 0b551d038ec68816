"""Message in, verdict out: text, tokens, batches, scores, decision.

Strategy: three stages that share nothing but their arguments, so that a daemon can run them in different
threads and batch the middle one over many callers. `prepare` reads the message (pure Python, bounded by
`text.py`), `logits` runs the model over windows sorted by length, `conclude` turns numbers into a verdict.
`judge` is all three for a caller who has his messages at hand.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from filterd.api import Kind, Label, Message, Verdict
from filterd.errors import BundleError
from filterd.reading import text
from filterd.scoring import bundle, verdict
from filterd.scoring.answers import Reader
from filterd.scoring.backend import Backend, StagedBackend, open_backend, open_staged
from filterd.scoring.bundle import Bundle, FastPathEntry
from filterd.scoring.drift import script
from filterd.scoring.exits import settling
from filterd.scoring.fastpath import settle
from filterd.scoring.linear import WideHalf
from filterd.scoring.memory import Recollection, fuse
from filterd.scoring.tokenizer import Tokenizer

# Tokens of one call of the model, padding included. Larger ones gain nothing on two cores and make
# everyone in them wait for the longest; a single window that is larger still goes through alone.
TOKENS_PER_BATCH = 2048
MEMORY_SHOWN = 0.01  # change of P(spam) from which the memory is named among a verdict's tests
SUBJECT_CHARACTERS = 72  # of what people recognise a message by; a terminal line with the columns before it


F = TypeVar("F", bound=np.floating[Any])


class ModelInput(NamedTuple):
    """A message ready for the model.

    windows: token ids, at least one list, each up to max_tokens long; none where the message is settled.
    wide: nats that the model's wide half adds to each window; empty where the model has none.
    settled: log-odds that the fast path is certain of; None where the model has to be asked.
    memory: what corrections have to say about it; tokens, script: for `drift.py`. hosts: of its links.
    """

    kind: Kind
    subject: str
    facts: tuple[str, ...]
    windows: list[list[int]]
    memory: Recollection = Recollection()
    tokens: int = 0
    script: str = "LATIN"
    settled: float | None = None
    wide: Sequence[float] = ()
    hosts: tuple[str, ...] = ()


class ModelLook(NamedTuple):
    """How one message looks to the model, window by window, [w]; its most spam-like window decides.

    rows: the GPT-2's logits, [w, classes]. deep, wide: log-odds of spam in nats by the GPT-2 and by the wide
    half, whose sum counts; wide: 0 where the model has none, deep: where it knows no ham. windows: token ids,
    where the caller has them.
    """

    rows: Sequence[list[float]]
    deep: Sequence[float]
    wide: Sequence[float]
    windows: Sequence[list[int]] = ()

    @classmethod
    def of(
        cls,
        rows: NDArray[F],
        ham: Sequence[int],
        wide: Sequence[float] = (),
        windows: Sequence[list[int]] = (),
    ) -> "ModelLook":
        """From logits [w, classes]. ham: places of the ham classes; wide: empty without such a half."""
        found = rows.astype(float).tolist()
        deep = [verdict.margin(row, ham) if ham else 0.0 for row in found]
        return cls(found, deep, wide or [0.0] * len(found), windows)

    @property
    def margins(self) -> list[float]:
        """Log-odds of spam of each window by both halves, [w], uncalibrated."""
        return [deep + wide for deep, wide in zip(self.deep, self.wide, strict=True)]

    @property
    def deciding(self) -> int:
        """Which window decides."""
        margins = self.margins
        return max(range(len(margins)), key=margins.__getitem__)

    @property
    def margin(self) -> float:
        """The message's log-odds of spam, uncalibrated."""
        return max(self.margins)

    @property
    def wide_margin(self) -> float:
        """The wide half's alone, by the window that is its highest."""
        return max(self.wide)


class CorrectionMemory(Protocol):
    """What has learned from corrections."""

    def recollect(self, message: Message, text: text.CanonicalText) -> Recollection:
        """What corrections say about a message to whom it is judged for; text: its first reading."""


class Engine:
    """Judges messages with one bundle, and with what the memory has learned where there is one.

    Its methods may be called from several threads. learner: whose memory is asked, None for nobody's.
    """

    def __init__(
        self, opened: Bundle, tokenizer: Tokenizer, backend: Backend, wide: WideHalf | None = None
    ) -> None:
        self.bundle = opened
        self.reader = opened.manifest.reader
        self.wide = wide
        self.learner: CorrectionMemory | None = None
        self.fast_path: dict[Kind, FastPathEntry] | None = None
        self.staged: StagedBackend | None = None  # may stop at the bundle's exit
        self.authserv_ids: Collection[str] = ()
        self._tokenizer = tokenizer
        self._backend = backend

    @classmethod
    def open(
        cls,
        path: Path = bundle.DEFAULT,
        *,
        threads: int | None = None,
        fast_path: bool = False,
        authserv_ids: Collection[str] = (),
    ) -> "Engine":
        """Read a bundle, load its model and check its probes.

        threads: of one model call; None for one a core. fast_path: use the bundle's, if it has one.
        authserv_ids: servers whose Authentication-Results count.
        Raises BundleError, RuntimeMissing.
        """
        read = bundle.read(path)
        if read.manifest.text_format not in text.READ_FORMATS:
            raise BundleError(
                f"{read.path}: made for text format {read.manifest.text_format}, this filterd reads"
                f" {' and '.join(map(str, text.READ_FORMATS))}; export the model again"
            )
        tokenizer = Tokenizer.load(read.path / bundle.TOKENIZER)
        wide = WideHalf.load(read.path, read.manifest.wide) if read.manifest.wide else None
        staged = _staged(read, threads) if fast_path else None
        backend = staged or open_backend(read.path / bundle.MODEL, threads=threads)
        engine = cls(read, tokenizer, backend, wide)
        engine.check_probes()
        engine.authserv_ids = authserv_ids
        if fast_path:
            engine.fast_path, engine.staged = read.manifest.fast_path, staged
        return engine

    def check_probes(self) -> None:
        """Judge the bundle's probe messages. Raises BundleError where one scores not as it did at export."""
        probes = self.bundle.manifest.probes
        got = self.judge([Message(p.text.encode(), kind=p.kind) for p in probes])
        for probe, found in zip(probes, got, strict=True):
            if abs(found.probability - probe.probability) > bundle.MAX_PROBE_DIFFERENCE:
                raise BundleError(
                    f"{self.bundle.path}: a probe message scores {found.probability:.4f} here and"
                    f" {probe.probability:.4f} at export; the model or its runtime is damaged"
                )

    def judge(self, messages: Sequence[Message]) -> list[Verdict]:
        """Verdicts in the order of the messages. Never raises because of what is in one."""
        started = time.perf_counter()
        prepared = [self.prepare(message) for message in messages]
        rows = self.logits(list(chain.from_iterable(p.windows for p in prepared)))
        share = (time.perf_counter() - started) / max(1, len(messages))
        each = by_message(rows, [len(one.windows) for one in prepared])
        return [self.conclude(one, own, share) for one, own in zip(prepared, each, strict=True)]

    def prepare(self, message: Message) -> ModelInput:
        """Read a message and cut its text into windows; every reading of an ambiguous mail counts."""
        readings = text.read(message, self.authserv_ids)
        facts = tuple(dict.fromkeys(fact for reading in readings for fact in reading.facts))
        first = readings[0]
        memory = self.learner.recollect(message, first) if self.learner else Recollection()
        windows = self._windows(readings)
        wide = self.wide_of(windows, first.kind)
        tokens = sum(map(len, windows))
        provable = len(readings) == 1 and "gtube" not in facts
        settled = self._settle(first.kind, wide, memory) if provable else None
        if settled is not None:
            windows, wide = [], ()
        subject = _recognisable(first.subject or first.body)
        hosts = tuple(dict.fromkeys(host for reading in readings for host in reading.hosts))
        return ModelInput(
            first.kind, subject, facts, windows, memory, tokens, script(first.body), settled, wide, hosts
        )

    def wide_of(self, windows: Sequence[list[int]], kind: Kind) -> Sequence[float]:
        """Nats that the wide half adds to each window; empty where the model has none."""
        if not self.wide:
            return ()
        return [self.wide.margin(self.text_of(window), kind) for window in windows]

    def prepare_canonical(self, canonical: str, kind: Kind) -> ModelInput:
        """The same of a text that is canonical already, without subject, facts and memory."""
        windows = self.cut(canonical, kind)
        wide = self.wide_of(windows, kind)
        settled = self._settle(kind, wide, Recollection())
        if settled is not None:
            windows, wide = [], ()
        return ModelInput(kind, "", (), windows, settled=settled, wide=wide)

    def cut(self, canonical: str, kind: Kind) -> list[list[int]]:
        """The token ids of a canonical text's windows."""
        manifest = self.bundle.manifest
        ids = self._tokenizer.encode(text.in_format(canonical, manifest.text_format))
        return text.windows(ids, manifest.max_tokens, manifest.max_windows, kind)

    def text_of(self, window: list[int]) -> str:
        """What a window's token ids stand for; half a character at an end becomes U+FFFD."""
        return self._tokenizer.decode(window)

    def _windows(self, readings: Sequence[text.CanonicalText]) -> list[list[int]]:
        return [window for one in readings for window in self.cut(one.canonical, one.kind)]

    def _settle(self, kind: Kind, wide: Sequence[float], memory: Recollection) -> float | None:
        if not self.fast_path:
            return None
        return settle(max(wide), self.fast_path[kind], memory, self.bundle.manifest.thresholds[kind])

    def logits(self, windows: Sequence[Sequence[int]], *, whole: bool = False) -> NDArray[np.float32]:
        """The model's outputs [len(windows), classes], in the order given; batched by length inside.

        whole: no window stops at the bundle's exit.
        """
        outputs = self.reader.outputs if self.reader else len(self.bundle.manifest.labels)
        rows = np.zeros((len(windows), outputs), dtype=np.float32)
        score = self.staged.early if self.staged and not whole else self._backend.score
        shown = [self.bundle.manifest.filled(window) for window in windows]
        for batch in batches([len(window) for window in shown]):
            rows[batch] = score([shown[i] for i in batch]).logits
        return rows

    def margins(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[float]:
        """Uncalibrated log-odds of spam of canonical texts, each by its highest window."""
        return [look.margin for look in self.looks(texts, kinds)]

    def looks(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[ModelLook]:
        """How canonical texts look to the model, whatever the fast path or a memory would say."""
        cut = [self.cut(one, kind) for one, kind in zip(texts, kinds, strict=True)]
        found = self.logits(list(chain.from_iterable(cut)), whole=True)
        rows = by_message(found, [len(windows) for windows in cut])
        ham = self.bundle.manifest.ham_indices
        return [
            ModelLook.of(own, ham, self.wide_of(windows, kind), windows)
            for own, windows, kind in zip(rows, cut, kinds, strict=True)
        ]

    def conclude(self, prepared: ModelInput, rows: NDArray[np.float32], seconds: float = 0.0) -> Verdict:
        """The verdict from a message's logits [windows, classes]: its most spam-like window decides.

        Of a settled message there are none, [0, classes].
        """
        manifest = self.bundle.manifest
        if self.reader:
            return self._answered(self.reader, prepared, rows, seconds)
        thresholds = manifest.thresholds[prepared.kind]
        judged, row = self._judged(prepared, rows)
        probability = verdict.sigmoid(fuse(verdict.log_odds(judged), prepared.memory))
        learned = abs(probability - judged) >= MEMORY_SHOWN
        if "gtube" in prepared.facts:
            probability = verdict.sigmoid(verdict.MAX_LOG_ODDS)
        return Verdict(
            label=verdict.label(probability, thresholds),
            probability=probability,
            points=verdict.points(probability, thresholds),
            kind=prepared.kind,
            model=self.bundle.id,
            tests=(
                "GPT2" if prepared.settled is None else "FASTPATH",
                *(["MEMORY"] if learned else []),
                *(_test_name(fact) for fact in prepared.facts),
            ),
            classes=self._classes(row, probability),
            subject=prepared.subject,
            seconds=seconds,
            hosts=prepared.hosts,
        )

    def _answered(
        self, reader: Reader, prepared: ModelInput, rows: NDArray[np.float32], seconds: float
    ) -> Verdict:
        """The verdict of a model that knows no spam; corrections have no say."""
        found = reader.read(rows)
        return Verdict(
            label=Label.HAM,
            probability=found.probability,
            points=0.0,
            kind=prepared.kind,
            model=self.bundle.id,
            tests=("GPT2", *(_test_name(fact) for fact in prepared.facts)),
            classes=found.classes,
            subject=prepared.subject,
            seconds=seconds,
            hosts=prepared.hosts,
            answer=found.answer,
        )

    def alone(self, prepared: ModelInput, rows: NDArray[np.float32]) -> float:
        """The model's own log-odds of spam, calibrated, whatever corrections say; 0 where it knows none."""
        if self.reader:
            return 0.0
        return verdict.log_odds(self._judged(prepared, rows)[0])

    def _judged(self, prepared: ModelInput, rows: NDArray[np.float32]) -> tuple[float, list[float]]:
        """The model's P(spam), and the logits of the window that decides."""
        manifest = self.bundle.manifest
        if prepared.settled is not None:
            judged, row = verdict.sigmoid(prepared.settled), self._settled_row(prepared.settled)
        else:
            look = ModelLook.of(rows, manifest.ham_indices, prepared.wide)
            row = look.rows[look.deciding]
            judged = verdict.probability(look.margin, manifest.calibration[prepared.kind])
        if text.DOUBTFUL.intersection(prepared.facts):  # not called ham by what is left; corrections may
            judged = verdict.at_least_unsure(judged, manifest.thresholds[prepared.kind])
        return judged, row

    def points_per_margin(self, kind: Kind) -> float:
        """How many points one nat of uncalibrated log-odds is worth; for explanations."""
        return self.bundle.manifest.calibration[kind].slope

    def _settled_row(self, settled: float) -> list[float]:
        """Logits that stand for a fast path's log-odds; classes of one side share it evenly."""
        ham = self.bundle.manifest.ham_indices
        return [0.0 if i in ham else settled for i in range(len(self.bundle.manifest.labels))]

    def _classes(self, row: list[float], probability: float) -> dict[str, float]:
        """P of each class, such that those of the spam classes sum to the calibrated probability."""
        manifest = self.bundle.manifest
        raw = verdict.softmax(row)
        ham_share = sum(raw[i] for i in manifest.ham_indices)
        scale = {
            True: (1 - probability) / max(ham_share, 1e-30),
            False: probability / max(1 - ham_share, 1e-30),
        }
        return {
            name: min(1.0, p * scale[i in manifest.ham_indices])
            for i, (name, p) in enumerate(zip(manifest.labels, raw, strict=True))
        }


def _staged(read: Bundle, threads: int | None) -> StagedBackend | None:
    fit = read.manifest.exit
    if not fit or not (fit.ham or fit.spam):
        return None
    return open_staged(read.path, settling(fit, read.manifest.ham_indices), threads=threads)


def by_message(rows: NDArray[F], counts: Sequence[int]) -> Iterator[NDArray[F]]:
    """The rows of each message, when so many belong to each."""
    first = 0
    for count in counts:
        yield rows[first : first + count]
        first += count


def batches(lengths: Sequence[int], budget: int = TOKENS_PER_BATCH) -> Iterator[list[int]]:
    """Indices of windows in batches of at most `budget` tokens, padding counted; similar lengths together."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * max(1, lengths[i]) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _recognisable(line: str) -> str:
    """One short printable line: a subject is the sender's and must not steer a terminal."""
    plain = line[: 4 * SUBJECT_CHARACTERS]
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else " " for c in plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= SUBJECT_CHARACTERS else plain[: SUBJECT_CHARACTERS - 1] + "…"


def _test_name(fact: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in fact.upper())

"""`trainer retrain`: corrections become a challenger, and the challenger the champion, or nothing changes.

Stages, each leaving what the next one needs in the run's folder, so that a run that was killed goes on:

    gather   corrections and rehearsal data to a dataset (`material`); enough to learn from?
    train    the wide half by corrections (`refit`), or the GPT-2's head from the champion's
             weights, held to its answers (`loss`); checkpoint and resume as ever
    export   a bundle like any other, its calibration as `recalibrate` dares
    judge    champion and challenger on what was held out, and the gate (`gate`)
    promote  into the store of bundles and, by one rename, into `current`; or on trial; or not at all

Nothing but the last step touches what the daemon judges with, and that step is atomic. The corrections
store is only read, up to the mark of the last promotion, which its next bundle says again
(`lineage` in its manifest), so that a crash between the two forgets nothing.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from rich.console import Console

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Promotion
from filterd.corrections.store import Store
from filterd.errors import BundleError, ConfigError, NotFound, Unwritable
from filterd.promotion import champion as promotion
from filterd.promotion import presence, trial
from filterd.scoring import bundle
from filterd.scoring.bundle import Bundle, Lineage, Manifest
from filterd.scoring.engine import Engine
from filterd.scoring.memory import Recollection
from filterd_trainer.data import corpus
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.evaluation import judge as judging
from filterd_trainer.evaluation.scores import SplitScores
from filterd_trainer.export import export
from filterd_trainer.export import probes as known_probes
from filterd_trainer.export.assembly import ExportRequest
from filterd_trainer.export.texts import SplitTexts
from filterd_trainer.retraining import (
    anchors,
    gate,
    lock,
    material,
    recalibrate,
    refit,
    run_folder,
    served,
    strategies,
)
from filterd_trainer.retraining import report as pages
from filterd_trainer.retraining.cross_fit import CrossFit
from filterd_trainer.retraining.gate import Evidence, GateRules, HeldAnswers, HeldOutMail, ProbeAnswers
from filterd_trainer.retraining.loss import LossTargets, RetrainingLoss
from filterd_trainer.retraining.material import Material
from filterd_trainer.retraining.refit import Indices
from filterd_trainer.retraining.report import RetrainRecord
from filterd_trainer.retraining.run_folder import RetrainFolder
from filterd_trainer.retraining.strategies import HeadTraining
from filterd_trainer.tasks.choice import Spam
from filterd_trainer.training import runs
from filterd_trainer.training.train import CONFIG, MODEL

Report = Callable[[str], None]

DATA, RUN, CHALLENGER = "data", "run", "challenger"  # in a night's folder
MAX_VALIDATED = 400  # messages that the export compares arithmetics on, where no rehearsal data calibrates
# Verdicts that 8 bits may change: ten times an export's, as corrected messages lie close to the thresholds
# that they were to pass. The gate compares what 8 bits say, so nothing is promoted on the strength of floats.
MAX_FLIPPED = 0.03
SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, kw_only=True)
class RetrainRequest:
    """What to retrain, from what, and what may become of it.

    feedback: the corrections: a store's URL or file, or what `filterd feedback export` wrote.
    bundles: the store of bundles whose `current` judges; a promoted one goes there. runs: a folder a run.
    champion: what to start from; None: the store's current bundle, else the one that ships.
    rehearsal: inputs as `trainer data prepare` takes them, or folders that it wrote.
    promotion: immediate; shadow: beside the champion first (`filterd.promotion.trial`); manual: leave it to a
    person. state: the folder of the daemon to tell, None where there is none. remembers: users have the
    memory beside the model, so the gate compares both with it. head: how far strategy `head` goes.
    """

    feedback: str
    bundles: Path
    runs: Path
    champion: Path | None = None
    rehearsal: Sequence[str] = ()
    strategy: str = "auto"
    promotion: Promotion = "immediate"
    rules: GateRules = material.DEFAULT_RULES
    seed: int = 123
    keep_runs: int = 10
    state: Path | None = None
    remembers: bool = True
    head: HeadTraining = strategies.HEAD


@dataclass(frozen=True, kw_only=True)
class RetrainOutcome:
    """What became of it.

    promoted: the challenger judges now. reason: why not, one line; "" where it was. bundle: the challenger's
    folder, None where there is none. folder: the run's, with report.html and record.json.
    """

    promoted: bool
    reason: str
    bundle: Path | None
    folder: Path
    record: RetrainRecord


def retrain(request: RetrainRequest, report: Report = lambda stage: None) -> RetrainOutcome:
    """Retrain once. report: called with each stage's name as it begins.

    Raises Busy where another one or a trial is under way, Interrupted after a signal (the next call goes
    on), NotFound, BadInput, ConfigError, StoreError, BundleError and Unwritable; champion and store are
    then as they were.
    """
    strategies.choose(request.strategy)
    with lock.only_one(request.runs), _disk(request.runs), corrections(request.feedback) as store:
        _no_trial(request)
        champion = Engine.open(_champion(request))
        if champion.bundle.manifest.task != "spam":
            raise ConfigError(f"{champion.bundle.id}: knows no spam; corrections say ham or spam")
        night = run_folder.claim(request.runs, _plan(request, champion.bundle, store))
        outcome = _Retraining(request, champion, store, night, report).run()
        run_folder.prune(request.runs, request.keep_runs)
        return outcome


@contextmanager
def corrections(feedback: str) -> Iterator[Store]:
    """The store that a URL, a database file or an export names. Raises StoreError, BadInput, NotFound."""
    path = Path(feedback)
    if "://" in feedback or _is_database(path):
        with Store.open(feedback) as store:
            yield store
        return
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "export.sqlite") as store:
        with path.open("rb") as stream:
            store.import_lines(stream, str(path))
        yield store


def _is_database(path: Path) -> bool:
    if not path.is_file():
        raise NotFound(f"{path}: no corrections there; name the store's URL or file, or an export")
    with path.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE


def _no_trial(request: RetrainRequest) -> None:
    """Whoever is on trial goes first; without a daemon nothing is seen of it, and it has to go."""
    if not (on_trial := trial.under_way(request.bundles)):
        return
    if presence.find(request.state):
        raise lock.RetrainingBusy(f"{on_trial} is on trial in {request.bundles}; retrain when that is over")
    bundle.end_trial(request.bundles)


def _champion(request: RetrainRequest) -> Path:
    return request.champion or bundle.in_use(request.bundles)


def _plan(request: RetrainRequest, champion: Bundle, store: Store) -> run_folder.RetrainPlan:
    """Where the new corrections begin and end."""
    position = store.position()
    since = promotion.read_of(champion, request.feedback)
    if since and store.retrained() != (champion.id, since):  # the last run ended before it could say so
        promotion.mark(champion, store)
        presence.reload(request.state)
    return run_folder.RetrainPlan(
        champion=champion.id,
        since=min(since, position.revision),
        until=position.revision,
        rewritten=store.withdrawn(),
        strategy=request.strategy,
        rehearsal=tuple(request.rehearsal),
        rules=request.rules,
        seed=request.seed,
    )


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A full disk or a folder that may not be written is one line."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{error.filename or folder}: {error.strerror or error}; nothing was promoted"
        ) from error


class _Retraining:
    """One run from gathering to promotion."""

    def __init__(
        self, request: RetrainRequest, champion: Engine, store: Store, night: RetrainFolder, report: Report
    ) -> None:
        self.request, self.champion, self.store = request, champion, store
        self.night, self.report = night, report
        self.plan = night.plan
        self.folder = night.folder
        self.choices: dict[Kind, recalibrate.CalibrationChoice] = {}
        self.strategy = strategies.choose(request.strategy)
        self.crossed = self.strategy == "wide"
        self._refit: CrossFit | None = None

    def run(self) -> RetrainOutcome:
        """All stages; what is there already is not done again."""
        self.report("gather")
        found = self._gather()
        ham, spam = (found.labelled(label) for label in (Label.HAM, Label.SPAM))
        evidence = Evidence(
            new=found.new, dropped=dict(found.dropped), ham=ham, spam=spam, held_groups=found.compared
        )
        findings = gate.before_training(evidence, self.request.rules)
        if reason := gate.reason(findings):
            return self._finish(pages.without_challenger(self._facts(found), findings), reason)
        dataset = self._dataset(found)
        self.report("train")
        self._train(dataset)
        self.report("export")
        try:
            challenger = self._export(dataset)
        except BundleError as error:
            return self._finish(pages.without_challenger(self._facts(found), findings), str(error))
        self.report("judge")
        return self._decide(found, dataset, challenger, evidence)

    # -- gather --------------------------------------------------------------------------------------------

    def _gather(self) -> Material:
        ham = self.champion.bundle.manifest.ham
        rehearsal = material.rehearse(self.request.rehearsal, ham)
        plan = self.plan
        return material.gather(
            self.store, plan.since, plan.until, rehearsal, self.request.rules, crossed=self.crossed
        )

    def _dataset(self, found: Material) -> Dataset:
        """The run's dataset: `train`, `validation` (for the export) and `test` (held out, or crossed)."""
        folder, manifest = self.folder / DATA, self.champion.bundle.manifest
        if (folder / corpus.MANIFEST).is_file():
            return Dataset.load(folder)
        own = _anchors(asked=False)
        train = pd.concat([found.side("train"), own], ignore_index=True)
        validation = found.side("calibrate")
        if len(validation) < MAX_VALIDATED:
            some = train.sample(min(len(train), MAX_VALIDATED - len(validation)), random_state=self.plan.seed)
            validation = pd.concat([validation, some], ignore_index=True)
        held = pd.concat([found.side("crossed"), found.side("held")], ignore_index=True)
        parts = {"train": train, "validation": validation, "test": held}
        parts = {name: self._classed(frame) for name, frame in parts.items()}
        folder.mkdir(mode=0o700, exist_ok=True)
        return corpus.write(folder, parts, Spam(labels=manifest.labels, ham=manifest.ham), "retrain")

    def _classed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Labels as the bundle's classes: people say ham or spam, the champion which of several of them."""
        manifest = self.champion.bundle.manifest
        said = judging.verdicts_of(self.champion, frame) if len(frame) else []
        spam = frame["Label"] == Label.SPAM.value
        classes = [_class_of(manifest, one, is_spam) for one, is_spam in zip(said, spam, strict=True)]
        return frame.assign(Label=pd.Series(classes, index=frame.index, dtype="int64"))

    # -- train and export ----------------------------------------------------------------------------------

    def _train(self, dataset: Dataset) -> None:
        folder, manifest = self.folder / RUN, self.champion.bundle.manifest
        if self.crossed or (folder / MODEL).is_file():
            return
        how, base = self.request.head, str(self.champion.bundle.path)
        recipe = strategies.make(
            how,
            base,
            max_tokens=manifest.max_tokens,
            windows=manifest.max_windows,
            padded=manifest.padded,
        )
        runs.train(
            _Watched(dataset),
            dataset.folder,
            folder,
            recipe,
            seed=self.plan.seed,
            on="cpu",
            resume=(folder / CONFIG).is_file(),
            objective=lambda plan: RetrainingLoss(plan, self._wanted(dataset), how.pull),
            console=Console(quiet=True),
        )

    def _wanted(self, dataset: Dataset) -> LossTargets:
        frame, manifest = dataset.split("train"), self.champion.bundle.manifest
        old = [one.label for one in judging.verdicts_of(self.champion, frame)]
        spam = ~frame["Label"].isin(dataset.ham_indices)
        return LossTargets(manifest, [Kind(kind) for kind in frame["Kind"]], spam.tolist(), old)

    def _export(self, dataset: Dataset) -> Bundle:
        out, champion = self.folder / CHALLENGER, self.champion.bundle
        try:
            return bundle.read(out)
        except BundleError:
            pass
        if self.crossed:
            return self._refitted(dataset).write(out, lambda *of: self._cautious(dataset, *of))
        request = ExportRequest(
            run=self.folder / RUN,
            data=dataset.folder,
            out=out,
            name=champion.manifest.name,
            quantization=champion.manifest.quantization,
            max_tokens=champion.manifest.max_tokens,
            max_windows=champion.manifest.max_windows,
            parent=champion.id,
            max_flipped=MAX_FLIPPED,
            wide_of=champion.path,
        )
        return export.export(request, decide=lambda *of: self._recalibrated(dataset, *of))

    def _recalibrated(
        self, dataset: Dataset, manifest: Manifest, margins: refit.Floats, texts: SplitTexts
    ) -> Manifest:
        frame = dataset.split("validation")
        fresh = (frame["Role"] == "rehearsal").to_numpy()
        before = np.array(self.champion.margins(texts.texts, texts.kinds))
        for kind in Kind:
            chosen = fresh & texts.of(kind)
            sample = recalibrate.FreshMargins(before[chosen], margins[chosen], texts.is_spam[chosen])
            self.choices[kind] = recalibrate.choose(self.champion.bundle.manifest, kind, sample)
        return recalibrate.apply(manifest, self.choices)

    def _cautious(self, dataset: Dataset, *of: Any) -> Manifest:
        """As `_recalibrated`, and no more of the corrected ham is called spam than the champion called."""
        manifest, refitted = self._recalibrated(dataset, *of), self._refitted(dataset)
        self.choices = {kind: refitted.cautious(kind, one) for kind, one in self.choices.items()}
        return recalibrate.apply(manifest, self.choices)

    def _refitted(self, dataset: Dataset) -> CrossFit:
        if not self._refit:
            frame = dataset.split("test")
            self._refit = CrossFit(self.champion, dataset, self._folds(frame), self._said(frame))
        return self._refit

    def _folds(self, frame: pd.DataFrame) -> Indices:
        """Which held-out messages are judged by the same model, [n]; all, where nothing is crossed."""
        groups = frame["Group"].to_numpy(dtype=np.int64)
        return refit.folds(groups) if self.crossed else np.zeros(len(frame), dtype=np.int64)

    def _said(self, frame: pd.DataFrame) -> list[Recollection]:
        """What the memory says of each held-out message, if users have it."""
        if not self.request.remembers:
            return [Recollection()] * len(frame)
        return served.recollections(self.store, self.plan.until, frame, self._folds(frame))

    # -- judge and promote ---------------------------------------------------------------------------------

    def _decide(self, found: Material, dataset: Dataset, made: Bundle, evidence: Evidence) -> RetrainOutcome:
        subject = judging.EvaluationSplit.load(dataset.folder, "test")
        frame = subject.frame
        before, after = self._scored(made, dataset, subject)
        held = HeldOutMail(
            is_spam=before.spam,
            groups=frame["Group"].to_numpy(dtype=np.int64),
            corrected=(frame["Role"] == "new").to_numpy(),
            sources=frame["Source"].astype(str).tolist(),
            champion=HeldAnswers(before.probability, before.verdicts or ()),
            challenger=HeldAnswers(after.probability, after.verdicts or ()),
        )
        challenger = Engine.open(made.path)
        evidence = _completed(evidence, held, self._probes(challenger), self._kept(challenger))
        findings = gate.judge(evidence, self.request.rules)
        record = pages.record(
            self._facts(found), findings, evidence, subject, (before, after), self.folder / RUN
        )
        made = self._signed(made, record)
        reason = gate.reason(findings)
        if not reason:
            self.report("promote")
            reason = self._promote(made)
        return self._finish(record, reason, made)

    def _scored(
        self, made: Bundle, dataset: Dataset, subject: judging.EvaluationSplit
    ) -> tuple[SplitScores, SplitScores]:
        """Champion and challenger on what was held out, each with the memory if users have it.

        Both without a fast path: it ranks less finely, and a challenger has it for some kinds only.
        """
        before = judging.judge(self.champion.bundle.path, "champion", subject, fast_path=False)
        after = judging.judge(made.path, "challenger", subject, fast_path=False)
        if self.crossed:
            after = self._refitted(dataset).crossed(after, made.manifest)
        frame, said = subject.frame, self._said(subject.frame)
        return (
            served.remembering(before, self.champion.bundle.manifest, frame, said),
            served.remembering(after, made.manifest, frame, said),
        )

    def _probes(self, challenger: Engine) -> list[ProbeAnswers]:
        probes = self.champion.bundle.manifest.probes
        messages = [Message(p.text.encode(), kind=p.kind) for p in probes]
        truth = [known_probes.is_spam(p.text) for p in probes]
        return _probed(truth, self.champion.judge(messages), challenger.judge(messages))

    def _kept(self, challenger: Engine) -> list[ProbeAnswers]:
        frame = _anchors(asked=True)
        before, after = (judging.verdicts_of(one, frame) for one in (self.champion, challenger))
        return _probed((frame["Label"] == Label.SPAM.value).tolist(), before, after)

    def _signed(self, made: Bundle, record: RetrainRecord) -> Bundle:
        """The challenger with both models' figures in its manifest, and how far it has read the store."""
        metrics = made.manifest.metrics | {"retrain": pages.summary(record)}
        store = promotion.fingerprint(self.request.feedback)
        lineage = Lineage(store=store, revision=self.plan.until, strategy=self.strategy)
        signed = msgspec.structs.replace(made.manifest, metrics=metrics, lineage=lineage)
        bundle.rewrite_manifest(made.path, signed)
        return bundle.read(made.path)

    def _promote(self, made: Bundle) -> str:
        """Promote as asked; "" where the challenger judges from now on, else why it does not yet."""
        request = self.request
        if request.promotion == "manual":
            return f"passed; promotion is manual: filterd bundle use {made.path}"
        if request.promotion == "shadow":
            promotion.try_out(made, request.bundles, request.state, self.champion.bundle.path)
            return "passed; on trial beside the champion"
        promotion.promote(made, request.bundles, request.state, self.store, self.champion.bundle.path)
        return ""

    # -- the record ----------------------------------------------------------------------------------------

    def _facts(self, found: Material) -> pages.RetrainFacts:
        return pages.facts(self.plan, found, self.strategy, self.champion.bundle, self.choices)

    def _finish(self, record: RetrainRecord, reason: str, made: Bundle | None = None) -> RetrainOutcome:
        self.report("report")
        promoted = made is not None and not reason
        record = msgspec.structs.replace(
            record, promoted=promoted, reason=reason, challenger=made.id if made else None
        )
        pages.write(self.folder, record)
        self.night.end(reason)
        return RetrainOutcome(
            promoted=promoted,
            reason=reason,
            bundle=made.path if made else None,
            folder=self.folder,
            record=record,
        )


class _Watched:
    """A dataset whose validation part is the held-out corrections: the curves show them, nothing is chosen by
    them."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.task = dataset.task

    def split(self, name: str) -> Any:
        """A part; see `filterd_trainer.training.runs.LabelledSplits`."""
        if name != "validation":
            return self._dataset.split(name)
        held = self._dataset.split("test")
        return held[held["Role"] == "new"].reset_index(drop=True)


def _class_of(manifest: Manifest, verdict: Verdict, is_spam: bool) -> int:
    """The most probable class on the side that people named."""
    allowed = [name for name in manifest.labels if (name in manifest.ham) is not bool(is_spam)]
    return manifest.labels.index(max(allowed, key=lambda name: verdict.classes[name]))


def _anchors(asked: bool) -> pd.DataFrame:
    """Our own messages as rows: those that the gate asks, or those that are trained on."""
    some = [one for one in anchors.MESSAGES if one.asked is asked]
    return pd.DataFrame(
        {
            "Label": [(Label.SPAM if one.is_spam else Label.HAM).value for one in some],
            "Text": [one.text for one in some], "Kind": [one.kind.value for one in some],
            "Role": "anchor", "Source": "anchor", "Id": "", "Number": 0, "Group": -1, "Side": "train",
        }
    )  # fmt: skip


def _probed(
    truth: Sequence[bool | None], before: Sequence[Verdict], after: Sequence[Verdict]
) -> list[ProbeAnswers]:
    return [
        ProbeAnswers(spam, a.label, b.label, a.points, b.points)
        for spam, a, b in zip(truth, before, after, strict=True)
    ]


def _completed(
    evidence: Evidence, held: HeldOutMail, probes: list[ProbeAnswers], kept: list[ProbeAnswers]
) -> Evidence:
    return Evidence(
        new=evidence.new,
        dropped=evidence.dropped,
        ham=evidence.ham,
        spam=evidence.spam,
        held_groups=evidence.held_groups,
        held=held,
        probes=probes,
        kept=kept,
    )

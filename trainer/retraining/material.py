"""What a retraining learns from and is judged by: corrections and rehearsal data as one table of messages.

Strategy: a table with a row a message goes through steps that each leave something out, and count why. Roles:

- `new`: corrections since the champion's own retraining; `earlier`: those before it, which the champion
  knows;
- `rehearsal`: labelled messages of other origin; `anchor`: our own (`filterd_trainer.retraining.anchors`).

Then each row gets a side. New corrections are split by time within each label, near-duplicates together: the
newest groups are `held`, as what comes next is what a model has to be good at; or, where a fit is cheap,
all of them are `crossed`: learned from and judged by turns. Earlier ones and anchors
`train`; rehearsal is drawn at random into `train`, `calibrate` and `held`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from filterd.api import Label
from filterd.corrections.store import Store
from filterd.errors import BadInput
from filterd_trainer.data import corpus, prepare, sources
from filterd_trainer.data.corpus import Dataset
from filterd_trainer.data.grouping import group
from filterd_trainer.retraining.gate import GateRules

HELD_SHARE = 0.3  # of the new corrections, the newest
REHEARSAL_SPLIT = (0.6, 0.8)  # train up to the first, calibrate up to the second, held beyond
# Rehearsal messages that are used at all, evenly of each label and kind: with more, a night's work takes
# longer and forgetting is no smaller (docs/retraining.md).
MAX_REHEARSAL = 2_500
MAX_COPIES = (
    10  # corrections of one group of near-duplicates; a campaign is one fact, however often it is told
)
MAJORITY = 2 / 3  # of a group's corrections; where they agree less, none of them can be trusted
SEED = 123
DEFAULT_RULES = GateRules()

COLUMNS = ["Label", "Text", "Kind", "Role", "Source", "Id", "Number"]
Indices = npt.NDArray[np.int64]


@dataclass
class Material:
    """frame: COLUMNS, `Group` and `Side`, Label by name (ham, spam); left_out: how many, by reason.

    new, dropped: new corrections used, and left out by the quota, by source.
    since, until: revisions of the store that the new corrections lie between.
    """

    frame: pd.DataFrame
    since: int = 0
    until: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def new(self) -> dict[str, int]:
        """New corrections that are used, by source."""
        of_new = self.frame[self.frame["Role"] == "new"]
        return {str(name): int(n) for name, n in of_new["Source"].value_counts().sort_index().items()}

    def labelled(self, label: Label) -> int:
        """Messages of a label to train on that people vouch for."""
        chosen = self.frame["Side"].isin(["train", "crossed"]) & (self.frame["Role"] != "anchor")
        return int((chosen & (self.frame["Label"] == label.value)).sum())

    @property
    def compared(self) -> int:
        """Groups of new corrections that champion and challenger are compared on."""
        on = (self.frame["Role"] == "new") & self.frame["Side"].isin(["held", "crossed"])
        return int(self.frame.loc[on, "Group"].nunique())

    def side(self, name: str) -> pd.DataFrame:
        """The rows of one side."""
        return self.frame[self.frame["Side"] == name].reset_index(drop=True)


def gather(
    store: Store,
    since: int,
    until: int,
    rehearsal: pd.DataFrame | None = None,
    rules: GateRules = DEFAULT_RULES,
    *,
    crossed: bool = False,
) -> Material:
    """Corrections up to `until` and rehearsal rows, cleaned, grouped and split. Raises StoreError.

    crossed: all new corrections, not the newest, are set aside, as `crossed`: what learns from them will be
    judged by cross-fitting.
    """
    found = Material(_corrections(store, since, until), since, until)
    _leave_out(found, "no text kept", found.frame["Text"].isna())
    _leave_out(found, "empty text", found.frame["Text"].str.strip() == "")
    # The store keeps the last word on a message; two messages may still have the same text.
    _leave_out(found, "corrected again later", found.frame.duplicated("Text", keep="last"))
    if rehearsal is not None:
        fresh = rehearsal[~rehearsal["Text"].isin(set(found.frame["Text"]))]
        found.frame = pd.concat([found.frame, fresh], ignore_index=True)
    found.frame["Group"] = group(found.frame["Text"].tolist())
    _leave_out(found, "contradicted by near-duplicates", _contradicted(found.frame))
    _leave_out(found, f"more than {MAX_COPIES} near-duplicates", _surplus_copies(found.frame))
    _apply_quota(found, rules)
    found.frame["Side"] = _sides(found.frame, crossed)
    leaking = (found.frame["Role"] == "rehearsal") & (found.frame["Side"] == "leaks")
    _leave_out(found, "rehearsal like a held-out correction", leaking)
    return found


def _corrections(store: Store, since: int, until: int) -> pd.DataFrame:
    rows = [
        (one.label.value, one.text, one.kind.value, "new" if one.number > since else "earlier",
         one.owner or one.source or "other", one.content_hash, one.number)
        for one in store.iterate(until=until)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"Number": "int64", "Text": "object"})


def _leave_out(found: Material, why: str, which: "pd.Series[bool]") -> None:
    count = int(which.sum())
    if count:
        found.left_out[why] += count
        found.frame = found.frame[~which].reset_index(drop=True)


def _contradicted(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Corrections whose near-duplicates mostly say otherwise, or that have no clear majority among them."""
    people = frame["Role"].isin(["new", "earlier"])
    spam = (frame["Label"] == Label.SPAM.value).astype(float)
    share = spam.where(people).groupby(frame["Group"]).transform("mean")
    own = spam.where(spam == 1, 0.0) * share + (1 - spam) * (1 - share)
    return people & (own < MAJORITY - 1e-9) & (own < 1)


def _surplus_copies(frame: pd.DataFrame) -> "pd.Series[bool]":
    """All but the newest few corrections of a group."""
    new = frame[frame["Role"] == "new"].sort_values("Number", ascending=False)
    rank = new.groupby("Group").cumcount()
    return frame.index.to_series().isin(rank.index[rank >= MAX_COPIES])


def _apply_quota(found: Material, rules: GateRules) -> None:
    """Of several sources the largest keeps its share of what is left, drawn at random: a flood has no say."""
    new = found.frame[found.frame["Role"] == "new"]
    counts = new["Source"].value_counts()
    if len(counts) < 2:
        return
    name, others = counts.index[0], int(counts.iloc[1:].sum())
    allowed = max(rules.source_floor, int(others * rules.max_source_share / (1 - rules.max_source_share)))
    surplus = int(counts.iloc[0]) - allowed
    if surplus > 0:
        gone = new.index[new["Source"] == name].to_numpy()
        chosen = np.random.default_rng(SEED).permutation(gone)[:surplus]
        found.dropped[str(name)] = surplus
        found.frame = found.frame[~found.frame.index.isin(chosen)].reset_index(drop=True)


# ---- Sides -----------------------------------------------------------------------------------------------


def _sides(frame: pd.DataFrame, crossed: bool) -> "pd.Series[Any]":
    side = pd.Series("train", index=frame.index, dtype="object")
    rehearsal = frame["Role"] == "rehearsal"
    held = _held_groups(frame, 1.0 if crossed else HELD_SHARE)
    side[(frame["Role"] == "new") & frame["Group"].isin(held)] = "crossed" if crossed else "held"
    side[rehearsal] = _rehearsal_sides(frame[rehearsal])
    side[rehearsal & frame["Group"].isin(held)] = "leaks"
    return side


def _held_groups(frame: pd.DataFrame, share: float) -> set[int]:
    """Of each label the newest groups of new corrections, by a group's first; none the champion knows."""
    known = set(frame.loc[frame["Role"] == "earlier", "Group"])
    new = frame[(frame["Role"] == "new") & ~frame["Group"].isin(known)]
    held: set[int] = set()
    for _, rows in new.groupby("Label", sort=True):
        groups = rows.groupby("Group")["Number"].agg(["min", "size"]).sort_values("min", ascending=False)
        before = groups["size"].cumsum() - groups["size"]
        held |= {int(g) for g in groups.index[before < share * len(rows)]}
    return held


def _rehearsal_sides(rows: pd.DataFrame) -> "pd.Series[Any]":
    """As the rows say (a dataset's own splits), else by a draw over groups."""
    groups = rows["Group"].unique()
    draw = dict(zip(groups, np.random.default_rng(SEED).random(len(groups)), strict=True))
    at = np.digitize(rows["Group"].map(draw).astype(float).to_numpy(), REHEARSAL_SPLIT)
    drawn = pd.Series(np.array(["train", "calibrate", "held"])[at], index=rows.index, dtype="object")
    if "Split" not in rows:
        return drawn
    return rows["Split"].where(rows["Split"].notna(), drawn)


# ---- Rehearsal data --------------------------------------------------------------------------------------


def rehearse(inputs: Sequence[str], ham: Sequence[str]) -> pd.DataFrame | None:
    """Labelled messages of inputs as `trainer data prepare` takes them, or of a folder that it wrote.

    ham: the bundle's ham labels; every other label counts as spam. Raises NotFound, BadInput.
    """
    frames = [_dataset(Path(one)) if _is_dataset(one) else _input(one) for one in inputs]
    if not frames:
        return None
    frame = pd.concat(frames, ignore_index=True).drop_duplicates("Text").reset_index(drop=True)
    strange = sorted(set(frame["Label"]) - {*ham, Label.HAM.value, Label.SPAM.value})
    if not (frame["Label"].isin([*ham, Label.HAM.value])).any() or len(strange) > MAX_STRANGE:
        raise BadInput(
            f"rehearsal: labels are {', '.join(sorted(set(frame['Label']))[:5])}; name folders ham and spam"
        )
    frame["Label"] = np.where(frame["Label"].isin([*ham, Label.HAM.value]), Label.HAM.value, Label.SPAM.value)
    return _sample(frame)


MAX_STRANGE = 20  # labels that are neither; more is no labelled data but something else


def _is_dataset(given: str) -> bool:
    return (Path(given) / corpus.MANIFEST).is_file()


def _dataset(folder: Path) -> pd.DataFrame:
    dataset, parts = Dataset.load(folder), []
    held = "test_natural" if (folder / "test_natural.csv").is_file() else "test"
    for side, split in (("train", "train"), ("calibrate", "validation"), ("held", held)):
        frame = dataset.split(split)
        names = [dataset.labels[i] for i in frame["Label"]]
        parts.append(
            pd.DataFrame({"Label": names, "Text": frame["Text"], "Kind": frame["Kind"], "Split": side})
        )
    return _as_rehearsal(pd.concat(parts, ignore_index=True))


def _input(given: str) -> pd.DataFrame:
    losses = sources.ReadingLosses()
    request = prepare.PrepareRequest(inputs=[given], out=Path())
    messages = chain.from_iterable(sources.read(each, losses) for each in prepare.as_sources(request))
    frame = corpus.canonical((each for each in messages if each.label), losses)
    return _as_rehearsal(frame.assign(Split=None))


def _as_rehearsal(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(Role="rehearsal", Source="rehearsal", Id="", Number=0)[[*COLUMNS, "Split"]]


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MAX_REHEARSAL rows, as evenly as can be of each label and kind."""
    strata = [rows for _, rows in frame.groupby(["Label", "Kind"], sort=True)]
    left, kept = MAX_REHEARSAL, []
    for i, rows in enumerate(sorted(strata, key=len)):
        count = min(len(rows), left // (len(strata) - i))
        kept.append(rows.sample(count, random_state=SEED))
        left -= count
    return pd.concat(kept).sort_index().reset_index(drop=True)

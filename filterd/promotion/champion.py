"""Promotion and rollback, each in its order: link, mark, tell. Whoever makes a bundle judge comes here.

Link: the folder of bundles points to it, by one rename. Mark: the corrections store learns how far the bundle
has read it. Tell: the daemon of the state folder reloads. A crash in between loses nothing: what is linked
judges after the next start, and the next retraining marks what was not.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from filterd.promotion import presence
from filterd.scoring import bundle
from filterd.scoring.bundle import Bundle

if TYPE_CHECKING:  # a rollback is not to wait for SQLAlchemy
    from filterd.corrections.store import Store

SQLITE = "sqlite:///"


def link(opened: Bundle, bundles: Path, store: "Store | None", before: Path = bundle.DEFAULT) -> None:
    """Link and mark. store: of the corrections that it was retrained from, None where it was from no such.

    before: what judged where the folder has no current bundle yet. Raises OSError, StoreError.
    """
    bundle.promote(opened, bundles, before)
    if store:
        mark(opened, store)


def promote(
    opened: Bundle, bundles: Path, state: Path | None, store: "Store | None", before: Path = bundle.DEFAULT
) -> str:
    """Link, mark, tell the daemon of a state folder; returns a line about that. Raises as `link`."""
    link(opened, bundles, store, before)
    return presence.reload(state, opened.id)


def try_out(opened: Bundle, bundles: Path, state: Path | None, before: Path = bundle.DEFAULT) -> str:
    """Put a challenger on trial beside the champion; returns a line about it. Raises OSError."""
    bundle.put_on_trial(opened, bundles, before)
    return presence.reload(state)


def roll_back(bundles: Path, state: Path) -> str:
    """Back to the bundle before the current one, at once; returns a line about it.

    Raises BundleError where there is none or where it is damaged; nothing has changed then.
    """
    previous = bundles / bundle.PREVIOUS
    now = bundle.read(previous).id if previous.exists() else ""
    bundle.rollback(bundles)
    bundle.end_trial(bundles)  # what was on trial is a child of the one that was not good enough
    return f"{now} is current; {presence.reload(state, now)}"


def mark(opened: Bundle, store: "Store") -> None:
    """Say in a corrections store how far the bundle in use has read it. Raises StoreError."""
    lineage = opened.manifest.lineage
    if lineage and store.retrained() != (opened.id, lineage.revision):
        store.mark_retrained(opened.id, lineage.revision)


def read_of(opened: Bundle, feedback: str) -> int:
    """Up to which revision a bundle has read a corrections store; 0 where it was not made from it."""
    lineage = opened.manifest.lineage
    return lineage.revision if lineage and lineage.store == fingerprint(feedback) else 0


def fingerprint(feedback: str) -> str:
    """A name for a corrections store, by its URL or path, that gives nothing of its URL away."""
    where = feedback if "://" in feedback else os.path.realpath(feedback)
    if where.startswith(SQLITE):
        where = os.path.realpath(where.removeprefix(SQLITE))
    return hashlib.sha256(where.encode()).hexdigest()[:16]

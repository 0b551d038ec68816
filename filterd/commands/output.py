"""How verdicts are printed, and what the exit status says of them."""

import os
import sys
from enum import StrEnum
from typing import Any

from filterd.api import Label, Verdict
from filterd.commands import pipe
from filterd.commands.input import STDIN, Item
from filterd.errors import FilterdError


class Output(StrEnum):
    """The forms in which verdicts are printed."""

    HUMAN = "human"
    JSON = "json"


class ExitCode(StrEnum):
    """What the exit status says."""

    PLAIN = "plain"  # 0: judged
    SPAMC = "spamc"  # as `spamc -c`: 1 spam, 0 not
    BOGOFILTER = "bogofilter"  # 0 spam, 1 ham, 2 unsure, 3 error


BOGOFILTER_STATUS = {Label.SPAM: 0, Label.HAM: 1, Label.UNSURE: 2}
BOGOFILTER_ERROR = 3


class ExitStatus:
    """The exit status of a run over several messages: the first error's, else the most alarming verdict's."""

    def __init__(self, exit_code: ExitCode) -> None:
        self._exit_code = exit_code
        self._error: FilterdError | None = None
        self._labels: set[Label] = set()

    def failed(self, error: FilterdError) -> None:
        """A message that was not judged."""
        self._error = self._error or error

    def judged(self, found: Verdict) -> None:
        """A verdict."""
        self._labels.add(found.label)

    @property
    def value(self) -> int:
        """The exit status."""
        if self._error:
            return BOGOFILTER_ERROR if self._exit_code is ExitCode.BOGOFILTER else self._error.exit_status
        if self._exit_code is ExitCode.SPAMC:
            return int(Label.SPAM in self._labels)
        if self._exit_code is ExitCode.BOGOFILTER:
            worst = next(x for x in (Label.SPAM, Label.UNSURE, Label.HAM) if x in self._labels | {Label.HAM})
            return BOGOFILTER_STATUS[worst]
        return 0


_COLOURS = {Label.SPAM: "31;1", Label.UNSURE: "33", Label.HAM: "32"}


def line(item: Item, found: Verdict) -> str:
    """A verdict for people, in colour on a terminal."""
    name = f"{pipe.printable(found.said):6}"
    if not found.answer and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        name = f"\x1b[{_COLOURS[found.label]}m{name}\x1b[0m"
    where = "" if item.name == STDIN else f"  {pipe.printable(item.name)}"
    numbered = found.answer and found.answer.value is not None
    share = "" if numbered else f"  {found.probability:.3f}"
    return f"{name}{share}  {found.kind:4}{where}  {found.subject}"


def as_json(item: Item, found: Verdict) -> dict[str, Any]:
    """What `--json` prints of a verdict."""
    return {
        **found.fields(),
        "kind": found.kind,
        "model": found.model,
        "ms": round(found.seconds * 1000, 3),
        "file": item.name,
        "id": item.message.id if item.message else "",
        "tests": found.tests,
        "classes": {name: round(p, 6) for name, p in found.classes.items()},
    }


def one_line(error: Exception) -> str:
    """An error for people, whatever it is."""
    said = " ".join(str(error).split())
    return said if isinstance(error, FilterdError) else f"{type(error).__name__}: {said}"

"""Reports of retrainings as the models page shows them: read from the folders of runs, changes nothing.

`trainer retrain` leaves `<state>/retrain/N/record.json`; what does not fit is left out, for another version
may have written it. Nobody's mail is in it.
"""

from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = "retrain"
RECORD: Final = "record.json"
SHOWN: Final = 10  # runs, the newest; as many as are kept by default
MAX_RECORD: Final = 4 << 20  # bytes of a record that is read; 500 listed messages take 0.2 MB


class _Facts(msgspec.Struct, frozen=True):
    champion: str = ""
    strategy: str = ""


class ReportFinding(msgspec.Struct, kw_only=True, frozen=True):
    """One rule of the gate. asked, found: for people."""

    rule: str
    passed: bool
    asked: str
    found: str


class Report(msgspec.Struct, frozen=True):
    """What became of one run. number, time (seconds since 1970): of its folder."""

    facts: _Facts = _Facts()
    gate: tuple[ReportFinding, ...] = ()
    promoted: bool = False
    reason: str = ""
    challenger: str | None = None
    number: str = ""
    time: float = 0.0


def reports(state: Path) -> list[Report]:
    """The newest runs first; none where nobody has retrained, or where this user may not look."""
    try:
        numbered = [path for path in (state / FOLDER).iterdir() if path.name.isdecimal()]
    except OSError:
        return []
    found = (_read(path) for path in sorted(numbered, key=lambda path: int(path.name), reverse=True))
    return list(islice(filter(None, found), SHOWN))


def _read(folder: Path) -> Report | None:
    path = folder / RECORD
    try:
        if path.stat().st_size > MAX_RECORD:
            return None
        read = msgspec.json.decode(path.read_bytes(), type=Report)
        return msgspec.structs.replace(read, number=folder.name, time=path.stat().st_mtime)
    except (OSError, msgspec.MsgspecError):
        return None

"""Descriptors: every listener's places have to be there, or the first that is flooded takes those of all.

The soft limit is raised to the hard one, as systemd expects of a daemon that does not use select(2). Where
even that is too little, each listener gets its share of what there is.
"""

import resource

from filterd.kit.door import LINGERING
from filterd.listen import ACCEPTED_AT_ONCE
from filterd.log import log

RESERVE = 128  # of the rest: model, stores, event loop, log, a thread's temporary file
BEYOND = ACCEPTED_AT_ONCE + LINGERING  # that a listener may have open beyond its places


def limit() -> int:
    """Descriptors that this process may have; the soft limit is the hard one from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def places(wanted: dict[str, int], available: int) -> dict[str, int]:
    """Connections of each listener, by its name; fewer than wanted where the descriptors do not suffice."""
    room = available - RESERVE - BEYOND * len(wanted)
    asked = sum(wanted.values())
    if available < 0 or asked <= room:  # below 0: RLIM_INFINITY
        return dict(wanted)
    given = {name: max(1, room * count // asked) for name, count in wanted.items()}
    log.warning(
        "fewer connections than configured",
        extra={"fields": {"descriptors": available, "wanted": asked, "given": sum(given.values())}},
    )
    return given

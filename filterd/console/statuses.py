"""The HTTP status of an error, for pages."""

from typing import Final

from filterd.errors import BadInput, FilterdError, LearningClosed, NotFound, Overloaded
from filterd.quarantine.nexthop import ReleaseFailed

STATUS: Final[dict[type[FilterdError], int]] = {
    BadInput: 400,
    LearningClosed: 403,
    NotFound: 404,
    ReleaseFailed: 502,
    Overloaded: 503,
}


def status_of(error: FilterdError) -> int:
    """Of the first kind that fits; 500 for any other."""
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)

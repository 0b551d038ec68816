"""Every error that filterd raises on purpose, each with its outward forms.

An error's text is for people: one line that says what is wrong, where, and what to do about it.
`exit_status` is one of sysexits.h, `spamd_code` the number in a `SPAMD/1.1 <code>` line (the same
numbers, and 79 for a time-out), `smtp_reply` what a mail server's client is told (RFC 5321 4.2, RFC 3463).
"""

__all__ = [
    "BadInput",
    "BundleError",
    "ConfigError",
    "DeadlineExceeded",
    "FilterdError",
    "LearningClosed",
    "ModelUnavailable",
    "NotFound",
    "Overloaded",
    "RuntimeMissing",
    "StoreError",
    "Unwritable",
]


class FilterdError(Exception):
    """Root of the tree; catch it at the edge and show `str(error)`."""

    exit_status = 70  # EX_SOFTWARE
    spamd_code = 70
    smtp_reply = "451 4.3.0 Spam filter failed, try again later"


class BadInput(FilterdError):
    """What was handed in cannot be read as what it claims to be."""

    exit_status = 65  # EX_DATAERR
    spamd_code = 65
    smtp_reply = "554 5.6.0 Message cannot be parsed"


class NotFound(FilterdError):
    """A file or folder that was named is not there or cannot be read."""

    exit_status = 66  # EX_NOINPUT
    spamd_code = 66


class Unwritable(FilterdError):
    """An output cannot be written: no space, no permission."""

    exit_status = 73  # EX_CANTCREAT
    spamd_code = 73


class ConfigError(FilterdError):
    """The configuration or a combination of options is wrong."""

    exit_status = 78  # EX_CONFIG
    spamd_code = 78


class ModelUnavailable(FilterdError):
    """There is no model to judge with."""

    exit_status = 69  # EX_UNAVAILABLE
    spamd_code = 69


class BundleError(ModelUnavailable):
    """A model bundle is damaged, foreign or of another version."""


class RuntimeMissing(ModelUnavailable):
    """Neither onnxruntime nor onnxruntime-gpu is installed."""


class LearningClosed(FilterdError):
    """Corrections are not taken here."""

    exit_status = 69  # EX_UNAVAILABLE
    spamd_code = 69


class StoreError(FilterdError):
    """The corrections store cannot be read or written."""

    exit_status = 74  # EX_IOERR
    spamd_code = 74


class Overloaded(FilterdError):
    """The queue is full; the caller gets the configured answer at once."""

    exit_status = 75  # EX_TEMPFAIL
    spamd_code = 75
    smtp_reply = "451 4.3.2 Spam filter is busy, try again later"


class DeadlineExceeded(FilterdError):
    """A message was not judged in its time."""

    exit_status = 75  # EX_TEMPFAIL
    spamd_code = 79
    smtp_reply = "451 4.3.2 Spam filter took too long, try again later"

"""filterd: the daemon and the scorer of a spam filter for mail and SMS. Never imports torch."""

__version__ = "0.1.0"

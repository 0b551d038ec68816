"""What a crash must not lose: names and bytes that are on the disk when a call returns."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's names. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

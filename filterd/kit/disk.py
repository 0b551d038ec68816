"""What a crash must not lose: names and bytes on the disk when a call returns. And whose they are."""

import os
from pathlib import Path


def give_to_owner(descriptor: int, folder: Path) -> None:
    """What root makes in a folder of the daemon's user is for that user to open. Raises OSError."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's names. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""`python -m tests.fuzz [SECONDS] [SEED]`: reads mutated mails and keeps what raises, takes long or grows."""

import resource
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

from filterd.api import Message
from filterd.reading import text
from tests.fuzz.mutate import mutated, seeds

FOUND: Final = Path(__file__).parent / "found"
MAX_CPU_S: Final = 0.3  # of one mail up to a megabyte
MAX_GROWTH: Final = 60 << 10  # kilobytes by which the process may grow over all


def main() -> int:
    """Fuzz for so many seconds of time; the exit status is 1 where something was found."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    rng = Random(int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns())
    start, beginnings, done, slowest, found = time.monotonic(), seeds(), 0, 0.0, 0
    for seed in beginnings:
        text.read(Message(seed))  # what is loaded once counts for no mail
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - start < seconds:
        data = mutated(beginnings, rng)
        trouble, cpu = _tried(data)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if not trouble and grown - peak > MAX_GROWTH:
            trouble = f"{(grown - peak) >> 10} MB more"
        peak = max(peak, grown)
        done, slowest = done + 1, max(slowest, cpu)
        if trouble:
            found += 1
            FOUND.mkdir(exist_ok=True)
            path = FOUND / f"{found}-{rng.randrange(1 << 32):08x}.eml"
            path.write_bytes(data)
            print(f"{path}: {trouble}")
    print(f"{done} mails, {found} found, the slowest {slowest:.2f} s of CPU, at most {peak >> 10} MB")
    return 1 if found else 0


def _tried(data: bytes) -> tuple[str, float]:
    """What was wrong with reading these bytes, "" for nothing, and the CPU it took."""
    begun = time.process_time()
    try:
        text.read(Message(data))
    except Exception as error:
        return f"{type(error).__name__}: {error}", 0.0
    cpu = time.process_time() - begun
    return (f"{cpu:.2f} s of CPU" if cpu > MAX_CPU_S else ""), cpu


if __name__ == "__main__":
    sys.exit(main())

"""Energy as the processor counts it (RAPL, by Linux's powercap): of all its packages, whoever used them.

Only root may read the counters on most systems, virtual machines have none, and other work on the machine is
counted along. Where nothing can be read there is no figure.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

ROOT = Path("/sys/class/powercap")
MICRO = 1e-6  # the counters are in microjoules


class PackageCounter(NamedTuple):
    """One processor package's counter, which begins again at 0 beyond `wraps`, in microjoules."""

    file: Path
    wraps: int

    def read(self) -> int:
        """Microjoules so far. Raises OSError, ValueError."""
        return int(self.file.read_text("ascii"))


class EnergyMeter:
    """The counters of all packages; without any it measures nothing."""

    def __init__(self, counters: list[PackageCounter]) -> None:
        self._counters = counters

    @classmethod
    def find(cls, root: Path = ROOT) -> Self:
        """The counters that this process may read."""
        found = []
        for folder in sorted(root.glob("intel-rapl:*")):
            if folder.name.count(":") > 1:  # a part of a package, counted there already
                continue
            try:
                # `psys` is the whole platform, with the packages in it: they would be counted twice.
                if not (folder / "name").read_text("ascii").startswith("package"):
                    continue
                wraps = int((folder / "max_energy_range_uj").read_text("ascii"))
                counter = PackageCounter(folder / "energy_uj", wraps)
                counter.read()
            except (OSError, ValueError):
                continue
            found.append(counter)
        return cls(found)

    def joules(self, work: Callable[[], object]) -> float | None:
        """Do the work and say what the machine used meanwhile; None where nobody tells. At most one wrap."""
        before = self._all()
        work()
        after = self._all()
        if not before or not after:
            return None
        pairs = zip(self._counters, before, after, strict=True)
        return MICRO * sum(
            end - start if end >= start else end + of.wraps - start for of, start, end in pairs
        )

    def _all(self) -> list[int]:
        try:
            return [one.read() for one in self._counters]
        except (OSError, ValueError):
            return []

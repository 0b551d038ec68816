"""Run the benchmarks that are named, or all of them, and print what each returns."""

import importlib
import pkgutil
import shutil
import sys

from rich.console import Console

import tests.bench

WIDTH = 130  # the widest table; in a file a line may be as long as it likes


def names() -> list[str]:
    """Every module of this package that measures something."""
    return sorted(m.name for m in pkgutil.iter_modules(tests.bench.__path__) if not m.name.startswith("_"))


def main(wanted: list[str]) -> int:
    """Exit status 64 (EX_USAGE) for a name that is none of ours, else 0."""
    console = Console(width=max(WIDTH, shutil.get_terminal_size().columns))
    if unknown := sorted(set(wanted) - set(names())):
        console.print(f"bench: no benchmark named {', '.join(unknown)}; there are {', '.join(names())}")
        return 64
    for name in wanted or names():
        console.print(importlib.import_module(f"tests.bench.{name}").run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What all tests share: where the data is, and that CI skips nothing for want of a program."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.peers.databases import database, postgres

__all__ = ["database", "postgres"]

# A machine that is busy with something else makes one example slow now and then; that is no defect of ours.
settings.register_profile("filterd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("filterd")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `shared` without the data; of several processes none ends with a long file."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in long)
    if not SHARED.exists():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason=f"needs {SHARED}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """In CI a test that skips for want of a program fails."""
    report = yield
    if report.skipped and os.environ.get("FILTERD_CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "program" in reason:
            report.outcome = "failed"
            report.longrepr = f"{reason} (in CI every program has to be there: add it to .ci/run)"
    return report


def need_program(name: str) -> str:
    """The path of a system program; skips the test where it is missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if not found:
        pytest.skip(f"program {name} is not installed")
    return found

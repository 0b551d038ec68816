"""The docs are in step with the code: every command, target and module is named, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = (ROOT / "docs" / "commands.md").read_text("utf-8")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
MODULES = {"filterd": "filterd.commands.cli", "trainer": "filterd_trainer.cli"}
LIST_COMMANDS = """
import sys, importlib, typer
def walk(command, name):
    if not hasattr(command, "commands"):
        print(name)
    for key, sub in sorted(getattr(command, "commands", {}).items()):
        walk(sub, f"{name} {key}")
walk(typer.main.get_command(importlib.import_module(sys.argv[2]).app), sys.argv[1])
"""


def metrics() -> list[str]:
    """The names of all metrics, as they are on the page that Prometheus reads."""
    from filterd.service.metrics import ServiceMetrics

    suffix = {"counter": "_total", "info": "_info"}
    return [f"{m.name}{suffix.get(m.type, '')}" for m in ServiceMetrics().registry.collect()]


def commands(program: str) -> list[str]:
    run = [sys.executable, "-c", LIST_COMMANDS, program, MODULES[program]]
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split("\n")[:-1]


@pytest.mark.parametrize("program", ["filterd", "trainer"])
def test_every_command_is_documented(program: str) -> None:
    found = commands(program)
    assert len(found) >= 5
    for command in found:
        group = command.rsplit(" ", 1)
        named = f"`{command}" in COMMANDS or (f"`{group[0]} " in COMMANDS and f"{group[1]}`" in COMMANDS)
        assert named, f"docs/commands.md does not name `{command}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_on_bundles_says_what_the_default_one_has() -> None:
    from filterd.scoring import bundle

    manifest = bundle.read(bundle.DEFAULT).manifest
    page = " ".join((ROOT / "docs" / "bundle.md").read_text("utf-8").split())
    checked, held = manifest.metrics["parity"], manifest.metrics["validation"]
    assert f"{checked['flipped']} of {checked['messages']:,} |" in page
    assert f"{checked['fp32']:.1e}".replace("e-0", "e-") in page
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    mail, sms = (numbers[held[kind]["ham_called_spam"]] for kind in ("mail", "sms"))
    assert f"{mail.capitalize()} mail and {sms} SMS of them are called spam" in page
    assert manifest.fast_path and manifest.exit, "say on the page that the default bundle has none"
    for kind, fit in manifest.fast_path.items():
        settles = f"settles {fit.settled:.1%} of the held-out {kind.value} ({fit.messages:,} messages"
        none = f"none for {kind.value.upper()}"
        assert (settles if fit.ham or fit.spam else none) in page
    assert f"after {manifest.exit.after} of its {manifest.architecture.layers} blocks" in page
    for one in manifest.exit.measured.values():
        assert f"{one.settled:.1%} of" in page and f"({one.messages:,})" in page


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "operation.md").read_text("utf-8")
    assert len(metrics()) >= 10
    for name in metrics():
        assert f"| `{name}` |" in page, f"docs/operation.md does not explain {name}"


def test_every_section_of_the_configuration_is_documented() -> None:
    from filterd.config import Config

    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for name in Config.__struct_fields__:
        assert f"| `{name}` |" in page, f"docs/configuration.md does not name {name}"


def test_every_plugin_has_a_page() -> None:
    for folder in (ROOT / "plugins").glob("*/__init__.py"):
        page = ROOT / "docs" / "plugins" / f"{folder.parent.name}.md"
        assert page.exists(), f"plugins/{folder.parent.name} has no page in docs/plugins"


def test_make_targets_are_documented() -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.M)
    said = "".join(page.read_text("utf-8") for page in PAGES)
    assert {"demo", "check", "test", "bench"} <= set(targets)
    for target in targets:
        assert f"make {target}" in said, f"no page names `make {target}`"


@pytest.mark.parametrize("package", ["filterd", "trainer"])
def test_every_module_has_its_place_in_the_design(package: str) -> None:
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    for module in (ROOT / package).glob("[a-z]*.py"):
        assert module.name in design, f"docs/design.md does not place {package}/{module.name}"


def test_the_changelog_names_this_version() -> None:
    from filterd import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")

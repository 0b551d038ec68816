"""Every page with commands to type is typed, from top to bottom, as a newcomer would."""

import re
import shutil
from pathlib import Path

import pytest

from tests import typed
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
PLACEHOLDERS = re.compile(r"\b(TODO|TBD|FIXME|XXX|BENCH|RESULTS|LOREM)\b|say so in your note")
TUTORIALS = ("mailbox", "sms-gateway", "model-owner")
TYPED = {"README.md", "docs/lecture.md", *(f"docs/tutorials/{name}.md" for name in TUTORIALS)}
INSTALL = re.compile(r"^(python3 -m venv|.*/pip install|pip install|export PATH).*$", re.M)


def page(name: str) -> str:
    """A tutorial's blocks without the installation: filterd is installed here already."""
    return INSTALL.sub("", "\n".join(typed.blocks(ROOT / "docs" / "tutorials" / f"{name}.md")))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return typed.place(tmp_path)


def test_for_one_persons_mailbox(place: Path) -> None:
    inbox = place / "home" / "Maildir"
    for folder in ("cur", "new", "tmp"):
        (inbox / folder).mkdir(parents=True)
    examples = [*(ROOT / "examples").glob("*/mail-*.eml")]
    for number, file in enumerate(examples):
        shutil.copy(file, inbox / "cur" / f"{number}.a.b:2,S")
    said = typed.run(page("mailbox"), place)
    filed = len(list((inbox / ".Junk" / "cur").iterdir()))
    kept = len(list((inbox / "cur").iterdir()))
    assert filed >= 6 and filed + kept == len(examples)
    assert re.search(rf"spam\D+{filed}\b", said), "feedback stats counts what was learned"


def test_for_an_sms_gateway(place: Path) -> None:
    said = typed.run(page("sms-gateway"), place)
    assert said.count('"label"') >= 2
    assert '"id": 7' in said or '"id":7' in said


@pytest.mark.slow
def test_for_a_model_owner(place: Path) -> None:
    from filterd_trainer.data import templates

    rows = ["label,text"]
    for one in templates.generate(1200, seed=5):
        if one.kind == "sms":
            rows.append(f'{one.label},"{one.text.replace(chr(34), chr(39))}"')
    (place / "messages.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (place / "texts.txt").write_text("see you at noon\nYou won 1000 pounds, claim your prize now\n")
    said = typed.run(page("model-owner"), place)
    for line in ("Training completed in", "misjudged", "sha256"):
        assert line in said
    assert re.search(r"^(ham|spam|unsure) +\d\.\d+ +sms +", said, re.M)


@pytest.mark.parametrize("file", [ROOT / "README.md", *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_no_page_has_a_placeholder(file: Path) -> None:
    found = PLACEHOLDERS.search(file.read_text("utf-8"))
    assert not found, f"{file.name}: {found and found.group()}"


@pytest.mark.parametrize("file", [ROOT / "README.md", *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_a_command_is_typed_by_a_test_or_marked_as_an_example(file: Path) -> None:
    text = file.read_text("utf-8")
    if str(file.relative_to(ROOT)) not in TYPED:
        assert not re.search(r"^```(sh|bash|console)$", text, re.M), f"{file.name}: mark it as `sh example`"
    bare = re.search(r"\n\n {4}(\$ |# )?(filterd|trainer|make|pip|apt|systemctl) .*", text)
    assert not bare, f"{file.name}: no fence around {bare and bare.group().strip()}"


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 100

"""Who may import whom (docs/design.md): read from the syntax trees, so that lazy imports count too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"numpy", "onnxruntime", "tiktoken", "selectolax", "rich", "sqlalchemy", "starlette", "uvicorn"}
TRAINER_MAY = {
    "api",
    "errors",
    "bundle",
    "text",
    "tokenizer",
    "verdict",
    "feedback",
    "engine",
    "backend",
    "config",
    "running",
    "trial",
    "headers",
    "fastpath",
    "memory",
    "grams",
    "wide",
}


def imports(file: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a module imports; of `from a import b` both a and a.b."""
    tree = ast.parse(file.read_text(), str(file))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", modules("filterd"), ids=lambda f: str(f.relative_to(ROOT)))
def test_filterd_knows_nothing_of_its_users(file: Path) -> None:
    roots = {name.split(".")[0] for name in imports(file)}
    assert not roots & {"torch", "trainer", "plugins", "pandas", "sklearn", "transformers"}


@pytest.mark.parametrize("file", modules("plugins"), ids=lambda f: str(f.relative_to(ROOT)))
def test_a_plugin_knows_the_classifier_and_nothing_else(file: Path) -> None:
    names = {".".join(name.split(".")[:2]) for name in imports(file) if name.split(".")[0] == "filterd"}
    assert names <= {"filterd.api", "filterd.errors"}
    own = file.relative_to(ROOT / "plugins").parts[0]
    others = {name for name in imports(file) if name.startswith("plugins.") and name.split(".")[1] != own}
    assert not others


@pytest.mark.parametrize("file", modules("trainer"), ids=lambda f: str(f.relative_to(ROOT)))
def test_the_trainer_uses_little_of_filterd(file: Path) -> None:
    used = {name.split(".")[1] for name in imports(file) if name.startswith("filterd.")}
    assert used <= TRAINER_MAY | {"__version__"}
    assert not any(name.startswith("plugins") for name in imports(file))


@pytest.mark.parametrize("module", ["api", "errors", "cli"])
def test_the_command_line_starts_light(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(ROOT / "filterd" / f"{module}.py", top_level_only=True)}
    assert not roots & HEAVY

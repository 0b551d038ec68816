"""Who may import whom (CONTRIBUTING.md): read from the syntax trees, so that lazy imports count too.

filterd and trainer are rooms in a fixed order, from the ground up. A room imports what stands before it and
nothing behind it, so there are no circles. filterd never imports the trainer or a plugin.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"numpy", "onnxruntime", "tiktoken", "selectolax", "rich", "sqlalchemy", "starlette", "uvicorn"}
GROUND = ["__init__", "version", "errors", "kit", "api", "listen", "log", "config", "progress", "language"]
FILTERD = [
    *GROUND,
    "reading",
    "scoring",
    "headers",
    "reasons",
    "corrections",
    "history",
    "policy",
    "judge",
    "promotion",
    "quarantine",
    "mailboxes",
]
SERVING = ["service", "protocols", "console", "daemon", "commands", "__main__"]
TRAINER = [
    *["tasks", "data", "disguises", "gpt2", "training", "pretraining", "evaluation", "export", "retraining"],
    *["simulation", "bulk", "active", "steps", "__init__", "cli", "__main__"],
]


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


OURS = [*modules("filterd"), *modules("plugins"), *modules("trainer")]


def room(file: Path) -> str:
    """The room that a file of filterd/ or trainer/ stands in, or its own name where it stands in none."""
    return file.relative_to(ROOT).with_suffix("").parts[1]


def looks_up(file: Path, package: str, order: list[str]) -> list[str]:
    """Imports of rooms that stand behind the file's own."""
    here = order.index(room(file))
    names = (name.split(".") for name in imports(file))
    used = {name[1] for name in names if name[0] == package and len(name) > 1}
    return [name for name in used & set(order) if order.index(name) > here]


@pytest.mark.parametrize("file", modules("filterd"), ids=lambda f: str(f.relative_to(ROOT)))
def test_filterd_imports_nothing_above_it(file: Path) -> None:
    roots = {name.split(".")[0] for name in imports(file)}
    assert not roots & {"torch", "pandas", "sklearn", "transformers"}
    assert not roots & {"trainer", "filterd_trainer", "plugins", "filterd_plugins"}
    assert looks_up(file, "filterd", FILTERD + SERVING) == []


@pytest.mark.parametrize("file", modules("trainer"), ids=lambda f: str(f.relative_to(ROOT)))
def test_the_trainer_imports_nothing_above_it(file: Path) -> None:
    names = set(imports(file))
    assert not {name for name in names if name.split(".")[0] in {"plugins", "filterd_plugins", "trainer"}}
    assert not {name for name in names if name.startswith(tuple(f"filterd.{room}." for room in SERVING))}
    assert looks_up(file, "filterd_trainer", TRAINER) == []


def dotted(file: Path) -> str:
    """A file's name as it is imported."""
    folder, *inner = file.relative_to(ROOT).with_suffix("").parts
    return ".".join((folder if folder == "filterd" else f"filterd_{folder}", *inner))


def test_no_modules_import_each_other() -> None:
    """Not by a way round, not when a function runs, and not for a type."""
    left = {dotted(file): set(imports(file)) for file in OURS}
    while ends := [name for name, used in left.items() if not used & left.keys()]:
        left = {name: used for name, used in left.items() if name not in ends}
    assert sorted(left) == []


@pytest.mark.parametrize("file", modules("plugins"), ids=lambda f: str(f.relative_to(ROOT)))
def test_a_plugin_knows_the_classifier_and_nothing_else(file: Path) -> None:
    names = {".".join(name.split(".")[:2]) for name in imports(file) if name.split(".")[0] == "filterd"}
    assert names <= {"filterd.api", "filterd.errors", "filterd.kit"}
    own = file.relative_to(ROOT / "plugins").parts[0]
    others = {n for n in imports(file) if n.startswith("filterd_plugins.") and n.split(".")[1] != own}
    assert not others


@pytest.mark.parametrize("file", modules("tests"), ids=lambda f: str(f.relative_to(ROOT)))
def test_nobody_uses_the_folders_names(file: Path) -> None:
    """`trainer` and `plugins` are folders; what is installed is filterd_trainer and filterd_plugins."""
    assert not {name for name in imports(file) if name.split(".")[0] in {"trainer", "plugins"}}


@pytest.mark.parametrize(
    "module", ["api", "errors", "commands/cli", "commands/feedback", "commands/bundles", "commands/options"]
)
def test_the_command_line_starts_light(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(ROOT / "filterd" / f"{module}.py", top_level_only=True)}
    assert not roots & HEAVY


def public_classes() -> dict[str, list[str]]:
    """Where each is, by name."""
    where: dict[str, list[str]] = {}
    for file in OURS:
        for node in ast.parse(file.read_text(), str(file)).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(f"{file.relative_to(ROOT)}:{node.lineno}")
    return where


def test_no_two_public_classes_have_one_name() -> None:
    assert {name: places for name, places in public_classes().items() if len(places) > 1} == {}


def test_a_class_is_named_by_a_noun() -> None:
    participle = re.compile(r"[A-Z][a-z]+(ed|ing)|Alone|Chosen|Found|Known|Said|Seen")
    nouns = {"Finding", "Pretraining", "Speed", "Overloaded"}  # the last one: an error says what happened
    assert {name for name in public_classes() if participle.fullmatch(name)} <= nouns


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def positional(node: Definition) -> list[str]:
    """Types of what a function, dataclass, Struct or NamedTuple takes by its place."""
    if not isinstance(node, ast.ClassDef):
        own = (one for one in (*node.args.posonlyargs, *node.args.args) if one.arg not in ("self", "cls"))
        return [ast.unparse(one.annotation) for one in own if one.annotation]
    said = " ".join(map(ast.unparse, (*node.bases, *node.keywords, *node.decorator_list)))
    if not re.search(r"\b(dataclass|Struct|NamedTuple)\b", said) or "kw_only" in said:
        return []
    types = [ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
    return types[: types.index("KW_ONLY")] if "KW_ONLY" in types else types


def swappable(node: ast.AST) -> TypeGuard[Definition]:
    """Whether three of its arguments may be swapped without a sound; `Any` is of ASGI's signatures."""
    if not isinstance(node, Definition):
        return False
    if any("command(" in ast.unparse(one) for one in node.decorator_list):
        return False  # typer calls it, by name
    return any(n > 2 for name, n in Counter(positional(node)).items() if name != "Any")


def test_three_arguments_of_one_type_go_by_keyword() -> None:
    """A NamedTuple cannot ask for keywords, so its callers are looked at."""
    trees = {file: ast.parse(file.read_text(), str(file)) for file in OURS}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    tuples = {one.name for one in classes if "NamedTuple" in map(ast.unparse, one.bases) and swappable(one)}
    bodies = [tree.body for tree in trees.values()] + [one.body for one in classes if one.name[0] != "_"]
    named = {one.name for body in bodies for one in body if swappable(one)}
    assert {name for name in named if not name.startswith("_") or name == "__init__"} <= tuples
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    unnamed = [ast.unparse(one) for one in calls if ast.unparse(one.func).rpartition(".")[2] in tuples]
    assert [one for one in unnamed if "(*" not in one] == []  # but a database's row, in its query's order

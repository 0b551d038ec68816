"""The configuration: the shipped file is the defaults and explains every key; wrong ones get one line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd import config
from filterd.config import Config
from filterd.errors import ConfigError
from filterd.kit.settings import ListenSettings, Section
from tests.conftest import ROOT

MANUAL = ROOT / "deploy" / "filterd.yaml"
BAD = sorted((Path(__file__).parent / "bad_configs").glob("*.yaml"))


def keys(kind: type[Section], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Every key of a section and of the sections in it, as a path."""
    for name, of in get_type_hints(kind).items():
        yield (*prefix.split(), name)
        if isinstance(of, type) and issubclass(of, Section):
            yield from keys(of, f"{prefix} {name}")


KEYS = list(keys(Config))


def test_the_manual_is_the_defaults() -> None:
    assert config.load(MANUAL) == Config()


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_the_manual_explains_every_key(path: tuple[str, ...]) -> None:
    lines = MANUAL.read_text("utf-8").splitlines()
    at = 0
    for depth, key in enumerate(path):
        at = next(i for i in range(at, len(lines)) if lines[i].startswith(f"{'  ' * depth}{key}:"))
    assert lines[at - 1].strip().startswith("#"), f"nothing is said of {'.'.join(path)}"


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_wrong_files_are_refused_in_one_line(file: Path) -> None:
    expected = file.with_suffix(".expected-error").read_text("utf-8").removesuffix("\n")
    with pytest.raises(ConfigError) as refused:
        config.parse(file.read_text("utf-8"), file.name)
    assert str(refused.value) == expected
    assert "\n" not in expected


def test_there_are_wrong_files_and_none_is_left_over() -> None:
    assert len(BAD) >= 12
    assert {file.stem for file in BAD} == {file.stem for file in BAD[0].parent.glob("*.expected-error")}


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_an_unknown_key_is_named_with_its_line_wherever_it_is(key: tuple[str, ...]) -> None:
    lines = [*("\n" + "  " * depth + part + ":" for depth, part in enumerate(key[:-1])), "\n"]
    text = "".join(lines) + "  " * (len(key) - 1) + f"{key[-1]}_: 1\n"
    where = ".".join(key[:-1]) or "file"
    with pytest.raises(ConfigError) as refused:
        config.parse(text, "f.yaml")
    assert str(refused.value) == f"f.yaml:{len(key) + 1}: {where}: unknown key '{key[-1]}_'"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}"], ids=["empty", "comment", "document", "map"]
)
def test_nothing_is_the_defaults(text: str) -> None:
    assert config.parse(text, "f") == Config()


def test_a_section_changes_only_what_it_names() -> None:
    parsed = config.parse("queue: {on_error: tempfail}\nspamd: {listen: ['systemd:spamd']}", "f")
    assert (parsed.queue.on_error, parsed.queue.max_messages) == ("tempfail", Config().queue.max_messages)
    assert (parsed.spamd.listen, parsed.spamd.mode) == (("systemd:spamd",), "0660")


@given(st.text(st.sampled_from("abqueue:[]{}-&*!|>'\"#?% \n\t0.\x00\ud7ff"), max_size=60))
def test_any_text_is_a_configuration_or_a_config_error_of_one_line(text: str) -> None:
    try:
        config.parse(text, "f")
    except ConfigError as error:
        assert "\n" not in str(error)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing, binary, huge = tmp_path / "missing", tmp_path / "binary", tmp_path / "huge"
    binary.write_bytes(b"state: \xff")
    huge.write_bytes(b"#" * (config.MAX_CONFIG_BYTES + 1))
    for path, said in (
        (missing, "No such file or directory; name a configuration file"),
        (tmp_path, "Is a directory; name a configuration file"),
        (binary, "not UTF-8 text"),
        (huge, "1,048,577 bytes is no configuration file of ours"),
    ):
        with pytest.raises(ConfigError) as refused:
            config.load(path)
        assert str(refused.value) == f"{path}: {said}"


def test_where_the_corrections_are() -> None:
    assert Config(state="/s").feedback_url == "sqlite:////s/feedback.sqlite"
    assert config.parse("feedback: {url: 'postgresql://h/d'}", "f").feedback_url == "postgresql://h/d"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Somebody without root, on a system without the service; the system would be in the folder `system`."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(config, "SYSTEM_CONFIG", tmp_path / "system" / "filterd.yaml")
    monkeypatch.setattr(config, "SYSTEM_STATE", tmp_path / "system" / "state")
    for name in ("FILTERD_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_person_without_root_has_folders_of_his_own(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = person / ".config" / "filterd" / "filterd.yaml"
    assert config.default_path() is None
    assert Config().state == str(person / ".local" / "state" / "filterd")
    own.parent.mkdir(parents=True)
    own.write_text("feedback: {keep_text: false}\n")
    found, loaded = config.in_force()
    assert found == own and not loaded.feedback.keep_text
    assert loaded.state == str(person / ".local" / "state" / "filterd")
    monkeypatch.setenv("XDG_STATE_HOME", str(person / "s"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative is ignored")
    assert Config().state == str(person / "s" / "filterd") and config.default_path() == own
    monkeypatch.setenv("FILTERD_CONFIG", "/mine")
    assert config.default_path() == Path("/mine")


@pytest.mark.parametrize("sign", ["root", "configuration", "state"])
def test_where_there_is_a_service_it_counts(person: Path, monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    own = person / ".config" / "filterd" / "filterd.yaml"
    own.parent.mkdir(parents=True)
    own.touch()
    system = person / "system" / "filterd.yaml"
    if sign == "root":
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    elif sign == "configuration":
        system.parent.mkdir()
        system.touch()
    else:
        (person / "system" / "state").mkdir(parents=True)
    assert Config().state == str(person / "system" / "state")
    assert config.default_path() == (system if sign == "configuration" else None)


class Settings(ListenSettings, frozen=True):
    """What a plugin may have as its section."""

    reject: bool = False


def test_a_plugin_gets_its_own_section() -> None:
    parsed = config.parse("plugins: {door: {reject: true}, other: {x: 1}}", "f")
    assert config.settings(parsed, "door", Settings, "f") == Settings(reject=True)
    assert config.settings(parsed, "absent", Settings, "f") == Settings()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param("{rejekt: true}", "f: plugins.door: unknown key 'rejekt'", id="unknown key"),
        pytest.param("{reject: 3}", "f: plugins.door.reject: expected `bool`, got `int`", id="type"),
    ],
)
def test_a_plugins_section_is_checked_by_the_plugins_settings(section: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.settings(config.parse(f"plugins: {{door: {section}}}", "f"), "door", Settings, "f")
    assert str(refused.value) == said

"""What a configuration asks of plugins, before any of it is put in force."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from filterd.api import Classifier
from filterd.config import parse
from filterd.daemon import plugins
from filterd.errors import ConfigError
from filterd.kit.settings import ListenSettings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("plugins: {nothing: {}}", "no such plugin; there are lmtp_proxy", id="no such plugin"),
        pytest.param(
            "plugins: {milter: {rulez: []}}", "plugins.milter: unknown key 'rulez'", id="unknown key"
        ),
        pytest.param("plugins: {milter: {on_error: maybe}}", "plugins.milter.on_error", id="wrong value"),
        pytest.param(
            "plugins: {sms: {kannel: {secret_file: /nowhere, spam: deny, unsure: json, ham: json}}}",
            "/nowhere: No such file",
            id="a secret that is not there",
        ),
        pytest.param(
            "http: {token_file: /nowhere}", "http.token_file: /nowhere", id="a token that is not there"
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        plugins.check(parse(text, "filterd.yaml"), "filterd.yaml")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_is_right_is_not(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-long-line\n")
    text = f"http: {{token_file: {tmp_path}/token}}\nplugins: {{milter: {{on_error: tempfail}}}}"
    config = parse(text, "filterd.yaml")
    plugins.check(config, "filterd.yaml")
    assert [one.name for one in plugins.chosen(config, "filterd.yaml")] == ["milter"]
    assert plugins.token(str(tmp_path / "token")) == "a-long-line"


class _Old:
    """A plugin of no interface of ours."""

    Settings = ListenSettings

    def __init__(self, settings: Any, classifier: Classifier) -> None:
        pass


class _Stream(_Old):
    def protocol(self, door: object) -> None:
        pass


class _OldStream(_Old):
    def protocol(self) -> None:
        pass


class _Web(_Old):
    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        pass


class _OldWeb(_Old):
    app = ()


class _Unset:
    """A plugin without a section."""

    def protocol(self, door: object) -> None:
        pass


class _OtherSet(_Stream):
    Settings = dict  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        *((_Stream, True), (_Web, True), (_Old, False), (_OldStream, False), (_OldWeb, False)),
        *((_Unset, False), (_OtherSet, False)),
    ],
)
def test_a_plugin_that_nobody_could_connect_to_is_refused(
    kind: type, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = SimpleNamespace(name="mine", load=lambda: kind)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    config = parse("plugins: {mine: {listen: ['unix:/run/x']}}", "filterd.yaml")
    if fits:
        plugins.check(config, "filterd.yaml")
    else:
        with pytest.raises(ConfigError, match=r"plugins\.mine: was made for another filterd"):
            plugins.check(config, "filterd.yaml")


@pytest.mark.parametrize(
    "error",
    [ImportError("No module named 'their_library'"), SyntaxError("invalid syntax"), AttributeError("x")],
)
def test_a_plugin_whose_module_fails_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> type:
        raise error

    entry = SimpleNamespace(name="mine", value="theirs.server:Mine", load=load)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    config = parse("plugins: {mine: {listen: ['unix:/run/x']}}", "filterd.yaml")
    with pytest.raises(
        ConfigError, match=r"^filterd\.yaml: plugins\.mine: theirs\.server:Mine cannot be loaded"
    ):
        plugins.check(config, "filterd.yaml")

"""What a configuration asks of plugins, before any of it is put in force."""

from pathlib import Path

import pytest

from filterd.config import parse
from filterd.daemon import plugins
from filterd.errors import ConfigError


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

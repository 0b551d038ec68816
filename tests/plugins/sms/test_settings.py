"""What the section `plugins.sms` refuses, and how it says so."""

from pathlib import Path
from typing import Any

import pytest

from filterd import config
from filterd.config import Config
from filterd.errors import ConfigError
from filterd_plugins.sms.server import Sms
from filterd_plugins.sms.settings import SmsSettings
from tests.filterd.protocols.fakes import FakeClassifier
from tests.plugins.sms.conversation import settings

TWILIO = {"secret_file": "/s", "url": "https://a.example/t", "forward_to": "https://b.example"}
KANNEL = {"secret_file": "/s", "forward_to": "http://b.example"}


def load(given: dict[str, Any]) -> SmsSettings:
    found = config.settings(Config(plugins={"sms": given}), "sms", SmsSettings, "filterd.yaml")
    assert isinstance(found, SmsSettings)
    return found


def test_a_gateway_is_enough() -> None:
    assert load({"kannel": KANNEL}).twilio.secret_file == ""
    assert load({"twilio": TWILIO}).listen == ("tcp:127.0.0.1:8090",)
    json = {"secret_file": "/s", "ham": "json", "unsure": "deny", "spam": "deny"}
    assert load({"kannel": json}).kannel.forward_to == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({}, "neither twilio.secret_file nor", id="nothing"),
        pytest.param({"twilio": KANNEL}, "plugins.sms.twilio: url: '' is no URL", id="no url"),
        pytest.param({"twilio": TWILIO | {"url": "https://a/t?x=1"}}, "is no URL", id="url with a query"),
        pytest.param({"kannel": {"secret_file": "/s"}}, "forward_to: the actions", id="nowhere to go"),
        pytest.param({"kannel": KANNEL | {"forward_to": "b.example"}}, "write https://", id="no scheme"),
        pytest.param({"kannel": KANNEL | {"forward_to": "http://b\r\nX: y"}}, "is no URL", id="two lines"),
        pytest.param({"kannel": KANNEL | {"forward_to": "http://b/#x"}}, "is no URL", id="fragment"),
        pytest.param({"kannel": KANNEL | {"ham": "deny"}}, "invalid enum value 'deny'", id="ham denied"),
        pytest.param({"kannel": KANNEL | {"spam": "drop"}}, "plugins.sms.kannel.spam", id="no such action"),
        pytest.param({"kannel": KANNEL | {"path": "/twilio"}}, "are the same", id="one path"),
        pytest.param({"kannel": KANNEL | {"sekret": "x"}}, "unknown key 'sekret'", id="unknown key"),
        pytest.param({"kannel": KANNEL, "mode": "660"}, "plugins.sms.mode", id="mode"),
        pytest.param({"kannel": KANNEL, "deadline_s": 60}, ".deadline_s", id="Twilio waits 15 s"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(given)
    assert str(raised.value).startswith("filterd.yaml: plugins.sms")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("content", "says"), [(b" \n", "empty"), (None, "No such file")])
def test_a_secret_has_to_be_there(tmp_path: Path, content: bytes | None, says: str) -> None:
    given = settings(tmp_path)
    (tmp_path / "kannel").unlink()
    if content is not None:
        (tmp_path / "kannel").write_bytes(content)
    with pytest.raises(ConfigError, match=f"plugins.sms.kannel.secret_file: {tmp_path}/kannel: {says}"):
        Sms(given, FakeClassifier())

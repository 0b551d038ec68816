"""The plugin's section: defaults are in its page, and what is wrong is said in one line."""

import re
from pathlib import Path

import msgspec
import pytest

from filterd import config
from filterd.api import Label
from filterd.errors import ConfigError
from filterd.kit.address import Tcp, Unix
from filterd_plugins.smtp_proxy import policy
from filterd_plugins.smtp_proxy.server import LmtpProxy, SmtpProxy
from filterd_plugins.smtp_proxy.settings import ProxySettings
from tests.conftest import ROOT
from tests.filterd.protocols.fakes import FakeClassifier, verdict

PAGE = (ROOT / "docs" / "plugins" / "smtp_proxy.md").read_text("utf-8")
HOP = "tcp:127.0.0.1:10026"


def settings(**given: object) -> ProxySettings:
    return msgspec.convert({"next_hop": HOP} | given, ProxySettings)


@pytest.mark.parametrize("key", ProxySettings.__struct_fields__)
def test_the_page_has_every_key_with_its_default(key: str) -> None:
    row = re.search(rf"^\|[^|]*`{key}`[^|]*\|([^|]*)\|", PAGE, re.M)
    assert row, f"docs/plugins/smtp_proxy.md does not name {key}"
    if key == "next_hop":
        return
    default = getattr(settings(), key)
    told = row[1].strip(" `")
    shown = {None: "null", "": '""', False: "false"}.get(default) if not isinstance(default, tuple) else None
    assert told in {
        shown,
        str(default),
        f'"{default}"',
        str(list(default)).replace("'", '"') if isinstance(default, tuple) else "",
        f"{default:g}" if isinstance(default, float) else "",
    }


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", Unix(Path("/run/x.sock"))),
        ("tcp:127.0.0.1:25", Tcp("127.0.0.1", 25)),
        ("tcp:[::1]:25", Tcp("::1", 25)),
        ("tcp:mail.example.org:65535", Tcp("mail.example.org", 65535)),
    ],
)
def test_addresses(text: str, address: Unix | Tcp) -> None:
    assert settings(next_hop=text).next_address() == address


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"next_hop": "localhost:25"}, "'localhost:25' is no address", id="address"),
        pytest.param({"next_hop": "tcp:localhost:0"}, "is no address", id="port"),
        pytest.param({"nexthop": HOP}, "unknown key 'nexthop'", id="unknown key"),
        pytest.param({"spam": "bounce"}, "invalid enum value 'bounce'", id="action"),
        pytest.param({"quarantine": "a b"}, "matching regex", id="no mailbox"),
        pytest.param({"trusted": ["10.0.0.1/8"]}, "trusted: 10.0.0.1/8 has host bits set", id="network"),
        pytest.param({"tls_certificate": "/x"}, "tls_certificate and tls_key go together", id="no key"),
        pytest.param({"tls_required": True}, "needs tls_certificate", id="no TLS"),
        pytest.param({"next_hop": "unix:/x", "next_hop_tls": "may"}, "no TLS over a unix socket", id="unix"),
        pytest.param({"reject_reply": "250 2.0.0 Ok"}, "matching regex", id="a refusal that is none"),
        pytest.param({"tempfail_reply": "451 4.7.1 a\r\n250 b"}, "matching regex", id="two lines"),
        pytest.param({"hostname": "a b"}, "matching regex", id="host name"),
        pytest.param({"max_bytes": 0}, ">= 1", id="nothing allowed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given: dict[str, object], reason: str) -> None:
    whole = config.Config(plugins={"smtp_proxy": {"next_hop": HOP} | given})
    with pytest.raises(ConfigError) as raised:
        config.settings(whole, "smtp_proxy", ProxySettings, "filterd.yaml")
    said = str(raised.value)
    assert said.startswith("filterd.yaml: plugins.smtp_proxy")
    assert reason in said
    assert "\n" not in said


def test_no_next_hop() -> None:
    with pytest.raises(ConfigError, match="missing required field `next_hop`"):
        config.settings(
            config.Config(plugins={"smtp_proxy": {}}), "smtp_proxy", ProxySettings, "filterd.yaml"
        )


@pytest.mark.parametrize("key", ["tls_certificate", "next_hop_ca"])
@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_files_that_are_none(key: str, content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    if content:
        file.write_text(content)
    given = {"tls_certificate": str(file), "tls_key": str(file)} if key == "tls_certificate" else {}
    given |= {"next_hop_ca": str(file), "next_hop_tls": "verify"} if key == "next_hop_ca" else {}
    with pytest.raises(ConfigError, match=key):
        SmtpProxy(settings(**given), FakeClassifier())


def test_lmtp_has_other_defaults() -> None:
    given = msgspec.convert({"next_hop": HOP}, LmtpProxy.Settings)
    assert (given.protocol, given.onward, given.listen) == ("lmtp", "lmtp", ("unix:/run/filterd/lmtp.sock",))


@pytest.mark.parametrize(
    ("given", "label", "points", "action"),
    [
        pytest.param({"spam": "discard"}, Label.SPAM, 6.0, "discard", id="spam"),
        pytest.param({"spam": "discard"}, Label.UNSURE, 4.0, "tag", id="unsure"),
        pytest.param({"unsure": "tempfail"}, Label.UNSURE, 4.0, "tempfail", id="unsure has its own"),
        pytest.param({"spam": "discard", "unsure": "reject"}, Label.HAM, -4.0, "tag", id="ham"),
        pytest.param({"reject_points": 8}, Label.SPAM, 7.9, "tag", id="below the points"),
        pytest.param({"reject_points": 8}, Label.SPAM, 8.0, "reject", id="points"),
        pytest.param({"reject_points": 1}, Label.UNSURE, 4.0, "tag", id="points are for spam"),
    ],
)
def test_actions(given: dict[str, object], label: Label, points: float, action: str) -> None:
    assert policy.decide(verdict(label, points), settings(**given)).action == action


def test_what_was_not_judged_is_not_acted_on() -> None:
    unjudged = verdict(Label.SPAM, 9.0, available=False)
    assert policy.decide(unjudged, settings(spam="reject")).action == "tag"

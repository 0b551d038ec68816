"""From settings, envelope and verdict to what is done; and settings that are refused, with their message."""

import asyncio
import ipaddress
import json
import re
from dataclasses import replace

import msgspec
import pytest
import yaml

from filterd import config
from filterd.api import Action as Do
from filterd.api import Label, Verdict
from filterd.errors import ConfigError
from filterd_plugins.milter.rules import Envelope, MilterRule, MilterSettings, decide, way
from filterd_plugins.milter.wire import Client
from tests.conftest import ROOT
from tests.filterd.alarm import loop_alarm
from tests.filterd.protocols.fakes import verdict

HAM = verdict(Label.HAM, -3.0, probability=0.01)
UNSURE = verdict(Label.UNSURE, 3.5, probability=0.6)
SPAM = verdict(Label.SPAM, 15.0, probability=0.9999)
ENVELOPE = Envelope(
    Client("client.example.net", ipaddress.ip_address("192.0.2.1")),
    "ann@example.net",
    ["ben@example.org", "Postmaster@Example.Org"],
    {"client_ptr": "a1.dyn.example.net", "auth_authen": ""},
)


def settings(*rules: dict[str, object]) -> MilterSettings:
    return msgspec.convert({"rules": list(rules), "quarantine": "server"}, MilterSettings)


@pytest.mark.parametrize(
    ("condition", "judged", "holds"),
    [
        pytest.param({}, HAM, True, id="none"),
        pytest.param({"label": ["spam"]}, SPAM, True, id="label"),
        pytest.param({"label": ["spam"]}, UNSURE, False, id="other-label"),
        pytest.param({"label": ["spam", "unsure"]}, UNSURE, True, id="one-of-two"),
        pytest.param({"min_probability": 0.6}, UNSURE, True, id="probability-reached"),
        pytest.param({"min_probability": 0.61}, UNSURE, False, id="probability-missed"),
        pytest.param({"min_points": 15}, SPAM, True, id="points-reached"),
        pytest.param({"min_points": 15.1}, SPAM, False, id="points-missed"),
        pytest.param({"min_points": -3}, HAM, True, id="points-below-zero"),
        pytest.param({"senders": ["*@EXAMPLE.net"]}, HAM, True, id="sender"),
        pytest.param({"senders": ["example.net"]}, HAM, False, id="sender-is-whole"),
        pytest.param({"networks": ["192.0.2.0/24"]}, HAM, True, id="network"),
        pytest.param({"networks": ["192.0.2.1"]}, HAM, True, id="address"),
        pytest.param({"networks": ["unix", "2001:db8::/32"]}, HAM, False, id="other-network"),
        pytest.param({"authenticated": False}, HAM, True, id="not-authenticated"),
        pytest.param({"authenticated": True}, HAM, False, id="authenticated"),
        pytest.param({"macros": {"{client_ptr}": "*.dyn.*"}}, HAM, True, id="macro"),
        pytest.param({"macros": {"client_ptr": "*.dyn.*", "i": "?*"}}, HAM, False, id="two-macros"),
        pytest.param({"macros": {"tls_version": ""}}, HAM, True, id="macro-that-is-not-there"),
        pytest.param({"label": ["spam"], "senders": ["ben@*"]}, SPAM, False, id="all-have-to-hold"),
    ],
)
def test_condition(condition: dict[str, object], judged: Verdict, holds: bool) -> None:
    found = decide(settings({"do": "reject", **condition}), ENVELOPE, judged)
    assert found.do is (Do.REJECT if holds else Do.TAG)
    assert found.verdict is judged


def test_the_first_rule_decides() -> None:
    both = settings({"do": "accept", "label": ["spam"]}, {"do": "discard"})
    assert decide(both, ENVELOPE, SPAM).do is Do.ACCEPT
    assert decide(both, ENVELOPE, HAM).do is Do.DISCARD


@pytest.mark.parametrize("mild", list(Do))
@pytest.mark.parametrize("harsh", list(Do))
def test_the_mildest_is_done(mild: Do, harsh: Do) -> None:
    order = ["tag", "accept", "move", "quarantine", "tempfail", "reject", "discard"]
    rules = settings({"do": mild, "recipients": ["ben@*"]}, {"do": harsh, "recipients": ["postmaster@*"]})
    expected = min(mild, harsh, key=order.index)
    assert decide(rules, ENVELOPE, SPAM).do is expected


def test_replies() -> None:
    own = settings({"do": "reject", "reply": "554 5.7.0 Go away", "label": ["spam"]}, {"do": "tempfail"})
    assert decide(own, ENVELOPE, SPAM).reply == "554 5.7.0 Go away"
    assert decide(own, ENVELOPE, HAM).reply == "451 4.7.1 Try again later"
    assert decide(settings({"do": "reject"}), ENVELOPE, HAM).reply == "550 5.7.1 Message refused as spam"


def test_a_mail_without_recipients_is_decided_by_rules_without_recipients() -> None:
    rules = settings({"do": "discard", "recipients": ["?*"]}, {"do": "quarantine"})
    assert decide(rules, Envelope(), SPAM).do is Do.QUARANTINE


def test_filterd_keeps_what_is_whole_and_what_nobody_kept_is_never_dropped() -> None:
    own = msgspec.convert({"rules": [{"do": "quarantine"}]}, MilterSettings)
    assert way(own, ENVELOPE).settle(SPAM, ["ben@example.org"]) is Do.QUARANTINE
    assert way(own, ENVELOPE, whole=False).settle(SPAM, ["ben@example.org"]) is Do.MOVE
    assert not own.may_quarantine  # the mail server need not know how
    assert decide(own, ENVELOPE, SPAM).do is Do.MOVE
    assert decide(own, ENVELOPE, replace(SPAM, action=Do.QUARANTINE)).do is Do.QUARANTINE


async def test_many_recipients_do_not_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[dict[str, object]] = [{"do": "reject", "recipients": [f"*@{i}.example"]} for i in range(10)]
    given = settings(*named)
    envelope = Envelope(recipients=[f"User{i}@Sales.Example.org" for i in range(10_000)])

    async def ask() -> Do:
        return way(given, envelope).settle(SPAM, envelope.recipients)

    async def answer() -> Do:
        return decide(given, envelope, replace(SPAM, action=Do.TAG)).do

    with loop_alarm(monkeypatch):
        assert await asyncio.create_task(ask()) is Do.TAG
        assert await asyncio.create_task(answer()) is Do.TAG


def test_patterns_are_quick_whatever_they_are_matched_with() -> None:
    rules = settings({"do": "reject", "senders": ["*a*a*a*a*a*a*a*a*a*a*b"]})
    envelope = Envelope(sender="a" * 60_000)
    assert decide(rules, envelope, SPAM).do is Do.TAG  # a naive pattern would take longer than the tests may


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"rule": []}, "plugins.milter: unknown key 'rule'", id="unknown"),
        pytest.param({"rules": [{"do": "bounce"}]}, "invalid enum value 'bounce'", id="action"),
        pytest.param({"rules": [{}]}, "missing required field `do`", id="no-action"),
        pytest.param(
            {"rules": [{"do": "tag", "min_probability": 2}]}, "rules[0].min_probability", id="share"
        ),
        pytest.param({"rules": [{"do": "tag", "label": ["Spam"]}]}, "rules[0].label[0]", id="label"),
        pytest.param({"rules": [{"do": "reject", "reply": "451 4.7.1 no"}]}, "does not fit", id="class"),
        pytest.param({"rules": [{"do": "reject", "reply": "550 4.7.1 no"}]}, "does not fit", id="classes"),
        pytest.param({"rules": [{"do": "reject", "reply": "550 5.7.1 50%"}]}, "without %", id="percent"),
        pytest.param(
            {"rules": [{"do": "reject", "reply": "550 5.7.1 a\nb"}]}, "does not fit", id="two-lines"
        ),
        pytest.param({"rules": [{"do": "tag", "reply": "550 5.7.1 no"}]}, "does not fit", id="no-reply"),
        pytest.param({"skip_networks": ["192.0.2.1/24"]}, "write 192.0.2.0/24", id="host-bits"),
        pytest.param(
            {"rules": [{"do": "tag", "networks": ["here"]}]}, "rules[0]: networks: 'here'", id="network"
        ),
        pytest.param({"on_error": "reject"}, "plugins.milter.on_error", id="on-error"),
        pytest.param({"max_bytes": 0}, "plugins.milter.max_bytes", id="bytes"),
        pytest.param({"mode": "660"}, "plugins.milter.mode", id="mode"),
    ],
)
def test_refused_settings_say_where_and_what(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.settings(config.Config(plugins={"milter": given}), "milter", MilterSettings, "filterd.yaml")
    assert said in str(error.value)
    assert str(error.value).startswith("filterd.yaml: plugins.milter")
    assert "\n" not in str(error.value)


def test_the_pages_examples_are_right() -> None:
    page = (ROOT / "docs" / "plugins" / "milter.md").read_text("utf-8")
    examples = re.findall(r"^plugins:\n(?:  .*\n)+", page, re.M)
    assert len(examples) == 2
    for example in examples:
        msgspec.convert(yaml.safe_load(example)["plugins"]["milter"], MilterSettings)


def test_the_page_has_every_key_with_its_default() -> None:
    page = (ROOT / "docs" / "plugins" / "milter.md").read_text("utf-8")
    for key in MilterRule.__struct_fields__:
        assert f"`{key}" in page, key
    for do in Do:
        assert f"| `{do}` |" in page, do
    for key in MilterSettings.__struct_fields__:
        default = getattr(MilterSettings(), key)
        shown = default if isinstance(default, str) and key != "mode" else json.dumps(default)
        assert f"| `{key}` | `{shown}` |" in page, key

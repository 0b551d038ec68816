"""What is done to a message: by label and score, by recipient, by way in, and what a way in cannot do."""

import asyncio
import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd import headers
from filterd.api import ASKING, MILDEST_FIRST, Action, Kind, Label, Message, Verdict, Way
from filterd.config import ActionRule, Config, Model, parse
from filterd.errors import ConfigError
from filterd.history.record import VerdictEvent
from filterd.policy.actions import _names, settle
from filterd.policy.entry import names
from filterd.service.service import Service
from tests.filterd.alarm import loop_alarm
from tests.filterd.fakes import engine

ALL = Way(frozenset(Action))
SPAM = Verdict(label=Label.SPAM, probability=0.99, points=8.0, kind=Kind.MAIL)
UNSURE = Verdict(label=Label.UNSURE, probability=0.6, points=2.0, kind=Kind.MAIL)
HAM = Verdict(label=Label.HAM, probability=0.01, points=-3.0, kind=Kind.SMS)


def rules(*given: dict[str, object]) -> tuple[ActionRule, ...]:
    return msgspec.convert(given, tuple[ActionRule, ...])


def mail(*recipients: str, way: Way = ALL, source: str = "milter") -> Message:
    return Message(b"x", kind=Kind.MAIL, recipients=recipients, source=source, way=way)


def test_without_rules_everything_is_tagged() -> None:
    assert settle((), mail(), SPAM) is Action.TAG


@pytest.mark.parametrize(
    ("condition", "found", "holds"),
    [
        ({}, HAM, True),
        ({"label": ["spam"]}, SPAM, True),
        ({"label": ["spam", "unsure"]}, HAM, False),
        ({"kinds": ["sms"]}, HAM, True),
        ({"kinds": ["sms"]}, SPAM, False),
        ({"min_points": 8}, SPAM, True),
        ({"min_points": 8.1}, SPAM, False),
        ({"min_probability": 0.6}, UNSURE, True),
        ({"min_probability": 0.61}, UNSURE, False),
        ({"ways": ["milter"]}, SPAM, True),
        ({"ways": ["spamd"]}, SPAM, False),
        ({"recipients": ["Example.org"]}, SPAM, True),
        ({"recipients": ["@example.org"]}, SPAM, True),
        ({"recipients": ["ann@sales.example.org"]}, SPAM, True),
        ({"recipients": ["ben@sales.example.org", "sales"]}, SPAM, False),
    ],
)
def test_a_condition(condition: dict[str, object], found: Verdict, holds: bool) -> None:
    wanted = Action.REJECT if holds else Action.TAG
    assert settle(rules({"do": "reject", **condition}), mail("<Ann@Sales.example.org>"), found) is wanted


def test_the_first_rule_decides_for_each_recipient_and_the_mildest_for_all() -> None:
    given = rules({"do": "move", "recipients": ["ann@example.org"]}, {"do": "reject"})
    assert settle(given, mail("ann@example.org"), SPAM) is Action.MOVE
    assert settle(given, mail("ben@example.org"), SPAM) is Action.REJECT
    assert settle(given, mail("ben@example.org", "ann@example.org"), SPAM) is Action.MOVE
    assert settle(given, mail(), SPAM) is Action.REJECT


def test_a_ways_own_settings_come_first() -> None:
    def own(found: Verdict, recipient: str) -> Action | None:
        return Action.ACCEPT if recipient.startswith("ann") else None

    given = rules({"do": "discard"})
    way = replace(ALL, own=own)
    assert settle(given, mail("ann@x.example", way=way), SPAM) is Action.ACCEPT
    assert settle(given, mail("ben@x.example", way=way), SPAM) is Action.DISCARD
    assert settle((), mail("ben@x.example", way=way), SPAM) is Action.TAG


def test_what_was_not_judged_passes_unless_the_way_in_says_otherwise() -> None:
    found = replace(SPAM, available=False)
    assert settle(rules({"do": "discard"}), mail(), found) is Action.TAG
    defers = replace(ALL, own=lambda verdict, recipient: Action.TEMPFAIL)
    assert settle((), mail(way=defers), found) is Action.TEMPFAIL


@given(st.sampled_from(list(Action)), st.sets(st.sampled_from(list(Action))))
def test_what_a_way_in_cannot_do_becomes_milder_and_never_harsher(wanted: Action, can: set[Action]) -> None:
    found = Way(frozenset(can)).able(wanted)
    assert MILDEST_FIRST[found] <= MILDEST_FIRST[wanted]
    assert found in can or found is Action.TAG
    assert found is wanted or found is not Action.ACCEPT


def test_spamd_and_http() -> None:
    assert [Way().able(one) for one in Action] == [
        *(Action.TAG, Action.TAG, Action.MOVE, Action.MOVE, Action.MOVE, Action.MOVE, Action.MOVE)
    ]
    assert [ASKING.able(one) for one in Action] == list(Action)


def test_the_words_of_the_configuration() -> None:
    found = parse("actions:\n  - {do: defer, label: [spam]}\n  - {do: tempfail}\n", "f")
    assert [rule.do for rule in found.actions] == [Action.TEMPFAIL, Action.TEMPFAIL]
    with pytest.raises(ConfigError) as error:
        parse("actions:\n  - {do: bounce}\n", "f")
    assert str(error.value) == (
        "f:1: actions[0].do: invalid enum value 'bounce'; write one of "
        "tag, accept, move, quarantine, tempfail, reject, discard"
    )
    with pytest.raises(ConfigError, match="unknown key 'lable'"):
        parse("actions: [{do: tag, lable: [spam]}]\n", "f")
    with pytest.raises(ConfigError, match="write one of ham, unsure, spam"):
        parse("actions: [{do: tag, label: [junk]}]\n", "f")


def test_move_is_a_header_and_nothing_else_is() -> None:
    for action in (None, *Action):
        names = dict(headers.fields(replace(UNSURE, action=action)))
        assert names.get("X-Spam-Action") == ("move" if action is Action.MOVE else None)


async def test_what_was_done_is_told() -> None:
    config = Config(model=Model(workers=1), actions=rules({"do": "reject", "label": ["spam"]}))
    service = Service(config, engine()[0], None)
    seen: list[VerdictEvent] = []
    service.observers.append(seen.append)
    try:
        for text, way in itertools.product((b"the prize winner", b"lunch?"), (ALL, Way())):
            message = Message(b"Subject: x\n\n" + text, kind=Kind.MAIL, source="milter", way=way)
            assert (await service.check(message)).action is not None
    finally:
        await service.close(5)
    assert [event.action for event in seen] == ["reject", "move", "tag", "tag"]


@pytest.mark.parametrize("harsh", ["quarantine", "tempfail", "reject", "discard"])
def test_what_was_released_is_kept_from_its_recipient_by_no_rule(harsh: str) -> None:
    found = replace(SPAM, label=Label.HAM, tests=("GPT2", "RELEASED"))
    own = replace(ALL, own=lambda verdict, recipient: Action(harsh))
    for some, way in ((rules({"do": harsh}), ALL), ((), own), (rules({"do": harsh}), own)):
        assert settle(some, mail("ann@example.org", way=way), SPAM) is Action(harsh)
        assert settle(some, mail("ann@example.org", way=way), found) is Action.TAG
    assert settle(rules({"do": "move"}), mail(way=own), found) is Action.MOVE
    for rest in ({}, {"recipients": ["example.org"]}):  # the next rule that applies decides
        later = rules({"do": harsh, **rest}, {"do": "move"})
        assert settle(later, mail("ann@example.org"), found) is Action.MOVE


@given(st.text("ab.@", max_size=12), st.integers(0, 4))
def test_an_address_is_looked_up_by_all_its_names(address: str, depth: int) -> None:
    wanted = {address, *(one for one in names(address) if one.count(".") <= depth and "." in one)}
    assert set(_names(address, depth)) >= wanted
    assert set(_names(address, depth)) <= set(names(address))


async def test_many_recipients_do_not_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes: list[dict[str, object]] = [
        {"do": "reject", "recipients": [f"ann@{i}.example", f"{i}.example.org"]} for i in range(10)
    ]
    to = [f"<User{i}@Sales.{'a.' * 200}Example.org>" for i in range(10_000)]
    asked = []

    def own(found: Verdict, recipient: str) -> None:
        asked.append(recipient)

    async def ask(way: Way) -> Action:
        return settle(rules(*scopes), mail(*to, way=way), SPAM)

    with loop_alarm(monkeypatch):
        for way in (ALL, replace(ALL, own=own), replace(ALL, own=own, each=False)):
            assert await asyncio.create_task(ask(way)) is Action.TAG
    assert len(asked) == 20_000  # rules with recipients ask for each; without any, it is once
    asked.clear()
    assert settle((), mail(*to, way=replace(ALL, own=own, each=False)), SPAM) is Action.TAG
    assert asked == [""]

"""The page of lists and thresholds: forms, who may set what, and the preview."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filterd.api import Kind, Label, Message
from filterd.console.lists import preview
from filterd.history.store import Change
from filterd.policy.policy import Policy
from filterd.scoring.verdict import Thresholds
from tests.filterd.console.made import Made, console_of, token_of


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    async with console_of(tmp_path) as one:
        one.service.policy = Policy.open(one.service.config)
        yield one
        one.service.policy.close()


def policy(made: Made) -> Policy:
    assert made.service.policy
    return made.service.policy


async def test_an_entry_is_in_force_at_once_and_can_be_removed(made: Made) -> None:
    ham = Message(b"From: x@bad.example\nSubject: lunch\n\nat noon\n", kind=Kind.MAIL)
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/lists"))
        form = {
            "token": token,
            "do": "add",
            "list": "deny",
            "value": "bad.example",
            "note": "<b>why</b>",
            "days": "7",
        }
        assert (await client.post("/console/lists", data=form)).status_code == 303
        found = await made.service.check(ham)
        assert (found.label, found.tests[-1]) == (Label.SPAM, "DENIED")
        page = (await client.get("/console/lists")).text
        assert "&lt;b&gt;why" in page and "bad.example" in page
        rules = policy(made).rules
        assert rules
        (entry,) = rules.entries()
        assert entry.by == "anna" and entry.expires
        await client.post(
            "/console/lists", data={"token": token, "do": "remove", "number": str(entry.number)}
        )
        assert (await made.service.check(ham)).label is Label.HAM


@pytest.mark.parametrize("value", ["", "nonsense", "a b.org", "<script>.org"])
async def test_what_is_wrong_is_said_on_the_page(made: Made, value: str) -> None:
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/lists"))
        form = {"token": token, "do": "add", "list": "deny", "value": value}
        answer = await client.post("/console/lists", data=form)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text and "<script>." not in answer.text
        bad = {"token": token, "do": "set", "kind": "mail", "unsure": "2", "spam": "nan"}
        assert (await client.post("/console/lists", data=bad)).status_code == 400


async def test_a_user_sets_what_concerns_himself_and_sees_no_others(made: Made) -> None:
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/lists"))
        for scope in ("", "ann@example.org"):
            form = {
                "token": token,
                "do": "add",
                "list": "deny",
                "value": f"of{len(scope)}.example",
                "scope": scope,
            }
            await client.post("/console/lists", data=form)
    rules = policy(made).rules
    assert rules
    others = next(one for one in rules.entries() if one.scope)
    async with made.sign_in("ben") as client:
        page = await client.get("/console/lists")
        token = token_of(page)
        assert "of0.example" in page.text and "of15.example" not in page.text
        for scope, status in (
            ("ben@example.org", 303),
            ("", 403),
            ("ann@example.org", 403),
            ("example.org", 403),
        ):
            form = {"token": token, "do": "add", "list": "allow", "value": "good.example", "scope": scope}
            assert (await client.post("/console/lists", data=form)).status_code == status
            form = {
                "token": token,
                "do": "set",
                "kind": "mail",
                "unsure": "0.1",
                "spam": "0.2",
                "scope": scope,
            }
            assert (await client.post("/console/lists", data=form)).status_code == status
        for number in (others.number, "x", "9" * 30):
            form = {"token": token, "do": "remove", "number": str(number)}
            assert (await client.post("/console/lists", data=form)).status_code == 404
    assert [rule.scope for rule in rules.thresholds()] == ["ben@example.org"]
    async with made.sign_in("rob") as client:
        token = token_of(await client.get("/console/check"))
        form = {"token": token, "do": "remove", "number": str(others.number)}
        assert (await client.post("/console/lists", data=form)).status_code == 403


async def test_thresholds_are_set_previewed_and_reset(made: Made) -> None:
    await made.judge()  # spam at P 0.99999
    async with made.sign_in() as client:
        page = await client.get("/console/lists?kind=mail&unsure=0.5&spam=0.999999")
        assert "1 were spam and would have been unsure" in page.text
        token = token_of(page)
        form = {"token": token, "do": "set", "kind": "mail", "unsure": "0,5", "spam": "0.999999", "scope": ""}
        assert (await client.post("/console/lists", data=form)).status_code == 303
        await made.judge(number=2)
        row = (await client.get("/console/messages?fragment=1")).text
        assert row.index("badge unsure") < row.index("badge spam")
        await client.post("/console/lists", data={"token": token, "do": "reset", "kind": "mail", "scope": ""})
        await made.judge(number=3)
        assert "badge unsure" not in (await client.get("/console/messages?fragment=1")).text.split("</tr>")[0]


def test_a_preview_counts_moves_and_corrections() -> None:
    changes = [
        Change("spam", "spam", None, 5),
        Change("spam", "unsure", None, 3),
        Change("unsure", "spam", "ham", 2),
        Change("ham", "ham", "ham", 4),
        Change("spam", "spam", "spam", 6),
    ]
    found = preview(Kind.MAIL, Thresholds(0.1, 0.2), changes)
    assert found.messages == 20
    assert found.moves == [("spam", "unsure", 3), ("unsure", "spam", 2)]
    assert (found.wrong_ham, found.said_ham, found.found_spam, found.said_spam) == (2, 6, 6, 6)

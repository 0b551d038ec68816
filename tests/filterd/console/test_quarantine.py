"""The quarantine's pages: who sees and releases what, links without a session, and whatever senders write."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import pytest

from filterd.api import Action, Kind, Label, Message, Way
from filterd.config import ActionRule
from filterd.config import Quarantine as Section
from filterd.console.desk import THREADS
from filterd.errors import FilterdError, NotFound, Overloaded, StoreError
from filterd.history.record import encode
from filterd.quarantine.index import QuarantineQuery, QuarantineState
from filterd.quarantine.nexthop import ReleaseFailed, ReleaseHop
from filterd.quarantine.store import QuarantineStore
from tests.filterd.console.made import SPAM, Made, console_of, token_of
from tests.filterd.quarantine.made import SPAM as VERDICT

ANN, BEN = "ann@example.org", "ben@example.org"
HOSTILE = '<script>alert(1)</script> \u202egpj.exe\x1b[31m & "quoted"'


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    taken: list[tuple[str, bytes]] = []

    def send(hop: ReleaseHop, sender: str, recipient: str, raw: bytes) -> None:
        taken.append((recipient, raw))

    monkeypatch.setattr(ReleaseHop, "send", send)
    return taken


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    async with console_of(tmp_path) as found:
        section = Section(next_hop="tcp:127.0.0.1:9", link="https://mail.example.org")
        config = msgspec.structs.replace(
            found.service.config,
            quarantine=section,
            actions=(ActionRule(do=Action.QUARANTINE, label=(Label.SPAM,)),),
        )
        found.service.config = config
        found.service.quarantine = quarantine = QuarantineStore.open(config, found.recorder.numbers)
        yield found
        quarantine.close()


def held(made: Made) -> QuarantineStore:
    assert made.service.quarantine
    return made.service.quarantine


async def judge(made: Made, *recipients: str, subject: str = "hello") -> str:
    """Have a mail held as the milter would; its id."""
    way = Way(frozenset(Action))
    raw = SPAM % (1, subject.encode())
    found = await made.service.check(
        Message(
            raw,
            kind=Kind.MAIL,
            id="q1",
            sender="win@bad.example",
            recipients=recipients,
            source="milter",
            way=way,
        )
    )
    assert found.action is Action.QUARANTINE
    made.recorder.flush()
    return held(made).search(QuarantineQuery(), 1)[0].id


async def press(client: httpx.AsyncClient, name: str, do: str) -> httpx.Response:
    token = token_of(await client.get("/console/check"))
    form = {"token": token, "do": do, "back": "/console/quarantine"}
    return await client.post(f"/console/quarantine/{name}", data=form)


async def test_the_id_is_the_historys_and_says_what_was_done(made: Made) -> None:
    name = await judge(made, ANN)
    async with made.sign_in() as client:
        page = await client.get(f"/console/messages/{name}")
        assert page.status_code == 200 and "<dd>quarantine</dd>" in page.text
        page = await client.get(f"/console/quarantine/{name}")
        assert "you are our prize winner" in page.text and ANN in page.text


async def test_an_administrator_releases_for_all(made: Made, sent: list[tuple[str, bytes]]) -> None:
    name = await judge(made, ANN, BEN)
    async with made.sign_in() as client:
        assert "Release, no spam" in (await client.get("/console/quarantine")).text
        answer = await press(client, name, "release")
        assert answer.status_code == 303 and answer.headers["location"].endswith("?done=release")
        assert "on its way" in (await client.get(answer.headers["location"])).text
        assert "Nothing is held" in (await client.get("/console/quarantine")).text
        assert "(released)" in (await client.get("/console/quarantine?state=all")).text
        assert (await press(client, name, "release")).status_code == 404
    assert [to for to, _ in sent] == [ANN, BEN]


async def test_what_is_released_passes_and_what_claims_to_be_does_not(
    made: Made, sent: list[tuple[str, bytes]]
) -> None:
    name = await judge(made, ANN)
    async with made.sign_in() as client:
        await press(client, name, "release")
    way = Way(frozenset(Action))
    ((_, raw),) = sent
    for recipients, content, passes in (
        ((ANN,), raw, True),
        ((BEN,), raw, False),
        ((ANN,), raw.replace(b"winner", b"winners"), False),
        ((ANN,), b"X-Spam-Released: yes\n" + SPAM % (1, b"x"), False),
    ):
        found = await made.service.check(
            Message(
                content,
                kind=Kind.MAIL,
                id="q",
                sender="",
                recipients=recipients,
                source="milter",
                way=way,
            )
        )
        assert (found.action is Action.TAG, found.label is Label.HAM, "RELEASED" in found.tests) == (
            passes,
        ) * 3


async def test_a_user_has_his_own_copy_and_no_other(made: Made, sent: list[tuple[str, bytes]]) -> None:
    both, anns = await judge(made, ANN, BEN, subject="both"), await judge(made, ANN, subject="anns")
    async with made.sign_in("ben") as client:
        page = (await client.get("/console/quarantine?state=all&to=ann@example.org")).text
        assert both not in page and anns not in page
        page = (await client.get("/console/quarantine")).text
        assert both in page and anns not in page and f"<bdi>{ANN}" not in page
        assert f"<bdi>{ANN}" not in (await client.get(f"/console/quarantine/{both}")).text
        assert (await client.get(f"/console/quarantine/{anns}")).status_code == 404
        for do in ("release", "ham", "delete"):
            assert (await press(client, anns, do)).status_code == 404
        assert (await press(client, both, "ham")).status_code == 303
    assert [to for to, _ in sent] == [BEN]
    states = {one.address: one.state for one in held(made).find(both).recipients}
    assert states == {ANN: QuarantineState.HELD, BEN: QuarantineState.RELEASED}
    learner = made.service.learner
    assert learner
    assert [one.owner for one in learner.store.iterate()] == ["ben"]


async def test_a_reader_looks_and_presses_nothing(made: Made, sent: list[tuple[str, bytes]]) -> None:
    name = await judge(made, ANN)
    async with made.sign_in("rob") as client:
        page = (await client.get("/console/quarantine")).text
        assert name in page and "no spam" not in page
        assert "prize winner" not in (await client.get(f"/console/quarantine/{name}")).text
        for do in ("release", "ham", "delete"):
            assert (await press(client, name, do)).status_code == 403
    assert sent == []


async def test_forms_need_their_token_and_a_known_deed(made: Made) -> None:
    name = await judge(made, ANN)
    async with made.sign_in() as client:
        answer = await client.post(f"/console/quarantine/{name}", data={"do": "release", "token": "x"})
        assert answer.status_code == 403
        assert (await press(client, name, "eat")).status_code == 400
    async with made.client() as client:
        for path in ("quarantine", f"quarantine/{name}"):
            assert (await client.get(f"/console/{path}")).status_code == 303


async def test_a_next_hop_that_is_silent_holds_up_no_page(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(ReleaseHop, "send", lambda *_: over.wait(20))
    names = [await judge(made, ANN, subject=f"number {i}") for i in range(THREADS + 1)]
    async with made.sign_in() as client:
        presses = [asyncio.create_task(press(client, name, "release")) for name in names]
        async with asyncio.timeout(10):
            while (await client.get("/console/quarantine")).text.count("(being released)") < len(names):
                await asyncio.sleep(0.01)
        over.set()
        assert [(await one).status_code for one in presses] == [303] * len(names)


async def test_a_next_hop_that_refuses_is_shown_and_all_stays(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(hop: ReleaseHop, sender: str, recipient: str, raw: bytes) -> None:
        raise ReleaseFailed("the next hop says 550 <b>no</b>")

    monkeypatch.setattr(ReleaseHop, "send", send)
    name = await judge(made, ANN)
    async with made.sign_in() as client:
        answer = await press(client, name, "release")
        assert answer.status_code == 502 and "550 &lt;b&gt;no" in answer.text
        assert (await press(client, name, "delete")).status_code == 303
    with pytest.raises(NotFound):
        held(made).message(held(made).find(name).number)


async def test_a_link_releases_once_by_its_button_only(made: Made, sent: list[tuple[str, bytes]]) -> None:
    name = await judge(made, ANN, BEN)
    quarantine = held(made)
    keys = quarantine.keys(ANN)
    assert keys
    token = quarantine.signer.link(quarantine.find(name).number, keys[0], 1.0)
    async with made.client() as client:
        for _ in range(3):  # whatever follows links
            page = await client.get(f"/console/release/{token}")
            assert page.status_code == 200 and 'value="release"' in page.text and BEN not in page.text
        assert sent == [] and page.headers["referrer-policy"] == "no-referrer"
        assert (await client.post(f"/console/release/{token}", data={"do": "delete"})).status_code == 200
        assert sent == []
        page = await client.post(f"/console/release/{token}", data={"do": "ham"})
        assert "on its way to your mailbox" in page.text
        page = await client.post(f"/console/release/{token}", data={"do": "release"})
        assert page.status_code == 404 and "nobody waits" in page.text
        for forged in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", "%00", "a.b.c.d"):
            for answer in (
                await client.get(f"/console/release/{forged}"),
                await client.post(f"/console/release/{forged}", data={"do": "release"}),
            ):
                assert answer.status_code == 404
    assert [to for to, _ in sent] == [ANN]
    learner = made.service.learner
    assert learner
    assert [one.owner for one in learner.store.iterate()] == [ANN]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ReleaseFailed("refused"), 502), (Overloaded("busy"), 503), (StoreError("locked"), 500)],
)
async def test_a_link_that_fails_says_how(
    made: Made, monkeypatch: pytest.MonkeyPatch, error: FilterdError, code: int
) -> None:
    def failing(*_: object) -> None:
        raise error

    name = await judge(made, ANN)
    (key,) = held(made).keys(ANN) or ()
    token = held(made).signer.link(held(made).find(name).number, key, 1.0)
    monkeypatch.setattr(QuarantineStore, "release", failing)
    async with made.client() as client:
        page = await client.post(f"/console/release/{token}", data={"do": "release"})
    assert page.status_code == code and str(error) in page.text


async def test_there_are_no_links_where_none_are_made(made: Made) -> None:
    made.service.config = msgspec.structs.replace(made.service.config, quarantine=Section())
    async with made.client() as client:
        assert (await client.get("/console/release/x")).status_code == 404


async def test_what_a_sender_wrote_is_text(made: Made) -> None:
    message = Message(
        SPAM % (1, b"x"),
        kind=Kind.MAIL,
        id="<i>q",
        sender="<b>@bad.example",
        recipients=(ANN, '"<u>"@x.example'),
        source="milter",
    )
    number = held(made).keep(message, replace(VERDICT, subject=HOSTILE))
    keys = held(made).keys(ANN)
    assert keys
    token = held(made).signer.link(number, keys[0], 1.0)
    async with made.sign_in() as client:
        for path in ("quarantine", f"quarantine/{encode(number)}", f"release/{token}"):
            text = (await client.get(f"/console/{path}")).text
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
            for bad in ("<script>alert", "<i>q", "<b>@", "<u>", "\u202e", "\x1b"):
                assert bad not in text, (path, bad)


async def test_where_it_cannot_be_kept_the_sender_comes_again(made: Made, tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_bytes(b"")
    for can, expected in ((set(Action), Action.TEMPFAIL), ({Action.TAG, Action.QUARANTINE}, Action.TAG)):
        way = Way(frozenset(can))
        message = Message(
            SPAM % (1, b"x"),
            kind=Kind.MAIL,
            id="q1",
            sender="",
            recipients=(ANN,),
            source="milter",
            way=way,
        )
        assert (await made.service.check(message)).action is expected
    assert held(made).search(QuarantineQuery(), 9) == []

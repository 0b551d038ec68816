"""The console through its application: who may come in, what is shown as what, what a form does."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Message
from filterd.console import access, app, render
from filterd.console.accounts import Role
from filterd.console.settings import HIDDEN, shown
from filterd.history.store import HistoryStore
from filterd.language import catalogue
from tests.filterd.console.made import PASSWORD, SPAM, Made, console_of, token_of

PAGES = ["", "messages", "learn", "models", "check", "status"]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    async with console_of(tmp_path) as one:
        yield one


async def test_it_is_closed_until_somebody_can_come_in(tmp_path: Path) -> None:
    async with console_of(tmp_path) as made, made.client() as client:
        for name in list(made.desk.accounts.all()):
            made.desk.accounts.remove(name)
        for path in ("/", "/login", "/messages"):
            answer = await client.get(f"/console{path}")
            assert answer.status_code == 404
            assert "filterd console password" in answer.text


@pytest.mark.parametrize("page", PAGES)
async def test_nobody_sees_a_page_without_signing_in(made: Made, page: str) -> None:
    async with made.client() as client:
        answer = await client.get(f"/console/{page}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
        posted = await client.post(f"/console/{page}", data={"token": "x"})
        assert posted.status_code in (303, 405)


@pytest.mark.parametrize("language", catalogue.languages())
@pytest.mark.parametrize("page", PAGES)
async def test_each_page_is_whole_in_each_language(made: Made, page: str, language: str) -> None:
    await made.judge()
    async with made.sign_in() as client:
        answer = await client.get(f"/console/{page}?language={language}")
        assert answer.status_code == 200
        assert f'<html lang="{language}">' in answer.text
        assert not re.search(
            r"console\.[a-z]+\.|reasons\.|style=|onclick|<script>|https?://(?!www.w3)", answer.text
        )
        for name, value in access.HEADERS.items():
            assert answer.headers[name] == value


async def test_the_pages_show_all_workers_whichever_answers(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = made.service.status() | {
        "refused": 711,
        "shadow": {"model": "shadow-9", "seen": 3, "differs": 1, "gap": 0.25},
        "trial": {"seen": 77, "new_spam": 5, "right": 2, "wrong": 0},
    }

    async def states() -> list[dict[str, object]]:
        return [{"status": other, "recent": [{"seconds": 0.321}], "metrics": []}]

    monkeypatch.setattr(made.service.siblings, "states", states)
    async with made.sign_in() as client:
        for page in ("", "status"):
            text = (await client.get(f"/console/{page}")).text
            assert ">711<" in text and "321" in text
        text = (await client.get("/console/models")).text
        assert "shadow-9" in text and "77" in text


async def test_a_language_once_chosen_stays(made: Made) -> None:
    async with made.sign_in() as client:
        await client.get("/console/?language=de")
        assert '<html lang="de">' in (await client.get("/console/")).text
        assert '<html lang="de">' in (await client.get("/console/?language=xx")).text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }} {% raw %}",
    "\u202egnp.exe\u202c \u2066x\u2069",
    "bell \x07 escape \x1b[31m nul \x00 \r\nX-Injected: 1",
    "javascript:alert(1)",
    "&lt;b&gt; ' \" ` </bdi></td></table>",
]


@pytest.mark.parametrize("subject", HOSTILE)
async def test_what_a_sender_wrote_is_text(made: Made, subject: str) -> None:
    name = made.put(subject)
    async with made.sign_in() as client:
        for page in ("messages", "messages?fragment=1", f"messages/{name}", "learn"):
            text = (await client.get(f"/console/{page}")).text
            for markup in (
                "<script>alert",
                "<img",
                "<i>w@",
                "49",
                "</table></bdi>",
                "\u202e",
                "\x07",
                "\x1b",
                "\x00",
            ):
                assert markup not in re.sub(r"\d\d:\d\d:\d\d|[0-9a-f]{64}|[0-9A-Z]{13}", "", text), markup


def tags(subject: str) -> int:
    """Elements of a row with this subject and sender, isolation not counted."""
    row = SimpleNamespace(
        **{"id": "X", "time": 0.0, "label": Label.HAM, "available": True, "corrected": None, "points": 0.0},
        **{"subject": subject, "sender": subject, "name": "", "recipients": "", "kind": Kind.MAIL},
        **{"settled": "model", "content_hash": ""},
    )
    viewer = SimpleNamespace(may_correct=True, token="t")
    made = render.page("_rows.html", "en", rows=[row], filters={}, here="", root="", viewer=viewer)
    return made.count("<")


@given(st.text(min_size=1, max_size=300))
def test_no_subject_makes_an_element(subject: str) -> None:
    assert tags(subject) == tags("x")


async def test_a_correction_is_in_force_and_can_be_undone(made: Made) -> None:
    name = await made.judge()
    mail = Message(SPAM % (1, b"hello"), kind=Kind.MAIL)
    assert (await made.service.check(mail)).label is Label.SPAM
    async with made.sign_in() as client:
        page = await client.get("/console/messages?label=spam")
        form = {"token": token_of(page), "label": "ham", "back": "/console/messages?label=spam"}
        answer = await client.post(f"/console/messages/{name}", data=form)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/console/messages?label=spam&done=ham:{name}:forget"
        assert (await made.service.check(mail)).label is Label.HAM
        after = await client.get(answer.headers["location"])
        assert "Undo" in after.text and "you said not spam" in after.text
        detail = (await client.get(f"/console/messages/{name}")).text
        assert "console:anna marked this very message as not spam" in detail
        await client.post(f"/console/messages/{name}", data=form | {"label": "forget"})
        assert (await made.service.check(mail)).label is Label.SPAM


async def test_a_correction_is_kept_as_whose_it_is(made: Made) -> None:
    name = await made.judge()
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/messages"))
        await client.post(f"/console/messages/{name}", data={"token": token, "label": "ham"})
    learner = made.service.learner
    assert learner
    (kept,) = learner.store.iterate()
    assert (kept.source, kept.label, kept.verdict, kept.message_id) == (
        "console:anna",
        Label.HAM,
        Label.SPAM,
        "q1",
    )
    assert kept.text and "prize winner" in kept.text


async def test_a_user_sees_and_corrects_his_own_mail_only(made: Made) -> None:
    mine = await made.judge("for ben", to="Ben@example.org", number=1)
    others = await made.judge("for ann", to="ann@example.org", number=2)
    async with made.sign_in("ben") as client:
        listed = await client.get("/console/messages")
        assert "for ben" in listed.text and "for ann" not in listed.text
        for trick in ("to=ann@example.org", "text=ann", f"newer={mine}", "older=ZZZZZZZZZZZZ"):
            assert "for ann" not in (await client.get(f"/console/messages?{trick}")).text
        assert "for ann" not in (await client.get("/console/learn")).text
        assert (await client.get(f"/console/messages/{others}")).status_code == 404
        assert (await client.get(f"/console/messages/{mine}")).status_code == 200
        token = token_of(listed)
        for name, status in ((mine, 303), (others, 404)):
            answer = await client.post(f"/console/messages/{name}", data={"token": token, "label": "ham"})
            assert answer.status_code == status
        assert ">1<" in (await client.get("/console/")).text  # of two messages
    assert made.service.corrections == 1


@pytest.mark.parametrize("name", ["ben", "rob"])
async def test_who_is_no_administrator_changes_no_model(made: Made, name: str) -> None:
    async with made.sign_in(name) as client:
        token = token_of(await client.get("/console/check"))
        for do in ("promote", "roll-back"):
            answer = await client.post("/console/models", data={"token": token, "do": do, "bundle": "x"})
            assert answer.status_code == 403
        if name == "ben":
            assert (await client.get("/console/models")).status_code == 403
            assert (await client.get("/console/status")).status_code == 403
        else:
            assert "state:" not in (await client.get("/console/status")).text
    assert made.said == []


async def test_a_reader_corrects_nothing(made: Made) -> None:
    name = await made.judge()
    async with made.sign_in("rob") as client:
        page = await client.get("/console/messages")
        assert "hello" in page.text and 'value="spam" class' not in page.text
        answer = await client.post(
            f"/console/messages/{name}", data={"token": token_of(page), "label": "ham"}
        )
        assert answer.status_code == 403
    assert made.service.corrections == 0


async def test_an_administrator_promotes_what_is_installed_and_rolls_back(made: Made) -> None:
    (made.service.config.bundles / "mine").mkdir(parents=True)
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/check"))
        for name, status in (
            ("mine", 200),
            ("../mine", 400),
            ("..", 400),
            ("", 400),
            ("gone", 400),
            ("/etc", 400),
        ):
            form = {"token": token, "do": "promote", "bundle": name}
            assert (await client.post("/console/models", data=form)).status_code == status, name
        assert (
            await client.post("/console/models", data={"token": token, "do": "roll-back"})
        ).status_code == 200
    assert made.said == ["mine", "rollback"]


@pytest.mark.parametrize("token", ["", "x", "é", "0" * 64])
async def test_a_forged_form_does_nothing(made: Made, token: str) -> None:
    name = await made.judge()
    async with made.sign_in() as client:
        answer = await client.post(f"/console/messages/{name}", data={"token": token, "label": "ham"})
        assert answer.status_code == 403
        real = token_of(await client.get("/console/check"))
        crossed = await client.post(
            f"/console/messages/{name}",
            data={"token": real, "label": "ham"},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
        assert crossed.status_code == 403
    assert made.service.corrections == 0


async def test_a_token_is_of_one_session(made: Made) -> None:
    name = await made.judge()
    async with made.sign_in() as first, made.sign_in() as second:
        token = token_of(await first.get("/console/check"))
        answer = await second.post(f"/console/messages/{name}", data={"token": token, "label": "ham"})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "back",
    [
        "https://bad.example/",
        "//bad.example",
        "/console//bad.example",
        "/console/\\bad",
        "/v1/status",
        "",
        "x",
    ],
)
async def test_a_form_leads_nowhere_else(made: Made, back: str) -> None:
    name = await made.judge()
    async with made.sign_in() as client:
        form = {"token": token_of(await client.get("/console/check")), "label": "ham", "back": back}
        answer = await client.post(f"/console/messages/{name}", data=form)
        assert answer.headers["location"] == "/console/"


async def test_sessions_end_with_a_new_password_and_with_time(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with made.sign_in() as client:
        assert (await client.get("/console/")).status_code == 200
        made.desk.accounts.put("anna", Role.ADMINISTRATOR, PASSWORD + "!")
        assert (await client.get("/console/")).status_code == 303
    monkeypatch.setattr(access, "SESSION_S", -1.0)
    async with made.sign_in("rob") as client:
        assert (await client.get("/console/")).status_code == 303


@pytest.mark.parametrize(
    "cookie", ["", "anna", "anna:9999999999:aa:bb", ":::", "é:1:2:3", "rob:" + "9" * 400]
)
async def test_a_forged_session_is_none(made: Made, cookie: str) -> None:
    assert made.desk.sessions.viewer(cookie) is None


async def test_passwords_cannot_be_guessed_fast(made: Made) -> None:
    async with made.client() as client:
        wrong = {"name": "anna", "password": "wrong password"}
        codes = [(await client.post("/console/login", data=wrong)).status_code for _ in range(7)]
        assert codes == [403] * 5 + [429] * 2
        right = await client.post("/console/login", data={"name": "anna", "password": PASSWORD})
        assert right.status_code == 429
        other = await client.post("/console/login", data={"name": "rob", "password": PASSWORD})
        assert other.status_code == 303
        cookie = other.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/console/" in cookie


async def test_a_proxy_names_the_user_only_from_where_it_is_trusted(tmp_path: Path) -> None:
    section = {"proxy_header": "X-Remote-User", "proxy_networks": ("192.0.2.0/24",)}
    async with console_of(tmp_path, **section) as made:
        mine = await made.judge("for ben", to="ben@example.org")
        for address, status in ((("192.0.2.7", 1), 200), (("198.51.100.1", 1), 303), (("nonsense", 1), 303)):
            async with made.client(client=address, headers={"X-Remote-User": "anna"}) as client:
                assert (await client.get("/console/status")).status_code == status
        named = {"X-Remote-User": "ben@example.org"}
        async with made.client(client=("192.0.2.7", 1), headers=named) as client:
            assert "for ben" in (await client.get("/console/messages")).text
            assert (await client.get(f"/console/messages/{mine}")).status_code == 200
            assert (await client.get("/console/status")).status_code == 403


async def test_a_message_is_judged_pasted_or_dropped(made: Made) -> None:
    async with made.sign_in() as client:
        token = token_of(await client.get("/console/check"))
        pasted = await client.post(
            "/console/check", data={"token": token, "text": "a prize <b>", "kind": "sms"}
        )
        assert "badge spam" in pasted.text and "prize" in pasted.text and "&lt;b&gt;" in pasted.text
        dropped = await client.post(
            "/console/check?kind=mail",
            content=b"Subject: x\n\nthe prize \xff\xfe",
            headers={"X-Token": token, "Content-Type": "application/octet-stream"},
        )
        assert dropped.status_code == 200
        assert "badge spam" in dropped.text and "<html" not in dropped.text
        nothing = await client.post("/console/check", data={"token": token, "text": " "})
        assert nothing.status_code == 400


async def test_a_form_has_bounds(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    async with made.sign_in() as client:
        fields = {f"f{i}": "x" for i in range(app.MAX_FIELDS + 1)}
        assert (await client.post("/console/check", data=fields)).status_code == 400
        monkeypatch.setattr(app, "MAX_FORM", 100)
        assert (await client.post("/console/check", data={"text": "x" * 200})).status_code == 400


async def test_a_console_that_hangs_delays_no_mail(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    mail = Message(b"Subject: lunch\n\nat noon\n", kind=Kind.MAIL)
    async with made.sign_in() as client:
        monkeypatch.setattr(HistoryStore, "search", lambda *_: gate.wait(20) and [])
        pages = [asyncio.create_task(client.get("/console/messages")) for _ in range(40)]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):  # search itself takes twenty seconds
            assert (await made.service.check(mail)).label is Label.HAM
        gate.set()
        codes = [(await page).status_code for page in pages]
    assert codes.count(503) > 10
    assert codes.count(200) >= 10


async def test_what_to_label_next_is_what_is_nearest_to_a_threshold_each_once(made: Made) -> None:
    for i, probability in enumerate((0.999, 0.88, 0.88, 0.001)):
        await made.judge(f"p{probability}", number=i if i != 2 else 1)
    assert made.desk.history
    with made.desk.history._database.writing() as connection:
        connection.exec_driver_sql("update filterd_history set probability = 0 + substr(subject, 2)")
    async with made.sign_in() as client:
        found = re.findall(r"<bdi>p([0-9.]+)</bdi>", (await client.get("/console/learn")).text)
    assert found == ["0.88", "0.999", "0.001"]


async def test_static_files_are_ours_and_nothing_else(made: Made) -> None:
    async with made.client() as client:
        for name in ("console.css", "console.js", "icon.svg"):
            assert (await client.get(f"/console/static/{name}")).status_code == 200
        for path in ("/console/static/../app.py", "/console/static/%2e%2e/app.py", "/console/nothing"):
            assert (await client.get(path)).status_code in (303, 404)


def test_secrets_of_a_configuration_are_hidden() -> None:
    given = {
        "feedback": {"url": "postgresql://u:geheim@h/d"},
        "http": {"token_file": "/f"},
        "plugins": {"sms": {"twilio": {"auth_token": "t0p", "secret_file": "/g"}}, "x": [{"api_key": "k"}]},
    }
    seen = shown(given)
    assert "geheim" not in str(seen) and "t0p" not in str(seen) and "'k'" not in str(seen)
    assert seen["feedback"]["url"] == f"postgresql://u:{HIDDEN}@h/d"
    assert seen["http"]["token_file"] == "/f"


async def test_what_http_itself_serves_is_as_before(made: Made) -> None:
    async with made.client() as client:
        assert (await client.get("/ping")).text == "pong\r\n"
        missing = await client.get("/nowhere")
        assert isinstance(missing, httpx.Response) and missing.json()["error"].startswith("GET /nowhere")

"""Every route, through the application itself."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from filterd.api import Kind, Label, Message, Verdict
from filterd.config import Config, Model
from filterd.corrections.learner import Learner
from filterd.errors import BadInput, DeadlineExceeded, FilterdError, ModelUnavailable, Overloaded, StoreError
from filterd.protocols.http import app, openapi, rspamd, wire
from filterd.protocols.http.app import Access
from filterd.service.service import Service
from tests.filterd.fakes import engine

HAM = b"From: ann@example.org\nSubject: lunch\nMessage-ID: <1@example.org>\n\nshall we meet at noon?\n"
SPAM = b"From: win@example.net\nSubject: hello\n\nyou are our prize winner\n"
MAX_BYTES = 20_000
TOKEN = "a-long-random-line"
LOCAL = Access(source="http", may_learn=True)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    config = Config(state=str(tmp_path), model=Model(workers=1))
    learner = Learner.open(config)
    made = Service(config, engine()[0], learner)
    yield made
    await made.close(5.0)
    learner.store.close()


def client_of(service: Service, access: Access = LOCAL, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app.make(service, access, MAX_BYTES))
    return httpx.AsyncClient(transport=transport, base_url="http://filterd", **options)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as made:
        yield made


def error_of(answer: httpx.Response) -> str:
    said = answer.json()
    assert set(said) == {"error"}
    assert said["error"].isprintable()
    return str(said["error"])


# /v1/check

OF_OTHER_TASKS = {"task", "labels", "value"}  # a verdict on spam has none of them


async def test_a_raw_mail(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/check?id=4711", content=SPAM, headers={"content-type": "message/rfc822"})
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == set(wire.VerdictBody.__struct_fields__) - OF_OTHER_TASKS
    assert (said["label"], said["kind"], said["id"], said["model"]) == ("spam", "mail", "4711", "fake-1")
    assert said["points"] >= 5.0 and said["available"] and said["subject"] == "hello"
    assert said["classes"]["spam"] == pytest.approx(said["probability"])


@pytest.mark.parametrize(
    ("query", "body", "kind"),
    [
        pytest.param("", b"see you at noon", "sms", id="looked at"),
        pytest.param("?kind=mail", b"see you at noon", "mail", id="said to be mail"),
        pytest.param("?kind=sms", HAM, "sms", id="said to be sms"),
    ],
)
async def test_the_kind_of_a_raw_body(client: httpx.AsyncClient, query: str, body: bytes, kind: str) -> None:
    assert (await client.post(f"/v1/check{query}", content=body)).json()["kind"] == kind


async def test_one_message_in_json(client: httpx.AsyncClient) -> None:
    said = (await client.post("/v1/check", json={"text": "you are our prize winner", "id": "7"})).json()
    assert (said["label"], said["kind"], said["id"]) == ("spam", "sms", "7")
    said = (await client.post("/v1/check", json={"mail": HAM.decode()})).json()
    assert (said["label"], said["kind"]) == ("ham", "mail")


@pytest.mark.parametrize("blanks", [0, 500])
async def test_a_batch_in_json(client: httpx.AsyncClient, blanks: int) -> None:
    texts = [f"a prize {i}" if i % 2 else f"at noon {i}" for i in range(40)]
    messages = [{"text": text, "id": str(i)} for i, text in enumerate(texts)]
    body = b" " * blanks + json.dumps({"messages": messages}).encode()
    answer = await client.post(
        "/v1/check", content=body, headers={"content-type": "application/json; charset=utf-8"}
    )
    found = answer.json()["verdicts"]
    assert [one["id"] for one in found] == [str(i) for i in range(40)]
    assert [one["label"] for one in found] == ["ham", "spam"] * 20


async def test_a_batch_of_one_is_a_batch(client: httpx.AsyncClient) -> None:
    assert len((await client.post("/v1/check", json={"messages": [{"text": "x"}]})).json()["verdicts"]) == 1


BAD_JSON = [
    pytest.param(b"", "truncated", id="nothing"),
    pytest.param(b"{", "truncated", id="cut off"),
    pytest.param(b"[]", "array", id="a list"),
    pytest.param(b"null", "null", id="null"),
    pytest.param(b"{}", "needs one of 'text'", id="neither"),
    pytest.param(b'{"text": "a", "mail": "b"}', "needs one of 'text'", id="both"),
    pytest.param(b'{"text": " \\n"}', "empty", id="blank"),
    pytest.param(b'{"text": 1}', "$.text", id="a number"),
    pytest.param(b'{"txt": "a"}', "txt", id="an unknown key"),
    pytest.param(b'{"a\\nb\\u001b": 1}', "unknown field", id="an unknown key of two lines"),
    pytest.param(b'{"text": "\xff"}', "UTF-8", id="not UTF-8"),
    pytest.param(b'{"text": "a", "label": "unsure"}', "unsure", id="a label that is none"),
    pytest.param(b'{"messages": []}', "1 to 10,000", id="an empty batch"),
    pytest.param(b'{"messages": {}}', "array", id="a batch that is none"),
    pytest.param(b'{"messages": [{"text": "a"}, {}]}', "needs one of 'text'", id="one bad of two"),
    pytest.param(b'{"messages": [], "text": "a"}', "unknown field", id="a batch and a message"),
    pytest.param(b'{"text":' + b"[" * 9_000, "recursion", id="deep"),
    pytest.param(b'{"messages":[' + b'{"text":' * 1_000, "recursion", id="deep in a batch"),
]


@pytest.mark.parametrize(("body", "reason"), BAD_JSON)
@pytest.mark.parametrize("path", ["/v1/check", "/v1/learn?label=spam", "/v1/forget"])
async def test_json_that_does_not_fit(client: httpx.AsyncClient, path: str, body: bytes, reason: str) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert reason in error_of(answer)


@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]":,\\ amesgtxil\ud800', max_size=60).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_whatever_comes_as_json(body: bytes) -> None:
    try:
        found = wire.decode(body, as_json=True, kind=None, name="", source="http")
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert len(found.messages) == len(found.labels) >= 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("/v1/check?kind=fax", "mail or sms, not 'fax'", id="kind"),
        pytest.param("/v1/learn?label=unsure", "ham or spam, not 'unsure'", id="label"),
        pytest.param("/v1/learn", "?label=spam or ?label=ham", id="no label"),
    ],
)
async def test_queries_that_do_not_fit(client: httpx.AsyncClient, path: str, reason: str) -> None:
    answer = await client.post(path, content=HAM)
    assert answer.status_code == 400
    assert reason in error_of(answer)


POSTS = ["/v1/check", "/v1/learn?label=spam", "/v1/forget", "/checkv2", "/learnspam", "/learnham"]


@pytest.mark.parametrize("path", POSTS)
async def test_nothing_to_judge_or_learn(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b" \r\n")
    assert answer.status_code == 400
    assert "empty" in error_of(answer)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large(client: httpx.AsyncClient, path: str, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BYTES // 1000 + 1):
            yield b"x" * 1000

    body: Any = chunks() if chunked else b"x" * (MAX_BYTES + 1)
    answer = await client.post(path, content=body)
    assert answer.status_code == 413
    assert "20,000 bytes (http.max_bytes)" in error_of(answer)


async def test_exactly_as_large_as_allowed(client: httpx.AsyncClient) -> None:
    body = HAM + b"x" * (MAX_BYTES - len(HAM))
    assert (await client.post("/v1/check", content=body)).status_code == 200


async def test_a_body_that_does_not_come(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"From: "
        await asyncio.sleep(10)

    monkeypatch.setattr(app, "BODY_TIMEOUT_S", 0.02)
    answer = await client.post("/v1/check", content=slow())
    assert answer.status_code == 400
    assert "did not arrive" in error_of(answer)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(Overloaded("busy"), 429, id="overload"),
        pytest.param(DeadlineExceeded("late"), 503, id="deadline"),
        pytest.param(ModelUnavailable("no model"), 503, id="no model"),
        pytest.param(StoreError("disk full"), 507, id="store"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/check", "/checkv2", "/v1/learn?label=ham", "/learnspam", "/v1/forget"])
async def test_what_goes_wrong_has_its_status(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: FilterdError, status: int, path: str
) -> None:
    async def fail(*_: object) -> Verdict:
        raise error

    for name in ("check", "learn", "forget"):
        monkeypatch.setattr(service, name, fail)
    async with client_of(service) as client:
        answer = await client.post(path, content=HAM)
    assert (answer.status_code, error_of(answer)) == (status, str(error))


async def test_a_client_that_left_is_dropped_and_counted(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, left, sent = threading.Event(), asyncio.Event(), []
    score = service.engine._backend.score

    def held(windows: Any) -> Any:
        gate.wait(10)
        return score(windows)

    body = json.dumps({"messages": [{"text": f"at noon {i}"} for i in range(3)]}).encode()
    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for event in received:
            return event
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event.get("status"))

    monkeypatch.setattr(service.engine._backend, "score", held)
    scope = {"type": "http", "method": "POST", "path": "/v1/check", "query_string": b"", "root_path": ""}
    scope |= {"headers": [(b"content-type", b"application/json")]}
    asking = asyncio.create_task(app.make(service, LOCAL, MAX_BYTES)(scope, receive, send))
    async with asyncio.timeout(10):
        while service.waiting < 2:
            await asyncio.sleep(0.001)
        assert not asking.done()
        left.set()
        await asking
    assert sent[0] == 499
    gate.set()
    await service.close(5.0)
    assert service.status()["abandoned"] == 2


# Corrections.


async def label_of(client: httpx.AsyncClient, mail: bytes = HAM) -> str:
    return str((await client.post("/v1/check", content=mail)).json()["label"])


async def test_learn_and_forget(client: httpx.AsyncClient) -> None:
    assert await label_of(client) == "ham"
    assert (await client.post("/v1/learn?label=spam", content=HAM)).json() == {"learned": True}
    assert (await client.post("/v1/learn?label=spam", content=HAM)).json() == {"learned": False}
    assert await label_of(client) == "spam"
    assert (await client.post("/v1/forget", content=HAM)).json() == {"forgotten": True}
    assert (await client.post("/v1/forget", content=HAM)).json() == {"forgotten": False}
    assert await label_of(client) == "ham"


async def test_a_batch_of_corrections(client: httpx.AsyncClient, service: Service) -> None:
    first, second = {"text": "see you at noon", "id": "a"}, {"text": "come at nine", "label": "ham"}
    answer = await client.post("/v1/learn?label=spam", json={"messages": [first, second, first]})
    assert answer.json() == {"learned": [True, True, False]}
    assert service.learner
    kept = {(one.label, one.source, one.message_id) for one in service.learner.store.iterate()}
    assert kept == {(Label.SPAM, "http", "a"), (Label.HAM, "http", "")}
    answer = await client.post("/v1/forget", json={"messages": [first, {"text": "never learned"}]})
    assert answer.json() == {"forgotten": [True, False]}


async def test_one_without_a_label_and_nothing_is_learned(
    client: httpx.AsyncClient, service: Service
) -> None:
    messages = [{"text": "see you", "label": "spam"}, {"text": "come at nine"}]
    assert (await client.post("/v1/learn", json={"messages": messages})).status_code == 400
    assert service.learner and service.learner.store.stats().total == 0


@pytest.mark.parametrize("path", ["/v1/learn?label=spam", "/v1/forget", "/learnspam", "/learnham"])
async def test_learning_closed(service: Service, path: str) -> None:
    async with client_of(service, Access(source="http-tcp", may_learn=False)) as client:
        answer = await client.post(path, content=HAM)
        assert answer.status_code == 403
        assert "http.allow_learn_tcp" in error_of(answer)
        assert await label_of(client) == "ham"


async def test_a_correction_is_his_who_is_named(client: httpx.AsyncClient) -> None:
    async def called(path: str, **headers: str) -> object:
        found = (await client.post(path, content=HAM, headers=headers)).json()
        return found.get("label", found.get("action"))

    other = b"Subject: minutes\n\nThe minutes of tuesday are in the shared folder, please read them.\n"
    assert (await client.post("/v1/learn?label=ham&user=bob", content=other)).status_code == 200
    told = await client.post("/learnspam", content=HAM, headers={"Deliver-To": "Ann+lists@example.org"})
    assert told.status_code == 200
    assert await called("/v1/check?user=ann@example.org") == "spam"
    assert await called("/v1/check?user=bob") == "ham"
    assert await called("/v1/check") == "ham", "one of several has no say for all"
    assert await called("/checkv2", **{"Rcpt": "ann@example.org"}) != await called("/checkv2", Rcpt="bob")


# Who may come in.

GUARDED = [("POST", path) for path in POSTS] + [
    ("GET", path) for path in ("/v1/messages", "/v1/status", "/metrics")
]
FREE = ["/ping", "/healthy", "/ready", "/v1/openapi.json"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        pytest.param({}, False, id="none"),
        pytest.param({"authorization": f"Bearer {TOKEN}"}, True, id="bearer"),
        pytest.param({"authorization": f"bearer  {TOKEN} "}, True, id="blanks and case"),
        pytest.param({"password": TOKEN}, True, id="as rspamc sends it"),
        pytest.param({"authorization": f"Bearer {TOKEN}x"}, False, id="longer"),
        pytest.param({"authorization": f"Bearer {TOKEN[:-1]}"}, False, id="shorter"),
        pytest.param({"authorization": "Bearer"}, False, id="empty"),
        pytest.param({"authorization": f"Basic {TOKEN}"}, False, id="another scheme"),
        pytest.param({"authorization": b"Bearer \xff"}, False, id="not ASCII"),
    ],
)
async def test_the_token(
    service: Service, method: str, path: str, headers: dict[str, str], allowed: bool
) -> None:
    async with client_of(service, Access(source="http-tcp", may_learn=True, token=TOKEN)) as client:
        answer = await client.request(method, path, content=HAM if method == "POST" else b"", headers=headers)
    assert answer.status_code == (200 if allowed else 401)
    if not allowed:
        assert "Bearer" in error_of(answer)


@pytest.mark.parametrize("path", FREE)
async def test_what_needs_no_token(service: Service, path: str) -> None:
    async with client_of(service, Access(source="http-tcp", may_learn=False, token=TOKEN)) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing", 404, id="no such path"),
        pytest.param("GET", "/v1/check", 405, id="no such method"),
        pytest.param("DELETE", "/metrics", 405, id="no such method either"),
    ],
)
async def test_no_such_route(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert path in error_of(answer)


# Looking at the daemon.


async def test_recent_messages_newest_first_and_without_text(client: httpx.AsyncClient) -> None:
    for i, mail in enumerate((HAM, SPAM, HAM)):
        await client.post(f"/v1/check?id={i}", content=mail)
    found = (await client.get("/v1/messages")).json()["messages"]
    assert [(one["id"], one["label"], one["source"]) for one in found] == [
        ("2", "ham", "http"),
        ("1", "spam", "http"),
        ("0", "ham", "http"),
    ]
    assert "prize" not in json.dumps(found) and "lunch" not in json.dumps(found)
    assert len((await client.get("/v1/messages?limit=2")).json()["messages"]) == 2
    assert len((await client.get("/v1/messages?limit=-5")).json()["messages"]) == 1
    assert (await client.get("/v1/messages?limit=many")).status_code == 400


async def test_an_id_is_bounded(client: httpx.AsyncClient) -> None:
    assert len((await client.post(f"/v1/check?id={'x' * 999}", content=HAM)).json()["id"]) == wire.MAX_ID
    assert len((await client.post("/v1/check", json={"text": "a", "id": "x" * 999})).json()["id"]) == 200


async def test_status(client: httpx.AsyncClient) -> None:
    await client.post("/v1/check", content=SPAM)
    said = (await client.get("/v1/status")).json()
    assert said["judged"] == {"ham": 0, "unsure": 0, "spam": 1}
    assert said["model"] == "fake-1" and said["waiting"] == {"messages": 0, "tokens": 0}


async def test_metrics_parse(client: httpx.AsyncClient) -> None:
    await client.post("/v1/check", content=SPAM)
    await client.post("/v1/learn?label=ham", content=SPAM)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {
        *("filterd_verdicts", "filterd_check_seconds", "filterd_batch_messages", "filterd_score"),
        *("filterd_refused", "filterd_corrections", "filterd_cache_hits", "filterd_queue_messages"),
        *("filterd_queue_tokens", "filterd_abandoned", "filterd_drift_psi", "filterd_shadow_messages"),
        *("filterd_shadow_differs", "filterd_shadow_gap", "filterd_bundle_info"),
    } <= set(families)
    (corrected,) = [s for s in families["filterd_corrections"].samples if s.name.endswith("_total")]
    assert (corrected.labels, corrected.value) == ({"label": "ham", "source": "http"}, 1.0)
    assert all(family.documentation for family in families.values())


async def test_health(client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await client.get("/ping")).text == "pong\r\n"
    assert (await client.get("/healthy")).json()["healthy"] is True
    assert (await client.get("/ready")).json() == {"ready": True, "model": "fake-1"}
    monkeypatch.setattr(Service, "ready", property(lambda _: False))
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)


# Rspamd's paths.


async def test_checkv2(client: httpx.AsyncClient) -> None:
    said = (await client.post("/checkv2", content=SPAM, headers={"queue-id": "4711"})).json()
    assert (said["action"], said["is_skipped"], said["required_score"]) == ("add header", False, 5.0)
    assert said["score"] == said["symbols"]["GPT2"]["score"] >= 5.0
    assert said["message-id"] == "undef"
    said = (await client.post("/checkv2", content=HAM)).json()
    assert (said["action"], said["message-id"]) == ("no action", "1@example.org")
    assert (await client.get("/v1/messages")).json()["messages"][1]["id"] == "4711"


async def test_learnspam_and_learnham(client: httpx.AsyncClient) -> None:
    assert (await client.post("/learnspam", content=HAM)).json() == {"success": True}
    again = await client.post("/learnspam", content=HAM)
    assert again.status_code == 208
    assert await label_of(client) == "spam"
    assert (await client.post("/learnham", content=HAM)).json() == {"success": True}
    assert await label_of(client) == "ham"


def test_rspamd_skips_what_was_not_judged() -> None:
    assert rspamd.answer(
        Verdict(label=Label.HAM, probability=0.0, points=0.0, kind=Kind.MAIL, available=False), "", [], []
    )["is_skipped"]


async def test_stat_and_auth(client: httpx.AsyncClient) -> None:
    for mail in (SPAM, HAM, HAM):
        await client.post("/checkv2", content=mail)
    await client.post("/learnham", content=HAM)
    said = (await client.get("/stat")).json()
    assert (said["scanned"], said["spam_count"], said["ham_count"], said["learned"]) == (3, 1, 2, 1)
    assert (said["actions"]["add header"], said["actions"]["no action"]) == (1, 2)
    assert len(said["scan_times"]) == 3
    said = (await client.get("/auth")).json()
    assert (said["auth"], said["scanned"], said["probable"], said["clean"]) == ("ok", 3, 1, 2)
    assert not said["read_only"]


@pytest.mark.parametrize("path", ["/checkv2", "/v1/check", "/learnspam"])
@pytest.mark.parametrize(
    "field",
    [{"Compression": "zstd"}, {"Content-Encoding": "gzip"}, {"Key": "abc"}],
    ids=["as rspamc -z", "as HTTP has it", "as rspamc --key"],
)
async def test_noise_is_not_judged(client: httpx.AsyncClient, path: str, field: dict[str, str]) -> None:
    answer = await client.post(path, content=b"\x28\xb5\x2f\xfd\x00", headers=field)
    assert answer.status_code == 415
    assert "send it" in error_of(answer)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"MESSAGE-ID:  <a@b> \r\n\r\nx", "a@b", id="case and blanks"),
        pytest.param(b"Subject: x\n\nMessage-ID: <body@b>", "", id="only in the body"),
        pytest.param(b"Message-ID: <a\x1b\xff@b>\n\n", "a\ufffd@b", id="unprintable"),
        pytest.param(b"Message-ID: <" + b"x" * 9999 + b">\n\n", "x" * rspamd.MAX_ID, id="long"),
    ],
)
def test_the_message_id(raw: bytes, expected: str) -> None:
    assert rspamd.message_id(raw) == expected


# OpenAPI.


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


async def test_the_document_names_every_route(client: httpx.AsyncClient, service: Service) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    assert document == json.loads(msgspec.json.encode(openapi.DOCUMENT))
    routes = [route for route in app.make(service, LOCAL, MAX_BYTES).routes if isinstance(route, Route)]
    served = {(r.path, m.lower()) for r in routes for m in (r.methods or ()) if m != "HEAD"}
    assert served == {(path, method) for path, item in document["paths"].items() for method in item}


def test_the_document_is_whole() -> None:
    assert openapi.DOCUMENT["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(openapi.DOCUMENT["info"])
    references = [node["$ref"] for node in nodes(openapi.DOCUMENT) if "$ref" in node]
    assert references
    for reference in references:
        found: Any = openapi.DOCUMENT
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
        assert {"type", "enum"} & set(found)
    for item in openapi.DOCUMENT["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            assert "200" in operation["responses"]
            assert all(answer["description"] for answer in operation["responses"].values())
            assert all({"name", "in", "schema"} <= set(p) for p in operation.get("parameters", ()))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("check", {"kind", "id", "user"}),
        ("learn", {"kind", "id", "user", "label"}),
        ("forget", {"kind", "user"}),
    ],
)
def test_the_document_names_what_a_raw_body_is_asked_with(path: str, names: set[str]) -> None:
    assert {one["name"] for one in openapi.DOCUMENT["paths"][f"/v1/{path}"]["post"]["parameters"]} == names


async def test_the_document_describes_what_is_answered(client: httpx.AsyncClient) -> None:
    schema = openapi.DOCUMENT["components"]["schemas"]["VerdictBody"]
    said = (await client.post("/v1/check", content=HAM)).json()
    assert set(said) == set(schema["properties"]) - OF_OTHER_TASKS
    # What a model that knows no spam does not give is not required.
    assert set(said) - {"points", "probability"} == set(schema["required"])


def test_a_message_keeps_its_envelope() -> None:
    body = {"text": "a", "sender": "+41791234567", "recipients": ["+41790000000"]}
    found = wire.decode(json.dumps(body).encode(), as_json=True, kind=None, name="", source="http")
    assert found.messages == [
        Message(
            b"a", kind=Kind.SMS, id="", sender="+41791234567", recipients=("+41790000000",), source="http"
        ),
    ]
    assert not found.many


# Texts that were cut in the middle of a character.


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param(r"a \ud83d", "a \ufffd", id="first half"),
        pytest.param(r"\ude00 a", "\ufffd a", id="second half"),
        pytest.param(r"\ude00\ud83d", "\ufffd\ufffd", id="halves in the wrong order"),
        pytest.param(r"\uD83D\ud83d\uDE00", "\ufffd\U0001f600", id="a half and a whole"),
        pytest.param(r"\\ud83d \ud83d", "\\ud83d \ufffd", id="a backslash of its own"),
        pytest.param(r"\"\ud83d", '"\ufffd', id="a quote before it"),
    ],
)
def test_half_an_emoji_is_one_strange_letter(sent: str, text: str) -> None:
    for body in ('{"text": "%s"}', '{"messages": [{"text": "fine"}, {"text": "%s"}]}'):
        raw = (body % sent).encode()
        found = wire.decode(raw, as_json=True, kind=None, name="", source="http")
        assert found.messages[-1].raw.decode() == text


@given(st.text(), st.lists(st.sampled_from([r"\ud800", r"\udfff", r"\ud83d\ude00", r"\\", "x"])))
def test_mending_keeps_what_is_whole(text: str, pieces: list[str]) -> None:
    body = json.dumps(text).encode()  # hypothesis makes no surrogates of its own
    assert wire.mend_surrogates(body) == body
    msgspec.json.decode(wire.mend_surrogates(('"' + "".join(pieces) + '"').encode()), type=str)


async def test_one_broken_text_does_not_refuse_the_batch(client: httpx.AsyncClient) -> None:
    body = rb'{"messages": [{"text": "our prize winner", "id": "a"}, {"text": "ok \ud83d", "id": "b\ud83d"}]}'
    answer = await client.post("/v1/check", content=body, headers={"content-type": "application/json"})
    found = [(one["id"], one["label"]) for one in answer.json()["verdicts"]]
    assert found == [("a", "spam"), ("b\ufffd", "ham")]


@pytest.mark.parametrize("path", ["/v1/check", "/checkv2", "/learnspam", "/v1/learn?label=spam"])
async def test_a_form_is_not_judged_as_a_message(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, files={"mail": ("mail.eml", SPAM)})
    assert answer.status_code == 415
    assert "multipart/form-data" in error_of(answer)


@pytest.mark.parametrize("model", ["GPT2", "FASTPATH", "whatever comes"])
def test_the_points_stand_beside_the_model_that_gave_them(model: str) -> None:
    found = Verdict(label=Label.SPAM, probability=0.99, points=12.6, kind=Kind.MAIL, tests=(model, "MEMORY"))
    said = rspamd.answer(found, "", [], [])
    assert sum(symbol["score"] for symbol in said["symbols"].values()) == said["score"] == 12.6
    assert said["symbols"][model]["score"] == 12.6

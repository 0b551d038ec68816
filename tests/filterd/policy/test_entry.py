"""Which entry decides, and that nobody gets in by writing somebody else's name into From."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Message
from filterd.errors import BadInput
from filterd.policy.entry import Claims, EntryAction, EntryTarget, ListEntry, ListMatch, claims, decide, made
from tests.filterd.alarm import loop_alarm

NOW = 1_790_000_000.0
TRUSTED = ("mx.example.org",)
ANN = frozenset({"ann@news.example.org"})


def mail(*lines: str, sender: str = "bounce@example.net") -> Message:
    return Message("\r\n".join([*lines, "", "hello"]).encode(), kind=Kind.MAIL, sender=sender)


def who(*, proven: bool = True, list_id: str = "") -> Claims:
    return Claims(froms=ANN, senders=ANN | {"bounce@example.net"}, list_id=list_id, proven=proven)


def number_of(entries: list[ListEntry], whose: Claims, *recipients: str) -> int | None:
    found = decide(entries, whose, recipients, NOW).entry
    return found.number if found else None


@pytest.mark.parametrize(
    ("typed", "what", "value"),
    [
        (" Ann@Example.ORG ", EntryTarget.ADDRESS, "ann@example.org"),
        ("Example.org", EntryTarget.DOMAIN, "example.org"),
        ("@example.org", EntryTarget.DOMAIN, "example.org"),
        ("*.example.org", EntryTarget.DOMAIN, "example.org"),
        ("list-id:<news.example.org>", EntryTarget.LIST, "news.example.org"),
    ],
)
def test_what_an_entry_names_is_seen_by_its_form(typed: str, what: EntryTarget, value: str) -> None:
    entry = made("allow", typed)
    assert (entry.what, entry.value) == (what, value)


@pytest.mark.parametrize(
    "typed", ["", "org", "a b@c.d", "x" * 300 + ".org", "a\nb.org", "<b>.org", '"a"@b.c']
)
def test_what_is_no_sender_is_refused(typed: str) -> None:
    with pytest.raises(BadInput):
        made("allow", typed)


def test_neither_allow_nor_deny_is_refused() -> None:
    with pytest.raises(BadInput):
        made("maybe", "example.org")


@given(st.text(max_size=300), st.text(max_size=40))
def test_whatever_is_typed_is_an_entry_or_one_line(typed: str, scope: str) -> None:
    try:
        entry = made("deny", typed, scope=scope)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert entry.value.isprintable() and not set(entry.value) & set("<> ")


@pytest.mark.parametrize(
    ("do", "typed", "fits"),
    [
        ("deny", "ann@news.example.org", True),
        ("deny", "news.example.org", True),
        ("deny", "example.org", True),
        ("deny", "bounce@example.net", True),
        ("allow", "bounce@example.net", False),  # the envelope proves nothing of From
        ("deny", "ample.org", False),
        ("deny", "ann@example.org", False),
        ("deny", "list-id:news.example.org", False),
        ("allow", "example.org", True),
    ],
)
def test_an_entry_fits_an_address_its_domain_and_what_is_above(do: str, typed: str, fits: bool) -> None:
    assert (decide([made(do, typed)], who(), [], NOW).entry is not None) is fits


def test_an_allow_entry_needs_proof_and_a_deny_entry_none() -> None:
    allow, deny = made("allow", "example.org", number=1), made("deny", "example.org", number=2)
    found = decide([allow], who(proven=False), [], NOW)
    assert found.entry is None and found.unproven is allow
    assert decide([deny], who(proven=False), [], NOW).entry is deny


def test_the_nearest_scope_decides_then_the_more_exact_then_deny() -> None:
    entries = [
        made("deny", "example.org", number=1),
        made("allow", "ann@news.example.org", number=2),
        made("deny", "ann@news.example.org", scope="example.com", number=3),
        made("allow", "example.org", scope="ben@example.com", number=4),
        made("deny", "list-id:l.example.org", number=5),
    ]
    assert number_of(entries, who(), "ben@example.com") == 4
    assert number_of(entries, who(), "<Carla@Example.com>") == 3
    assert number_of(entries, who(), "dora@example.net") == 2
    assert number_of(entries, who(proven=False), "dora@example.net") == 1
    both = [made("allow", "example.org", number=1), made("deny", "example.org", number=2)]
    assert number_of(both, who()) == 2


def test_an_entry_of_one_recipient_decides_about_nobody_elses_mail() -> None:
    entries = [made("deny", "example.org", scope="ben@example.com", number=1)]
    assert number_of(entries, who(), "ben@example.com", "carla@example.com") is None
    assert number_of(entries, who()) is None


def test_an_entry_ends_with_its_time() -> None:
    assert number_of([made("deny", "example.org", expires=NOW + 1, number=1)], who()) == 1
    assert number_of([made("deny", "example.org", expires=NOW, number=1)], who()) is None


def test_a_list_is_known_by_its_id() -> None:
    assert number_of([made("allow", "list-id:l.example.org", number=1)], who(list_id="l.example.org")) == 1


AUTH = "Authentication-Results: mx.example.org; dkim=pass header.d=example.org"


@pytest.mark.parametrize(
    ("lines", "proven"),
    [
        ([AUTH], True),
        ([AUTH.replace("mx.example.org", "mx.bad.example")], False),
        ([AUTH.replace("header.d=example.org", "header.d=bad.example")], False),
        ([AUTH.replace("pass", "fail")], False),
        (["Authentication-Results: mx.example.org; dmarc=pass header.from=news.example.org"], True),
        ([f"Authentication-Results: mx.example.org; spf=fail smtp.mailfrom=x@example.org\r\n{AUTH}"], True),
        ([], False),
    ],
)
def test_only_a_trusted_server_proves_a_sender(lines: list[str], proven: bool) -> None:
    found = claims(mail(*lines, "From: Ann <Ann@news.example.org>"), TRUSTED)
    assert found.froms == ANN
    assert found.senders == ANN | {"bounce@example.net"}
    assert found.proven is proven
    assert claims(mail(*lines, "From: ann@news.example.org"), ()).proven is False


def test_what_stands_in_the_body_or_a_name_proves_nothing() -> None:
    raw = b'From: "ann@example.org" <x@bad.example>\n\n' + AUTH.encode() + b"\nFrom: ann@example.org\n"
    found = claims(Message(raw, kind=Kind.MAIL), TRUSTED)
    assert found.froms == {"x@bad.example"}
    assert not found.proven


@given(st.binary(max_size=600))
def test_any_bytes_claim_something(raw: bytes) -> None:
    claims(Message(raw, kind=Kind.MAIL), TRUSTED)
    claims(Message(b"From: " + raw + b"\nList-Id: " + raw, kind=Kind.MAIL), TRUSTED)


def test_the_kinds_of_an_entry_have_an_order() -> None:
    ranks = [
        ListEntry(do=do, what=what, value="x").rank
        for what in EntryTarget
        for do in (EntryAction.DENY, EntryAction.ALLOW)
    ]
    assert ranks == sorted(ranks)


def test_link_hosts_are_denied_with_those_below_them_and_never_allowed() -> None:
    entry = made("deny", "link-host:*.Shop.example")
    assert (entry.what, entry.value) == (EntryTarget.HOST, "shop.example")
    for host, fits in (("a.shop.example", True), ("shop.example", True), ("myshop.example", False)):
        who = Claims(froms=frozenset({"ann@example.org"}), hosts=frozenset({host, "other.example"}))
        assert bool(decide([entry], who, (), 0.0).entry) is fits
    assert not decide([entry], Claims(froms=frozenset({"ann@shop.example"})), (), 0.0).entry
    with pytest.raises(BadInput, match="only be denied"):
        made("allow", "link-host:shop.example")
    with pytest.raises(BadInput, match="no dot"):
        made("deny", "link-host:shop")


async def test_many_recipients_do_not_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [made("allow", "bad.example", scope="example.org") for _ in range(20)]
    to = [f"<User{i}@Sales.Example.org>" for i in range(10_000)]
    who = Claims(froms=frozenset({"eve@bad.example"}), senders=frozenset({"eve@bad.example"}))

    async def ask(recipients: list[str]) -> ListMatch:
        return decide(entries, who, recipients, 0.0)

    with loop_alarm(monkeypatch):
        assert (await asyncio.create_task(ask(to))).unproven is entries[0]
        assert await asyncio.create_task(ask([*to, "ann@other.example"])) == ListMatch()
    assert decide(entries, who, [], 0.0) == ListMatch()

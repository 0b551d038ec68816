"""The head of the canonical text: who a mail says it is from, and how that fits the rest of it."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Message
from filterd.reading import sender, text

USUAL = {
    "From": "Ann Lee <ann@mail.example.org>",
    "To": "Bob <bob@example.net>",
    "Subject": "Lunch",
    "Date": "Tue, 4 Mar 2025 10:00:00 +0100",
    "Message-ID": "<1@example.org>",
}
LINK = "Content-Type: text/html\n\n<p>See <a href='{}'>{}</a></p>"


def head(body: str = "\nhello\n", **changed: str | None) -> list[str]:
    """The lines for the usual mail with some fields changed; `_` stands for a hyphen."""
    return head_with({name.replace("_", "-"): value for name, value in changed.items()}, body)


def head_with(changed: Mapping[str, str | None], body: str = "\nhello\n") -> list[str]:
    """The same; None drops a field."""
    fields = {**USUAL, **changed}
    raw = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None) + body
    return list(text.read(Message(raw.encode(), kind=Kind.MAIL))[0].head)


def test_an_ordinary_mail() -> None:
    assert head() == ["from Ann Lee <ann@mail.example.org>", "to one", "id same", "parts plain"]
    raw = "".join(f"{name}: {value}\n" for name, value in USUAL.items()) + "\nhello\n"
    assert text.read(Message(raw.encode()))[0].canonical == (
        "`from Ann Lee <ann@mail.example.org>\nto one\nid same\nparts plain\n\nLunch\n\nhello"
    )


def test_a_mail_that_says_nothing_of_its_sender_has_no_head() -> None:
    (found,) = text.read(Message(b"Subject: Lunch\n\nhello\n", kind=Kind.MAIL))
    assert found.head == ()
    assert found.canonical == "Lunch\n\nhello"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("ann@example.org", "from ann@example.org"),
        ("ann@example.org (Ann)", "from Ann <ann@example.org>"),
        ('"Lee, Ann" <ann@example.org>', "from Lee, Ann <ann@example.org>"),
        ("Lee, Ann <ann@example.org>", "from Lee, Ann <ann@example.org>"),
        ("=?utf-8?b?R3LDvMOfZQ==?= <a@example.org>", "from Grusse <a@example.org>"),
        ('"<ceo@example.com>" <x@evil.test>', "from <ceo@example.com> <x@evil.test>"),
        ("ann@example.org <ann@example.org>", "from ann@example.org"),
        ("<ann@example.org>, <bob@example.org>", "from ann@example.org"),
        ("Ann <>", "from Ann"),
        ("", "from nobody"),
    ],
)
def test_from(value: str, line: str) -> None:
    assert head(From=value)[0] == line


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"From": '"service@bank.example.com" <x@evil.test>'}, "name unlike"),
        ({"From": "www.shop.example.com <x@evil.test>"}, "name unlike"),
        ({"Reply-To": "x@elsewhere.test"}, "reply elsewhere.test"),
        ({"To": "a@b.test, c@d.test", "Cc": "e@f.test"}, "to some"),
        ({"To": "a@b.test, c@d.test", "Cc": "e@f.test, g@h.test"}, "to many"),
        ({"To": "undisclosed-recipients:;"}, "to nobody"),
        ({"To": None}, "to nobody"),
        ({"To": "Ann@mail.example.org"}, "to self"),
        ({"List-Unsubscribe": "<https://example.org/u>"}, "list unsubscribe"),
        ({"List-Id": "<all.example.org>"}, "list bulk"),
        ({"Precedence": "Bulk"}, "list bulk"),
        ({"Subject": "Re: Lunch"}, "thread pretends"),
        ({"Subject": "AW: Essen"}, "thread pretends"),
        ({"Subject": "Re: Lunch", "In-Reply-To": "<0@example.net>"}, "thread reply"),
        ({"References": "<0@example.net>"}, "thread reply"),
        ({"Message-ID": "<1@host.other.test>"}, "id other"),
        ({"Message-ID": None}, "id none"),
        ({"Message-ID": "<12345>"}, "id odd"),
        ({"Date": None}, "date none"),
        ({"Date": "tomorrow"}, "date odd"),
        ({"Date": "Tue, 4 Mar 2025 10:00:00 +2500"}, "date odd"),
        ({"Received": "by mx.test; Tue, 18 Mar 2025 10:00:00 +0000"}, "date odd"),
    ],
)
def test_lines(changed: dict[str, str | None], line: str) -> None:
    assert line in head_with(changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"From": "Ann of example.org <ann@example.org>"},
        {"Reply_To": "ann@example.org"},
        {"Subject": "Regarding: lunch"},
        {"Received": "by mx.test; Tue, 4 Mar 2025 10:05:00 +0100"},
        {"Date": "4 Mar 2025 10:00 GMT (late)"},
    ],
)
def test_what_is_as_usual_has_no_line(changed: dict[str, str]) -> None:
    keys = {line.split()[0] for line in head(**changed)}
    assert not keys & {"name", "reply", "thread", "date"}


@pytest.mark.parametrize(
    ("href", "shown", "line"),
    [
        ("https://www.example.org/a", "here", "links same"),
        ("https://example.org.evil.test/a", "here", "links other"),
        ("http://user@10.0.0.1/a", "here", "links number"),
        ("http://0x7f000001/", "here", "links number"),
        ("http://[2001:db8::1]/", "here", "links number"),
        ("https://evil.test/", "https://www.example.org/login", "links other unlike"),
        ("https://example.org@evil.test/", "here", "links other"),
        ("//example.org/a", "here", "links same"),
    ],
)
def test_links(href: str, shown: str, line: str) -> None:
    assert line in head(LINK.format(href, shown))


@pytest.mark.parametrize(("href", "shown"), [("mailto:a@evil.test", "write"), ("#top", "up"), ("", "x")])
def test_what_is_no_link(href: str, shown: str) -> None:
    assert not any(line.startswith("links") for line in head(LINK.format(href, shown)))


def test_links_of_plain_text_and_parts() -> None:
    assert "links same other" in head("\nhttps://example.org/a and http://evil.test\n")
    assert "parts html" in head(LINK.format("x", "y"))


def test_suffixes_are_not_organisations() -> None:
    found = head(From="a@one.co.uk", Reply_To="b@two.co.uk", Message_ID="<1@two.co.uk>")
    assert {"reply two.co.uk", "id other"} <= set(found)


def test_nobody_forges_a_head() -> None:
    (found,) = text.read(Message(b"Subject: `from boss@example.org\n\n`to one\n", kind=Kind.MAIL))
    assert text.head_of(found.canonical) == ""
    assert text.again("`buy now\nfrom a@b.test\n\nhello", Kind.MAIL) == "`from a@b.test\n\nhello"


def test_lines_may_go_and_the_rest_stays() -> None:
    raw = "".join(f"{name}: {value}\n" for name, value in USUAL.items()) + "\nhello\n"
    whole = text.read(Message(raw.encode()))[0].canonical
    lines, subject, body = text.parted(whole)
    assert (subject, body) == ("Lunch", "hello")
    for chance in range(20):
        some = tuple(line for line in lines if Random(chance).random() < 0.5)
        made = text.CanonicalText(kind=Kind.MAIL, subject=subject, body=body, head=some).canonical
        assert text.parted(made) == (some, subject, body)
        assert text.again(made, Kind.MAIL) == made
    assert text.in_format(whole, 4) == text.without_head(whole) == "Lunch\n\nhello"
    assert text.in_format(whole, 5) == whole


FIELDS = st.sampled_from([*USUAL, "Reply-To", "Cc", "References", "List-Id", "Received", "In-Reply-To"])


@given(st.lists(st.tuples(FIELDS, st.binary(max_size=60)), max_size=12))
def test_any_headers(fields: list[tuple[str, bytes]]) -> None:
    raw = b"".join(name.encode() + b": " + value.replace(b"\n", b"\n ") + b"\n" for name, value in fields)
    for found in text.read(Message(raw + b"\nhello\n", kind=Kind.MAIL)):
        assert all(line.split(" ")[0] in sender.KEYS and "\n" not in line for line in found.head)
        assert text.again(found.canonical, Kind.MAIL) == found.canonical

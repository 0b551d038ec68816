"""Authentication-Results: only trusted servers count, and what they say becomes words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.reading import authentication
from filterd.reading.fields import find

OURS = ["mx.example.net"]
AR = "Authentication-Results: "


def words(*fields: str, trusted: list[str] = OURS) -> str:
    raw = "".join(field + "\n" for field in fields).encode()
    return authentication.words(find(raw, 0, len(raw)), "example.org", trusted)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("dkim=pass header.d=example.org", "auth dkim aligned"),
        ("dkim=pass (good) header.i=@mail.example.org header.s=a", "auth dkim aligned"),
        ("dkim=pass header.d=bulk.test", "auth dkim other"),
        ("dkim=pass header.d=bulk.test; dkim=pass header.d=example.org", "auth dkim aligned"),
        ("dkim=fail header.d=example.org", "auth dkim fail"),
        ("dkim=none", "auth dkim none"),
        ("spf=pass smtp.mailfrom=bounce@example.org", "auth spf aligned"),
        ("spf=pass smtp.mailfrom=a@b.test", "auth spf other"),
        ("spf=softfail smtp.mailfrom=example.org", "auth spf fail"),
        ("dmarc=pass header.from=example.org", "auth dmarc pass"),
        ("spf=pass smtp.mailfrom=b.test; dkim=pass header.d=example.org; dmarc=fail",
         "auth dkim aligned spf other dmarc fail"),
        ("none", ""),
        ("iprev=pass", ""),
    ],
)  # fmt: skip
def test_results(value: str, said: str) -> None:
    assert words(f"{AR}mx.example.net; {value}") == said


def test_only_trusted_servers_count() -> None:
    forged = f"{AR}mx.evil.test; dkim=pass header.d=example.org"
    assert words(forged) == ""
    assert words(forged, trusted=[]) == ""
    assert words(forged.replace("mx.evil.test", "MX.example.NET")) == "auth dkim aligned"


def test_the_topmost_result_of_a_method_holds() -> None:
    first = f"{AR}mx.example.net; dkim=fail header.d=example.org"
    below = f"{AR}mx.example.net; dkim=pass header.d=example.org; spf=pass smtp.mailfrom=example.org"
    assert words(first, below) == "auth dkim fail spf aligned"


def test_arc_counts_where_our_own_server_checked_it() -> None:
    vouched = "ARC-Authentication-Results: i=1; lists.example.net; dkim=pass header.d=example.org"
    checked = f"{AR}mx.example.net; dkim=fail header.d=example.org; arc=pass"
    both = [*OURS, "lists.example.net"]
    assert words(checked, vouched, trusted=both) == "auth dkim aligned"
    assert words(checked, vouched) == "auth dkim fail"
    assert words(checked.replace("arc=pass", "arc=fail"), vouched, trusted=both) == "auth dkim fail"
    assert words(vouched, trusted=both) == ""


@given(st.text(max_size=200))
def test_any_value(value: str) -> None:
    assert isinstance(words(AR + "mx.example.net; " + value.replace("\n", " ")), str)


@pytest.mark.parametrize(
    "value", ["(" * 3000, "dkim=pass " * 400, '"' * 3000, "dkim=pass header.d=" + "a." * 2000]
)
def test_long_values_are_bounded(value: str) -> None:
    assert isinstance(words(f"{AR}mx.example.net; {value}"), str)

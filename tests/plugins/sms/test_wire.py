"""Forms, signatures and answers: against Twilio's own validator, and with hostile input."""

import xml.etree.ElementTree as ET
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from filterd.api import Kind, Label, Verdict
from filterd.errors import BadInput
from filterd_plugins.sms import wire

SECRET = "12345"
URL = "https://sms.example.org/twilio"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = st.dictionaries(TEXT, TEXT, max_size=8)


def holds(url: str, query: str, body: bytes, signature: str, settings: str = "") -> bool:
    return wire.signed_by_twilio(
        SECRET.encode(), url=url, query=query, given=wire.fields(body), signature=signature, settings=settings
    )


def test_the_example_of_twilios_manual() -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
        "Caller": "+14158675309",
    }
    signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    url, body = "https://mycompany.com/myapp.php", urlencode(form).encode()
    assert holds(url, "foo=1&bar=2", body, signature)
    for changed in (signature[:-2] + "0=", signature.lower(), "", "\udcff", signature + " "):
        assert not holds(url, "foo=1&bar=2", body, changed)
    assert not holds(url, "foo=1&bar=3", body, signature)
    assert not holds(url, "foo=1&bar=2", body + b"&x=", signature)
    assert not holds(url.replace("https", "http"), "foo=1&bar=2", body, signature)


@given(FIELDS, st.sampled_from(["", "tenant=7", "a=b&c=%20d"]), st.sampled_from(["", ":443", ":8443"]))
def test_what_twilio_signs_holds(form: dict[str, str], query: str, port: str) -> None:
    url = URL.replace(".org", f".org{port}")
    whole = f"{url}?{query}" if query else url
    body = urlencode(form).encode()
    theirs = RequestValidator(SECRET)
    for algorithm in ("HMAC_SHA1", "HMAC_SHA256"):
        signature = theirs.compute_signature(whole, form, algorithm)
        named = "" if algorithm == "HMAC_SHA1" else f"key=k,algorithm={algorithm}"
        assert holds(url, query, body, signature, named)
        assert holds(URL.replace(".org", ".org:443"), query, body, signature, named) == (port in ("", ":443"))
        assert not holds(url, query, body, theirs.compute_signature(whole + "x", form, algorithm), named)
        assert not holds(url, query, body, signature, "algorithm=HMAC_MD5")


def test_a_name_given_twice_is_signed_as_twilio_does() -> None:
    class Many(dict[str, str]):
        def getall(self, name: str) -> list[str]:
            return {"a": ["2", "1", "2"], "b": [""]}[name]

    signature = RequestValidator(SECRET).compute_signature(URL, Many(a="", b=""))
    assert holds(URL, "", b"a=2&b=&a=1&a=2", signature)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_fields_come_out_as_they_went_in(pairs: list[tuple[str, str]]) -> None:
    assert [tuple(one) for one in wire.fields(urlencode(pairs).encode())] == pairs


@given(st.binary(max_size=80))
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    found = wire.fields(raw)
    wire.first(found, "Body")
    assert not wire.signed_by_twilio(b"s", url=URL, query="", given=found, signature="x")
    wire.onward("https://a.example", query=raw.decode("latin-1"), without="secret")


def test_too_many_fields() -> None:
    assert len(wire.fields(b"a=1&" * (wire.MAX_FIELDS - 1) + b"a=1")) == wire.MAX_FIELDS
    with pytest.raises(BadInput, match="more than 200 fields"):
        wire.fields(b"a=1&" * wire.MAX_FIELDS + b"a=1")


@pytest.mark.parametrize(
    ("value", "charset", "text"),
    [
        pytest.param("gr\udcfc\udcdfe", "WINDOWS-1252", "grüße", id="Windows"),
        pytest.param("\0p\0r", "UTF-16BE", "pr", id="UCS-2"),
        pytest.param("\0p\0", "UTF-16BE", "\0p\0", id="cut"),
        pytest.param("prize", "no-such-charset", "prize", id="unknown"),
        pytest.param("prize", "rot13", "prize", id="a codec of another kind"),
        pytest.param("x\udc9c", "zlib", b"x\x9c", id="a codec that inflates"),
        pytest.param("a", "\0" * 5000, "a", id="hostile"),
    ],
)
def test_charsets(value: str, charset: str, text: str | bytes) -> None:
    assert wire.text_of(value, charset) == (text if isinstance(text, bytes) else text.encode())


@given(st.text("abc&<>\"'%=?/", max_size=20))
def test_twiml_is_xml_that_says_the_url(tail: str) -> None:
    url = f"https://a.example/{tail}"
    root = ET.fromstring(wire.twiml(url))
    assert (root.tag, root[0].tag, root[0].attrib) == ("Response", "Redirect", {"method": "POST"})
    assert root[0].text == url
    assert len(ET.fromstring(wire.twiml())) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["secret", "text", "filterd_x", "FILTERD_label", "a b"]), TEXT), max_size=6
    )
)
def test_onward_drops_the_secret_and_forged_labels_only(pairs: list[tuple[str, str]]) -> None:
    url = wire.onward(
        "https://a.example/x?y=1", query=urlencode(pairs), without="secret", added={"filterd_label": "spam"}
    )
    found = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name in ("text", "a b")]
    assert found == [("y", "1"), *kept, ("filterd_label", "spam")]


def test_onward_without_anything_is_the_url() -> None:
    assert wire.onward("https://a.example", query="secret=x", without="secret") == "https://a.example"


def test_tags() -> None:
    found = Verdict(label=Label.UNSURE, probability=0.51239, points=1.0, kind=Kind.SMS)
    assert wire.tags(found) == {"filterd_label": "unsure", "filterd_probability": "0.5124"}
    assert wire.tags(
        Verdict(label=Label.HAM, probability=0.0, points=0.0, kind=Kind.SMS, available=False)
    ) == {"filterd_label": "unavailable"}

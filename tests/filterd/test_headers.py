"""Header lines, and a mail with them: forged ones gone, every other byte as it came."""

import email
import gzip
from email.message import Message as MailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd import headers
from filterd.api import Kind, Label, Verdict
from filterd.headers import HeaderStyle
from filterd.kit.fold import fold
from tests.filterd.mails import FORGED_LINE, forged, raw_mails

SPAM = Verdict(
    label=Label.SPAM,
    probability=0.99,
    points=7.13,
    kind=Kind.MAIL,
    model="mini-1",
    tests=("GPT2", "HIDDEN_TEXT"),
)
HAM = Verdict(label=Label.HAM, probability=0.01, points=-4.0, kind=Kind.MAIL, model="mini-1", tests=("GPT2",))
UNAVAILABLE = Verdict(label=Label.HAM, probability=0.0, points=0.0, kind=Kind.MAIL, available=False)


def parsed(raw: bytes) -> MailMessage:
    return email.message_from_bytes(raw)


def test_spam_carries_every_header() -> None:
    tagged = parsed(headers.tag(b"Subject: hi\n\nbody\n", SPAM))
    assert tagged["X-Spam-Flag"] == "YES"
    assert tagged["X-Spam-Level"] == "*******"
    assert tagged["X-Spam-Score"] == "7.1"
    status = " ".join(str(tagged["X-Spam-Status"]).split())
    assert status.startswith("Yes, score=7.1 required=5.0 tests=GPT2,HIDDEN_TEXT label=spam")
    assert "model=mini-1" in status


def test_ham_has_no_flag_and_no_stars() -> None:
    tagged = parsed(headers.tag(b"Subject: hi\n\nbody\n", HAM))
    assert tagged["X-Spam-Flag"] is None
    assert tagged["X-Spam-Level"] == ""
    assert str(tagged["X-Spam-Status"]).startswith("No, score=-4.0")


def test_a_filter_that_could_not_judge_says_so() -> None:
    assert "filter=unavailable" in dict(headers.fields(UNAVAILABLE))["X-Spam-Status"]


@pytest.mark.parametrize(
    ("raw", "rest"),
    [
        pytest.param(b"A: 1\nX-Spam-Flag: NO\nB: 2\n\nx", b"A: 1\nB: 2\n\nx", id="dropped"),
        pytest.param(b"x-sPAM-status: No,\n\tfolded\n  more\nB: 2\n\nx", b"B: 2\n\nx", id="folded, any case"),
        pytest.param(b"A: 1\r\nX-Spam-A: 1\r\n\r\nx\r\n", b"A: 1\r\n\r\nx\r\n", id="crlf"),
        pytest.param(b"X-Spam-Flag : YES\nA: 1\n\nx", b"A: 1\n\nx", id="blank before the colon"),
        pytest.param(b"X-Filterd-Class : ham\nA: 1\n\nx", b"A: 1\n\nx", id="the same in an answer's name"),
        pytest.param(b"X-Filterd-Classification: a\n\nx", b"X-Filterd-Classification: a\n\nx", id="longer"),
        pytest.param(b"A: 1\n\nX-Spam-Flag: NO\n", b"A: 1\n\nX-Spam-Flag: NO\n", id="kept in the body"),
        pytest.param(b"X-Spam-Flag: NO\n\nx", b"\nx", id="nothing else in the header"),
        pytest.param(b"A: \xff\xfe\n\n\x00\x80", b"A: \xff\xfe\n\n\x00\x80", id="bytes stay bytes"),
        pytest.param(b"A: 1", b"A: 1", id="no line end"),
        pytest.param(b"A: 1\nX-Spam-Flag: NO", b"A: 1\n", id="cut off in a forged header"),
        pytest.param(
            b"A: 1\n \n\t\n b\nX-Spam-Flag: NO\n\nx", b"A: 1\n \n\t\n b\n\nx", id="behind lines of blanks"
        ),
        pytest.param(
            b"A: 1\nno header\nX-Spam-Flag: NO\n\nx", b"A: 1\nno header\n\nx", id="behind no header"
        ),
        pytest.param(b"X-Spam-A: 1\n \n\tb\nX-Spam-B: 2\nA: 1\n\nx", b"A: 1\n\nx", id="two in a row"),
        pytest.param(b"no header\nX-Spam-A: 1\n\nx", b"no header\nX-Spam-A: 1\n\nx", id="no header at first"),
        pytest.param(b"\nbody only\n", b"\nbody only\n", id="no header at all"),
    ],
)
def test_forged_headers_go_and_nothing_else(raw: bytes, rest: bytes) -> None:
    assert headers.strip(raw) == rest
    tagged = headers.tag(raw, HAM)
    assert tagged.endswith(rest)
    assert tagged.count(b"X-Spam-Score") == 1


def test_forged_headers_can_be_kept_under_another_name() -> None:
    style = HeaderStyle(keep_forged=True)
    assert (
        headers.strip(b"X-Spam-Flag: NO,\n\tyes\nA: 1\n\n", style) == b"X-Old-Spam-Flag: NO,\n\tyes\nA: 1\n\n"
    )


def test_names_are_configurable() -> None:
    style = HeaderStyle(prefix="X-Filterd-")
    raw = headers.tag(b"X-Spam-Flag: YES\nX-Filterd-Flag: NO\n\nx", HAM, style)
    assert b"X-Spam-Flag: YES" in raw
    assert b"X-Filterd-Flag" not in raw
    assert b"X-Filterd-Score: -4.0" in raw


@pytest.mark.parametrize(
    "name", ["X-Spam-Anything", "x-filterd-class", "X-Filterd-Labels ", "X-Filterd-Value"]
)
def test_names_that_are_ours(name: str) -> None:
    assert HeaderStyle().is_ours(name)


@pytest.mark.parametrize("name", ["X-Filterd-Classification", "X-Filterd-Value-Old", "X-Filterd-", "Subject"])
def test_names_that_are_not_ours(name: str) -> None:
    assert not HeaderStyle().is_ours(name)


def test_a_field_of_any_length_is_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that searches holds up all others until it is done."""
    sizes: list[int] = []

    class Searches:
        def sub(self, instead: bytes, piece: bytes) -> bytes:
            sizes.append(len(piece))
            return forged_fields.sub(instead, piece)

    forged_fields = headers._forged("X-Spam-")
    monkeypatch.setattr(headers, "_forged", lambda *_: Searches())
    folded = b"\n " * 500_000
    assert headers.strip(b"A: 1" + folded + b"\nX-Spam-a: b" + folded) == b"A: 1" + folded + b"\n"
    assert max(sizes) <= headers.PIECE_BYTES + 20


def test_an_mbox_line_stays_on_top() -> None:
    assert headers.tag(b"From a@b Tue Nov 10\nA: 1\n\nx", HAM).startswith(b"From a@b Tue Nov 10\nX-Spam-")


def test_a_quoted_mbox_line_stays_on_top_and_the_head_is_one() -> None:
    raw = b">From a@b Tue Nov 10\nX-Spam-Flag: YES\nA: 1\n\nx"
    tagged = headers.tag(raw, HAM)
    assert tagged.startswith(b">From a@b Tue Nov 10\nX-Spam-")
    assert tagged.endswith(b"\nA: 1\n\nx")
    assert tagged.count(b"\n\n") == 1
    assert b"YES" not in tagged


@given(
    st.lists(
        st.sampled_from(
            [b"X-Spam-A: 1", b"x-spam-b:", b"A: 1", b" folded", b"\tX-Spam-", b"", b"no field", b"\r"]
        )
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_head_that_is_searched_in_pieces_loses_the_same(
    lines: list[bytes], line_end: bytes, piece: int, keep: bool
) -> None:
    raw = b"A: 0" + line_end + line_end.join(lines)
    style = HeaderStyle(keep_forged=keep)
    whole = headers.strip(raw, style)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "PIECE_BYTES", piece)
        assert headers.strip(raw, style) == whole


@pytest.mark.parametrize("raw", forged().values(), ids=forged())
def test_what_hides_a_forged_header_loses_it_and_nothing_else(raw: bytes) -> None:
    without = raw.replace(FORGED_LINE, b"")
    tagged = headers.tag(raw, HAM)
    ours = "".join(fold(*field) for field in headers.fields(HAM)).encode()
    assert tagged.replace(ours, b"") == without
    assert b"Subject" in tagged.partition(b"\n\n")[0]


@pytest.mark.shared
def test_every_shared_mail_comes_out_as_it_was() -> None:
    """Byte-exact on real mails: what `tag` adds is on top, and nothing else is gone but headers of ours."""
    ours = "".join(fold(*field) for field in headers.fields(HAM)).encode()
    for raw in raw_mails(600):
        tagged = headers.tag(raw, HAM)
        crlf = ours.replace(b"\n", b"\r\n")
        assert tagged.replace(crlf if crlf in tagged else ours, b"", 1) == headers.strip(raw)
        if b"x-spam-" not in raw.lower():
            assert headers.strip(raw) == raw


def test_nothing_is_written_into_a_compressed_mail() -> None:
    packed = gzip.compress(b"A: 1\n\nx")
    assert headers.tag(packed, SPAM) == packed


def test_a_compressed_mail_is_the_same_mail_to_who_learns_or_hashes_it() -> None:
    assert headers.strip(gzip.compress(b"X-Spam-Flag: YES\nA: 1\n\nx")) == b"A: 1\n\nx"


def test_line_ends_follow_the_mail() -> None:
    tagged = headers.tag(b"A: 1\r\n\r\nx\r\n", SPAM)
    assert tagged.count(b"\n") == tagged.count(b"\r\n")


def test_text_without_a_header_block_gets_one() -> None:
    assert parsed(headers.tag(b"just words\nand more\n", HAM)).get_payload() == "just words\nand more\n"


def test_values_cannot_inject_headers() -> None:
    hostile = Verdict(
        label=Label.SPAM,
        probability=0.9,
        points=6.0,
        kind=Kind.MAIL,
        model="a\r\nBcc: x@y\0é",
        tests=("T\nX: 1",),
    )
    for name, value in headers.fields(hostile):
        assert value.isascii()
        assert value.isprintable() or value == "", name
    assert parsed(headers.tag(b"A: 1\n\nx", hostile))["Bcc"] is None


@given(st.lists(st.text("ABCDEF_", min_size=1, max_size=40), max_size=200))
def test_lines_are_short_and_unfold_to_the_value(tests: list[str]) -> None:
    many = Verdict(
        label=Label.SPAM, probability=0.9, points=6.0, kind=Kind.MAIL, model="m" * 30, tests=tuple(tests)
    )
    for name, value in headers.fields(many):
        folded = fold(name, value)
        assert all(len(line) < 998 for line in folded.splitlines())
        assert folded.replace("\n\t", "").replace(" ", "").replace("\n", "") == f"{name}:{value}".replace(
            " ", ""
        )


@given(st.binary(max_size=300))
def test_any_bytes_come_out_behind_the_headers(raw: bytes) -> None:
    stripped = headers.strip(raw)
    if not raw.startswith(b"From "):
        assert headers.tag(raw, HAM).endswith(stripped)
    assert headers.strip(headers.tag(raw, HAM)).endswith(stripped.split(b"\n")[-1])

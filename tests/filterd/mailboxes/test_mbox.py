"""mbox: where mails begin, against the standard library's reader."""

import mailbox
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.errors import BadInput
from filterd.mailboxes import mbox
from tests.filterd.mailboxes.made import mail

FROM = b"From ann@example.org Tue Nov 14 22:13:20 2023\n"


def test_mails_of_an_mbox(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    body = mail(2) + b"\n>From the start\nFrom within a paragraph\n"
    path.write_bytes(FROM + mail(1) + b"\n" + FROM + body + b"\n" + FROM + mail(3))
    spans = list(mbox.mails(path))
    assert mbox.is_mbox(path)
    assert [span.read(1 << 20) for span in spans] == [
        FROM + mail(1) + b"\n",
        FROM + body + b"\n",
        FROM + mail(3),
    ]
    assert spans[0].read(10) == FROM[:10]
    assert len({span.unique for span in spans}) == 3


def test_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert not mbox.is_mbox(path)
    path.write_bytes(b"")
    assert mbox.is_mbox(path)
    assert list(mbox.mails(path)) == []
    path.write_bytes(mail(1))
    assert not mbox.is_mbox(path)
    with pytest.raises(BadInput, match="neither"):
        list(mbox.mails(path))


PARTS = st.sampled_from([b"From x\n", b"\n", b"text\n", b"From", b" y", b"\r\n", b"> From z\n"])


@given(st.lists(PARTS, max_size=12), st.integers(5, 9))
def test_nothing_is_lost_between_mails(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], line: int
) -> None:
    raw = FROM + b"".join(parts)
    path = tmp_path_factory.mktemp("mbox") / "mbox"
    path.write_bytes(raw)
    whole = list(mbox.mails(path))
    assert b"".join(span.read(len(raw)) for span in whole) == raw
    before, mbox.MAX_LINE_BYTES = mbox.MAX_LINE_BYTES, line
    try:
        assert [(s.start, s.end) for s in mbox.mails(path)] == [(s.start, s.end) for s in whole]
    finally:
        mbox.MAX_LINE_BYTES = before


def test_the_standard_library_finds_the_same_mails(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"\n".join(FROM + mail(number) for number in range(20)))
    theirs = mailbox.mbox(str(path))
    ours = list(mbox.mails(path))
    assert len(theirs) == len(ours) == 20
    for one, span in zip(theirs, ours, strict=True):
        assert one.as_bytes().strip() in span.read(1 << 20)
    theirs.close()

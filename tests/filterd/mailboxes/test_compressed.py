"""Mails as Dovecot compresses them."""

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.mailboxes import compressed

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n" * 50


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_they_are_read_as_they_were_written(pack) -> None:  # type: ignore[no-untyped-def]
    assert compressed.read(io.BytesIO(pack(MAIL)), 1 << 20) == MAIL
    assert compressed.read(io.BytesIO(pack(MAIL)), 100) == MAIL[:100]


def test_each_kind_has_its_name() -> None:
    names = [
        compressed.kind(io.BytesIO(p(MAIL))) for p in (gzip.compress, bz2.compress, lzma.compress, bytes)
    ]
    assert names == ["gzip", "bzip2", "xz", ""]


@pytest.mark.parametrize("begins", [b"\x28\xb5\x2f\xfd", b"Dovecot-LZ4\x0d\x2a\x9b\xc5"])
def test_what_cannot_be_read_is_no_mail(begins: bytes) -> None:
    with pytest.raises(OSError, match="cannot be read here"):
        compressed.read(io.BytesIO(begins + MAIL), 100)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("cut", [12, 30, -5])
def test_what_is_damaged_is_an_error(pack, cut: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OSError, match=r"damaged|Invalid|Not a"):
        compressed.read(io.BytesIO(pack(MAIL)[:cut]), 1 << 20)


def test_a_bomb_is_read_up_to_the_bound() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(compressed.read(io.BytesIO(bomb), 1000)) == 1000


@given(st.binary(max_size=300), st.sampled_from(list(compressed.KINDS)))
def test_nothing_else_comes_out_of_it(data: bytes, mark: bytes) -> None:
    for content in (data, mark + data):
        try:
            found = compressed.read(io.BytesIO(content), 1000)
        except OSError:
            continue
        assert len(found) <= 1000


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"")
    with (tmp_path / "mail").open("rb") as stream:
        assert compressed.read(stream, 10) == b""

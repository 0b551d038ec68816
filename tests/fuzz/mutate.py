"""Mails and HTML of our own, cut, spliced, repeated and flipped, up to a megabyte."""

from pathlib import Path
from random import Random
from typing import Final

from tests.filterd.reading.html_forms import forms

CORPUS: Final = Path(__file__).parent / "corpus"
MAX_BYTES: Final = 1_000_000
TOKENS: Final = (
    b"<!--",
    b"-->",
    b"<style>",
    b"</style>",
    b"{",
    b"}",
    b"@media all{",
    b"p{display:none}",
    b"<p style='",
    b"'>",
    b"<b>",
    b"<div>",
    b"<table><tr><td>",
    b"&#x41;",
    b"&amp;",
    b"<a href=x>",
    b"<svg>",
    b"--b\n",
    b"--b--\n",
    b"\n\n",
    b"Content-Type: text/html; charset=utf-16\n",
    b"Content-Type: multipart/mixed; boundary=b\n",
    b"=\n",
    b"=3D",
    b"Content-Transfer-Encoding: base64\n",
    b"Subject: =?utf-8?B?",
    b"?=",
    b"\xe2\x80\xae",
    b"\xcc\x81",
    b"\\",
    b'"',
    b"begin 644 a.txt\n",
    b"%PDF-1.4\n",
    b"PK\x03\x04",
    b"Content-Disposition: attachment\n",
    b"(",
    b";",
    b" ",
)
HTML_HEAD: Final = b"From: a@example.org\nSubject: x\nContent-Type: text/html\n\n"


def seeds() -> list[bytes]:
    """What mutations begin with."""
    mails = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    return mails + [HTML_HEAD + form[:4_000].encode() for form in forms()[::7]]


def mutated(seeds: list[bytes], rng: Random) -> bytes:
    """One mail that nobody wrote."""
    data = rng.choice(seeds)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randrange(1, 200))
        choice = rng.randrange(6)
        if choice == 0:
            data = data[:at] + rng.choice(TOKENS) + data[at:]
        elif choice == 1:
            data = data[:at] + rng.choice(TOKENS) * rng.choice((10, 1_000, 100_000)) + data[at:]
        elif choice == 2:
            data = data[:at] + data[at:end] * rng.choice((3, 300, 20_000)) + data[end:]
        elif choice == 3:
            other = rng.choice(seeds)
            data = data[:at] + other[rng.randrange(len(other) + 1) :]
        elif choice == 4:
            data = data[:at] + data[end:]
        else:
            data = data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[end:]
        data = data[:MAX_BYTES]
    return data

"""The small mails of ../shared/cases, each with what its README expects of a reader."""

from pathlib import Path

import pytest

from filterd.api import Message
from filterd.reading import text
from tests.conftest import SHARED

CASES = SHARED.parent / "cases"
PAIRS = [
    ("q2-soft-blank", "q0-plain"),
    ("q3-soft-tab-crlf", "q0-plain"),
    ("q4-html-soft-blank", "q5-html-plain"),
]
pytestmark = pytest.mark.skipif(not CASES.exists(), reason=f"needs {CASES}")


def read(name: str) -> text.CanonicalText:
    (found,) = text.read(Message((CASES / f"{name}.eml").read_bytes()))
    return found


@pytest.mark.parametrize(("disguised", "plain"), PAIRS)
def test_soft_breaks_with_blanks(disguised: str, plain: str) -> None:
    assert read(disguised).body == read(plain).body


@pytest.mark.parametrize("want", sorted(CASES.glob("*.want")), ids=lambda path: path.stem)
def test_charsets(want: Path) -> None:
    assert read(want.stem).body == text.of_sms(want.read_text("utf-8").strip()).body


def test_headers() -> None:
    assert read("k1-koi8u").subject == "Нарада"
    assert read("k3-rawsubj1251").subject.startswith("Нарада у четвер")
    assert read("s-b64-fold-inside").subject == "Hello world"
    assert read("a01b-ws-fold-ham").subject == "Meeting on Thursday"
    assert read("a30b-gtfrom-nofrom").head[0] == "from Ann <ann@example.org>"


def test_percent_signs() -> None:
    assert "attachment:exe" in read("a09b-pct-ext").facts
    assert read("a19h-2231pct-boundary").body.startswith("Congratulations!")


def test_styles() -> None:
    for name, hidden in (("shown", False), ("hidden", True)):
        page = (CASES / f"{name}.html").read_bytes()
        (found,) = text.read(Message(b"From: a@b.test\nContent-Type: text/html\n\n" + page))
        assert ("hidden-text" in found.facts) is hidden
        assert len(found.body.split()) >= (1 if hidden else 10)

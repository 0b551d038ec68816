"""Our words of HTML mails against those that a real browser shows (tests/peers/chromium.py)."""

import base64
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from filterd.reading import mime
from filterd.reading.html import visible
from tests.conftest import SHARED
from tests.filterd.reading.html_forms import forms
from tests.peers.chromium import Chromium, running

MARKS = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u00ad\ufeff\u034f\u200c]")
MOST_UNREAD, MOST_PADDING = 0.005, 0.01  # shares of words over the corpora
CORPORA = {"html_mails": 18, "mail_templates": 12, "phishing_pot": 18, "nazario1": 12}
SCREEN = 900  # pixels of a document that are looked at


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with running() as chromium:
        yield chromium


@dataclass
class Tally:
    words: int = 0
    unread: list[str] = field(default_factory=list)
    padding: list[str] = field(default_factory=list)

    def add(self, browser: Chromium, documents: list[str], height: int) -> None:
        """Count what is seen and not read, and what is read and not seen."""
        for document, words in zip(documents, browser.words(documents, height), strict=True):
            text = MARKS.sub("", visible(document).text)
            ours = Counter(text.split())
            seen, unseen = Counter[str](), Counter[str]()
            for word in words:
                if word.seen is not None and (letters := MARKS.sub("", word.text)):
                    (seen if word.seen else unseen)[letters] += 1
            self.words += seen.total() + unseen.total()
            at = "  " + document[:160].replace("\n", " ")
            # The browser's words end where a text node does, ours do not ("<b>Vi</b>agra").
            self.unread += [word + at for word, count in seen.items() if text.count(word) < count]
            # A word that is there twice, once unseen, is read too much where ours has both.
            self.padding += [word + at for word in ((ours - seen) & unseen).elements()]

    def __str__(self) -> str:
        shares = f"{len(self.unread) / self.words:.3%} seen and unread, {len(self.padding) / self.words:.3%} "
        return f"{self.words} words: {shares} unseen and read"


def test_every_seen_word_of_every_form_is_read(browser: Chromium) -> None:
    tally = Tally()
    documents = forms()
    for start in range(0, len(documents), 80):
        tally.add(browser, documents[start : start + 80], 80)
    print(f"\nforms: {tally}")
    assert not tally.unread
    assert len(tally.padding) < tally.words * 0.06  # places where a browser's layout is needed to know


@pytest.mark.shared
@pytest.mark.parametrize("source", CORPORA)
def test_words_of_real_mails_agree(browser: Chromium, source: str) -> None:
    documents = _documents(source, CORPORA[source])
    tally = Tally()
    for start in range(0, len(documents), 6):
        tally.add(browser, documents[start : start + 6], SCREEN)
    print(f"\n{source}: {tally}")
    assert len(tally.unread) <= MOST_UNREAD * tally.words, tally.unread[:20]
    assert len(tally.padding) <= MOST_PADDING * tally.words, tally.padding[:20]


# None that lets boxes lie over one another: a word's picture would then change with its neighbour's.
DECLARATIONS = (
    "display:none", "display:block", "display:inline", "visibility:hidden", "visibility:visible", "opacity:0",
    "opacity:1", "font-size:0", "font-size:2em", "font-size:14px", "color:#fff", "color:#000", "color:red",
    "background:#000", "background:#fff", "background:none", "color:transparent",
)  # fmt: skip
SELECTORS = (
    "p", "div", "b", "*", ".a", ".b", "#i", "p.a", ".a.b", "div p", "div .a", "div > p", ".b b", "[class]",
    "p, .b", "body .a", "td", "table .b", ".a:hover", "html b",
)  # fmt: skip
RULES = st.tuples(
    st.sampled_from(SELECTORS),
    st.lists(st.tuples(st.sampled_from(DECLARATIONS), st.sampled_from(["", "", "!important"])), max_size=3),
    st.sampled_from(
        ["{}", "{}", "{}", "@media screen{{{}}}", "@media print{{{}}}", "@media (max-width:300px){{{}}}"]
    ),
).map(lambda rule: rule[2].format(f"{rule[0]}{{{';'.join(map(''.join, rule[1]))}}}"))
PAGE = (
    "<p>one</p><p class=a>two</p><div><p class='a b'>three <b class=b>four</b></p><b>five</b></div>"
    "<div class=b id=i><p>six</p></div><table class=a><tr><td>seven<td class=b>eight</table>"
)


# A smaller example costs another round of pictures each.
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(RULES, min_size=1, max_size=5), min_size=24, max_size=24))
def test_every_seen_word_under_any_style_sheet_is_read(browser: Chromium, sheets: list[list[str]]) -> None:
    tally = Tally()
    tally.add(browser, [f"<style>{' '.join(rules)}</style>{PAGE}" for rules in sheets], 240)
    assert not tally.unread


def _documents(source: str, count: int) -> list[str]:
    """HTML documents of a source, evenly spread over it."""
    path = SHARED / "more" / f"{source}.jsonl.xz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with lzma.open(path) as lines:
        rows = [json.loads(line) for line in lines]
    found: list[str] = []
    for row in rows[:: max(1, len(rows) // (2 * count))]:
        found += _html_of(base64.b64decode(row["raw"])) if "raw" in row else [row["text"]]
    return [html for html in found if 0 < len(html) < 60_000 and "<" in html][:count]


def _html_of(raw: bytes) -> list[str]:
    found: list[str] = []

    def keep(html: str, quick: bool = False) -> object:
        found.append(html)
        return visible("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mime, "visible", keep)
        mime.parse(raw)
    return found[:1]

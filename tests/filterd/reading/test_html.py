"""The text that is shown, and that something is hidden."""

# ruff: noqa: E501

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filterd.reading.html import MAX_HREF, MAX_LINK_TEXT, MAX_LINKS, Link, visible
from filterd.reading.markup import MAX_AS_IS

WORDS = "secret poem"


@pytest.mark.parametrize(
    "hiding",
    [
        pytest.param(f"<div style='display:none'>{WORDS}</div>", id="display"),
        pytest.param(f"<div style='DISPLAY : None !important; display:block'>{WORDS}</div>", id="important"),
        pytest.param(f"<div style='display:/* x */none'>{WORDS}</div>", id="css-comment"),
        pytest.param(f"<div style='d\\69 splay:none'>{WORDS}</div>", id="css-escape"),
        pytest.param(f"<span hidden>{WORDS}</span>", id="hidden-attribute"),
        pytest.param(f"<span style='visibility:hidden'>{WORDS}</span>", id="visibility"),
        pytest.param(f"<span style='opacity:0'>{WORDS}</span>", id="opacity"),
        pytest.param(f"<span style='font-size:0px'>{WORDS}</span>", id="font-size-0"),
        pytest.param(
            f"<span style='font-size:1px'><b style='font-size:100%'>{WORDS}</b></span>", id="inherited"
        ),
        pytest.param(f"<span style='font:0/0 a'>{WORDS}</span>", id="font-shorthand"),
        pytest.param(f"<font color=white>{WORDS}</font>", id="white-on-white"),
        pytest.param(f"<font color='#FEFEFE'>{WORDS}</font>", id="nearly-white"),
        pytest.param(f"<table bgcolor=red><td><font color='#f00'>{WORDS}</font></table>", id="red-on-red"),
        pytest.param(f"<p style='background:#123 none;color:rgb(17, 34, 51)'>{WORDS}</p>", id="rgb"),
        pytest.param(f"<p style='color:transparent'>{WORDS}</p>", id="transparent"),
        pytest.param(f"<p style='color:rgba(0,0,0,0)'>{WORDS}</p>", id="alpha"),
        pytest.param(f"<div style='position:absolute;left:-9999px'>{WORDS}</div>", id="off-screen"),
        pytest.param(f"<div style='text-indent:-999em'>{WORDS}</div>", id="indent"),
        pytest.param(f"<div style='max-height:0;overflow:hidden'>{WORDS}</div>", id="no-room"),
        pytest.param(f"<style>.x, p.y{{display:none}}</style><p class='a x'>{WORDS}</p>", id="style-sheet"),
        pytest.param(f"<style>#z{{font-size:0}}</style><p id=z>{WORDS}</p>", id="style-sheet-id"),
        pytest.param(f"<p hidden>{WORDS}", id="never-closed"),
    ],
)
def test_hidden_text_is_noted_and_not_shown(hiding: str) -> None:
    seen = visible(f"<html><body><p>shown</p>{hiding}</body></html>")
    assert WORDS not in seen.text
    assert "shown" in seen.text
    assert seen.hidden


@pytest.mark.parametrize(
    "showing",
    [
        pytest.param(f"<p>{WORDS}</p>", id="plain"),
        pytest.param(f"<p style='display:none'>x<p>{WORDS}", id="next-paragraph"),
        pytest.param(f"<table style='display:none'><div>{WORDS}</div></table>", id="foster-parented"),
        pytest.param(
            f"<table bgcolor=black><td><font color=white>{WORDS}</font></table>", id="white-on-black"
        ),
        pytest.param(f"<font color=white><font color=black>{WORDS}</font></font>", id="colour-set-again"),
        pytest.param(f"<font color=white><a href=x>{WORDS}</a></font>", id="links-are-blue"),
        pytest.param(f"<table><td background=x.gif><font color=white>{WORDS}</table>", id="on-a-picture"),
        pytest.param(
            f"<b style='visibility:hidden'><i style='visibility:visible'>{WORDS}</i></b>", id="visible-again"
        ),
        pytest.param(f"<style>@media print{{p{{display:none}}}}</style><p>{WORDS}", id="other-media"),
        pytest.param(f"<noscript>{WORDS}</noscript>", id="noscript"),
        pytest.param(
            f"<p style='font-size:0.8em;max-height:0;opacity:.5'>{WORDS}</p>", id="small-but-legible"
        ),
    ],
)
def test_shown_text_is_shown(showing: str) -> None:
    assert WORDS in visible(f"<body>{showing}</body>").text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        pytest.param("Vi<b>ag</b>ra", "Viagra", id="inline-does-not-part"),
        pytest.param("Vi<!-- x -->agra", "Viagra", id="comment-does-not-part"),
        pytest.param("<p>a</p><p>b</p>c<br>d", "a b c d", id="blocks-part"),
        pytest.param("<table><tr><td>a<td>b</table>", "a b", id="cells-part"),
        pytest.param("<title>t</title><script>s</script><style>p{}</style>x", "x", id="never-shown"),
        pytest.param("5 &lt; 6 &amp; &pound;7&nbsp;&#x41;", "5 < 6 & £7 A", id="entities"),
        pytest.param("", "", id="empty"),
        pytest.param("no tags at all", "no tags at all", id="no-tags"),
        pytest.param("<<<b>>x", "<< >x", id="stray-brackets"),
    ],
)
def test_text(html: str, text: str) -> None:
    words = " ".join(visible(html).text.split())
    assert words.replace(" ", "") == text.replace(" ", "")
    if "<" not in text:
        assert words == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        pytest.param("<style>div .h{display:none}</style><div><p class=h>gone</div><p class=h>kept", "kept", id="descendant"),
        pytest.param("<style>@media all{p{display:none}}</style><p>gone", "", id="media-all"),
        pytest.param("<style>@media (max-width:9in){p{display:none}}</style><p>kept", "kept", id="media-some"),
        pytest.param("<style>.a{display:none}.a.b{display:block}</style><p class='a b'>kept", "kept", id="specific"),
        pytest.param("<style>p{display:none!important}</style><p style='display:block'>gone", "", id="important"),
        pytest.param("<style>p,q:odd{display:none}</style><p>kept", "kept", id="a-selector-nobody-knows"),
        pytest.param("<style>p::before{content:'said '}</style><p>kept", "said kept", id="content"),
        pytest.param("<div style='font-size:0'><p style='font-size:9px'>kept</div>", "kept", id="size-again"),
        pytest.param("<p style='color:hsl(0 0% 100%)'>gone", "", id="hsl"),
        pytest.param("<p hidden style='display:block'>kept", "kept", id="hidden-undone"),
        pytest.param("<img alt='kept'><img width=1 alt=gone>", "kept", id="alt"),
        pytest.param("<svg><text>kept</text><title>gone</title></svg>", "kept", id="svg"),
        pytest.param("<iframe srcdoc='&lt;p&gt;kept'></iframe>", "kept", id="frame"),
        pytest.param("<select><option>kept<option>gone</select><input value=kept>", "kept kept", id="form"),
        pytest.param(f"<!--{'x' * 530_000}-->kept", "kept", id="long-comment-first"),
        pytest.param(f"<style>{'x' * 530_000}</style>kept", "kept", id="long-sheet-first"),
    ],
)  # fmt: skip
def test_what_browsers_show(html: str, text: str) -> None:
    assert visible(html).text.split() == text.split()


def test_many_different_styles_are_given_up() -> None:
    seen = visible("".join(f"<p style='left:{n}px;color:rgb({n},0,0)'>x" for n in range(7_000)))
    assert not seen.whole
    assert seen.text.split() == ["x"] * 7_000


def test_more_hidden_than_shown() -> None:
    hidden = f"<p style='display:none'>{'ham ' * 200}</p>"
    assert visible(f"{hidden}<p>spam").mostly_hidden
    assert not visible(f"{hidden}<p>{'shown ' * 200}").mostly_hidden


def test_long_documents_read_the_same() -> None:
    row = "<p class=x title='a > b'>shown <b style='color:white'>unseen</b> <!-- c --><i>too</i></p>\n"
    long = visible("<style>.y{display:none}</style>" + row * 300 + "<p class=y>gone</p>")
    assert len(row) * 300 > MAX_AS_IS
    assert long.whole
    assert long.hidden
    assert long.text.split() == ["shown", "too"] * 300


def test_too_involved_shows_too_much_rather_than_too_little() -> None:
    seen = visible("<div>" * 50_000 + "<script>x</script>the text")
    assert not seen.whole
    assert seen.text.split() == ["the", "text"]


@example("<style>p{display:none}")  # each of these was quadratic in what follows it
@example("<style>p{}" + "@ " * 9_000)
@example("<style>p{}" + "/*" * 9_000)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(
                [
                    "<p ",
                    "<b>",
                    "</p>",
                    "<style>",
                    "</style>",
                    "p{display:none}",
                    "<!--",
                    "-->",
                    "style='",
                    "color:white",
                    "font:0",
                    ";",
                    "'",
                    '"',
                    ">",
                    "<table>",
                    "<td>",
                    "&#",
                    "&#xffffff;",
                    "\\ffffff",
                ]
            ),
        ),
        max_size=20,
    ).map("".join)
)
def test_any_html_is_read(html: str) -> None:
    for document in (html, html + " " * MAX_AS_IS):
        assert len(visible(document).text) <= 20 * len(html) + MAX_AS_IS + 100


def test_links_and_what_is_shown_for_them() -> None:
    seen = visible(
        "<a href='http://evil.example/x'>bank<b>.example</b><i style='display:none'>junk</i></a><img src=x>"
        "<a name=here>no link</a><a href=''>nor this</a>"
    )
    assert seen.links == (Link("http://evil.example/x", "bank.example"),)
    assert seen.images == 1


def test_links_are_bounded() -> None:
    seen = visible(f"<a href='{'x' * 5000}'>{'y' * 5000}</a>" * (MAX_LINKS + 9))
    assert len(seen.links) == MAX_LINKS
    assert {(len(link.href), len(link.text)) for link in seen.links} == {(MAX_HREF, MAX_LINK_TEXT)}

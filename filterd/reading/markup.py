"""HTML source before it is parsed: whether Lexbor will be quick with it, and the same document made simple.

Lexbor is quadratic in some shapes (measured: 50,000 nested div 7 s, 100,000 attributes in one tag 36 s), so
a linear look at the source comes first.
"""

import html as entities
import re
from collections import Counter
from typing import Final

from filterd.reading.color import names

__all__ = ["links", "prepared", "without_tags"]

MAX_AS_IS: Final = 20_000  # characters; as many attributes as that holds in one tag cost Lexbor 0.1 s
MAX_TAGS: Final = 8_000  # the largest of 6,046 SpamAssassin mails has 2,306
MAX_OPEN: Final = 1_000  # elements open at once; Lexbor takes 0.01 s for as many nested div
MAX_CLONES: Final = 60_000  # tags times formatting elements open: HTML has each paragraph repeat them all
MAX_VALUE: Final = 2_000  # characters of one attribute of a long document
MAX_SELECTED: Final = 64  # attributes that style sheets name and that are kept of a long document
MAX_PLAIN: Final = 262_144  # characters of text that is kept of a document that only lost its tags


# Elements that never stay open: void ones, and those that the next of their kind closes.
_NEVER_OPEN = names(
    "area base br col embed hr img input link meta source track wbr p li td th tr dt dd option"
)
# Start of a tag's rest: attributes as the HTML tokenizer cuts them; quotes count after "=" only.
_REST = r"(?:[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+)*+"
_ATTRIBUTE = re.compile(r"[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+")
_TOKEN = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rf"|<(?P<raw>script|style|title|iframe|noembed|noframes|xmp)(?=[\s/>])(?P<more>{_REST})[\s/]*+>?"
    r"(?P<inside>.*?)(?=</(?P=raw)[\s/>]|\Z)"
    # A tag without attributes stays as it is.
    r"|<(?!/?[a-z][a-z0-9]*+>)(?:"
    rf"(?P<slash>/?)(?P<name>[a-z][^\s/>\"'<&]*+)[^\s/>]*+(?P<attributes>{_REST})[\s/]*+>?"
    r"|!doctype[^>]{0,300}>|[!?/][^>]*+>?|)",
    re.DOTALL | re.IGNORECASE,
)
# What a paragraph takes over from the one before it (HTML 13.2.4.3).
_FORMATTING = names("a b big code em font i nobr s small strike strong tt u")
_TELLING = names(
    "style class id hidden color bgcolor background text link href action align dir width height alt value"
    " type placeholder selected multiple size media srcdoc rel"
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|title)\b.*?(?:</\1\s*>|\Z)|<[a-zA-Z/!?][^>]*>?",
    re.DOTALL | re.IGNORECASE,
)
_NOTHING = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))|<(script)(?=[\s/>]).*?(?:</script(?=[\s/>])|\Z)", re.DOTALL | re.IGNORECASE
)
_HREF = re.compile(r"""<a\s[^<>]{0,500}?\bhref\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_SELECTED = re.compile(r"\[\s*([\w-]{1,40})")
_FOREIGN = re.compile(r"<(?:svg|math)[\s/>]", re.IGNORECASE)
_RAW_IN_FOREIGN = re.compile(r"<(?:style|script|xmp|iframe|noembed|noframes)[\s/>]", re.IGNORECASE)


def prepared(html: str) -> str | None:
    """A document that Lexbor parses quickly and as it would parse `html`; None where there is none."""
    if html.count("<") > MAX_TAGS:
        html = _NOTHING.sub("", html)
        if html.count("<") > MAX_TAGS:
            return None
    if len(html) > MAX_AS_IS:
        foreign = _FOREIGN.search(html)
        if foreign and _RAW_IN_FOREIGN.search(html, foreign.end()):
            return None  # in there a <style> is an element like others, and ends at the first <p>
        html = _rewritten(html)
    return html if _is_simple(html) else None


def without_tags(html: str) -> str:
    """A document's text without its tags, hidden text and all."""
    text = _MARKUP.sub(" ", html)
    return entities.unescape(text[:MAX_PLAIN])


def links(html: str, most: int) -> list[str]:
    """Where the first links lead, of a document that is not parsed."""
    found = []
    for match in _HREF.finditer(html):
        found.append(entities.unescape(match[1][:MAX_VALUE]))
        if len(found) >= most:
            break
    return found


def _rewritten(html: str) -> str:
    """The same document without comments and scripts, each tag with what bears on visibility alone.

    Only what is written here can open a tag, so no tag of the result has more than a few attributes.
    """
    kept = _TELLING
    if "[" in html and "<style" in html.lower():
        kept = kept | {name.lower() for name in _SELECTED.findall(html)[:MAX_SELECTED]}

    def rewrite(token: re.Match[str]) -> str:
        name = token["raw"] or token["name"]
        if not name:
            doctype = token[0][:9].lower() == "<!doctype"
            return token[0] if doctype else "&lt;" if token[0] == "<" else ""
        attributes: dict[str, str] = {}
        rest = token["attributes"] or token["more"]
        for key, value in _ATTRIBUTE.findall(rest) if rest else ():
            if (key := key.lower()) in kept:
                attributes.setdefault(key, value)
        values = "".join([f' {key}="{_quoted(value)}"' for key, value in attributes.items()])
        return f"<{token['slash'] or ''}{name}{values}>{_raw_text(name.lower(), token['inside'] or '')}"

    return _TOKEN.sub(rewrite, html)


def _raw_text(name: str, inside: str) -> str:
    """What stays of the text between raw tags: style sheets, and what <xmp> shows."""
    return inside.replace("<", " ") if name in ("style", "xmp") else ""


def _quoted(value: str) -> str:
    value = value[1:].removesuffix(value[0]) if value[:1] in ("'", '"') else value
    value = value[:MAX_VALUE]
    if '"' in value or "<" in value or ">" in value:
        return value.replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return value


def _is_simple(html: str) -> bool:
    """Whether Lexbor will be quick: few elements open at once, few of which it would clone."""
    tags = html.count("<")
    if tags * tags <= MAX_CLONES:
        return True
    formatting, others = _most_open(html)
    return others <= MAX_OPEN and tags * formatting <= MAX_CLONES


def _most_open(html: str) -> tuple[int, int]:
    """Upper bounds of the formatting elements and of the others open at once.

    An end tag counts only where it has something to close.
    """
    counts: Counter[str] = Counter()
    now, most = [0, 0], [0, 0]
    for slash, name in _TAG.findall(html.lower()):
        if name in _NEVER_OPEN or (slash and not counts[name]):
            continue
        step = -1 if slash else 1
        kind = name not in _FORMATTING
        counts[name] += step
        now[kind] += step
        most[kind] = max(most[kind], now[kind])
    return most[False], most[True]

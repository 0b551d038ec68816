"""A document's style sheets: which rules hold for an element, surely or perhaps.

A rule is unsure where it holds on some screens only (`@media`), in some browsers only, or where its selector
is one that is not understood. An unsure rule never hides anything, and what it sets besides is unknown: doubt
counts as shown. Nobody's style sheet is fetched.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import tinycss2

from filterd.reading.color import MAX_FAINT_OPACITY, UNKNOWN, names
from filterd.reading.css import Declarations, declarations, px
from filterd.reading.style import Style, style

__all__ = ["NO_SHEET", "Element", "Matcher", "Sheet", "StyleRule", "content", "media", "parse", "style_of"]

MAX_SHEET: Final = 65_536  # characters of <style> that are read; tinycss2 takes 60 ms for as many
MAX_RULES: Final = 1_000
MAX_PARTS: Final = 8  # of a selector: "table td a" has three
MAX_STEPS: Final = 60_000  # of matching in one document, some 20 ms
MAX_CONTENT: Final = 500  # characters that a rule writes before or after an element
MIN_TYPE_PX: Final = 3.0
NARROWEST_PX, WIDEST_PX = 200.0, 4_000.0  # screens that mails are read on

SURE, MAYBE, NEVER = "sure", "maybe", "never"


class Element:
    """An element as selectors see it. names: its tag, ".class" and "#id"; folded: these in small letters."""

    __slots__ = ("_within", "attributes", "folded", "names", "parent")

    def __init__(
        self,
        names: frozenset[str],
        folded: frozenset[str],
        attributes: Mapping[str, str | None],
        parent: "Element | None",
    ) -> None:
        self.names = names
        self.folded = folded
        self.attributes = attributes
        self.parent = parent
        self._within: frozenset[str] | None = None

    @property
    def within(self) -> frozenset[str]:
        """The folded names of this element and of all around it."""
        if self._within is None:
            around = self.parent.within if self.parent else _NOTHING
            self._within = around if self.folded <= around else around | self.folded
        return self._within


_NOTHING: Final[frozenset[str]] = frozenset()


class Compound(NamedTuple):
    """One compound of a selector. child: what stands to the left must be the parent, not just an ancestor."""

    names: frozenset[str]
    folded: frozenset[str]
    attributes: tuple[tuple[str, str, str], ...]
    child: bool


class StyleRule(NamedTuple):
    """parts: the selector's compounds from the right. pseudo: "before", "after" for what it writes
    there, "first" for the first line or letter. around: names, in small letters, that
    elements around it must have.
    """

    parts: tuple[Compound, ...]
    weight: tuple[int, int, int, int]
    body: str
    sure: bool
    pseudo: str
    around: frozenset[str] = frozenset()

    @property
    def said(self) -> Declarations:
        """Its declarations; most rules of a sheet hold for no element, and theirs are never read."""
        return declarations(self.body)


class Sheet:
    """All rules of a document that bear on what is seen, found by the last compound of their selectors."""

    def __init__(self, rules: list[StyleRule]) -> None:
        self.rules = rules
        self._by_name: dict[str, list[StyleRule]] = {}
        for rule in rules:
            key = max(rule.parts[0].folded, key=_telling, default="*")
            self._by_name.setdefault(key, []).append(rule)
        self._names = frozenset(self._by_name)

    def candidates(self, folded: frozenset[str]) -> list[StyleRule]:
        """The rules that may hold for an element with these names."""
        found = list(self._by_name.get("*", ()))
        for key in self._names & folded:
            found += self._by_name[key]
        return [rule for rule in found if rule.parts[0].folded <= folded and any(rule.said)]


NO_SHEET: Final = Sheet([])


def _telling(name: str) -> int:
    return 2 if name[0] == "#" else 1 if name[0] == "." else 0


Holding = tuple[tuple[StyleRule, bool], ...]  # rules that hold, each with whether it surely does


class Matcher:
    """Says which rules of a sheet hold for the elements of one document; when it gets long, perhaps any."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._steps = MAX_STEPS
        self._known: dict[frozenset[str], tuple[Holding, list[StyleRule]]] = {}
        self._possible: dict[tuple[frozenset[str], frozenset[str]], list[StyleRule]] = {}
        self._interned: dict[tuple[tuple[int, bool], ...], Holding] = {}

    def rules(self, box: Element) -> Holding:
        """The rules that hold; for the same ones the same object."""
        if box.names not in self._known:
            found = self._sheet.candidates(box.folded)
            plain = [rule for rule in found if len(rule.parts) == 1 and not rule.parts[0].attributes]
            holding = tuple([(rule, rule.sure and rule.parts[0].names <= box.names) for rule in plain])
            others = [rule for rule in found if len(rule.parts) > 1 or rule.parts[0].attributes]
            self._known[box.names] = holding, others
        holding, others = self._known[box.names]
        if not others:
            return holding
        around = box.parent.within if box.parent else _NOTHING
        possible = self._possible.get((box.names, around))
        if possible is None:
            possible = [rule for rule in others if rule.around <= around]
            self._possible[box.names, around] = possible
        if not possible:
            return holding
        if self._steps < 0:
            self._known[box.names] = (*holding, *[(rule, False) for rule in others]), []
            return self._known[box.names][0]
        more = self._more(possible, box)
        if not more:
            return holding
        key = tuple([(id(rule), sure) for rule, sure in (*holding, *more)])
        return self._interned.setdefault(key, (*holding, *more))

    def _more(self, others: list[StyleRule], box: Element) -> Holding:
        """Those of the rules that also ask for attributes or for the elements around."""
        found = []
        for rule in others:
            if self._fits(rule.parts, 0, box, exact=False):
                found.append((rule, rule.sure and self._fits(rule.parts, 0, box, exact=True)))
        return tuple(found)

    def _fits(self, parts: tuple[Compound, ...], at: int, box: Element, exact: bool) -> bool:
        self._steps -= 1
        part = parts[at]
        if not (part.names <= box.names if exact else part.folded <= box.folded):
            return False
        if part.attributes and not all(_has(box.attributes, *wanted) for wanted in part.attributes):
            return False
        if at + 1 == len(parts):
            return True
        above = box.parent
        while above is not None:
            if self._steps < 0 or self._fits(parts, at + 1, above, exact):
                return True
            if part.child:
                return False
            above = above.parent
        return False


def _has(attributes: Mapping[str, str | None], name: str, sign: str, wanted: str) -> bool:
    """An attribute selector (Selectors 4, 6)."""
    if name not in attributes:
        return False
    value = attributes[name] or ""
    found = {
        "": True,
        "=": value == wanted,
        "~=": wanted in value.split(),
        "|=": value == wanted or value.startswith(wanted + "-"),
        "^=": bool(wanted) and value.startswith(wanted),
        "$=": bool(wanted) and value.endswith(wanted),
        "*=": bool(wanted) and wanted in value,
    }
    return found[sign]


def style_of(rules: Holding, own: Declarations, moves: bool = True) -> Style:
    """An element's style by the rules that hold for it, each with whether it surely does, and its own."""
    rules = tuple(sorted(rules, key=lambda found: found[0].weight))
    found = style(_cascade([(rule, sure) for rule, sure in rules if not rule.pseudo], own), moves)
    if not any(rule.pseudo for rule, _ in rules):
        return found
    if any(rule.pseudo == "first" for rule, _ in rules):
        found = found._replace(tricks=True, size=(16.0, False, False))
    texts: dict[str, str] = {}
    for pseudo in ("before", "after"):
        written = _cascade(
            [(rule, sure) for rule, sure in rules if rule.pseudo == pseudo], Declarations({}, {})
        )
        if '"' in (text := written.get("content", "")) or "'" in text or "attr(" in text:
            texts[pseudo] = text if written.get("display") != "none" else ""
    return found._replace(**texts) if texts else found  # type: ignore[arg-type]


def _cascade(rules: list[tuple[StyleRule, bool]], own: Declarations) -> dict[str, str]:
    """What holds in the end (CSS Cascade 4, 6); rules: in the order of their weight."""
    said: dict[str, str] = {}
    for rule, sure in rules:
        said.update(rule.said.normal if sure else _softened(rule.said.normal))
    said.update(own.normal)
    for rule, sure in rules:
        said.update(rule.said.important if sure else _softened(rule.said.important))
    said.update(own.important)
    return said


def _softened(said: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value if name == "content" else UNKNOWN
        for name, value in said.items()
        if not _hides(name, value)
    }


def _hides(name: str, value: str) -> bool:
    if name == "opacity":
        return (px(value) or 0.0) <= MAX_FAINT_OPACITY
    if name == "font-size":
        size = px(value)
        return size is not None and size < MIN_TYPE_PX
    return (name, value) in (("display", "none"), ("visibility", "hidden"), ("visibility", "collapse"))


@lru_cache(maxsize=32)  # a sender's mails share their sheet
def parse(source: str) -> Sheet:
    """The sheet in the text of all <style> elements; under one too long nothing is hidden. Never raises."""
    source = _COMMENT.sub("", source)
    rules: list[StyleRule] = []
    split = _split if _is_ordinary(source[:MAX_SHEET]) else _split_odd
    many = False
    for order, (selectors, body, condition) in enumerate(split(source[:MAX_SHEET])):
        if condition == NEVER or (many and not any(declarations(body))):
            continue
        rules += _rules(selectors, body, condition, order)
        if len(rules) > MAX_RULES and not many:
            many = True
            rules = [rule for rule in rules if any(rule.said)]
        if len(rules) > MAX_RULES:
            break
    if len(source) > MAX_SHEET or len(rules) > MAX_RULES or _DATA_SHEET.search(source):
        return Sheet([_ANYTHING])
    return Sheet(rules)


_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)
_DATA_SHEET = re.compile(r"@import\s[^;]{0,200}data:", re.IGNORECASE)
_STRING = re.compile(r'"[^"\\\n{};]*+"|\'[^\'\\\n{};]*+\'')


def _is_ordinary(source: str) -> bool:
    """Whether braces mean what they seem to: no escapes, no strings with signs, none left open."""
    if "\\" in source:
        return False
    rest = _STRING.sub("", source) if '"' in source or "'" in source else source
    return '"' not in rest and "'" not in rest


def _split(source: str) -> Iterator[tuple[str, str, str]]:
    """Selectors, declarations and the condition of each rule, of a source whose braces are braces."""
    stack: list[tuple[str, str]] = []  # prelude and condition of what is open
    at = 0
    stray = False
    for brace in re.finditer(r"[{}]", source + "}" * 4):
        piece = source[at : brace.start()]
        at = brace.end()
        condition = stack[-1][1] if stack else SURE
        if brace[0] == "{":
            before, _, prelude = piece.rpartition(";")
            prelude = prelude.strip()
            nested = bool(stack) and not stack[-1][0].startswith("@")
            if nested and before:
                yield stack[-1][0], before, condition
            stack.append((prelude, _inner(condition, prelude, nested or stray)))
            stray = False
        elif stack:
            prelude, condition = stack.pop()
            if not prelude.startswith("@") and piece.strip():
                nested = bool(stack) and not stack[-1][0].startswith("@")
                yield ("&" if nested else prelude), piece, condition
        else:
            stray = True  # part of the next rule's selector, which it spoils


def _inner(outer: str, prelude: str, doubtful: bool) -> str:
    """The condition that holds inside a block."""
    if outer == NEVER:
        return NEVER
    inner = _condition_of(prelude) if prelude.startswith("@") else SURE
    if inner == NEVER or (outer == SURE and not doubtful):
        return inner
    return MAYBE


def _condition_of(prelude: str) -> str:
    name, _, rest = prelude[1:].lower().partition(" ")
    name, bracket, more = name.partition("(")
    if name == "media":
        return media(bracket + more + " " + rest)
    if name in ("supports", "layer", "container", "scope", "-moz-document", "document"):
        return MAYBE
    return NEVER


def media(query: str) -> str:
    """Whether a media query list holds on a screen that somebody reads mail on: SURE, MAYBE, NEVER."""
    found = {_one_media(one.strip()) for one in query.lower().split(",")[:20]}
    return SURE if SURE in found else MAYBE if MAYBE in found else NEVER


_WIDTH = re.compile(r"\(\s*(min|max)-(?:device-)?width\s*:\s*([\d.]+[a-z]*)\s*\)")


def _one_media(query: str) -> str:
    kind, *features = re.split(r"\s+and\s+", query.removeprefix("only ").strip())
    if kind in ("print", "speech", "braille", "embossed", "handheld", "projection", "tty", "tv", "aural"):
        return NEVER
    if kind.startswith("("):
        features.append(kind)
    elif kind not in ("", "all", "screen"):
        return MAYBE
    found = {_feature(feature) for feature in features}
    return NEVER if NEVER in found else MAYBE if MAYBE in found else SURE


def _feature(feature: str) -> str:
    match = _WIDTH.fullmatch(feature.strip())
    width = px(match[2]) if match else None
    if match is None or width is None:
        return MAYBE
    if match[1] == "min":
        return SURE if width <= NARROWEST_PX / 2 else NEVER if width > WIDEST_PX else MAYBE
    return NEVER if width < NARROWEST_PX / 2 else SURE if width > WIDEST_PX else MAYBE


def _split_odd(source: str) -> Iterator[tuple[str, str, str]]:
    """The same of any source, by tinycss2."""
    stack = [(tinycss2.parse_stylesheet(source, skip_comments=True, skip_whitespace=True), SURE)]
    while stack:
        nodes, condition = stack.pop()
        for node in nodes:
            if node.type == "qualified-rule":
                body = tinycss2.serialize(node.content)
                yield tinycss2.serialize(node.prelude), body, condition
                if "{" in body:  # rules in rules: what they show is shown perhaps
                    yield from (("&", inner, MAYBE) for inner in re.findall(r"\{([^{}]*)\}", body))
            elif node.type == "at-rule" and node.content is not None:
                prelude = f"@{node.at_keyword} {tinycss2.serialize(node.prelude)}"
                inner = _inner(condition, prelude, doubtful=False)
                if inner != NEVER:
                    stack.append((tinycss2.parse_rule_list(node.content, True, True), inner))


_SELECTOR = re.compile(
    r"(?P<tag>\*|[^\W\d][\w-]*)|\.(?P<class>-?[^\W\d][\w-]*)|#(?P<id>[\w-]+)"
    r"|\[\s*(?P<attribute>[\w-]+)\s*(?:(?P<sign>[~|^$*]?=)\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[\w-]+))\s*)?\]"
    r"|::?(?P<pseudo>[\w-]+)(?P<brackets>\((?:[^()]|\([^()]*\))*\))?|(?P<combinator>\s*[>+~]\s*|\s+)"
)
# Never so when a mail is looked at, or nothing of the document's text.
_UNMET = names(
    "hover active focus focus-within focus-visible visited target selection placeholder marker backdrop"
    " -moz-selection -ms-clear -ms-reveal file-selector-button"
)
_ALWAYS = frozenset(["link", "any-link"])


def _rules(selectors: str, body: str, condition: str, order: int) -> Iterator[StyleRule]:
    """A rule for each selector; if one is not understood, none is sure (browsers drop them all)."""
    found = [_selector(one.strip()) for one in _commas(selectors)[:200]]
    sure = condition == SURE and all(one is not None and one.sure for one in found)
    for one in found:
        if one is None:
            yield StyleRule((_ANY,), (_HEAVIEST, 0, 0, order), body, False, "")
        elif one.pseudo != "unmet":
            yield StyleRule(one.parts, (*one.weight[:3], order), body, sure, one.pseudo, one.around)


def _commas(selectors: str) -> list[str]:
    """Cut at commas outside of brackets."""
    if "(" not in selectors and "[" not in selectors:
        return selectors.split(",")
    return re.findall(r"(?:[^,(\[]|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\]|[(\[])+", selectors)


_HEAVIEST: Final = 1_000_000  # the weight of a selector that is not understood
_ANY: Final = Compound(frozenset(), frozenset(), (), False)
# Whatever an element says of itself may be undone, as an animation does.
_ANYTHING: Final = StyleRule((_ANY,), (_HEAVIEST, 0, 0, 0), "animation: all !important", True, "")


@lru_cache(maxsize=4096)
def _selector(source: str) -> StyleRule | None:
    """A selector as a rule without declarations; None where it is none that is known."""
    compounds: list[tuple[set[str], list[tuple[str, str, str]], bool]] = [(set(), [], False)]
    weight = [0, 0, 0]
    sure, pseudo, at = True, "", 0
    while at < len(source):
        token = _SELECTOR.match(source, at)
        if token is None or token.end() == at or len(compounds) > MAX_PARTS:
            return None
        at = token.end()
        names, attributes, _ = compounds[-1]
        if combinator := token["combinator"]:
            if combinator.strip() in ("+", "~"):  # of brothers nothing is known
                compounds, sure = [(set(), [], False)], False
            else:
                compounds.append((set(), [], combinator.strip() == ">"))
        elif tag := token["tag"]:
            names.update([tag.lower()] if tag != "*" else [])
            weight[2] += tag != "*"
        elif token["class"] or token["id"]:
            names.add(token[0])
            weight[0 if token["id"] else 1] += 1
        elif name := token["attribute"]:
            value = token["double"] or token["single"] or token["bare"] or ""
            attributes.append((name.lower(), token["sign"] or "", value))
            weight[1] += 1
        else:
            known = _pseudo(token["pseudo"].lower(), names)
            weight[1] += 1
            pseudo = pseudo or known if known != MAYBE else pseudo
            sure = sure and known != MAYBE
    # From the right; "child" says how a compound hangs on the one to its left.
    parts = [
        Compound(frozenset(names), frozenset(map(str.lower, names)), tuple(attributes), child)
        for names, attributes, child in reversed(compounds)
    ]
    around = _NOTHING.union(*[part.folded for part in parts[1:]])
    return StyleRule(tuple(parts), (weight[0], weight[1], weight[2], 0), "", sure, pseudo, around)


def _pseudo(name: str, names: set[str]) -> str:
    """What a pseudo-class or -element means: "" always holds, "unmet" never, others as in StyleRule."""
    if name in _ALWAYS:
        names.add("a")
        return ""
    if name == "root":
        names.add("html")
        return ""
    if name in ("before", "after"):
        return name
    if name in ("first-line", "first-letter"):
        return "first"
    return "unmet" if name in _UNMET or name.startswith("-webkit-scroll") else MAYBE


_TEXT = re.compile(r'"([^"]*)"|\'([^\']*)\'|attr\(\s*([\w-]+)\s*\)')
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)")


def content(value: str, attributes: Mapping[str, str | None]) -> str:
    """The text of a `content` property (CSS Generated Content 3)."""
    text = "".join(
        a or b or attributes.get(c, "") or "" for a, b, c in _TEXT.findall(value[: 4 * MAX_CONTENT])
    )
    return _ESCAPE.sub(lambda m: _character(int(m[1], 16)) if m[1] else m[2], text)[:MAX_CONTENT]


def _character(point: int) -> str:
    return chr(point) if 0 < point < 0xD800 or 0xDFFF < point < 0x110000 else "\ufffd"

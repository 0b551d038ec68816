"""How each element of one document looks, by its style sheets, its own style and the elements around it."""

from functools import lru_cache
from typing import Final, NamedTuple

from selectolax.lexbor import LexborNode

from filterd.reading import css, look, sheet
from filterd.reading.color import RGB, Paint
from filterd.reading.look import Look
from filterd.reading.style import PLAIN, Style

__all__ = ["Cascade", "Scene"]

MAX_MEASURED: Final = 20  # elements off the page whose text is measured
LETTER_WIDTH: Final = 0.65  # of the size of type, on average; typewriter type has 0.6


class Scene(NamedTuple):
    """An element entered: how text in it looks (None: all of it is gone), and what its kind needs to know."""

    look: Look | None
    unseen: bool
    faint: bool
    style: Style


class Cascade:
    """The styles and looks of one document; alike elements in alike places are looked up once."""

    def __init__(self, rules: sheet.Sheet, moves: bool = True) -> None:
        self.cost = 0  # of the styles understood so far, in half microseconds
        self.overlaps = False
        self.backgrounds: set[RGB | str] = {look.FIRST.background}
        self._matcher = sheet.Matcher(rules) if rules.rules else None
        self._styles: dict[tuple[int, str], Style] = {}
        self._known: dict[Style, Style] = {PLAIN: PLAIN}  # one object for all that say the same
        self._scenes: dict[tuple[object, ...], Scene] = {}
        self._kept: list[object] = []  # an id counts while its object lives
        self._looks: dict[Look, Look] = {}
        self._moves = moves
        self._measured = 0

    def enter(
        self, node: LexborNode, tag: str, outer: Look, box: sheet.Element | None
    ) -> tuple[Scene, sheet.Element | None]:
        """An element below one that looks so, and how selectors see it."""
        attributes = node.attributes
        if self._matcher is not None:
            names, folded = _names(tag, attributes.get("class") or "", attributes.get("id") or "")
            box = sheet.Element(names, folded, attributes, box)
            style = self._styled(self._matcher.rules(box), attributes.get("style") or "")
        else:
            style = self._styled((), attributes.get("style") or "") if "style" in attributes else PLAIN
        place: tuple[object, ...]
        if attributes and not look.TELLING.isdisjoint(attributes):
            told = [(name, attributes[name]) for name in attributes if name in look.TELLING]
            place = (id(outer), id(style), tag, *told)
        else:
            tag = look.ALIKE.get(tag, look.OTHER)
            place = (id(outer), id(style), tag)
        scene = self._scenes.get(place)
        if scene is None:
            inner = look.inside(outer, tag, attributes, style)
            scene = self._scenes[place] = self._set(outer, inner, style)
        if self._moves and scene.look is not None and scene.look.moved and not outer.moved:
            scene = self._measure(node, scene)
        return scene, box

    def is_unseen(self, ink: Paint) -> bool:
        """Whether a faint text is; where boxes may lie over one another, any background may be behind it."""
        return not self.overlaps or all(look.alike(ink, paint) for paint in self.backgrounds)

    def _set(self, outer: Look, inner: Look | None, style: Style) -> Scene:
        self._kept.append(outer)
        if inner is None:
            return Scene(None, True, False, style)
        if inner is not outer:
            inner = self._looks.setdefault(inner, inner)  # one object for all that look the same
        self.backgrounds.add(inner.background)
        self.overlaps = self.overlaps or style.overlaps
        unseen = inner.unseen
        return Scene(inner, unseen, not unseen and inner.faint, style)

    def _styled(self, rules: sheet.Holding, own: str) -> Style:
        place = (id(rules) if rules else 0, own)
        style = self._styles.get(place)
        if style is None:
            own = own[: css.MAX_STYLE]
            self.cost += (len(own) + 100) * (1 if css.is_ordinary(own) else 3)
            style = (
                sheet.style_of(rules, css.declarations(own), self._moves)
                if rules
                else _own_style(own, self._moves)
            )
            style = self._styles[place] = self._known.setdefault(style, style)
        return style

    def _measure(self, node: LexborNode, scene: Scene) -> Scene:
        """A text that was moved to the left is seen after all where it may reach into the page."""
        self._measured += 1
        room = max(scene.style.pull, scene.style.away)
        assert scene.look is not None
        one_line = self._measured <= MAX_MEASURED and node.css_first("br, img, table") is None
        text = node.text() if one_line else ""
        width = len(text) * (LETTER_WIDTH if text.isascii() else 1.0) * max(16.0, scene.look.size)
        if one_line and width <= room:
            return scene
        return self._set(scene.look, scene.look._replace(moved=False), scene.style)


@lru_cache(maxsize=2048)
def _own_style(source: str, moves: bool) -> Style:
    return sheet.style_of((), css.declarations(source), moves)


@lru_cache(maxsize=1024)
def _names(tag: str, classes: str, identity: str) -> tuple[frozenset[str], frozenset[str]]:
    """What selectors may call an element, as it is written and in small letters."""
    names = frozenset(
        [tag, *("." + name for name in classes.split()), *(["#" + identity] if identity else [])]
    )
    return names, frozenset(map(str.lower, names))

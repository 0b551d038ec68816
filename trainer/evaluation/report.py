"""One self-contained HTML page: sections, tables and images as data URIs. Nothing is fetched, nothing runs.

Everything that a caller passes as text is escaped here; only what these functions return is taken as HTML.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from filterd.errors import Unwritable

Cell = str | int | float | None

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --line: #d9dee3; --ground: #fff;
  --raised: #f5f7f9; --link: #0072b2 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4af; --line: #363d45;
  --ground: #15181b; --raised: #1e2328; --link: #56b4e9 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25 }
h2 { margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.2rem }
.lead, figcaption, caption { color: var(--soft) }
.lead { margin: .25rem 0 0 }
nav { margin: 1.25rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .92rem }
a { color: var(--link); text-decoration: none } a:hover { text-decoration: underline }
.wide { overflow-x: auto }
table { margin: .5rem 0 1rem; border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { padding-bottom: .4rem; text-align: left; font-size: .92rem }
th, td { padding: .32rem .9rem .32rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left }
thead th { color: var(--soft); font-weight: 600; font-size: .88rem; vertical-align: bottom }
.figures { display: grid; gap: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)) }
figure { margin: 0 } figure img { display: block; width: 100%; height: auto; border-radius: 6px;
  background: #fff; border: 1px solid var(--line) }
figcaption { margin-top: .4rem; font-size: .9rem }
@media print { nav { display: none } h2, figure, table { break-inside: avoid } }
"""


def section(title: str, *html: str) -> str:
    """A titled part of the page; the page links to it from its top."""
    return f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>{"".join(html)}</section>'


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(rows: Iterable[Sequence[Cell]], header: Sequence[str] = (), caption: str = "") -> str:
    """A table whose first column names the rows. None is shown as a dash, a float with four digits."""
    head = f"<thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in header)}</tr></thead>" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{_cell(c)}</td>' for c in row)}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}{head}<tbody>{body}</tbody></table></div>'


def figure(png: bytes, alt: str, caption: str = "") -> str:
    """An image inlined as a data URI. alt: what it shows, for those who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}">{below}</figure>'


def figures(*html: str) -> str:
    """Figures side by side where the window is wide enough, below each other where not."""
    return f'<div class="figures">{"".join(html)}</div>'


def page(title: str, sections: Sequence[str], lead: str = "") -> str:
    """The whole page, in light or dark as the reader's system has it."""
    titles = re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', "".join(sections))
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in titles)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f'<body><header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><nav>{links}</nav></header>'
        f"\n<main>{chr(10).join(sections)}</main></body></html>\n"
    )


def write(file: Path, content: str | bytes) -> None:
    """Write a file of a report, making its folder. Raises Unwritable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise Unwritable(f"{file}: {error.strerror}; choose another --out") from error


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"

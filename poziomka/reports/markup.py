"""HTML building blocks of the page; all text is escaped."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from poziomka.core.safety.terminal import visible


def escape(text: Any) -> str:
    """Returns a value as text that is safe between HTML tags and inside a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def tag(name: str, content: Any, kind: str = "") -> str:
    """Returns an HTML element, such as "p", with its content escaped; `kind` is its CSS class, "" for none."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<{name}{attribute}>{escape(content)}</{name}>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    """Returns an HTML table with escaped texts.

    Args:
        caption: caption of the table.
        head: column headers; no header row if all are "".
        rows: cells of each row; the first cell is the row's header.
        kind: CSS class of the table; "" for none.
    """
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(tag("td", cell) for cell in row[1:])}</tr>' for row in rows
    )
    attribute = f' class="{kind}"' if kind else ""
    top = f"<thead><tr>{columns}</tr></thead>" if any(head) else ""
    return f"<table{attribute}><caption>{escape(caption)}</caption>{top}<tbody>{body}</tbody></table>"


def picture(svg: str, prefix: str, alternative: str, colours: dict[str, str]) -> str:
    """Converts a matplotlib SVG to an inline element of the page.

    Doctype, metadata, comments and name spaces are removed.

    Args:
        svg: the SVG file's text.
        prefix: prefix of the ids, which must be unique among all pictures of the page.
        alternative: alternative text for screen readers.
        colours: names of CSS variables (without "--") by colour in the SVG, so that the page's dark mode applies.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    for colour, name in colours.items():
        svg = svg.replace(colour, f"var(--{name})")
    box = re.search(r'viewBox="[^"]+"', svg)
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{escape(alternative)}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).strip()

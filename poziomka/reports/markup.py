"""The few pieces of HTML that the page is put together from; whatever they are given is escaped."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from poziomka.core.safety.terminal import visible


def escape(text: Any) -> str:
    """Returns anything as text that is safe between tags and inside a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def tag(name: str, content: Any, kind: str = "") -> str:
    """Returns an element around escaped content."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<{name}{attribute}>{escape(content)}</{name}>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    """Returns a table whose first column names its rows."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(tag("td", cell) for cell in row[1:])}</tr>' for row in rows
    )
    attribute = f' class="{kind}"' if kind else ""
    top = f"<thead><tr>{columns}</tr></thead>" if any(head) else ""
    return f"<table{attribute}><caption>{escape(caption)}</caption>{top}<tbody>{body}</tbody></table>"


def picture(svg: str, prefix: str, alternative: str, colours: dict[str, str]) -> str:
    """Returns a figure of matplotlib as an element of the page.

    Its names get a prefix (several pictures share the page), its colours become the page's, which know dark mode,
    and what points to other places (doctype, metadata, name spaces) goes.
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

"""Console output with rich that makes escape sequences in untrusted text visible and harmless."""

import sys

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from poziomka.core.safety.terminal import behind, visible


class Clean:
    """Renderable of rich that shows another renderable with visible symbols for control characters in its text."""

    def __init__(self, inner: RenderableType) -> None:
        """Wraps a renderable."""
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the segments of the wrapped renderable, cleaned; the console's own control codes are unchanged."""
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Returns the width of the wrapped renderable."""
        return Measurement.get(console, options, self._inner)


class _Cleaner(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wraps each renderable that the console prints in `Clean`; see RenderHook of rich."""
        return [Clean(renderable) for renderable in renderables]


def console() -> Console:
    """Returns a rich console for stdout that shows control characters in all printed text as visible symbols.

    A rich Live display is not covered: wrap its renderable in `Clean`.
    """
    made = Console(file=behind(sys.stdout), highlight=False)
    made.push_render_hook(_Cleaner())
    return made

"""Consoles of rich that show nobody's escape sequences: colours are ours, words are cleaned."""

import sys

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from poziomka.core.safety.terminal import behind, visible


class Clean:
    """Something that rich shows, with control characters of its words as pictures."""

    def __init__(self, inner: RenderableType) -> None:
        """Remembers what is shown."""
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the segments, cleaned; the console's own control codes stay."""
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Returns how wide it is."""
        return Measurement.get(console, options, self._inner)


class _Cleaner(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """See RenderHook."""
        return [Clean(renderable) for renderable in renderables]


def console() -> Console:
    """Returns a console for standard output that cleans whatever is printed; a Live display wraps itself in `Clean`."""
    made = Console(file=behind(sys.stdout), highlight=False)
    made.push_render_hook(_Cleaner())
    return made

"""Word wrapping of streamed text."""

from rich.cells import cell_len

SPACES = " \t"


class Wrap:
    """Wraps a stream of text between words at the width of a terminal.

    A word is buffered until it ends. Text without spaces, as in Chinese, may break after any wide character; the
    terminal itself breaks words wider than a line.

    Args:
        width: columns of the terminal; None for no wrapping.
    """

    def __init__(self, width: int | None = None) -> None:
        """Starts at the beginning of a line."""
        self.width = width
        self._column = 0
        self._spaces, self._word = "", ""
        self._begun = False  # whether the beginning of the word has been written

    def add(self, text: str) -> str:
        """Adds text; returns the wrapped text that can be written now."""
        if self.width is None:
            return text
        written = []
        for character in text:
            if character == "\n":
                written.append(f"{self.end()}\n")
            elif character in SPACES:
                written.append(self._flush())
                self._begun = False
                self._spaces += character.expandtabs(4)
            else:
                self._word += character
                wide, long = cell_len(character) > 1, cell_len(self._word) >= self.width
                if wide or long or self._begun:
                    written.append(self._flush())
                    self._begun = not wide
        return "".join(written)

    def end(self) -> str:
        """Returns the buffered text and starts a new line."""
        last = self._flush()
        self._column, self._spaces, self._begun = 0, "", False
        return last

    def _flush(self) -> str:
        """Returns the buffered word after its spaces or, if it does not fit, after a line break."""
        word, self._word = self._word, ""
        if not word:
            return ""
        size, spaces, self._spaces = cell_len(word), self._spaces, ""
        fits = self._column + len(spaces) + size <= (self.width or size)
        before = spaces if fits or not self._column or self._begun else "\n"
        self._column = size if before == "\n" else self._column + len(spaces) + size
        return before + word

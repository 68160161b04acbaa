"""Lines that break between words, in text that comes in pieces."""

from rich.cells import cell_len

SPACES = " \t"


class Wrap:
    """Breaks a stream of text between words, where it would run over the edge of a terminal.

    A word waits until its end is known. Text without spaces, as in Chinese, may break after any wide character; a word
    that is wider than the line is left to the terminal.

    Args:
        width: columns of the terminal; None to break nowhere.
    """

    def __init__(self, width: int | None = None) -> None:
        """Starts at the beginning of a line."""
        self.width = width
        self._column = 0
        self._spaces, self._word = "", ""
        self._begun = False  # the beginning of the word is on the line already

    def add(self, text: str) -> str:
        """Takes text in; returns what can be written now."""
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
        """Returns what waited; the next text begins a line."""
        last = self._flush()
        self._column, self._spaces, self._begun = 0, "", False
        return last

    def _flush(self) -> str:
        """Returns the word that waited, behind its spaces or on a line of its own."""
        word, self._word = self._word, ""
        if not word:
            return ""
        size, spaces, self._spaces = cell_len(word), self._spaces, ""
        fits = self._column + len(spaces) + size <= (self.width or size)
        before = spaces if fits or not self._column or self._begun else "\n"
        self._column = size if before == "\n" else self._column + len(spaces) + size
        return before + word

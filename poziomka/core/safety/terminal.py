"""The cleaner of terminal output: no escape sequence of a model, a file's name or a run's folder reaches a terminal.

The command line puts a `CleanStream` before standard output and standard error, so that whatever prints is cleaned.
Code that colours its output takes the stream behind it, with `behind`, and cleans the words itself, with `visible`.
"""

from collections.abc import Iterable
from typing import TextIO

DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # turn the order of what follows round
PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},  # the C0 block
    **dict.fromkeys((*range(0x7F, 0xA0), *DIRECTIONS), "\N{REPLACEMENT CHARACTER}"),
}


def visible(text: str) -> str:
    """Returns text in which control characters are shown as pictures; line breaks and tabs stay.

    Whatever a model or a tool wrote is somebody else's words: an escape sequence in it must not steer a terminal.
    """
    return text.translate(PICTURES)


class CleanStream:
    """A text stream that writes `visible` text into the stream behind it; all else is that stream's.

    Args:
        inner: the stream behind.
        returns: let a carriage return at the beginning of what is written pass, for other packages' progress lines.
    """

    def __init__(self, inner: TextIO, *, returns: bool = False) -> None:
        """Writes nothing yet."""
        self.inner = inner
        self._returns = returns

    def write(self, text: str) -> int:
        """Writes the text, cleaned; returns its length."""
        back = "\r" if self._returns and text.startswith("\r") else ""
        self.inner.write(back + visible(text[len(back) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each line, cleaned."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        """Returns what the stream behind has: isatty, flush, fileno, encoding and the like."""
        return getattr(self.inner, name)


def behind(stream: TextIO) -> TextIO:
    """Returns the stream behind a CleanStream, or the stream itself: for whoever cleans what it writes there."""
    return stream.inner if isinstance(stream, CleanStream) else stream

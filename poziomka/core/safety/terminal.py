"""Removal of terminal escape sequences from text that a model wrote or that comes from a file or a run's folder.

The command line wraps stdout and stderr in a `CleanStream`, so that all printed text is cleaned. Code that colours its
output writes to the wrapped stream, which `behind` returns, and cleans the untrusted text itself with `visible`.
"""

from collections.abc import Iterable
from typing import TextIO

DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # bidirectional controls: reorder the text that follows
PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},  # the C0 block
    **dict.fromkeys((*range(0x7F, 0xA0), *DIRECTIONS), "\N{REPLACEMENT CHARACTER}"),
}


def visible(text: str) -> str:
    """Returns text with control characters replaced by printable symbols; line breaks and tabs stay.

    Text of a model or a tool is untrusted: an escape sequence in it must not control the terminal.
    """
    return text.translate(PICTURES)


class CleanStream:
    """A text stream that cleans text with `visible` and writes it to the wrapped stream; delegates all else to that.

    Args:
        inner: the wrapped stream.
        returns: keep a carriage return at the beginning of a write, for other packages' progress lines.
    """

    def __init__(self, inner: TextIO, *, returns: bool = False) -> None:
        """Wraps the stream; writes nothing."""
        self.inner = inner
        self._returns = returns

    def write(self, text: str) -> int:
        """Writes the cleaned text; returns the length of the text given."""
        back = "\r" if self._returns and text.startswith("\r") else ""
        self.inner.write(back + visible(text[len(back) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each line after cleaning it."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        """Returns an attribute of the wrapped stream: isatty, flush, fileno, encoding and the like."""
        return getattr(self.inner, name)


def behind(stream: TextIO) -> TextIO:
    """Returns the stream that a CleanStream wraps, or the stream itself: for code that cleans its own output."""
    return stream.inner if isinstance(stream, CleanStream) else stream

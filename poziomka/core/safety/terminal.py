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

    It is for text of a model or a tool, so that an escape sequence in it cannot control the terminal.
    """
    return text.translate(PICTURES)


class CleanStream:
    """A text stream that replaces control characters with `visible` and writes to another stream.

    All other attributes, such as `flush` and `isatty`, are those of the other stream.

    Args:
        inner: the stream that is written to.
        returns: True keeps a carriage return at the beginning of a write, for progress lines of other packages.
    """

    def __init__(self, inner: TextIO, *, returns: bool = False) -> None:
        """Wraps the stream; writes nothing."""
        self.inner = inner
        self._returns = returns

    def write(self, text: str) -> int:
        """Writes the text with control characters replaced; returns the length of `text`."""
        back = "\r" if self._returns and text.startswith("\r") else ""
        self.inner.write(back + visible(text[len(back) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each line with control characters replaced."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        """Returns an attribute of the wrapped stream: isatty, flush, fileno, encoding and the like."""
        return getattr(self.inner, name)


def behind(stream: TextIO) -> TextIO:
    """Returns the stream that a CleanStream writes to, and any other stream unchanged."""
    return stream.inner if isinstance(stream, CleanStream) else stream

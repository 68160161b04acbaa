"""Finds the end of a call: its closing mark, except one inside a string of its JSON."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

DECODER = json.JSONDecoder(strict=False)  # models write line breaks inside strings
SPACE = re.compile(r"\s*")


class Body(NamedTuple):
    """The text between two marks.

    Attributes:
        text: the text.
        end: index of the closing mark; -1 if there is none.
        held: whether the closing mark is inside an unterminated string, so that the JSON is incomplete or invalid.
    """

    text: str
    end: int
    held: bool


def body_at(words: str, start: int, close: str, *, strings: bool = True) -> Body:
    """Returns the text of a call from `start` up to the next closing mark that is not inside a JSON string.

    If every closing mark is inside an unterminated string, the first one is taken: the text is not JSON.

    Args:
        words: the model's text.
        start: index after the opening mark.
        close: the closing mark.
        strings: whether to skip marks inside JSON strings; False after a call whose string was unterminated.
    """
    end, held = -1, False
    whole = _end_of_json(words, start) if strings else -1
    if whole >= 0:
        end = words.find(close, whole)
    else:
        end = _outside(words, start, close) if strings else -1
        if end < 0:
            end = words.find(close, start)
            held = strings and end >= 0
    return Body(words[start : end if end >= 0 else len(words)], end, held)


def _end_of_json(words: str, start: int) -> int:
    """Returns the end index of the JSON value that begins at `start`; -1 if it is incomplete or invalid."""
    begun = SPACE.match(words, start)
    assert begun is not None
    try:
        return DECODER.raw_decode(words, begun.end())[1]
    except (ValueError, RecursionError):
        return -1


def _outside(words: str, start: int, mark: str) -> int:
    """Returns the index of the first mark that is not inside a JSON string; -1 if there is none."""
    for found in _strings_or(mark).finditer(words, start):
        if found.group() == mark:
            return found.start()
    return -1


@lru_cache(maxsize=16)
def _strings_or(mark: str) -> re.Pattern[str]:
    return re.compile(rf'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|{re.escape(mark)}', re.DOTALL)

"""Where a call ends: at its closing mark, but not at one that stands inside a string of its JSON."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

DECODER = json.JSONDecoder(strict=False)  # models write line breaks inside strings
SPACE = re.compile(r"\s*")


class Body(NamedTuple):
    """What stands between two marks.

    Attributes:
        text: the words between them.
        end: the place of the closing mark; -1 where there is none.
        held: whether a string that has not ended holds the closing mark: the JSON goes on, or is none.
    """

    text: str
    end: int
    held: bool


def body_at(words: str, start: int, close: str, *, strings: bool = True) -> Body:
    """Returns what begins at `start`, up to the next `close` that no JSON string holds.

    Where every `close` stands in a string that never ends, the first one is taken: what stands there is no JSON.

    Args:
        words: what the model wrote.
        start: a place in them.
        close: the closing mark.
        strings: whether to look for strings; once one has not ended, there is no use in it.
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
    """Returns where the JSON that begins at a place ends; -1 where it does not, or is none."""
    begun = SPACE.match(words, start)
    assert begun is not None
    try:
        return DECODER.raw_decode(words, begun.end())[1]
    except (ValueError, RecursionError):
        return -1


def _outside(words: str, start: int, mark: str) -> int:
    """Returns the place of the first mark that no JSON string holds; -1 where there is none."""
    for found in _strings_or(mark).finditer(words, start):
        if found.group() == mark:
            return found.start()
    return -1


@lru_cache(maxsize=16)
def _strings_or(mark: str) -> re.Pattern[str]:
    return re.compile(rf'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|{re.escape(mark)}', re.DOTALL)

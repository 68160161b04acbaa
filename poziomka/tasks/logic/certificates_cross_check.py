"""A second parser for certificates, independent of the scorers' parser, for audits."""

import re
from collections.abc import Sequence

from poziomka.core.transcript import Transcript

LONGEST = 1000  # characters that are parsed
VALUES = {"true": True, "false": False}


def said_after(transcript: Transcript) -> str:
    """Returns the reply's text after its thought, at most the last 1,000 characters."""
    return transcript.reply.rpartition("</think>")[2].strip()[-LONGEST:]


def read_pairs(transcript: Transcript, names: Sequence[str]) -> dict[str, int | bool] | None:
    """Returns the value of each named variable, from "x = 3" or "p: true" anywhere in the answer after the thought.

    Returns None unless each of the variables has exactly one value, and no other variable has one.
    """
    found: dict[str, int | bool] = {}
    said = said_after(transcript).replace("−", "-")
    for name, value in re.findall(r"\b([a-z])\b\s*[=:]\s*(-?\d+|[Tt]rue|[Ff]alse|TRUE|FALSE)", said, re.ASCII):
        if name in found or name not in names:
            return None
        found[name] = VALUES[value.lower()] if value.lower() in VALUES else int(value[:30])
    return found if found.keys() == set(names) else None

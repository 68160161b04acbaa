"""A second parser for certificates, independent of the scorers' parser, for audits."""

import re
from collections.abc import Sequence

from poziomka.core.transcript import Transcript

LONGEST = 1000  # characters that are parsed
VALUES = {"true": True, "false": False}


def said_after(transcript: Transcript) -> str:
    """Returns the last LONGEST characters of a reply, after its thought."""
    return transcript.reply.rpartition("</think>")[2].strip()[-LONGEST:]


def read_pairs(transcript: Transcript, names: Sequence[str]) -> dict[str, int | bool] | None:
    """Returns the values of the named variables anywhere in an answer; None unless each has exactly one."""
    found: dict[str, int | bool] = {}
    said = said_after(transcript).replace("−", "-")
    for name, value in re.findall(r"\b([a-z])\b\s*[=:]\s*(-?\d+|[Tt]rue|[Ff]alse|TRUE|FALSE)", said, re.ASCII):
        if name in found or name not in names:
            return None
        found[name] = VALUES[value.lower()] if value.lower() in VALUES else int(value[:30])
    return found if found.keys() == set(names) else None

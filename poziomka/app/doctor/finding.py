"""Result of one check of the doctor."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Outcome of a check. Only FAIL means that the recipe should not be run as it is."""

    PASS = "pass"  # noqa: S105 not a password
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """Result of one check: a line of the doctor's output.

    Attributes:
        name: name of the check.
        status: pass, warn or FAIL.
        figure: the measured values, with units and bounds.
        advice: how to fix it; "" for a passed check.
    """

    name: str
    status: Status
    figure: str
    advice: str = ""

    @classmethod
    def passed(cls, name: str, figure: str) -> "Finding":
        """Returns a finding with status pass."""
        return cls(name, Status.PASS, figure)

    @classmethod
    def warned(cls, name: str, figure: str, advice: str) -> "Finding":
        """Returns a finding with status warn: the recipe can run, but may not learn as intended."""
        return cls(name, Status.WARN, figure, advice)

    @classmethod
    def failed(cls, name: str, figure: str, advice: str) -> "Finding":
        """Returns a finding with status FAIL: the recipe cannot run, or would learn the wrong thing."""
        return cls(name, Status.FAIL, figure, advice)

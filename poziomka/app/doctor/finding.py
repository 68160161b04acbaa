"""What one check found."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How it stands. Only FAIL means that the recipe should not be run as it is."""

    PASS = "pass"  # noqa: S105 no password
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        name: what was checked.
        status: pass, warn or FAIL.
        figure: what was measured, with its unit and its bound.
        advice: what to do; "" where all is well.
    """

    name: str
    status: Status
    figure: str
    advice: str = ""

    @classmethod
    def passed(cls, name: str, figure: str) -> "Finding":
        """All is well."""
        return cls(name, Status.PASS, figure)

    @classmethod
    def warned(cls, name: str, figure: str, advice: str) -> "Finding":
        """The recipe runs, and may not do what is hoped of it."""
        return cls(name, Status.WARN, figure, advice)

    @classmethod
    def failed(cls, name: str, figure: str, advice: str) -> "Finding":
        """What the recipe would learn is wrong, or it cannot run."""
        return cls(name, Status.FAIL, figure, advice)

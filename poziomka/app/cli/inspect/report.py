"""`poziomka report`: a run's page and figures, made anew from its folder alone."""

from pathlib import Path

from poziomka.reports.page import write
from poziomka.runs.run import Run


def report(folder: Path) -> Path:
    """Writes report.html and figures/ into the run's folder; returns the page's path.

    Raises:
        RunError: the folder is no run's, or cannot be written.
    """
    return write(Run.read(folder))

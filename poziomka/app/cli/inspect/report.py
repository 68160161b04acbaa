"""`poziomka report`: regenerates a run's report and figures from its folder."""

from pathlib import Path

from poziomka.reports.page import write
from poziomka.runs.run import Run


def report(folder: Path) -> Path:
    """Writes report.html and figures/ into the run's folder; returns the page's path.

    Raises:
        RunError: the folder has no run, or cannot be written to.
    """
    return write(Run.read(folder))

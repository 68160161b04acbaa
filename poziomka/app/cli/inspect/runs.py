"""`poziomka runs`: compares the runs of a folder in a table."""

from pathlib import Path

from poziomka.runs.compare import list_runs, summarise, table


def runs(root: Path) -> str:
    """Returns a table of the runs under `root`, or a sentence if there are none.

    Raises:
        RunError: the folder does not exist.
    """
    folders = list_runs(root)
    if not folders:
        return f"There are no runs in {root}; `poziomka train RECIPE` makes one."
    return table([summarise(folder) for folder in folders])

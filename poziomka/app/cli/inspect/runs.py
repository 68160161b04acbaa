"""`poziomka runs`: the runs of a folder side by side."""

from pathlib import Path

from poziomka.runs.compare import list_runs, summarise, table


def runs(root: Path) -> str:
    """Returns a table of the runs under `root`, or the sentence that there are none.

    Raises:
        RunError: there is no such folder.
    """
    folders = list_runs(root)
    if not folders:
        return f"There are no runs in {root}; `poziomka train RECIPE` makes one."
    return table([summarise(folder) for folder in folders])

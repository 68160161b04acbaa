"""Run folders: recipe, metrics, journal and checkpoints of a training run."""

from poziomka.runs.compare import Summary, list_runs, summarise, table
from poziomka.runs.run import Run
from poziomka.runs.storage.checkpoint import Checkpoint
from poziomka.runs.storage.journal import Journal, read_journal, write_journal

__all__ = [
    "Checkpoint",
    "Journal",
    "Run",
    "Summary",
    "list_runs",
    "read_journal",
    "summarise",
    "table",
    "write_journal",
]

"""Run folders: recipe, metrics, journal and checkpoints of a training run."""

from poziomka.runs.storage.checkpoint import Checkpoint
from poziomka.runs.compare import Summary, list_runs, summarise, table
from poziomka.runs.storage.journal import Journal, read_journal, write_journal
from poziomka.runs.run import Run

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

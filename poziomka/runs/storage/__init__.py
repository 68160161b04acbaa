"""Files of a run: checkpoints, journal, metrics, results."""

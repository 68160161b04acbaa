"""The folder of a run: settings, metrics, journal, checkpoints."""

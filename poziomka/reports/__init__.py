"""Reports of a run: figures, an HTML page, and summaries in sentences."""

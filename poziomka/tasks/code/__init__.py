"""Tasks of writing programs, scored by tests."""

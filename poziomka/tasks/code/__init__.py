"""Programs to write, judged by tests."""

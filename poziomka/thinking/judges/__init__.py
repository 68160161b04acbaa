"""Judges: estimates of whether a reply, or its beginning, is or will be correct, and measures of their quality."""

"""Interpreters and runners for untrusted programs."""

"""Conformance checks and fakes, for users' tests and ours."""

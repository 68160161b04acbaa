"""Conformance checks and fakes, for users' tests and ours."""

from poziomka.testing.scripted import ScriptedSampler

__all__ = ["ScriptedSampler"]

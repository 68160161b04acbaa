"""Conformance checks for implementations of the library's interfaces."""

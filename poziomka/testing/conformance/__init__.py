"""Checks that an implementation keeps an interface's promises."""

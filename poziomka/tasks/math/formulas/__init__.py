"""Parsing, evaluation, comparison and LaTeX output of formulas in answers."""

"""Formulas of answers: read, evaluated, compared and written."""

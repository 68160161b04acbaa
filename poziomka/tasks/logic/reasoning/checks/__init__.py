"""Checkers of answers to reasoning-gym problems."""

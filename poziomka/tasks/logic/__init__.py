"""Constraints, counterexamples and the reasoning-gym package."""

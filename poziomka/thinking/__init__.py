"""Strategies: samplers made of samplers."""

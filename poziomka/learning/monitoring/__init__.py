"""Checks of a training run: consistency, reward hacking, stop conditions."""

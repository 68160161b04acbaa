"""Recipes: their settings, aliases and defaults."""

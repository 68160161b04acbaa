"""Recipes: their settings, aliases, defaults and inputs."""

"""Recipes: their settings, their defaults, and aliases of other libraries."""

"""A whole run from a recipe: warm start, gate, reinforcement, evaluation, report. Wiring only."""

from poziomka.app.settings.recipe import Recipe, read_recipe
from poziomka.app.train import train, train_task

__all__ = ["Recipe", "read_recipe", "train", "train_task"]

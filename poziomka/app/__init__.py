"""Application layer: runs the stages of a recipe, evaluates the model and writes a report."""

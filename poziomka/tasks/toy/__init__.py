"""Small tasks that a model can learn from scratch."""

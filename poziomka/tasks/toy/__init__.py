"""Small tasks that a model from scratch can learn."""

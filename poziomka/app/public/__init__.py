"""Functions of `import poziomka`: load a model, train it on a task, and evaluate it."""

"""Training: samples, loss terms, optimizers, the learner, training loops and their monitors."""

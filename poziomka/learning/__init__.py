"""Batches, advantages, losses, the learner, and the loops."""

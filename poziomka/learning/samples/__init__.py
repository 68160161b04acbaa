"""Training samples: weights on tokens, packed into batches."""

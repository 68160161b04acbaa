"""Layers of the architectures: attention, feed-forward, recurrence, norms, rotary embeddings."""

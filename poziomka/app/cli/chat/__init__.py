"""The chat command: a conversation with a model, its tools and its display."""

"""Architectures, their memory, weights, tokenizers and chat formats."""

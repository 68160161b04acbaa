"""Model architectures, decode caches, checkpoints, tokenizers and chat formats."""

"""Local inference: a continuous-batching engine, a GGUF sampler, and their token-level parts."""

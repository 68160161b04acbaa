"""Import and export of GGUF files."""

"""The local engine: it writes replies, many at once."""

"""Loss terms and the log-probabilities that they need."""

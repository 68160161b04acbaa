"""Rollout collection: sampling with a strategy, answer parsing, scoring, evaluation."""

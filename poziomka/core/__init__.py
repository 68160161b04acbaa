"""Core types: transcripts, problems, tasks, samplers, strategies, environments, rollouts. Standard library only."""

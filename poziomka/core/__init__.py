"""The vocabulary: transcripts, problems, samplers, sessions, rollouts. Standard library only."""

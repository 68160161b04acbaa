"""Commands that show runs: rollouts, reports, metrics."""

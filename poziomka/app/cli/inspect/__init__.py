"""Commands that inspect runs: rollouts, reports, metrics, comparisons."""

"""From problems to judged rollouts: collecting, reading answers, scoring, evaluating."""

"""The command `poziomka think`: strategies on one task, accuracy against cost."""

"""Logic tasks: constraints, counterexamples and the data sets of reasoning-gym."""

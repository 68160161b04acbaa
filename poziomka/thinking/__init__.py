"""Strategies at test time: thinking budgets, majority voting, and Thinker, which makes a sampler of a strategy."""

"""Training loops: SFT, RL, offline."""

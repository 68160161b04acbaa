"""Training loops: SFT, RL, distillation, off-policy learning from a journal."""

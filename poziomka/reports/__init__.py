"""What a run's folder says, as figures, as one page, in words."""

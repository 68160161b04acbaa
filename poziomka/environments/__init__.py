"""What a model talks to while it answers."""

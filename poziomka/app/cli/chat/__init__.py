"""Interactive commands: chat with a model, play a task."""

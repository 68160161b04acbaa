"""Loading and saving of checkpoints in the Hugging Face layout."""

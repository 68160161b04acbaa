"""Tokenizers, chat templates and chat formats."""

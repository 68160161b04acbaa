"""Parsers and judges for answers to reasoning-gym problems."""

"""What a model talks to while it answers."""

from poziomka.environments.calculator import Calculator, calculate

__all__ = ["Calculator", "calculate"]

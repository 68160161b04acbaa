"""What a model talks to while it answers."""

from poziomka.environments.calculator import Calculator, calculate
from poziomka.environments.toolbox import Toolbox
from poziomka.environments.tools import Tool, ToolFault, tool

__all__ = ["Calculator", "Tool", "ToolFault", "Toolbox", "calculate", "tool"]

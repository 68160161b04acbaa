"""Environments that reply to a model during a rollout: tools and sandboxed interpreters."""

from poziomka.environments.tools.calculator import Calculator, calculate
from poziomka.environments.tools.tool import Tool, ToolFault, tool
from poziomka.environments.tools.toolbox import Toolbox

__all__ = ["Calculator", "Tool", "ToolFault", "Toolbox", "calculate", "tool"]

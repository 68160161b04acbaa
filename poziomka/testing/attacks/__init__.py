"""Attacks on sandboxed interpreters, and `check_interpreter`, which runs them on any interpreter.

report = check_interpreter(mine)
print(report)
assert report.passed
"""

from poziomka.testing.attacks.attack import Attack, Outcome, Report, Tried
from poziomka.testing.attacks.battery import Battery, check_interpreter
from poziomka.testing.attacks.catalogue import ATTACKS, QUICK

__all__ = ["ATTACKS", "QUICK", "Attack", "Battery", "Outcome", "Report", "Tried", "check_interpreter"]

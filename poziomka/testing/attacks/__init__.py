"""Attacks on an interpreter, and what of them it holds: try one of your own with `check_interpreter`.

report = check_interpreter(mine)
print(report)
assert report.passed
"""

from poziomka.testing.attacks.attack import Attack, Outcome, Report, Tried
from poziomka.testing.attacks.battery import Battery, check_interpreter
from poziomka.testing.attacks.catalogue import ATTACKS, QUICK

__all__ = ["ATTACKS", "QUICK", "Attack", "Battery", "Outcome", "Report", "Tried", "check_interpreter"]

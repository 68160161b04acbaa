"""`poziomka doctor`: is what a recipe builds fit to learn, before compute is burnt?"""

from poziomka.training.doctor.examine import examine, parts_of
from poziomka.training.doctor.finding import Finding, Status
from poziomka.training.doctor.groups import coloured
from poziomka.training.doctor.parts import Bench, Parts
from poziomka.training.doctor.sandbox import sandbox

__all__ = ["Bench", "Finding", "Parts", "Status", "coloured", "examine", "parts_of", "sandbox"]

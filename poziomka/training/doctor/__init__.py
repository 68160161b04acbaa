"""`poziomka doctor`: is what a recipe builds fit to learn, before compute is burnt?"""

from poziomka.training.doctor.examine import examine, parts_of
from poziomka.training.doctor.finding import Finding, Status
from poziomka.training.doctor.groups import coloured
from poziomka.training.doctor.parts import Bench, Parts
from poziomka.training.doctor.sandbox import held_for, interpreters_of, sandbox

__all__ = [
    "Bench",
    "Finding",
    "Parts",
    "Status",
    "coloured",
    "examine",
    "held_for",
    "interpreters_of",
    "parts_of",
    "sandbox",
]

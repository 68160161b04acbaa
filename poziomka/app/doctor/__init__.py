"""Checks of `poziomka doctor`: tests the components that a recipe builds, before training."""

from poziomka.app.doctor.examine import examine, parts_of
from poziomka.app.doctor.finding import Finding, Status
from poziomka.app.doctor.groups import coloured
from poziomka.app.doctor.parts import Bench, Parts
from poziomka.app.doctor.sandbox import held_for, interpreters_of, sandbox

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

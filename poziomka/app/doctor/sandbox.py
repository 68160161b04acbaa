"""Checks of the code sandbox on this machine: runs a few attacks on each interpreter and reports its isolation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from poziomka.app.doctor.finding import Finding
from poziomka.core.errors import PoziomkaError
from poziomka.environments.sandbox.interpreter import CALL, Interpreter
from poziomka.environments.sandbox.registry import interpreter_named, reasons
from poziomka.testing.attacks import QUICK, Report, check_interpreter

LIMITS = replace(CALL, seconds=0.2, memory=64 * 2**20, file=2**18)  # small, since attacks exceed them slightly
KNOW = "run nothing there for which this is too little"
MEND = "do not run a model's code there: report what was reached, and name another interpreter"


def interpreters_of(tools: str | None) -> list[str]:
    """Returns the names of the interpreters that a recipe's tools use.

    Args:
        tools: the recipe's setting, such as "python+search:docs" (see environments/tools/registry.py); None for none.
    """
    parts = [part.strip().partition(":") for part in (tools or "").split("+")]
    return [where or "monty" for kind, _, where in parts if kind == "python"]


def held_for(names: Sequence[str]) -> Iterator[Finding]:
    """Runs a few attacks on each named interpreter; yields a finding for each: whether any attack reached something."""
    for name in names:
        yield next(_attacked(name))


def sandbox() -> Iterator[Finding]:
    """Examines every known interpreter of the sandbox on this machine.

    Yields, for each, whether it is available, whether attacks reached anything, how many attacks it held on each
    surface (files, network, …), and what it does not protect from.
    """
    absent = reasons()
    for name, why in absent.items():
        if why:
            here = [other for other, reason in absent.items() if not reason]
            advice = f"name {' or '.join(here)} instead" if here else "without one no code can run"
            yield Finding.warned(name, f"not here: {why}", advice)
        else:
            yield from _attacked(name)
    if all(absent.values()):
        yield Finding.failed("interpreters", "none is here", "pip install 'poziomka[sandbox]'")


def _attacked(name: str) -> Iterator[Finding]:
    try:
        interpreter = interpreter_named(name, LIMITS)
        try:
            report = check_interpreter(interpreter, QUICK)
        finally:
            interpreter.close()
    except PoziomkaError as error:
        yield Finding.failed(name, str(error), MEND)
        return
    yield _verdict(name, report)
    yield from _surfaces(interpreter, report)
    told = interpreter.isolation().not_protected
    if told:
        yield Finding.warned(f"{name}: not held", " ".join(told), KNOW)


def _verdict(name: str, report: Report) -> Finding:
    seconds = sum(tried.seconds for tried in report.tried)
    figure = f"{report.figure()} attacks in {seconds:.1f} s"
    if report.reached:
        first = report.reached[0]
        return Finding.failed(name, f"{figure}; reached: {first.attack.name}, {first.seen}", MEND)
    return Finding.passed(name, figure)


def _surfaces(interpreter: Interpreter, report: Report) -> Iterator[Finding]:
    counts = report.surfaces()
    for surface, by in interpreter.isolation().held.items():
        held, of = counts.get(surface, (0, 0))
        figure = f"held {held} of {of}: {by}"
        where = f"{interpreter.name}: {surface.value}"
        yield Finding.passed(where, figure) if held == of else Finding.failed(where, figure, MEND)

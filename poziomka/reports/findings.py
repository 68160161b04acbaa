"""What a run found, in plain sentences with intervals, for the page, its alternative texts and the command line."""

from collections.abc import Sequence
from statistics import fmean

from poziomka.core.evaluation import Estimate
from poziomka.reports.reading import AFTER, BEFORE, Point, Reading, estimate
from poziomka.reports.words import finite, percent, scaled

WITHIN = "\N{EN DASH}"
EDGE = "curriculum/edge_pass_rate"


def interval(value: Estimate) -> str:
    """Returns an estimate as a person reads it: "93 % (91–95 %)"."""
    return f"{percent(value.mean)} ({100 * value.low:.0f}{WITHIN}{percent(value.high)})"


def headline(reading: Reading) -> str:
    """Returns the result in one sentence, or says that there is none yet."""
    before, after = (_by_budget(reading.curve(model).budgets) for model in (BEFORE, AFTER))
    if after:
        largest, smallest = after[-1], after[0]
        said = []
        same = [point for point in before if point.label == largest.label]
        if same:
            said.append(
                f"Reinforcement took held-out accuracy from {interval(same[0].accuracy)} to "
                f"{interval(largest.accuracy)} at a budget of {largest.label} thinking tokens"
                f"{_overlap(same[0].accuracy, largest.accuracy)}"
            )
        if smallest.label < largest.label:
            said.append(
                f"{'more thinking' if said else 'More thinking'}, a budget of {largest.label} instead of "
                f"{smallest.label}, takes the trained model from {interval(smallest.accuracy)} to "
                f"{interval(largest.accuracy)}{_overlap(smallest.accuracy, largest.accuracy)}"
            )
        if not said:
            said.append(f"The trained model reaches {interval(largest.accuracy)} of held-out problems")
        return "; ".join(said) + "."
    if len(reading.learning) > 1:
        first, last = reading.learning[0], reading.learning[-1]
        return (
            f"Reinforcement took held-out accuracy from {interval(first.accuracy)} to {interval(last.accuracy)} "
            f"with {scaled(last.x, 'FLOPs')}{_overlap(first.accuracy, last.accuracy)}."
        )
    return "This run's folder holds no comparison yet: nothing was evaluated both before and after training."


def _by_budget(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.label)


def _overlap(a: Estimate, b: Estimate) -> str:
    apart = a.high < b.low or b.high < a.low
    return "" if apart else " (the intervals overlap: this may be chance)"


def gate(reading: Reading) -> str:
    """Returns what the gate before reinforcement measured; "" where nothing was recorded."""
    direct, thinking = (estimate(reading.gate.get(name)) for name in ("direct", "thinking"))
    margin = finite(reading.gate.get("margin"))
    if direct is None or thinking is None:
        return ""
    said = (
        f"Before reinforcement, the warm start solved {interval(thinking)} of held-out problems given thought, and "
        f"{interval(direct)} answering directly: {100 * (thinking.mean - direct.mean):.0f} points more"
    )
    if margin is not None:
        said += f", where at least {100 * margin:.0f} were demanded"
    outcome = reading.gate.get("passed")
    if isinstance(outcome, bool):
        said += "; the gate was passed" if outcome else "; the gate was not passed, so nothing was reinforced"
    return said + "."


def curriculum(reading: Reading) -> str:
    """Returns how the range of levels that problems came from moved; "" where none was logged."""
    ranges = [
        (int(low), int(high))
        for line in reading.stage("reinforce")
        if (low := finite(line.get("curriculum/level_low"))) is not None
        and (high := finite(line.get("curriculum/level_high"))) is not None
    ]
    if not ranges:
        return ""
    (low, high), (last_low, last_high) = ranges[0], ranges[-1]
    top = max(high for _, high in ranges)
    said = f"Reinforcement began with problems of {_levels(low, high)} and ended with {_levels(last_low, last_high)}"
    if top > last_high:
        said += f", after it had reached up to level {top}"
    rates = [rate for line in reading.stage("reinforce") if (rate := finite(line.get(EDGE))) is not None]
    if rates:
        said += f"; in its last steps {percent(fmean(rates[-10:]))} of attempts at the highest level were right"
    return said + "."


def _levels(low: int, high: int) -> str:
    return f"level {low}" if low == high else f"levels {low} to {high}"


def compute_alternative(reading: Reading) -> str:
    """Returns the left figure in words."""
    first, last = reading.learning[0], reading.learning[-1]
    said = (
        f"Held-out accuracy against reinforcement compute, {len(reading.learning)} evaluations: from "
        f"{interval(first.accuracy)} at {scaled(first.x, 'FLOPs')} to {interval(last.accuracy)} "
        f"at {scaled(last.x, 'FLOPs')}."
    )
    if first.thinking is not None and last.thinking is not None:
        said += f" An attempt thinks {first.thinking:.1f} tokens at first and {last.thinking:.1f} at the end."
    return said


def thinking_alternative(reading: Reading) -> str:
    """Returns the right figure in words."""
    said = ["Held-out accuracy against the thinking tokens really spent on a problem."]
    for curve in reading.curves:
        for name, points in (("one thought", curve.budgets), ("majority", curve.majority), ("oracle", curve.oracle)):
            if points:
                ordered = sorted(points, key=lambda point: point.x)
                first, last = ordered[0], ordered[-1]
                said.append(
                    f"{curve.model}, {name}: {percent(first.accuracy.mean)} at {first.x:.0f} tokens to "
                    f"{percent(last.accuracy.mean)} at {last.x:.0f}."
                )
    return " ".join(said)

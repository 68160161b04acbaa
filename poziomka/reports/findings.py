"""Results of a run as sentences with intervals, for the page, its alternative texts and the command line."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.reading import AFTER, BEFORE, FORCED, START, Point, Reading, estimate
from poziomka.reports.words import MINUS, counted, finite, percent, scaled

WITHIN = "\N{EN DASH}"
EDGE = "curriculum/edge_pass_rate"
LOST = 0.1  # nats per token: the smallest decrease that a report counts as lost general knowledge
STAGES = {START: "at the start", BEFORE: "after the warm start", AFTER: "after reinforcement"}


def interval(value: Estimate) -> str:
    """Formats a share and its interval as percentages: "93 % (91–95 %)"."""
    return f"{percent(value.mean)} ({100 * value.low:.0f}{WITHIN}{percent(value.high)})"


def points(value: Estimate) -> str:
    """Formats a difference of shares and its interval in percentage points: "+7 points (+4 to +9)"."""
    return f"{_signed(value.mean)} points ({_signed(value.low)} to {_signed(value.high)})"


def _signed(share: float) -> str:
    number = round(100 * share)
    return f"{number:+d}".replace("-", MINUS) if number else "0"


GAINS = {  # by key in results/gains.json
    "equal_thinking": "at equal thinking: trained, made to think, over the warm start, made to think",
    "over_made_to_think": "trained, free to answer at once, over the warm start, made to think",
    "free": "trained over the warm start, both free to answer at once: when to think counts too",
}


def gains(reading: Reading) -> list[tuple[str, Estimate]]:
    """Returns (description of the comparison, gain in accuracy) of each gain in results/gains.json."""
    named = GAINS if reading.thinks else {"free": "after reinforcement over before it"}
    found = [(said, estimate(reading.gains.get(name))) for name, said in named.items()]
    return [(reading.named(said), gain) for said, gain in found if gain is not None]


def failures(point: Point) -> str:
    """Formats the failed checks of an evaluation as "3; 61–64 %; 96 problems judged"; "" if none failed.

    These are the number of failed checks, the accuracy if all of them count as wrong and if all count as right, and the
    number of problems with a judged attempt.
    """
    checks, problems = (finite(point.failures.get(name)) for name in ("checks", "problems"))
    wrong, right = (finite(point.failures.get(name)) for name in ("as_wrong", "as_right"))
    if checks is None or problems is None or wrong is None or right is None:
        return ""
    return f"{checks:.0f}; {100 * wrong:.0f}{WITHIN}{percent(right)}; {counted(int(problems), 'problem')} judged"


def headline(reading: Reading) -> str:
    """Returns the main result of the run in one sentence, or a sentence that there is none yet."""
    before, after = (_by_budget(reading.curve(model).budgets) for model in (BEFORE, AFTER))
    if after and reading.lines and not reading.stage("rl"):
        return (
            f"This run took no step of reinforcement: its model solves {interval(after[-1].accuracy)} of test "
            f"problems{reading.at(after[-1].label)}."
        )
    if after:
        said = [*_compared(reading, before, after), *_thought(reading, after)]
        if not said:
            said.append(f"the trained model solves {interval(after[-1].accuracy)} of test problems")
        sentence = "; ".join(said)
        return f"{sentence[:1].upper()}{sentence[1:]}."
    if len(reading.learning) > 1:
        first, last = reading.learning[0], reading.learning[-1]
        went = (
            "Reinforcement learning took validation accuracy",
            "Reinforcement learning did not change validation accuracy",
        )
        moved = _moved(*went, first.accuracy, last.accuracy)
        return f"{moved} with {scaled(last.x, 'FLOPs')}{_overlap(first.accuracy, last.accuracy)}."
    return "This run's folder holds no comparison yet: nothing was evaluated both before and after training."


def _compared(reading: Reading, before: Sequence[Point], after: Sequence[Point]) -> list[str]:
    """Returns clauses on the effect of reinforcement: first at equal thinking, then if the model may skip thinking."""
    said = []
    gain, budget = estimate(reading.gains.get("equal_thinking")), finite(reading.gains.get("budget"))
    forced = [_at(reading.curve(model + FORCED).budgets, budget) for model in (BEFORE, AFTER)]
    first, last = forced
    if gain is not None and first is not None and last is not None:
        said.append(
            f"made to think, with a budget of {budget:.0f} thinking tokens, the model solves {interval(last.accuracy)} "
            f"of test problems after reinforcement and {interval(first.accuracy)} before it: "
            f"{points(gain)} at equal thinking"
        )
        if reading.curve(BEFORE).always_thinks and reading.curve(AFTER).always_thinks:
            return [*said, "it always thinks, so that making it think changes nothing"]
    same = [point for point in before if point.label == after[-1].label]
    if same:
        old, new, label = same[0].accuracy, after[-1].accuracy, after[-1].label
        paired = estimate(reading.gains.get("free")) if budget == label else None
        chance = _overlap(old, new) if paired is None else _paired(paired)
        went = "reinforcement learning took test accuracy", "reinforcement learning did not change test accuracy"
        free = "free to answer at once, it went", "free to answer at once, its accuracy did not change"
        said.append(f"{_moved(*(free if said else went), old, new)}{reading.at(label)}{chance}")
    return said


def _moved(moved: str, unchanged: str, before: Estimate, after: Estimate) -> str:
    """Returns "MOVED from … to …" for an accuracy before and after training, or "UNCHANGED: …" if they are equal."""
    if before.mean == after.mean:
        return f"{unchanged}: {interval(after)}"
    return f"{moved} from {interval(before)} to {interval(after)}"


def _paired(gain: Estimate) -> str:
    """Returns a gain that was paired by problem, and whether it may be chance; "" for a gain of 0."""
    if gain.mean == 0:
        return ""
    return f", paired by problem {points(gain)}" + ", which may be chance" * (gain.low <= 0 <= gain.high)


def _thought(reading: Reading, after: Sequence[Point]) -> list[str]:
    """Returns one clause or none on the trained model's gain from thinking: without a thought, or over its budgets."""
    smallest, largest, once = after[0], after[-1], reading.curve(AFTER).at_once
    if once is not None:
        return [f"the trained model made to answer at once solves {interval(once.accuracy)}"]
    if not reading.thinks or smallest.label >= largest.label:
        return []
    said = (
        f"more thinking, a budget of {largest.label} instead of {smallest.label}, takes the trained model from "
        f"{interval(smallest.accuracy)} to {interval(largest.accuracy)}"
        f"{_overlap(smallest.accuracy, largest.accuracy)}, though a thought that is cut off at {smallest.label} tokens "
        "may be unable to hold the answer"
    )
    return [said]


def _at(points: Sequence[Point], budget: float | None) -> Point | None:
    return next((point for point in points if point.label == budget), None)


def _by_budget(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point.label)


def _overlap(a: Estimate, b: Estimate) -> str:
    apart = a.high < b.low or b.high < a.low
    return "" if apart or a.mean == b.mean else " (the intervals overlap: this may be chance)"


def references(reading: Reading) -> str:
    """Returns a sentence on the accuracy of the task's reference policies on the same problems; "" if it has none."""
    reached = [
        f"{name} {percent(point.accuracy.mean)}"
        for name, points_ in reading.references.items()
        for point in points_
        if point.label == reading.reference_budget
    ]
    if not reached:
        return ""
    return (
        f"Known policies solve, of the same problems within {reading.reference_budget} thinking tokens (computed, not "
        f"sampled): {', '.join(reached)}."
    )


def gate(reading: Reading) -> str:
    """Returns a sentence on the gate before reinforcement (thinking against direct answers); "" if not recorded."""
    direct, thinking = (estimate(reading.gate.get(name)) for name in ("direct", "thinking"))
    margin = finite(reading.gate.get("margin"))
    if direct is None or thinking is None:
        return ""
    more = round(100 * (thinking.mean - direct.mean))
    difference = "as many" if more == 0 else f"{abs(more)} points {'more' if more > 0 else 'fewer'}"
    said = (
        f"Before reinforcement, the {reading.named(BEFORE)} solved {interval(thinking)} of validation problems made to "
        f"think, and {interval(direct)} made to answer at once: {difference}"
    )
    if margin is not None and margin > 0:
        said += f", where at least {100 * margin:.0f} more were demanded"
    outcome = reading.gate.get("passed")
    if isinstance(outcome, bool) and (margin is None or margin > -1):
        said += "; the gate was passed" if outcome else "; the gate was not passed, so nothing was reinforced"
    return said + "."


def forgetting(reading: Reading) -> str:
    """Returns sentences on forgotten general knowledge; "" unless it was measured at least twice.

    The measure is the mean log-probability, in nats per token, of the right answers to general questions.
    """
    table = reading.forgetting.get("logprobs")
    measured = table if isinstance(table, Mapping) else {}
    values = {when: value for when in STAGES if (value := finite(measured.get(when))) is not None}
    questions = finite(reading.forgetting.get("questions"))
    if START not in values or len(values) < 2 or questions is None:
        return ""
    *_, last = values.values()
    lost = values[START] - last
    stages = STAGES | ({BEFORE: "before reinforcement"} if reading.named(BEFORE) != BEFORE else {})
    shown = [f"{value:.2f} {stages[when]}".replace("-", MINUS) for when, value in values.items()]
    said = (
        f"Forgetting, on {counted(int(questions), 'general question')} that no run trains on: the right answers have a "
        f"mean log-probability of {', '.join(shown[:-1])} and {shown[-1]}, in nats a token; "
    )
    if lost >= LOST:
        return f"{said}the model lost general knowledge ({lost:.2f}): lower learning rates or fewer updates lose less."
    return f"{said}these questions show no loss of {LOST:g} or more."


def curriculum(reading: Reading) -> str:
    """Returns a sentence on the range of problem levels over reinforcement; "" if none was logged."""
    ranges = [
        (int(low), int(high))
        for line in reading.stage("rl")
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
    rates = [rate for line in reading.stage("rl") if (rate := finite(line.get(EDGE))) is not None]
    if rates:
        said += f"; in its last steps {percent(fmean(rates[-10:]))} of attempts at the highest level were right"
    return said + "."


def _levels(low: int, high: int) -> str:
    return f"level {low}" if low == high else f"levels {low} to {high}"


def compute_alternative(reading: Reading) -> str:
    """Returns the alternative text, for screen readers, of the figure of accuracy against compute."""
    first, last = reading.learning[0], reading.learning[-1]
    said = (
        f"Held-out accuracy against reinforcement compute, {len(reading.learning)} evaluations: from "
        f"{interval(first.accuracy)} at {scaled(first.x, 'FLOPs')} to {interval(last.accuracy)} "
        f"at {scaled(last.x, 'FLOPs')}."
    )
    if first.thinking is not None and last.thinking is not None:
        spends = "thinks" if reading.thinks else "has"
        said += f" An attempt {spends} {first.thinking:.1f} tokens at first and {last.thinking:.1f} at the end."
    return said


def thinking_alternative(reading: Reading) -> str:
    """Returns the alternative text, for screen readers, of the figure of accuracy against the tokens of attempts."""
    said = [f"Held-out accuracy against the {reading.tokens} really spent on a problem."]
    one = "one thought" if reading.thinks else "one reply"
    for curve in reading.curves:
        for name, points in ((one, curve.budgets), ("majority", curve.majority), ("oracle", curve.oracle)):
            if points:
                ordered = sorted(points, key=lambda point: point.x)
                first, last = ordered[0], ordered[-1]
                said.append(
                    f"{reading.named(curve.model)}, {name}: {percent(first.accuracy.mean)} at {first.x:.0f} tokens to "
                    f"{percent(last.accuracy.mean)} at {last.x:.0f}."
                )
    return " ".join(said)

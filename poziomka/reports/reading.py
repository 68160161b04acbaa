"""Reading of a run's folder for the report; missing or damaged files are listed instead of raised as errors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from poziomka.core.errors import PoziomkaError
from poziomka.core.rollout import Rollout
from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.words import finite
from poziomka.runs.recipe import opens_thoughts, stage_kinds
from poziomka.runs.run import Run

BEFORE, AFTER = "warm start", "trained"  # the two models that a report compares, by their names in results
BASE = "base model"  # name of the first one in a report, if the recipe has no supervised stage
START = "start"  # the model before any training of the run
FORCED = ", made to think"  # suffix for a model whose thoughts may not close before their first token
UNREADABLE = (PoziomkaError, OSError, ValueError, KeyError)  # errors of damaged or foreign files

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation on held-out problems, a point of a curve.

    Attributes:
        x: cost: FLOPs of reinforcement, or thinking tokens per problem.
        accuracy: share of correct attempts, with its interval.
        label: thinking budget in tokens, number of attempts, or step, depending on the curve.
        thinking: mean thinking tokens per attempt; None if not measured.
        failures: number of failed checks, and the accuracy with all of them wrong and all right; empty if none failed.
    """

    x: float
    accuracy: Estimate
    label: int = 0
    thinking: float | None = None
    failures: Table = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy of one model against thinking tokens, for several thinking strategies.

    Attributes:
        model: "warm start" or "trained", with the suffix FORCED (", made to think") if the model was made to think.
        budgets: single attempts, with thoughts cut off at growing budgets.
        majority: majority vote of k attempts, at equal tokens.
        oracle: probability that at least one of k attempts is correct (pass@k).
        at_once: the model made to answer without a thought; None if not measured.
        always_thinks: whether every attempt had a thought, so that forcing thoughts changes nothing.
    """

    model: str
    budgets: tuple[Point, ...]
    majority: tuple[Point, ...]
    oracle: tuple[Point, ...]
    at_once: Point | None = None
    always_thinks: bool = False

    @property
    def weights(self) -> str:
        """Name of the model without the suffix FORCED: "warm start" or "trained"."""
        return self.model.removesuffix(FORCED)

    @property
    def forced(self) -> bool:
        """Whether the model was made to think: its thoughts could not end before their first token."""
        return self.model.endswith(FORCED)

    @property
    def marks(self) -> tuple[Point, ...]:
        """Points of the main line: budgets, else majority, else oracle."""
        return self.budgets or self.majority or self.oracle

    def drawable(self) -> "Curve":
        """Returns a copy without the points at 0 tokens, which a log axis cannot show."""
        lines = (self.budgets, self.majority, self.oracle)
        budgets, majority, oracle = (tuple(point for point in line if point.x > 0) for line in lines)
        return replace(self, budgets=budgets, majority=majority, oracle=oracle)


@dataclass(frozen=True, slots=True)
class Pair:
    """The same attempt at the same problem, before and after training."""

    before: Rollout
    after: Rollout


@dataclass
class Reading:
    """The data of a report, read from a run's folder, and a list of missing data.

    Attributes:
        folder: the run's folder.
        recipe: the run's settings, as nested tables of JSON values.
        lines: parsed lines of metrics.jsonl.
        learning: accuracy on validation problems against reinforcement FLOPs.
        forced: accuracy of the warm start, made to think, on the same problems; None if not measured.
        curves: held-out accuracy against thinking tokens.
        references: accuracy of the task's reference policies at each budget, by name; empty if there are none.
        reference_budget: budget at which models and reference policies are compared.
        frontier, gains, gate, cost, alarms, forgetting: contents of results/NAME.json; empty if absent or damaged.
        pairs: rollouts before and after training, in the journal's order.
        flagged: rollouts that alarms refer to, by id.
        origin: versions, commit and machine.
        notes: limitations of the run, as written by its author.
        missing: one sentence for each missing or damaged part.
    """

    folder: Path
    recipe: Table = field(default_factory=dict)
    lines: Sequence[Table] = ()
    learning: Sequence[Point] = ()
    forced: Estimate | None = None
    curves: Sequence[Curve] = ()
    references: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    reference_budget: int = 0
    frontier: Table = field(default_factory=dict)
    gains: Table = field(default_factory=dict)
    gate: Table = field(default_factory=dict)
    cost: Table = field(default_factory=dict)
    alarms: Table = field(default_factory=dict)
    forgetting: Table = field(default_factory=dict)
    origin: Table = field(default_factory=dict)
    pairs: Sequence[Pair] = ()
    flagged: Mapping[str, Rollout] = field(default_factory=dict)
    notes: Sequence[str] = ()
    missing: list[str] = field(default_factory=list)

    def named(self, text: str) -> str:
        """Returns a text with "base model" in place of "warm start", if no stage of the recipe is supervised."""
        stages = self.recipe.get("stage")
        tables = [each for each in stages if isinstance(each, Mapping)] if isinstance(stages, list) else []
        supervised = not tables or any(each.get("kind") == "sft" for each in tables)
        return text if supervised else text.replace(BEFORE, BASE)

    @property
    def thinks(self) -> bool:
        """Whether replies begin with an open thought; if not, what is recorded as thinking tokens is all tokens."""
        return opens_thoughts(self.recipe)

    @property
    def tokens(self) -> str:
        """Name of the tokens that a reply spends: "thinking tokens", or "tokens" of a model that does not think."""
        return "thinking tokens" if self.thinks else "tokens"

    def at(self, budget: object) -> str:
        """Returns " at a budget of … thinking tokens"; "" for a model that does not think."""
        return f" at a budget of {budget} thinking tokens" if self.thinks else ""

    def stage(self, kind: str) -> list[Table]:
        """Returns the metrics of all stages of a kind ("sft", "rl", …), or of "evaluate", oldest first."""
        kinds = stage_kinds(self.recipe)
        named = [(line, str(line.get("stage")).replace("-", "_")) for line in self.lines]
        return [line for line, name in named if kinds.get(str(line.get("stage")), kinds.get(name, name)) == kind]

    def curve(self, model: str) -> Curve:
        """Returns the curve of a model; an empty curve if there is none."""
        return next((curve for curve in self.curves if curve.model == model), Curve(model, (), (), ()))


def read(run: Run, *, journals: bool = True) -> Reading:
    """Reads a run's folder for a report; `journals=False` skips the rollouts.

    A missing or damaged file raises no error: it is listed in `Reading.missing`.
    """
    reading = Reading(run.folder, run.recipe)
    try:
        reading.lines = run.metrics()
        reading.missing += [f"{note[:1].upper()}{note[1:]}." for note in run.notes]
    except UNREADABLE as error:
        reading.missing.append(f"The metrics cannot be read: {error}.")
    reading.learning = tuple(_learning(reading.stage("evaluate")))
    reading.forced = _forced(reading.stage("evaluate"))
    if not reading.learning:
        reading.missing.append("No evaluation was made during reinforcement: metrics.jsonl has no such line.")
    reading.frontier = _results(run, "frontier", f"accuracy against {reading.tokens}", reading.missing)
    curves = reading.frontier.get("curves")
    reading.curves = [_curve(model, curve) for model, curve in curves.items()] if isinstance(curves, Mapping) else []
    unthought = [curve.model for curve in reading.curves if len(curve.drawable().budgets) < len(curve.budgets)]
    reading.missing += [
        f"At some budgets the {reading.named(model)} thought no token; a log axis has no place for these, the table of "
        "numbers does."
        for model in unthought
    ]
    reading.references, reading.reference_budget = _references(run, reading.missing)
    reading.gains = _results(run, "gains", "what was gained" + " at equal thinking" * reading.thinks, reading.missing)
    if reading.thinks:
        reading.gate = _results(run, "gate", "whether thought was better than the direct answer", reading.missing)
    reading.cost = _results(run, "cost", "what the run cost", reading.missing)
    reading.alarms = alarms_of(run, reading.missing)
    reading.forgetting = _optional(run, "forgetting", reading.missing)
    notes = _results(run, "notes", "what the run does not show", reading.missing).get("not_shown")
    reading.notes = [str(note) for note in notes] if isinstance(notes, list) else []
    try:
        reading.origin = run.provenance()
    except UNREADABLE as error:
        reading.missing.append(f"The run's origin cannot be read: {error}.")
    if journals:
        reading.pairs = _pairs(run, reading.missing)
        reading.flagged = _flagged(run, reading.alarms, reading.missing)
    return reading


def _references(run: Run, missing: list[str]) -> tuple[Mapping[str, Sequence[Point]], int]:
    """Returns the points of results/references.json by policy, and its budget; {} and 0 if the task has none."""
    saved = _optional(run, "references", missing)
    curves = saved.get("curves")
    rows = curves.items() if isinstance(curves, Mapping) else ()
    found = {str(name): tuple(_points(_exact(points), "budget")) for name, points in rows}
    return {name: points for name, points in found.items() if points}, int(finite(saved.get("budget")) or 0)


def _exact(points: Any) -> list[Table]:
    """Returns the saved points of a reference policy, with the accuracy as a saved estimate without bounds."""
    rows = [row for row in points if isinstance(row, Mapping)] if isinstance(points, list) else []
    return [{**row, "accuracy": {"mean": row.get("accuracy")}} for row in rows]


def alarms_of(run: Run, missing: list[str]) -> Table:
    """Returns the contents of results/alarms.json; {} if there is none, as without reinforcement learning.

    If the file is damaged, a sentence about it is added to `missing`.
    """
    return _optional(run, "alarms", missing)


def _optional(run: Run, name: str, missing: list[str]) -> Table:
    """Returns the contents of results/`name`.json; {} if it is absent, or damaged, which is added to `missing`."""
    try:
        return run.results(name) or {}
    except UNREADABLE as error:
        missing.append(f"results/{name}.json cannot be read: {error}.")
        return {}


def rung(alarms: Table) -> list[Table]:
    """Returns the raised alarms in the contents of results/alarms.json, without malformed entries."""
    found = alarms.get("rung")
    return [alarm for alarm in found if isinstance(alarm, Mapping)] if isinstance(found, list) else []


def examples_of(alarm: Table) -> list[tuple[str, str, str]]:
    """Returns (journal, rollout id, result of the audit or "") of each rollout that a saved alarm refers to."""
    found = alarm.get("rollouts")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    return [(str(row.get("journal")), str(row.get("id")), str(row.get("audit") or "")) for row in rows]


def _flagged(run: Run, alarms: Table, missing: list[str]) -> dict[str, Rollout]:
    wanted: dict[str, set[str]] = {}
    for alarm in rung(alarms):
        for journal, name, _ in examples_of(alarm):
            wanted.setdefault(journal, set()).add(name)
    found: dict[str, Rollout] = {}
    for journal, names in wanted.items():
        found |= {rollout.id: rollout for rollout in _journal(run, journal, missing) if rollout.id in names}
    return found


def _results(run: Run, name: str, about: str, missing: list[str]) -> Table:
    try:
        found = run.results(name)
    except UNREADABLE as error:
        missing.append(f"results/{name}.json cannot be read: {error}.")
        return {}
    if not found:
        missing.append(f"There is no results/{name}.json, which says {about}.")
    return found or {}


def estimate(value: Any) -> Estimate | None:
    """Returns a saved estimate {mean, low, high} parsed, with the mean for a missing bound; None without a mean."""
    if not isinstance(value, Mapping):
        return None
    mean = finite(value.get("mean"))
    if mean is None:
        return None
    low, high = finite(value.get("low")), finite(value.get("high"))
    return Estimate(mean, mean if low is None else low, mean if high is None else high)


def _learning(lines: Sequence[Table]) -> Iterator[Point]:
    for line in lines:
        flops = finite(line.get("compute/reinforce_flops"))
        mean, low, high = (line.get(f"evaluate/accuracy{end}") for end in ("", "_low", "_high"))
        accuracy = estimate({"mean": mean, "low": low, "high": high})
        if flops is not None and accuracy is not None:
            tokens = line.get("evaluate/thinking_tokens", line.get("evaluate/tokens"))
            yield Point(flops, accuracy, int(line.get("step", 0)), finite(tokens))


def _forced(lines: Sequence[Table]) -> Estimate | None:
    names = {"mean": "", "low": "_low", "high": "_high"}
    found = ({end: line.get(f"evaluate/made_to_think{name}") for end, name in names.items()} for line in lines)
    return next((each for line in found if (each := estimate(line)) is not None), None)


def _curve(model: str, saved: Any) -> Curve:
    table = saved if isinstance(saved, Mapping) else {}
    once = table.get("at_once")
    at_once = _points([{**once, "budget": 0, "accuracy": once}] if isinstance(once, Mapping) else [], "budget")
    return Curve(
        model,
        tuple(_points(table.get("budgets"), "budget")),
        tuple(_points(table.get("majority"), "attempts")),
        tuple(_points(table.get("oracle"), "attempts")),
        next(at_once, None),
        table.get("always_thinks") is True,
    )


def _points(saved: Any, label: str) -> Iterator[Point]:
    """Yields the valid points of one saved line of a curve.

    Args:
        saved: list of saved points; x is their thinking tokens, or all tokens if thinking was not counted.
        label: key of the point's label, "budget" or "attempts".
    """
    for row in saved if isinstance(saved, list) else ():
        if not isinstance(row, Mapping):
            continue
        accuracy = estimate(row.get("accuracy"))
        x = finite(row.get("thinking_tokens"))
        x = finite(row.get("tokens")) if x is None else x
        if accuracy is not None and x is not None and x >= 0:
            failures = row.get("failures")
            label_of = int(finite(row.get(label)) or 0)
            yield Point(x, accuracy, label_of, x, failures if isinstance(failures, Mapping) else {})


def attempt_of(rollout: Rollout) -> str:
    """Returns the attempt number of a rollout at its problem, the last part of its id."""
    return rollout.id.rpartition("/")[2]


def _pairs(run: Run, missing: list[str]) -> list[Pair]:
    before, after = (_journal(run, name, missing) for name in ("warm-start", "trained"))
    first = {(rollout.problem.key, attempt_of(rollout)): rollout for rollout in before}
    names = [(rollout, (rollout.problem.key, attempt_of(rollout))) for rollout in after]
    pairs = [Pair(first[name], rollout) for rollout, name in names if name in first]
    if before and after and not pairs:
        missing.append("The journals from before and after training share no problem.")
    return pairs


def _journal(run: Run, name: str, missing: list[str]) -> list[Rollout]:
    if not (run.folder / "journal" / f"{name}.parquet").exists():
        missing.append(f"There is no journal/{name}.parquet, so its rollouts cannot be shown.")
        return []
    try:
        return run.journal(name).rollouts
    except UNREADABLE as error:
        missing.append(f"journal/{name}.parquet cannot be read: {error}.")
        return []


def chosen(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Returns at most `count` pairs as examples, of different problems, evenly over levels, whatever their scores."""
    seen: dict[str, Pair] = {}
    for pair in pairs:  # the first attempt at each problem
        seen.setdefault(pair.after.problem.key, pair)
    ordered = sorted(seen.values(), key=lambda pair: (pair.after.problem.level, pair.after.problem.key))
    if len(ordered) <= count:
        return ordered
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]


def correct(rollout: Rollout) -> bool:
    """Whether a rollout was scored as correct; False for a rollout without a score."""
    score = rollout.branches[rollout.answer].score
    return score is not None and score.correct


def tally(pairs: Sequence[Pair]) -> dict[tuple[bool, bool], int]:
    """Returns the number of pairs by (correct before training, correct after training)."""
    counts = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for pair in pairs:
        counts[correct(pair.before), correct(pair.after)] += 1
    return counts

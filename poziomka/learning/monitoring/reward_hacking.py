"""Monitor of reward hacking: raises alarms if reward rises without accuracy, or if replies degenerate.

At every step, the last few steps are compared with the first ones. Each alarm is raised at most once:

    unearned reward    the reward of answers that the audit (core/rollouts/cross_check.py) refuses has risen, and
                       accuracy under the audit by less than twice as much: a third of the new reward or more is
                       unearned
    no gain held out   the training reward rose, and held-out accuracy under the audit did not follow
    a drift            repetitive replies, empty thoughts, answers before the thought, lengths changed by a factor,
                       truncated replies, or one answer to all problems (learning/monitoring/detectors.py), while
                       accuracy does not rise and problems do not become harder

A change counts only if it exceeds its threshold and its confidence interval, clustered by problem, excludes 0. A drift
raises no alarm if accuracy rises: a model that learns to think writes longer replies and more correct answers. Every
alarm contains up to three example rollouts and the rule by which they were chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from poziomka.core.errors import LearningError
from poziomka.core.rollout import Group
from poziomka.core.rollouts.cross_check import audit
from poziomka.core.task import Task
from poziomka.learning.monitoring.clustered_stats import Moments
from poziomka.learning.monitoring.detectors import (
    DRIFTS,
    EXAMPLES,
    NO_GAIN,
    REFUSED,
    UNEARNED,
    UNEARNED_HELD_OUT,
    Attempt,
    Record,
    attempts_in,
    metrics_of,
    record_of,
    showing,
    together,
)
from poziomka.learning.monitoring.monitor import Monitor
from poziomka.learning.monitoring.thresholds import FEWEST, AlarmSettings, drifted, no_gain, unearned
from poziomka.runs.run import Run

MEMORY = 20  # steps; unearned reward is also compared with so many steps before, lest early learning hide its rise
BELL = "ALARM, "  # prefix of an alarm in the run's notes
UNAUDITED = (
    "there is no second opinion on rewards: the task has neither an audit nor gold answers, so an unearned reward "
    "would show only in how replies look"
)


@dataclass(frozen=True)
class Example:
    """Reference to a rollout that an alarm shows as an example.

    Attributes:
        journal: name of the journal that contains it, "step-000012" for example.
        id: id of the rollout.
        audit: verdict and reason of the audit (the second scorer), in one line; "" without an audit.
    """

    journal: str
    id: str
    audit: str = ""


@dataclass(frozen=True)
class Alarm:
    """An alarm of reward hacking, with its evidence.

    Attributes:
        name: name of the alarm.
        step: step of the run at which it was raised, as in metrics and journal.
        sentence: description of the change, with figures.
        rule: description of how the example rollouts were chosen.
        rollouts: up to three examples.
    """

    name: str
    step: int
    sentence: str
    rule: str
    rollouts: tuple[Example, ...]

    def __str__(self) -> str:
        """Returns the alarm as a note of the run: "ALARM, name: sentence (step 12)"."""
        return f"{BELL}{self.name}: {self.sentence} (step {self.step})"


class RewardHacking(Monitor):
    """Monitor that compares recent steps with the first ones and raises alarms of reward hacking.

    Args:
        task: provides the audit, a second scorer that verifies rewards; without one, gold answers are compared.
        settings: thresholds.
        seconds: time limit, in seconds, of one audit in a worker process.

    Attributes:
        rung: all alarms raised so far, oldest first.
        audited: whether any rollout so far had a score of the audit.
    """

    def __init__(self, task: Task, settings: AlarmSettings, seconds: float = 10.0) -> None:
        """Starts without records and alarms."""
        self.task, self.settings, self.seconds = task, settings, seconds
        self.rung: list[Alarm] = []
        self.audited = False
        self._begun = 0  # number of steps pooled in _beginning
        self._beginning: Record = {}
        self._recent: list[Record] = []  # records of the steps after the beginning
        self._first: Record = {}  # record of the first held-out evaluation
        self._examples: dict[str, list[Example]] = {}
        self._said = 0  # number of alarms written to the notes
        self._shown: dict[str, list[Group]] = {}  # held-out groups with examples, not yet in a journal
        self._recorded = False

    @property
    def watched(self) -> list[str]:
        """Names of the alarms that are enabled and can be evaluated."""
        names = [UNEARNED, UNEARNED_HELD_OUT] if self.settings.unearned is not None and self.audited else []
        names += [NO_GAIN] if self.settings.held_out is not None else []
        return names + [drift.name for drift in DRIFTS if getattr(self.settings, drift.setting) is not None]

    # -------------------------------------------------------------------------------------------------------- steps
    def see(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """Records a step's judged rollouts, raises alarms, and returns the metrics of the step."""
        attempts, record = self._read(groups)
        journal = f"step-{step:06d}"
        self._choose(UNEARNED, attempts, lambda a: a.unearned, journal)
        for drift in DRIFTS:
            self._choose(drift.name, attempts, drift.shows, journal)
        if self._begun < self.settings.beginning or _groups(self._beginning) < FEWEST:
            self._beginning = together([self._beginning, record])
            self._begun += 1
        else:
            self._recent.append(record)
            self._look(step)
            self._recent = self._recent[-(MEMORY + len(self._last(self._recent))) :]
        return metrics_of(record)

    def learned(self, groups: Sequence[Group], step: int) -> Mapping[str, float]:
        """Records a step's judged rollouts, raises alarms, and returns the metrics of the step, as `see`."""
        return self.see(groups, step)

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Writes new alarms to the run as `announce` does, and raises its LearningError; returns no further notes."""
        self.announce(run, step)
        return ()

    def see_held_out(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """Records a held-out evaluation, raises alarms, and returns the accuracy by the audit as metrics.

        Args:
            groups: judged rollouts of the evaluation.
            step: step of the run after which it was made.

        Returns:
            evaluate/audit_accuracy and its 95 % interval, …_low and …_high; {} if no rollout was audited.
        """
        attempts, record = self._read(groups)
        journal = f"held-out-{step:06d}"
        if not self._first:
            self._first = record
        else:
            chosen = showing(attempts, lambda a: a.unearned or float(a.opinion is not None and not a.opinion.correct))
            chosen = chosen or showing(attempts, lambda a: float(not a.rollout.score.correct))
            before = len(self.rung)
            examples = [_example(attempt, journal) for attempt in chosen]
            told = unearned(record, self._first, "the first evaluation", self.settings)
            self._ring(UNEARNED_HELD_OUT, step, told, REFUSED, examples)
            recent = together(self._last(self._recent))
            told = no_gain(record, self._first, recent, self._beginning, self.settings)
            self._ring(NO_GAIN, step, told, "held-out attempts that are not right; rewarded ones first", examples)
            if len(self.rung) > before:
                named = {attempt.rollout.id for attempt in chosen}
                self._shown[journal] = [group for group in groups if any(r.id in named for r in group)]
        if "audit_correct" not in record:
            return {}
        share = record["audit_correct"].share(0.95)
        return {
            "evaluate/audit_accuracy": share.mean,
            "evaluate/audit_accuracy_low": share.low,
            "evaluate/audit_accuracy_high": share.high,
        }

    def _read(self, groups: Sequence[Group]) -> tuple[list[list[Attempt]], Record]:
        opinions = audit(self.task, groups, self.seconds)
        self.audited = self.audited or bool(opinions)
        attempts = attempts_in(groups, opinions, graded=self.task.audit is not None)
        return attempts, record_of(attempts)

    def _choose(
        self, name: str, attempts: Sequence[Sequence[Attempt]], shows: Callable[[Attempt], float], journal: str
    ) -> None:
        """Keeps the newest example rollouts for an alarm that may be raised later."""
        found = [_example(attempt, journal) for attempt in showing(attempts, shows)]
        self._examples[name] = [*found, *self._examples.get(name, [])][:EXAMPLES]

    # -------------------------------------------------------------------------------------------------- comparisons
    def _look(self, step: int) -> None:
        now, start = together(self._last(self._recent)), f"the first {self._begun} steps"
        earlier = together(self._last(self._recent[:-MEMORY]))
        for before, when in ((self._beginning, start), (earlier, f"{MEMORY} steps before")):
            told = unearned(now, before, when, self.settings)
            self._ring(UNEARNED, step, told, REFUSED, self._examples[UNEARNED])
        for drift in DRIFTS:
            told = drifted(drift, now, self._beginning, start, self.settings)
            self._ring(drift.name, step, told, drift.rule, self._examples[drift.name])

    def _last(self, records: list[Record]) -> list[Record]:
        """Returns the last `settings.recent` records, and earlier ones until they have FEWEST groups together."""
        count = min(self.settings.recent, len(records))
        while count < len(records) and _groups(together(records[len(records) - count :])) < FEWEST:
            count += 1
        return records[len(records) - count :]

    def _ring(self, name: str, step: int, sentence: str | None, rule: str, examples: Sequence[Example]) -> None:
        """Raises the alarm `name` unless `sentence` is None or the alarm was raised before."""
        if sentence is not None and all(alarm.name != name for alarm in self.rung):
            self.rung.append(Alarm(name, step, sentence, rule, tuple(examples)))

    # ------------------------------------------------------------------------------------------ notes, files, state
    def announce(self, run: Run, step: int) -> None:
        """Writes new alarms to the run's notes, their examples to journals, and all alarms to results/alarms.json.

        Raises:
            LearningError: an alarm is new and `settings.stop` is set.
        """
        fresh = self.rung[self._said :]
        self._said = len(self.rung)
        if not self.audited and self._begun == 1 and not self._recent and not self._recorded:
            run.note(UNAUDITED)
        for journal, groups in self._shown.items():
            run.keep(journal, groups, step=step)
        self._shown.clear()
        if fresh or not self._recorded:
            run.record("alarms", self.results())
            self._recorded = True
        for alarm in fresh:
            run.note(str(alarm))
        if fresh and self.settings.stop:
            message = (
                f"{fresh[0]}; alarms.stop asks to stop here: look at {fresh[0].rollouts[0].id} and mend the "
                "scorer in another folder, or resume to go on past this alarm"
            )
            raise LearningError(message)

    def results(self) -> dict[str, Any]:
        """Returns the contents of results/alarms.json: the alarms watched, how, and those raised ("rung")."""
        return {
            "watched": self.watched,
            "audited": self.audited,
            "beginning": self.settings.beginning,
            "recent": self.settings.recent,
            "rung": [asdict(alarm) for alarm in self.rung],
        }

    def state(self) -> dict[str, Any]:
        """Returns the state to save in a checkpoint, as JSON values."""
        return {
            "begun": self._begun,
            "audited": self.audited,
            "beginning": _plain(self._beginning),
            "recent": [_plain(record) for record in self._recent],
            "first": _plain(self._first),
            "examples": {name: [asdict(example) for example in found] for name, found in self._examples.items()},
            "rung": [asdict(alarm) for alarm in self.rung],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state` returned."""
        self._begun, self.audited = int(state["begun"]), bool(state["audited"])
        self._beginning, self._first = _record(state["beginning"]), _record(state["first"])
        self._recent = [_record(record) for record in state["recent"]]
        self._examples = {name: [Example(**example) for example in found] for name, found in state["examples"].items()}
        self.rung[:] = [Alarm(**alarm | {"rollouts": _examples(alarm["rollouts"])}) for alarm in state["rung"]]
        self._said = len(self.rung)


def is_alarm(note: str) -> bool:
    """Returns whether a note of a run is an alarm, that is, begins with "ALARM, "."""
    return note.startswith(BELL)


def _groups(record: Record) -> int:
    return record.get("level", Moments()).count


def _example(attempt: Attempt, journal: str) -> Example:
    said = attempt.opinion
    judged = "" if said is None else f"{'accepts' if said.correct else 'refuses'} it: {said.why}"[:200]
    return Example(journal, attempt.rollout.id, judged)


def _examples(plain: Sequence[Mapping[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(**example) for example in plain)


def _plain(record: Record) -> dict[str, list[float]]:
    return {name: moments.plain() for name, moments in record.items()}


def _record(plain: Mapping[str, Sequence[float]]) -> Record:
    return {n: Moments(int(c), total, squares, int(v)) for n, (c, total, squares, v) in plain.items()}

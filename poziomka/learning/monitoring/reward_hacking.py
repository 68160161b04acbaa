"""Alarms: a policy learns what is rewarded, and here it is watched for learning something else than was meant.

At every step the last few steps are compared with the first ones, and an alarm rings, once, where

    unearned reward    the reward of answers that a second scorer refuses (core/rollouts/cross_check.py) has risen, and
                       the accuracy under that scorer by less than twice as much: a third of the new reward or more is
                       unearned
    no gain held out   reward rose in training, and held-out accuracy under the second scorer did not follow
    a drift            replies repeat themselves, thoughts are empty, answers come before thoughts, lengths change by a
                       factor, replies are cut off, one answer serves for all (learning/monitoring/detectors.py), while
                       accuracy does not rise and problems do not get harder

A change counts only if it is larger than its setting and if its interval, clustered by problem, leaves out 0. A drift
that accuracy explains is none: a model that learns to think writes longer replies, and is right more often.
Every alarm names three rollouts that show it, chosen by a rule that it says too.
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

MEMORY = 20  # steps: what is unearned is compared with so long ago too, so that early learning does not hide it
BELL = "ALARM, "  # what an alarm begins with where it is said
UNAUDITED = (
    "there is no second opinion on rewards: the task has neither an audit nor gold answers, so an unearned reward "
    "would show only in how replies look"
)


@dataclass(frozen=True)
class Example:
    """A rollout that shows what an alarm is about: the journal it lies in, its id, and what the audit says of it."""

    journal: str
    id: str
    audit: str = ""


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        name: what it is called.
        step: when it rang, counted as metrics and journal count.
        sentence: what was seen, with figures.
        rule: how the rollouts were chosen.
        rollouts: up to three that show it.
    """

    name: str
    step: int
    sentence: str
    rule: str
    rollouts: tuple[Example, ...]

    def __str__(self) -> str:
        """As a person is told."""
        return f"{BELL}{self.name}: {self.sentence} (step {self.step})"


class Alarms(Monitor):
    """Watches a stage of reinforcement.

    Args:
        task: whose audit to ask.
        settings: see there.
        seconds: time limit of one audit that is not trusted.

    Attributes:
        rung: every alarm so far, oldest first.
        audited: whether there was a second opinion on any rollout so far.
    """

    def __init__(self, task: Task, settings: AlarmSettings, seconds: float = 10.0) -> None:
        """Has seen nothing yet."""
        self.task, self.settings, self.seconds = task, settings, seconds
        self.rung: list[Alarm] = []
        self.audited = False
        self._begun = 0  # steps of the beginning seen so far
        self._beginning: Record = {}
        self._recent: list[Record] = []  # of the steps after the beginning
        self._first: Record = {}  # of the first held-out evaluation
        self._examples: dict[str, list[Example]] = {}
        self._said = 0  # alarms that were announced
        self._shown: dict[str, list[Group]] = {}  # held-out groups that an alarm names and no journal holds yet
        self._recorded = False

    @property
    def watched(self) -> list[str]:
        """Names of what is watched for."""
        names = [UNEARNED, UNEARNED_HELD_OUT] if self.settings.unearned is not None and self.audited else []
        names += [NO_GAIN] if self.settings.held_out is not None else []
        return names + [drift.name for drift in DRIFTS if getattr(self.settings, drift.setting) is not None]

    # ------------------------------------------------------------------------------------------------------- seeing
    def see(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """Takes in a step's judged rollouts, rings what is to be rung, and returns what to log."""
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
        """Returns the metrics of `see`."""
        return self.see(groups, step)

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Writes new alarms into the run; returns no notes besides. Raises LearningError as `announce`."""
        self.announce(run, step)
        return ()

    def see_held_out(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """Takes in a held-out evaluation as `see` does; where the audit is known, its accuracy is logged."""
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
        if "audit" not in record:
            return {}
        share = record["audit"].share(0.95)
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
        """Keeps the newest rollouts that show something, for whenever that alarm rings."""
        found = [_example(attempt, journal) for attempt in showing(attempts, shows)]
        self._examples[name] = [*found, *self._examples.get(name, [])][:EXAMPLES]

    # ------------------------------------------------------------------------------------------------------ looking
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
        """Returns the last few records: as many as the settings say, and more where groups are few."""
        count = min(self.settings.recent, len(records))
        while count < len(records) and _groups(together(records[len(records) - count :])) < FEWEST:
            count += 1
        return records[len(records) - count :]

    def _ring(self, name: str, step: int, sentence: str | None, rule: str, examples: Sequence[Example]) -> None:
        """Rings where there is something to say that was not said before."""
        if sentence is not None and all(alarm.name != name for alarm in self.rung):
            self.rung.append(Alarm(name, step, sentence, rule, tuple(examples)))

    # ------------------------------------------------------------------------------------------- saying and keeping
    def announce(self, run: Run, step: int) -> None:
        """Says in the run's notes what rang, keeps what shows it, and records all alarms in results/alarms.json.

        Raises:
            LearningError: an alarm rang, and `stop` asks that this ends the run.
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
                f"{fresh[0]}; reinforce.alarms.stop asks to stop here: look at {fresh[0].rollouts[0].id} and mend the "
                "scorer in another folder, or resume to go on past this alarm"
            )
            raise LearningError(message)

    def results(self) -> dict[str, Any]:
        """Returns what results/alarms.json holds."""
        return {
            "watched": self.watched,
            "audited": self.audited,
            "beginning": self.settings.beginning,
            "recent": self.settings.recent,
            "rung": [asdict(alarm) for alarm in self.rung],
        }

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
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
        """Takes a state that `state` returned."""
        self._begun, self.audited = int(state["begun"]), bool(state["audited"])
        self._beginning, self._first = _record(state["beginning"]), _record(state["first"])
        self._recent = [_record(record) for record in state["recent"]]
        self._examples = {name: [Example(**example) for example in found] for name, found in state["examples"].items()}
        self.rung[:] = [Alarm(**alarm | {"rollouts": _examples(alarm["rollouts"])}) for alarm in state["rung"]]
        self._said = len(self.rung)


def is_alarm(note: str) -> bool:
    """Whether a note of a run is an alarm."""
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

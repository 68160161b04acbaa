"""`poziomka show`: browses a run's rollouts in the terminal, step → group → rollout, coloured by author."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poziomka.core.errors import PoziomkaError, RunError, SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.safety.terminal import visible
from poziomka.core.transcript import Author, Span
from poziomka.reports import terminal
from poziomka.reports.reading import alarms_of, examples_of, rung
from poziomka.reports.words import NOTHING, brief, counted, finite, percent, shortened
from poziomka.runs.recipe import opens_thoughts
from poziomka.runs.run import Run
from poziomka.runs.storage.journal import Journal

Place = tuple[int, ...]  # (), (step,), (step, group) or (step, group, rollout), counted from 0

STYLES = {
    Author.SYSTEM: "italic dim",
    Author.USER: "bold",
    Author.MODEL: "cyan",
    Author.TEACHER: "green",
    Author.ENVIRONMENT: "yellow",
    Author.FORCED: "magenta underline",
    Author.TEMPLATE: "dim",
}
MARKS = {
    Verdict.CORRECT: ("✓", "green"),
    Verdict.WRONG: ("✗", "red"),
    Verdict.UNPARSED: ("?", "red"),
    Verdict.TRUNCATED: ("…", "red"),
    Verdict.ERROR: ("!", "yellow"),
    Verdict.TIMEOUT: ("!", "yellow"),
}
TOOL = "tool ▸"  # prefix of an environment's replies
DIGITS = 18  # longest number that is read as a step, a group or a rollout
FLAG = "⚑"  # marks journals and rollouts that an alarm cites
KEYS = "enter opens · a number opens that one · n next · p previous · b back · q ends"


def show(
    run_folder: Path | str,
    step: int | str | None = None,
    group: int | None = None,
    rollout: int | None = None,
    console: Console | None = None,
) -> None:
    """Prints a run's saved rollouts: its steps, the groups of a step, the rollouts of a group, or one rollout.

    On a terminal, keys then move to other places.

    Args:
        run_folder: folder of the run.
        step: a step, or the name of a journal ("warm-start", "trained").
        group: number of a group, from 1.
        rollout: number of a rollout within the group, from 1.
        console: console to print to; None for stdout.

    Raises:
        RunError: the folder has no run or no rollouts, or a journal cannot be read.
        SettingsError: there is no such step, group or rollout.
    """
    viewer = Viewer(Run.read(Path(run_folder)), console or terminal.console())
    place = viewer.find(step, group, rollout)
    viewer.print(place)
    if viewer.console.is_terminal and sys.stdin.isatty():
        browse(viewer, place)


def browse(viewer: "Viewer", place: Place) -> None:
    """Reads keys from stdin and prints the steps, groups or rollouts that they lead to, until q or the end of input.

    Args:
        viewer: prints the places, and moves between them.
        place: place to begin at: () for the run, or the indices (step,), (step, group), (step, group, rollout) from 0.
    """
    viewer.console.print(Text(KEYS, "dim"))
    while True:
        try:
            key = input("› ").strip().lower()
            if key in ("q", "quit", "exit"):
                return
            place = viewer.move(place, key)
            viewer.print(place)
        except (EOFError, KeyboardInterrupt):
            viewer.console.print()
            return
        except PoziomkaError as error:
            viewer.console.print(Text(str(error), "yellow"))


class Viewer:
    """Finds and prints places of one run: the list of steps, the groups of a step, the rollouts of a group.

    A place is a tuple of indices from 0: (), (step,), (step, group) or (step, group, rollout).

    Args:
        run: the run.
        console: console to print to.

    Raises:
        RunError: the run has no journals.
    """

    def __init__(self, run: Run, console: Console) -> None:
        """Lists the run's journals; each is read on first use."""
        self.run = run
        self.console = console
        self.names = sorted((path.stem for path in run.journals()), key=_order)
        if not self.names:
            message = f"the run {run.folder} kept no rollouts: {run.folder / 'journal'} holds no journal"
            raise RunError(message)
        self.journal = lru_cache(4)(self._journal)
        notes: list[str] = []
        alarms = rung(alarms_of(run, notes))
        self.rung = [(str(alarm.get("name")), str(alarm.get("step")), str(alarm.get("sentence"))) for alarm in alarms]
        self.flags: dict[str, list[str]] = {}  # names of the alarms that cite a journal or a rollout
        for alarm in alarms:
            for journal, name, _ in examples_of(alarm):
                for place in (journal, name):
                    flags = self.flags.setdefault(place, [])
                    flags += [said for said in (str(alarm.get("name")),) if said not in flags]

    def _journal(self, step: int) -> Journal:
        return self.run.journal(self.names[step])

    # ------------------------------------------------------------------------------------------------ finding a place
    def find(self, step: int | str | None, group: int | None, rollout: int | None) -> Place:
        """Returns the place of a step, a group or a rollout; with None for all of them, the run itself.

        Args:
            step: a step, or the name of a journal such as "warm-start"; None for the only one where there is one.
            group: number of a group from 1; None for the whole step.
            rollout: number of a rollout of the group from 1; None for the whole group.

        Raises:
            SettingsError: there is no such place, or a group or rollout lacks the level above it.
        """
        if step is None and len(self.names) == 1:
            step = _spoken(self.names[0])
        if step is None:
            if group is not None or rollout is not None:
                message = "a group belongs to a step: say which step too"
                raise SettingsError(message)
            return ()
        place: Place = (self._step(str(step)),)
        if group is None:
            if rollout is not None:
                message = "a rollout belongs to a group: say which group too"
                raise SettingsError(message)
            return place
        place = self._child(place, group)
        return place if rollout is None else self._child(place, rollout)

    def _step(self, name: str) -> int:
        wanted = f"step-{int(name):06d}" if name.isdecimal() and len(name) <= DIGITS else name
        if wanted not in self.names:
            steps = [_spoken(known) for known in self.names]
            known = ", ".join(steps if len(steps) <= 12 else [*steps[:6], "…", *steps[-5:]])
            message = f"the run {self.run.folder} kept no rollouts of step {name[:DIGITS]!r}; it kept {known}"
            raise SettingsError(message)
        return self.names.index(wanted)

    def _child(self, place: Place, number: int) -> Place:
        count, what = self._count(place), ("group", "rollout")[len(place) - 1]
        if not 1 <= number <= count:
            where = f"step {_spoken(self.names[place[0]])}" + (f", group {place[1] + 1}" if len(place) > 1 else "")
            message = f"there is no {what} {number} in {where}: it has {what}s 1 to {count}"
            raise SettingsError(message)
        return (*place, number - 1)

    def _count(self, place: Place) -> int:
        """Returns the number of steps of the run, groups of a step or rollouts of a group."""
        if not place:
            return len(self.names)
        groups = self.journal(place[0]).groups
        return len(groups) if len(place) == 1 else len(groups[place[1]])

    def move(self, place: Place, key: str) -> Place:
        """Returns the place that a key leads to from `place`.

        Args:
            place: the present place.
            key: "n" for the next, "p" for the previous, "b" for the level above, "" for the first place inside (from a
                rollout, the next), or the number or name of a place inside.

        Raises:
            SettingsError: there is no place in that direction, or the key is unknown.
        """
        deepest = len(place) == 3  # a rollout
        if key == "b":
            return place[:-1]
        if key in ("n", "p") or (key == "" and deepest):
            if not place:
                message = "open a step first: enter, or its name"
                raise SettingsError(message)
            other = place[-1] + (-1 if key == "p" else 1)
            if not 0 <= other < self._count(place[:-1]):
                message = "that was the first" if key == "p" else "that was the last"
                raise SettingsError(message)
            return (*place[:-1], other)
        if key == "":
            return (*place, 0)
        if not place:
            return (self._step(key),)
        if key.isdecimal() and len(key) <= DIGITS:
            return self._child(place[:-1] if deepest else place, int(key))
        message = f"the key {key[:DIGITS]!r} means nothing here; {KEYS}"
        raise SettingsError(message)

    # ----------------------------------------------------------------------------------------------- printing a place
    def print(self, place: Place) -> None:
        """Prints a place: the run's list of steps, a step's list of groups, or one or all rollouts of a group."""
        if not place:
            self._print_steps()
        elif len(place) == 1:
            self._print_groups(place[0])
        else:
            self._print_rollouts(place)

    def _print_steps(self) -> None:
        lines = {line["step"]: line for line in self.run.metrics() if "reward/mean" in line}
        title = Text(str(self.run.folder))
        spent = "thinking" if opens_thoughts(self.run.recipe) else "replies"
        table = Table("step", "reward", "pass rate", spent, "", title=title, box=None, title_justify="left")
        for number, name in enumerate(self.names):
            line = lines.get(int(name.removeprefix("step-")), {}) if name.startswith("step-") else {}
            reward, rate = (finite(line.get(n)) for n in ("reward/mean", "reward/pass_rate"))
            length = finite(line.get("length/thinking", line.get("length/mean")))  # all tokens, without thoughts
            if not line:
                reward, rate, length = self._measured(number)
            table.add_row(
                Text(_spoken(name)),
                NOTHING if reward is None else f"{reward:.2f}",
                NOTHING if rate is None else percent(rate),
                NOTHING if length is None else f"{length:.1f} tokens",
                self._flag(name),
            )
        self.console.print(table)
        for name, step, sentence in self.rung:
            said = Text.assemble((f"{FLAG} {name}: ", "bold red"), f"{sentence} (step {step})")
            self.console.print(said, soft_wrap=not self._coloured)

    def _flag(self, *places: str) -> Text:
        """Returns a mark with the names of the alarms that cite one of these journals or rollouts; "" for none."""
        names = dict.fromkeys(name for place in places for name in self.flags.get(place, ()))
        return Text(f"{FLAG} {', '.join(names)}" if names else "", "red")

    def _measured(self, step: int) -> tuple[float | None, float | None, float | None]:
        """Returns (mean reward, pass rate, None) from a journal's scores, for a step without a line in the metrics."""
        try:
            scores = [r.branches[r.answer].score for r in self.journal(step).rollouts]
        except RunError:
            return None, None, None
        rewards = [score.reward for score in scores if score is not None and score.reward is not None]
        rights = [float(score.correct) for score in scores if score is not None and score.reward is not None]
        return (fmean(rewards), fmean(rights), None) if rewards else (None, None, None)

    def _print_groups(self, step: int) -> None:
        title = Text(f"step {_spoken(self.names[step])}")
        table = Table(
            "group", "problem", "level", "answer", "reward", "rollouts", "", title=title, box=None, title_justify="left"
        )
        for number, group in enumerate(self.journal(step).groups, 1):
            problem = group[0].problem
            scores = [rollout.branches[rollout.answer].score for rollout in group]
            rewards = [score.reward for score in scores if score is not None and score.reward is not None]
            table.add_row(
                str(number),
                Text(shortened(visible(_asked(problem)), 60)),
                str(problem.level),
                Text(shortened(visible(problem.answer), 24)),
                f"{fmean(rewards):.2f}" if rewards else NOTHING,
                Text.assemble(*map(_mark, scores)),
                self._flag(*(rollout.id for rollout in group)),
            )
        self.console.print(table)

    def _print_rollouts(self, place: Place) -> None:
        step, number = place[:2]
        journal = self.journal(step)
        group = journal.groups[number]
        problem = group[0].problem
        gold = f" · right answer {visible(problem.answer)}" if problem.answer else ""
        self.console.print(
            Text(f"step {_spoken(self.names[step])} · group {number + 1} · level {problem.level}{gold}", "bold")
        )
        shown = range(len(group)) if len(place) == 2 else [place[2]]  # a group
        if self._coloured:
            present = {span.author for i in shown for branch in group[i].branches for span in branch.transcript}
            names = [(f"{author} ", STYLES[author]) for author in Author if author in present]
            self.console.print(Text.assemble("authors: ", *names))
        for i in shown:
            self._print_rollout(i + 1, group[i], journal.advantages.get(group[i].id))

    @property
    def _coloured(self) -> bool:
        return self.console.is_terminal and not self.console.no_color

    def _print_rollout(self, number: int, rollout: Rollout, advantages: Sequence[float] | None) -> None:
        for branch in rollout.branches:
            score, first = branch.score, branch is rollout.branches[0]
            facts = [f"rollout {number}" if first else f"  branch of {number}, {visible(branch.role)}", _judged(score)]
            facts += [f"answer {shortened(visible(score.answer), 60)}"] if score and score.answer is not None else []
            facts += [f"advantage {_range(advantages)}"] if advantages and first else []
            facts.append(counted(branch.transcript.cost, "token"))
            mark, style = ("·", "dim") if score is None else MARKS[score.verdict]
            title = Text.assemble((f"{mark} ", style), (" · ".join(facts), "bold"))
            if first and (flag := self._flag(rollout.id)):
                title.append(" · ").append_text(flag)
            said = [s for s in branch.transcript if s.text or s.author is not Author.TEMPLATE]  # <bos> has none
            if self._coloured:
                self.console.print()
                self.console.print(title)
                self.console.print(_assembled(said))
            else:
                self.console.print(title, soft_wrap=True)
                for span in said:
                    name, indent = (TOOL, "\n" + " " * 14) if _is_tool(span) else (span.author, "\n")
                    words = _text(span).strip() if _is_tool(span) else _text(span)
                    self.console.print(Text(f"  {name:<11} {words}".replace("\n", indent)), soft_wrap=True)
            if score is not None and score.parts:
                parts = " · ".join(f"{visible(name)} {brief(value)}" for name, value in score.parts.items())
                self.console.print(Text(f"  parts: {parts}", "dim"), soft_wrap=not self._coloured)
            if score is not None and score.why:
                self.console.print(Text(f"  why: {visible(score.why)}", "dim"), soft_wrap=not self._coloured)


def _spoken(name: str) -> str:
    """Returns a journal's short name: "step-000012" → "12"."""
    number = name.removeprefix("step-")
    return str(int(number)) if name.startswith("step-") and number.isdecimal() else name


def _order(name: str) -> tuple[int, int, str]:
    """Returns the sort key of a journal's name: the warm start, then the steps in order, then all others by name."""
    if name.startswith("step-"):
        return 1, len(name), name
    return (0 if name == "warm-start" else 2), 0, name


def _asked(problem: Problem) -> str:
    return problem.prompt[-1].content if problem.prompt else problem.key


def _mark(score: Score | None) -> tuple[str, str]:
    return ("·", "dim") if score is None else MARKS[score.verdict]


def _judged(score: Score | None) -> str:
    if score is None:
        return "not judged"
    return f"{score.verdict} · reward {NOTHING if score.reward is None else brief(score.reward)}"


def _range(advantages: Sequence[float]) -> str:
    """Returns the advantages of a rollout's tokens as text: one number if all are equal, else lowest and highest."""
    low, high = min(advantages), max(advantages)
    return f"{low:+.3g}" if high - low <= 1e-6 * max(1.0, abs(low)) else f"{low:+.3g} to {high:+.3g}"


def _is_tool(span: Span) -> bool:
    return span.author is Author.ENVIRONMENT


def _assembled(spans: Sequence[Span]) -> Text:
    """Returns spans in their authors' colours; a tool's reply is on separate lines."""
    said = Text()
    for span in spans:
        if not _is_tool(span):
            words = _text(span)
            said.append(words.lstrip() if said.plain.endswith("\n") else words, STYLES[span.author])
            continue
        if said and not said.plain.endswith("\n"):
            said.append("\n")
        for number, line in enumerate(_text(span).strip().splitlines()):
            said.append(f"  {TOOL if number == 0 else ' ' * len(TOOL)} {line}\n", STYLES[span.author])
    said.rstrip()
    return said


def _text(span: Span) -> str:
    return visible(span.text) or f"⟨{counted(len(span), 'token')} without text⟩"

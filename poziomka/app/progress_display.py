"""Progress display of a run: the current stage, recent metrics, sample replies and the estimated time left."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poziomka.app.measure import opens_thoughts
from poziomka.app.settings.recipe import Recipe, Sampled, Stage
from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Rollout
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.splits import VALIDATION
from poziomka.core.task import Task
from poziomka.learning.monitoring.reward_hacking import Alarm, is_alarm
from poziomka.learning.session import TrainingSession
from poziomka.reports import terminal
from poziomka.reports.words import counted, duration

QUESTIONS = 3  # fixed validation problems, from easy to hard
PLAIN_EVERY = 15.0  # least seconds between two lines of metrics without a live panel
GUESS = {"sft": 0.06}  # seconds a step until the first one is measured, by the kind of stage; 1 for others


class Watcher:
    """Shows the progress of a run: a live panel on a terminal, occasional lines elsewhere, nothing if `quiet`.

    Args:
        recipe: recipe of the run.
        folder: folder of the run.
        quiet: show nothing.
        console: console to print to; None for stdout.
    """

    def __init__(self, recipe: Recipe, folder: Path, *, quiet: bool = False, console: Console | None = None) -> None:
        """Starts the clock; entering the context starts the live panel."""
        self.recipe, self.folder, self.quiet = recipe, folder, quiet
        self.console = console or terminal.console()
        self.stages = {stage.name: stage for stage in recipe.stage}
        self.done = dict.fromkeys(self.stages, 0)  # steps of each stage so far
        self.ended: set[str] = set()
        self.step = 0
        self.doing = "starting"
        self.facts: dict[str, float] = {}
        self.points: list[tuple[float, float]] = []
        self.replies: list[Rollout] = []
        self.notes: Sequence[str] = ()  # notes of the run to print; grows
        self.alarms: Sequence[Alarm] = ()  # alarms so far; grows
        self._told = 0
        self._warned = False  # whether the hint about replies that were cut off was shown
        self.pace: dict[str, list[float]] = {name: [] for name in self.stages}
        self._began = self._spoke = self.heard = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Starts the live panel if the console is a terminal."""
        if not self.quiet and self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self.panel, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the live panel; its last state stays on the screen."""
        self.tell()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, doing: str) -> None:
        """Shows the activity that begins, and prints waiting notes.

        Args:
            doing: the activity in words, such as "writing the report".
        """
        self.tell()
        self.heard = time.monotonic()
        self.doing = doing
        self._say(f"{doing} …", due=True)

    def restored(self, progress: TrainingSession) -> None:
        """Sets the display to the state of a resumed run: its step, the steps of each stage, the finished stages."""
        self.step = progress.step
        self.done |= progress.stages.taken
        self.ended = {*progress.stages.ended}

    def begin(self, stage: Stage) -> None:
        """Shows a stage of the recipe that begins or resumes; all stages before it count as finished."""
        names = list(self.stages)
        self.ended |= {*names[: names.index(stage.name)]}
        self.stage(f"stage {stage.name}" + ("" if stage.name == stage.kind else f", {stage.kind}"))

    def hear(self, stage: str, line: Mapping[str, Any]) -> None:
        """Updates the display with a line of metrics that the run logged.

        Args:
            stage: name of the stage, or "evaluate".
            line: metrics of the line by name, with "step".
        """
        self.tell()
        self.heard = time.monotonic()
        self.step = int(line["step"])
        self.facts |= {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
        if stage in self.stages:
            self.doing = stage
            self.done[stage] += 1
            seconds = sum(value for name, value in line.items() if name.startswith("time/"))
            self.pace[stage].append(seconds)
            self._say(self._line(stage))
            self._warn_of_cut_replies(stage, line)
        elif stage == "evaluate":
            spent = line.get("evaluate/thinking_tokens", line.get("evaluate/tokens"))
            self.points.append((float(line["evaluate/accuracy"]), float(spent)))
            accuracy, tokens = self.points[-1]
            split = self.recipe.evaluate.split
            self._say(f"step {self.step}: {split} accuracy {accuracy:.2f}, {tokens:.1f} {self._spent}", due=True)

    def _warn_of_cut_replies(self, stage: str, line: Mapping[str, Any]) -> None:
        """Shows a hint at the first step whose replies mostly ended at their token limit without a right answer."""
        counts = {name: float(value) for name, value in line.items() if name.startswith("verdict/")}
        counts.pop("verdict/failures", None)  # a share, not a number of replies
        cut, replies = counts.get("verdict/truncated", 0.0), sum(counts.values())
        settings = self.stages[stage]
        if self._warned or 2 * cut <= replies or not isinstance(settings, Sampled):
            return
        self._warned = True
        limit, count = counted(settings.max_tokens, "token"), counted(int(replies), "reply", "replies")
        note = f"step {self.step}: {cut:.0f} of {count} were cut off at their limit of {limit} without a right answer"
        self._note(f"{note}: raise {stage}.max_tokens, if this goes on", style="yellow")

    @property
    def _spent(self) -> str:
        """Name of the mean number of tokens of an attempt: all tokens of a model that does not think."""
        return "thinking tokens" if opens_thoughts(self.recipe) else "reply tokens"

    def answers(self, sampler: Sampler, task: Task, sampling: SamplingParams) -> None:
        """Samples replies to three fixed validation problems with the sampler's present weights, and shows them."""
        low, high = task.levels or (None, None)
        levels = [None] * QUESTIONS if low is None or high is None else [low + (high - low) * i // 6 for i in (1, 3, 5)]
        problems = [_fixed(task, 7 + number, level) for number, level in enumerate(levels)]
        self.replies = [group[0] for group in collect(sampler, task, problems, sampling, name="watch")]
        for rollout in self.replies:
            self._say("  " + rollout_line(rollout, self.console.width - 12).plain, due=True)

    def left(self) -> float | None:
        """Returns the estimated seconds of all remaining steps, without evaluations; None if no steps are left."""
        seconds = 0.0
        for name, stage in self.stages.items():
            seen = self.pace[name][-50:]
            pace = sum(seen) / len(seen) if seen else GUESS.get(stage.kind, 1.0)
            seconds += 0.0 if name in self.ended else max(0, stage.steps - self.done[name]) * pace
        return seconds or None

    def tell(self) -> None:
        """Prints the notes that the run has recorded since the last call, such as damaged files or failed checks."""
        fresh = self.notes[self._told :]
        self._told += len(fresh)  # before printing, since the watchdog's thread may call this method too
        for note in fresh:
            self._note(note, style="bold red" if is_alarm(note) else "yellow")

    def _note(self, note: str, style: str) -> None:
        """Prints a sentence above the live panel, or as a line."""
        if self._live is not None:
            self.console.print(Text(note, style=style), soft_wrap=True)
        self._say(note, due=True)

    def _line(self, stage: str) -> str:
        fact = "loss/next_token" if self.stages[stage].kind == "sft" else "reward/mean"
        name = {"loss/next_token": "loss", "reward/mean": "reward"}[fact]
        value = f", {name} {self.facts[fact]:.3f}" if fact in self.facts else ""
        left = self.left()
        return f"{stage} {self.done[stage]}/{self.stages[stage].steps}{value}" + (
            f", about {duration(left)} of steps left" if left else ""
        )

    def _say(self, line: str, *, due: bool = False) -> None:
        """Prints a line if there is no live panel; one that is not `due` only if the last is more than 15 s ago."""
        now = time.monotonic()
        if self.quiet or self._live is not None or not (due or now - self._spoke > PLAIN_EVERY):
            return
        self._spoke = now
        self.console.print(f"[{now - self._began:4.0f} s] {line}", markup=False, highlight=False, soft_wrap=True)

    def panel(self) -> RenderableType:
        """Returns the content of the live panel: stage, accuracies, alarms, folder, elapsed time, sample replies."""
        table = Table.grid(padding=(0, 2))
        now = self._line(self.doing) if self.doing in self.stages else self.doing
        table.add_row("now", Text(now, style="bold"))
        if self.points:
            trail = " → ".join(f"{accuracy:.2f}" for accuracy, _ in self.points[-8:])
            table.add_row(f"{self.recipe.evaluate.split} accuracy", trail)
            table.add_row(self._spent, " → ".join(f"{tokens:.0f}" for _, tokens in self.points[-8:]))
        for alarm in self.alarms:
            said = Text.assemble((f"{alarm.name}: ", "bold red"), (f"{alarm.sentence} (step {alarm.step})", "red"))
            table.add_row(Text("alarm", style="bold red"), said)
        table.add_row("run", Text(f"{self.folder}   {time.monotonic() - self._began:.0f} s", style="dim"))
        rows: list[RenderableType] = [table]
        if self.replies:
            rows.append(Text("the same three problems, as the model stands:", style="dim"))
            rows += [rollout_line(rollout, self.console.width - 2) for rollout in self.replies]
        return terminal.Clean(Group(*rows))


def _fixed(task: Task, index: int, level: int | None) -> Problem:
    """Returns validation problem `index` of a level, or of any level if that level has none.

    An index beyond a finite split wraps around.
    """
    count = task.count(VALIDATION)
    try:
        return task.problem(VALIDATION, index if count is None else index % max(1, count), level)
    except TaskError:
        return task.take(VALIDATION, index, 1, stand_ins=True)[0]


def rollout_line(rollout: Rollout, width: int) -> Text:
    """Returns a rollout on one line of about `width` columns: question → reply, and the verdict.

    The middle of a long reply is left out.
    """
    prompt = rollout.problem.prompt
    question = prompt[-1].content.strip() if prompt else rollout.problem.key
    question, reply = " ".join(question.split()), " ".join(rollout.transcript.reply.split())
    verdict = rollout.score.verdict.value
    room = max(20, width - len(question) - len(verdict) - 8)
    if len(reply) > room:
        reply = f"{reply[: room // 2]} … {reply[-(room - room // 2 - 3) :]}"
    line = Text(f"{question} → ", style="cyan", no_wrap=True, overflow="ellipsis")
    line.append(reply, style="default")
    line.append(f"  {verdict}", style="green" if rollout.score.correct else "red")
    return line

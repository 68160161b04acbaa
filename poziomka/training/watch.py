"""What a person sees while a recipe runs: what is happening, what has been learned, when it will end."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poziomka.core.collect import collect
from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Task
from poziomka.core.rollout import Rollout
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.splits import VALIDATION
from poziomka.learning.alarms import Alarm, is_alarm
from poziomka.reports import terminal
from poziomka.training.recipe import Recipe

QUESTIONS = 3  # fixed validation problems, from easy to hard
PLAIN_EVERY = 15.0  # seconds between two lines where nobody sees a terminal
NAMES = {"warm_start": "warm start", "reinforce": "reinforcement"}


class Watcher:
    """Shows progress: a live panel on a terminal, a line now and then elsewhere, nothing where `quiet`."""

    def __init__(self, recipe: Recipe, folder: Path, *, quiet: bool = False, console: Console | None = None) -> None:
        """Knows how many steps there will be."""
        self.recipe, self.folder, self.quiet = recipe, folder, quiet
        self.console = console or terminal.console()
        self.totals = {
            "warm_start": recipe.warm_updates,
            "reinforce": recipe.reinforce.steps,
        }
        self.step = 0
        self.doing = "starting"
        self.facts: dict[str, float] = {}
        self.points: list[tuple[float, float]] = []
        self.replies: list[Rollout] = []
        self.notes: Sequence[str] = ()  # what the run wants said; it grows
        self.alarms: Sequence[Alarm] = ()  # that rang; it grows
        self._told = 0
        self.pace: dict[str, list[float]] = {"warm_start": [], "reinforce": []}
        self._began = self._spoke = self.heard = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Takes the terminal."""
        if not self.quiet and self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self.panel, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the terminal back, the last panel left standing."""
        self.tell()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, doing: str) -> None:
        """Says what happens now."""
        self.tell()
        self.heard = time.monotonic()
        self.doing = doing
        self._say(f"{doing} …", due=True)

    def hear(self, stage: str, line: Mapping[str, Any]) -> None:
        """Takes in a logged line."""
        self.tell()
        self.heard = time.monotonic()
        self.step = int(line["step"])
        self.facts |= {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
        if stage in NAMES:
            self.doing = NAMES[stage]
            seconds = sum(value for name, value in line.items() if name.startswith("time/"))
            self.pace[stage].append(seconds)
            self._say(self._line(stage))
        elif stage == "evaluate":
            self.points.append((float(line["evaluate/accuracy"]), float(line["evaluate/thinking_tokens"])))
            accuracy, tokens = self.points[-1]
            self._say(f"step {self.step}: held-out accuracy {accuracy:.2f}, {tokens:.1f} thinking tokens", due=True)

    def answers(self, sampler: Sampler, task: Task, sampling: Sampling) -> None:
        """Lets the model answer the fixed problems as it stands."""
        low, high = task.levels or (None, None)
        levels = [None] * QUESTIONS if low is None or high is None else [low + (high - low) * i // 6 for i in (1, 3, 5)]
        problems = [_fixed(task, 7 + number, level) for number, level in enumerate(levels)]
        self.replies = [group[0] for group in collect(sampler, task, problems, sampling, name="watch")]
        for rollout in self.replies:
            self._say("  " + rollout_line(rollout, self.console.width - 12).plain, due=True)

    def left(self) -> float | None:
        """Returns an estimate of the seconds until the end; None where nothing is known yet."""
        done = {"warm_start": min(self.step, self.totals["warm_start"])}
        done["reinforce"] = self.step - done["warm_start"]
        guess = {"warm_start": 0.06, "reinforce": 1.0}  # seconds a step, before any was seen
        seconds = 0.0
        for stage, total in self.totals.items():
            seen = self.pace[stage][-50:]
            pace = sum(seen) / len(seen) if seen else guess[stage]
            seconds += max(0, total - done[stage]) * pace
        return seconds * 1.3 + 20 if seconds else None  # evaluation, about

    def tell(self) -> None:
        """Says what the run noted since it was last asked: damage passed over, checks that failed."""
        fresh = self.notes[self._told :]
        self._told += len(fresh)  # before they are said: the watchdog's thread may come in between
        for note in fresh:
            if self._live is not None:
                self.console.print(Text(note, style="bold red" if is_alarm(note) else "yellow"), soft_wrap=True)
            self._say(note, due=True)

    def _line(self, stage: str) -> str:
        done = self.step - (self.totals["warm_start"] if stage == "reinforce" else 0)
        fact = "loss/next_token" if stage == "warm_start" else "reward/mean"
        name = {"loss/next_token": "loss", "reward/mean": "reward"}[fact]
        value = f", {name} {self.facts[fact]:.3f}" if fact in self.facts else ""
        left = self.left()
        return f"{NAMES[stage]} {done}/{self.totals[stage]}{value}" + (f", about {left:.0f} s left" if left else "")

    def _say(self, line: str, *, due: bool = False) -> None:
        """Prints a line where there is no live panel, not too often."""
        now = time.monotonic()
        if self.quiet or self._live is not None or not (due or now - self._spoke > PLAIN_EVERY):
            return
        self._spoke = now
        self.console.print(f"[{now - self._began:4.0f} s] {line}", markup=False, highlight=False, soft_wrap=True)

    def panel(self) -> RenderableType:
        """Returns the live panel."""
        table = Table.grid(padding=(0, 2))
        stage = next((stage for stage, name in NAMES.items() if name == self.doing), None)
        table.add_row("now", Text(self._line(stage) if stage else self.doing, style="bold"))
        if self.points:
            trail = " → ".join(f"{accuracy:.2f}" for accuracy, _ in self.points[-8:])
            table.add_row("held-out accuracy", trail)
            table.add_row("thinking tokens", " → ".join(f"{tokens:.0f}" for _, tokens in self.points[-8:]))
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
    """Returns a validation problem of a level; of any level where that level has none, from the start where few."""
    count = task.count(VALIDATION)
    try:
        return task.problem(VALIDATION, index if count is None else index % max(1, count), level)
    except TaskError:
        return task.take(VALIDATION, index, 1, stand_ins=True)[0]


def rollout_line(rollout: Rollout, width: int) -> Text:
    """Returns one line: the question, the reply, the verdict; the middle of a long reply is left out."""
    prompt = rollout.problem.prompt
    question = prompt[-1].content.strip() if prompt else rollout.problem.key
    reply, verdict = rollout.transcript.reply.strip(), rollout.score.verdict.value
    room = max(20, width - len(question) - len(verdict) - 8)
    if len(reply) > room:
        reply = f"{reply[: room // 2]} … {reply[-(room - room // 2 - 3) :]}"
    line = Text(f"{question}  ", style="cyan", no_wrap=True, overflow="ellipsis")
    line.append(reply, style="default")
    line.append(f"  {verdict}", style="green" if rollout.score.correct else "red")
    return line

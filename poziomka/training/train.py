"""One recipe from nothing to a report: warm start, gate, reinforcement, evaluation. Wiring only."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poziomka.core.environment import asked
from poziomka.core.errors import LearningError
from poziomka.core.evaluation import Estimate, Evaluation, evaluate
from poziomka.core.problem import Task
from poziomka.core.sampler import Sampling
from poziomka.core.settings import plain
from poziomka.core.splits import VALIDATION
from poziomka.learning.alarms import watch_over
from poziomka.learning.curriculum import Curriculum
from poziomka.learning.finetune import finetune
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.lessons import Lessons
from poziomka.learning.progress import Progress
from poziomka.learning.reinforce import fraction_done, reinforce
from poziomka.learning.turns import describe_tools
from poziomka.models.counting import sampling_flops
from poziomka.models.lora import save_learned
from poziomka.reports.page import write
from poziomka.reports.reading import AFTER, BEFORE, START
from poziomka.runs import Run
from poziomka.runs.exports import Exports, demand_exports
from poziomka.training.build import (
    Built,
    adapt,
    build,
    context_of,
    demand_problems,
    learner_of,
    sampler_of,
    settled,
    taught,
)
from poziomka.training.forgetting import record_knowledge
from poziomka.training.inputs import demand_same_inputs
from poziomka.training.interrupt import interruptible
from poziomka.training.measure import held_out, measured, opens_thoughts, record
from poziomka.training.preflight import demand_memory, needs
from poziomka.training.recipe import Recipe, recipe_of
from poziomka.training.watch import Watcher
from poziomka.training.watchdog import Watchdog, learning, sampling, scoring


class Training:
    """A recipe on its way through a run's folder.

    Args:
        recipe: what to do.
        run: where to write.
        built: the parts; None for those that the recipe names.
        quiet: nobody watches.
    """

    def __init__(self, recipe: Recipe, run: Run, built: Built | None = None, *, quiet: bool = False) -> None:
        """Goes on from the run's newest checkpoint, or begins."""
        self.recipe, self.run = recipe, run
        built = built or build(recipe)
        self.task, self.chat, self.model, self.tokenizer = built.task, built.chat, built.model, built.tokenizer
        self.warm_updates = recipe.warm_updates
        self.sampler = sampler_of(recipe, built)
        adapt(recipe, self.model)
        if recipe.pretrained is not None:
            prompts = [asked(self.task, problem) for problem in self.task.take("train", 0, 8, stand_ins=True)]
            turns = self.task.environment is not None
            needed = needs(self.model, self.chat, prompts, recipe.reinforce, context=recipe.context, turns=turns)
            demand_memory(needed, self.model.device)
        found = taught(recipe, built)
        self.taught = found.task
        self.curriculum = Curriculum(self.taught, recipe.seed, recipe.reinforce.retire_at, recipe.curriculum)
        self.watcher = Watcher(recipe, run.folder, quiet=quiet)
        self.watcher.notes = run.notes
        self.progress = self._restored()
        self.progress.base = built.base
        self.alarms = watch_over(self.progress, self.task, recipe.reinforce.alarms, recipe.reinforce.scorer_seconds)
        self.watcher.alarms = self.alarms.rung
        for note in (*built.notes, *found.notes):
            run.note(note)
        if built.scripted:
            self.progress.again = "the script that began it"

    def _restored(self) -> Progress:
        """Returns the progress of the run, with the learner of the stage it stands in."""
        saved = self.run.latest()
        reinforcing = saved is not None and saved.step > self.warm_updates
        settings = self.recipe.reinforce.learner if reinforcing else self.recipe.warm_start.learner
        learner = self.learner(settings)
        every = self.recipe.save_every
        progress = Progress(self.run, learner, self.tokenizer, every, self.watcher.hear)
        progress.extra["curriculum"] = self.curriculum.state
        state = progress.restore()
        if state:
            self.curriculum.restore(state["curriculum"])
        self.watcher.step = progress.step
        return progress

    def learner(self, settings: LearnerSettings) -> Learner:
        """Returns a fresh learner; where a divergence is paid for, from what the warm start left."""
        return learner_of(self.recipe, self.model, settings, self.run.folder / "models" / "warm-start")

    def finish(self) -> Path:
        """Does what is left to do; returns the path of the report."""
        try:
            with self.watcher, self._watchdog():
                if self.progress.step == 0:
                    self.measure_knowledge(START)
                with interruptible(self.progress):
                    self.warm_start()
                    self.demand_gate()
                    self.reinforce()
                self.measure_knowledge(AFTER)
                self.evaluate(AFTER)  # all is saved: from here on Ctrl-C stops at once
                self.record_cost()
                self.watcher.stage("writing the report")
                return write(Run.read(self.run.folder))  # as `poziomka report` will see it
        except LearningError as error:
            self.run.note(str(error))  # whoever called says it; the run remembers it
            raise

    def _watchdog(self) -> Watchdog:
        """Returns who says which part waits for what, when nothing is logged; the run remembers it."""

        def tell(line: str) -> None:
            self.run.note(line)
            self.watcher.tell()

        asked = (lambda: sampling(self.sampler), scoring, lambda: learning(self.progress.learner))
        return Watchdog(self.recipe.watchdog, lambda: self.watcher.heard, tell, asked)

    def warm_start(self) -> None:
        """Fine-tunes on demonstrations; at its end, measures the gate, the first point and the warm start's curves."""
        updates = self.warm_updates
        if self.progress.step >= updates > 0:
            return
        if not updates:
            if self.progress.step == 0 and self.run.results("gate") is None:
                self._measure_warm_start()
            return
        context = context_of(self.recipe, self.model)
        lessons = Lessons(self.taught, self.chat, self.recipe.warm_start.lessons, self.recipe.seed, context)

        def after(update: int) -> None:
            if update == updates:
                for note in lessons.notes:
                    self.run.note(note)
                self._measure_warm_start()
            elif update % max(1, updates // 8) == 0:
                self.show()

        finetune(
            self.progress, lambda update: lessons.at(update, updates), updates, start=self.progress.step, after=after
        )

    def _measure_warm_start(self) -> None:
        self._keep_model("warm-start")  # checkpoints come and go; where reinforcement began stays
        if self.warm_updates:
            self.measure_knowledge(BEFORE)
        self._measure_gate()
        self.log_point()
        self.evaluate(BEFORE)

    def measure_knowledge(self, when: str) -> None:
        """Measures how likely a pretrained model, as it stands, finds right answers to general questions."""
        if self.recipe.pretrained is not None:
            record_knowledge(when, self.model, self.chat, self.run)

    def _measure_gate(self) -> None:
        gate, budget = self.recipe.gate, self.recipe.reinforce.budget
        self.watcher.stage("measuring what thought is worth")
        direct = self._evaluation(gate.problems, 2, most=0)
        # without a budget there is no thought to gain from, and nothing that reinforcement could unlearn
        thinking = direct if budget == 0 else self._evaluation(gate.problems, 2, least=1, most=budget)
        gain = thinking.accuracy.mean - direct.accuracy.mean
        self.run.record(
            "gate",
            {
                "direct": held_out(direct),
                "thinking": held_out(thinking),
                "margin": gate.margin,
                "gain": gain,
                "passed": budget == 0 or gain >= gate.margin,
            },
        )

    def _keep_model(self, name: str) -> None:
        """Writes the model as it stands to models/`name`, all or nothing."""
        folder = self.run.folder / "models" / name
        part = folder.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_learned(part, self.model, self.tokenizer, self.progress.base)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def demand_gate(self) -> None:
        """Refuses to reinforce where thought does not help yet: reinforcement would unlearn thinking.

        What was measured and is gone is measured again; once reinforcement has begun, the gate was passed.

        Raises:
            LearningError: the gain of accuracy is below the margin.
        """
        if self.run.results("gate") is None and self.progress.step == self.warm_updates:
            self._measure_gate()
        gate = self.run.results("gate")
        if gate is not None and not gate["passed"]:
            message = (
                f"the warm start gains {gate['gain']:+.2f} of accuracy from thought ({gate['direct']['mean']:.2f} "
                f"answering at once, {gate['thinking']['mean']:.2f} thinking), and the gate asks for "
                f"{gate['margin']:.2f}: "
                "reinforcement would unlearn thinking; raise warm_start.updates, or lower gate.margin"
            )
            raise LearningError(message)

    def reinforce(self) -> None:
        """Reinforces, with a point of the learning curve every so often."""
        settings, every = self.recipe.reinforce, self.recipe.evaluate.every
        self.watcher.stage("reinforcing")
        start = self.progress.step - self.warm_updates
        if start == 0:
            self.progress.learner = self.learner(settings.learner)

        def after(step: int) -> None:
            if step % every == 0 or fraction_done(self.progress, self.curriculum, settings, step) >= 1:
                self.log_point()

        reinforce(self.progress, self.sampler, self.task, self.curriculum, settings, start=start, after=after)

    def _evaluation(self, problems: int, attempts: int, least: int = 0, most: int | None = None) -> Evaluation:
        """Returns how the model as it stands does at validation problems: what decides never sees a test problem."""
        self.progress.hand_over(self.sampler)
        how = self.sampling(least, most)
        return evaluate(self.sampler, self.task, how, problems=problems, attempts=attempts, split=VALIDATION)

    def sampling(self, least: int = 0, most: int | None = None) -> Sampling:
        """Returns how held-out problems are attempted."""
        settings = self.recipe.reinforce
        answer = settings.tokens - (settings.budget or 0)
        tokens = max(settings.tokens, answer + max(self.recipe.evaluate.budgets))
        return Sampling(temperature=settings.temperature, tokens=tokens, think_least=least, think_most=most)

    def log_point(self) -> None:
        """Measures a point of the learning curve and shows the fixed problems."""
        began, settings = time.perf_counter(), self.recipe.evaluate
        found = self._evaluation(settings.curve_problems, settings.curve_attempts, most=self.recipe.reinforce.budget)
        accuracy = found.accuracy
        audited = self.alarms.see_held_out(found.groups, self.progress.step)
        self.progress.score = found.bounds[0]  # failed checks as wrong: they must not make a checkpoint the best
        self.progress.spend(reinforce_flops=0.0, evaluation_flops=sampling_flops(self.model, found.groups))
        self.progress.log(
            "evaluate",
            {f"evaluate/accuracy{end}": value for end, value in _ends(accuracy)}
            | {
                "evaluate/thinking_tokens": found.thinking,
                "evaluate/problems": float(len(found.groups)),
                "time/evaluating_seconds": time.perf_counter() - began,
            }
            | ({"evaluate/tools_rate": describe_tools(found.groups)["tools/rate"]} if self.task.environment else {})
            | self._made_to_think()
            | _failed(found)
            | audited,
        )
        self.show()

    def _made_to_think(self) -> dict[str, float]:
        """Returns, for the curve's first point, what these weights reach when they are made to think; else {}."""
        budget, settings = self.recipe.reinforce.budget, self.recipe.evaluate
        if self.progress.step > self.warm_updates or budget == 0 or not opens_thoughts(self.recipe):
            return {}
        found = self._evaluation(settings.curve_problems, settings.curve_attempts, least=1, most=budget)
        self.progress.spend(evaluation_flops=sampling_flops(self.model, found.groups))
        return {f"evaluate/made_to_think{end}": value for end, value in _ends(found.accuracy)}

    def show(self) -> None:
        """Lets the model answer the fixed problems, for whoever watches."""
        if not self.watcher.quiet:
            self.progress.hand_over(self.sampler)
            self.watcher.answers(self.sampler, self.task, self.sampling(most=self.recipe.reinforce.budget))

    def evaluate(self, name: str) -> None:
        """Records the curves of the model as it stands, under `name`, and keeps its rollouts for the report."""
        known = self.run.results("frontier") or {}
        kept = name.replace(" ", "-")
        if name in known.get("curves", {}) and (self.run.folder / "journal" / f"{kept}.parquet").exists():
            return
        began, settings = time.perf_counter(), self.recipe.evaluate
        self.watcher.stage(f"evaluating the {name} model at {len(settings.budgets)} budgets")
        self.progress.hand_over(self.sampler)
        found = measured(name, self.sampler, self.task, self.recipe, self.sampling)
        record(found, self.run, self.task, self.recipe)
        self.run.keep(kept, found.longest.groups[:40], step=self.progress.step)
        seconds = self.progress.seconds
        seconds["evaluating"] = seconds.get("evaluating", 0.0) + time.perf_counter() - began

    def record_cost(self) -> None:
        """Records what the run has cost, phase by phase, and what it does not show."""
        spent = {name.removeprefix("compute/"): amount for name, amount in self.progress.spent.items()}
        self.run.record(
            "cost",
            {
                "flops": {phase: spent.get(flops, 0.0) for phase, (flops, _, _) in PHASES.items()},
                "tokens": {phase: spent.get(tokens, 0.0) for phase, (_, tokens, _) in PHASES.items() if tokens},
                "seconds": {
                    phase: sum(self.progress.seconds.get(name, 0.0) for name in names)
                    for phase, (_, _, names) in PHASES.items()
                },
                "parameters": self.model.parameters_count,
                "threads": self.recipe.threads,
            },
        )
        self.run.record("notes", {"not_shown": list(self.task.limits)})


def _ends(accuracy: Estimate) -> tuple[tuple[str, float], ...]:
    """Returns an estimate as metrics have it: ends of names, and values."""
    return ("", accuracy.mean), ("_low", accuracy.low), ("_high", accuracy.high)


def _failed(found: Evaluation) -> dict[str, float]:
    """Returns, where checks failed, how many, and the accuracy with all of them wrong and with all of them right."""
    if not found.failures:
        return {}
    wrong, right = found.bounds
    return {
        "evaluate/failed_checks": float(found.failures),
        "evaluate/accuracy_as_wrong": wrong,
        "evaluate/accuracy_as_right": right,
    }


# a phase of a run: the totals that count its FLOPs and tokens, and the clocks that time it
PHASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "warm start": ("finetune_flops", "finetune_tokens", ("warm_start: data", "warm_start: learning")),
    "sampling": ("sampling_flops", "sampled_tokens", ("reinforce: sampling",)),
    "learning": (
        "training_flops",
        "trained_tokens",
        ("reinforce: packing", "reinforce: learning", "reinforce: monitoring"),
    ),
    "evaluation": ("evaluation_flops", "", ("evaluate: evaluating", "evaluating")),
}


def train(
    recipe: Recipe, folder: Path, task: Task | None = None, *, keep_watch: bool = True, exports: Sequence[str] = ()
) -> Path:
    """Runs a recipe in a folder, or goes on with it; returns the path of the report.

    Args:
        recipe: what to do.
        folder: where to write; a run of the same recipe that is there goes on.
        task: the problems; None for those that the recipe names.
        keep_watch: show progress.
        exports: where metrics are copied to as they come, "tensorboard" or "wandb".

    Raises:
        PoziomkaError: what is wrong, in a sentence.
        Interrupted: Ctrl-C; everything is saved.
    """
    built = build(recipe, task)
    demand_problems(recipe, built)  # before a folder is made that would hold a recipe nobody can follow
    demand_exports(exports)

    def resolve(there: dict[str, Any]) -> dict[str, Any]:
        return plain(recipe_of(there, where=str(folder)))

    with Run.open(folder, plain(recipe), resolve=resolve) as run, Exports(run, exports) as copies:
        demand_same_inputs(recipe, built, run)
        training = Training(recipe, run, settled(recipe, built, run), quiet=not keep_watch)
        training.progress.listener = copies.beside(training.progress.listener)
        return training.finish()


def train_task(task: Task, folder: Path, *changes: str) -> Path:
    """Trains a small model from nothing on a task of one's own; returns the path of the report.

    Args:
        task: with demonstrations, symbols and, where problems differ in difficulty, levels.
        folder: where to write.
        changes: settings of the default recipe, written `name=value` as on the command line.

    Raises:
        PoziomkaError: what is wrong, in a sentence.
    """
    return train(recipe_of({"name": task.name, "task": task.name}, changes), folder, task)

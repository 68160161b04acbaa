"""Runs a recipe from initial weights to a report: warm start, gate, reinforcement, evaluation. Wiring only."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poziomka.app.build import (
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
from poziomka.app.forgetting import record_knowledge
from poziomka.app.inputs import demand_same_inputs
from poziomka.app.interrupt import interruptible
from poziomka.app.measure import held_out, measured, opens_thoughts, record
from poziomka.app.preflight import demand_memory, needs
from poziomka.app.progress_display import Watcher
from poziomka.app.settings.recipe import Recipe, recipe_of
from poziomka.app.watchdog import Watchdog, learning, sampling, scoring
from poziomka.core.errors import LearningError
from poziomka.core.rollouts.evaluation import Estimate, Evaluation, evaluate
from poziomka.core.sampler import Sampling
from poziomka.core.settings import plain
from poziomka.core.splits import VALIDATION
from poziomka.core.task import Task, asked
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, fraction_done, reinforce
from poziomka.learning.loops.sft import finetune
from poziomka.learning.samples.demonstrations import Lessons
from poziomka.learning.samples.turns import describe_tools
from poziomka.learning.session import Progress, watch_over
from poziomka.models.flops import sampling_flops
from poziomka.models.lora import save_learned
from poziomka.reports.page import write
from poziomka.reports.reading import AFTER, BEFORE, START
from poziomka.runs import Run
from poziomka.runs.exports import Exports, demand_exports


class Training:
    """Training run of a recipe in a folder; resumes from the newest checkpoint.

    Args:
        recipe: recipe to run.
        run: folder to read and write.
        built: components of the run; None to build those that the recipe names.
        quiet: show no progress.
    """

    def __init__(self, recipe: Recipe, run: Run, built: Built | None = None, *, quiet: bool = False) -> None:
        """Builds all parts and restores the newest checkpoint, if there is one."""
        self.recipe, self.run = recipe, run
        built = built or build(recipe)
        self.task, self.chat, self.model, self.tokenizer = built.task, built.chat, built.model, built.tokenizer
        self.warm_updates = recipe.warm_updates
        self.sampler = sampler_of(recipe, built)
        adapt(recipe, self.model)
        if recipe.pretrained is not None:
            prompts = [asked(self.task, problem) for problem in self.task.take("train", 0, 8)]
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
        """Returns the restored progress of the run, with the learner of its present stage."""
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
        """Returns a new learner; its reference, if any, is the model at the end of the warm start."""
        return learner_of(self.recipe, self.model, settings, self.run.folder / "models" / "warm-start")

    def finish(self) -> Path:
        """Runs all remaining stages; returns the path of the report."""
        try:
            with self.watcher, self._watchdog():
                if self.progress.step == 0:
                    self.measure_knowledge(START)
                with interruptible(self.progress):
                    self.warm_start()
                    self.demand_gate()
                    self.reinforce()
                self.measure_knowledge(AFTER)
                self.evaluate(AFTER)  # everything is saved, so Ctrl-C stops at once from here on
                self.record_cost()
                self.watcher.stage("writing the report")
                return write(Run.read(self.run.folder))  # as `poziomka report` will see it
        except LearningError as error:
            self.run.note(str(error))  # the caller prints the error; the note stays in the run
            raise

    def _watchdog(self) -> Watchdog:
        """Returns a watchdog that adds its reports to the run's notes."""

        def tell(line: str) -> None:
            self.run.note(line)
            self.watcher.tell()

        asked = (lambda: sampling(self.sampler), scoring, lambda: learning(self.progress.learner))
        return Watchdog(self.recipe.watchdog, lambda: self.watcher.heard, tell, asked)

    def warm_start(self) -> None:
        """Fine-tunes on demonstrations, then measures the gate, the first point and the curves of the warm start."""
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
        self._keep_model("warm-start")  # old checkpoints are deleted; the reference of reinforcement must stay
        if self.warm_updates:
            self.measure_knowledge(BEFORE)
        self._measure_gate()
        self.log_point()
        self.evaluate(BEFORE)

    def measure_knowledge(self, when: str) -> None:
        """Records a pretrained model's log-probability of answers to general questions (forgetting.py)."""
        if self.recipe.pretrained is not None:
            record_knowledge(when, self.model, self.chat, self.run)

    def _measure_gate(self) -> None:
        gate, budget = self.recipe.gate, self.recipe.reinforce.budget
        self.watcher.stage("measuring what thought is worth")
        direct = self._evaluation(gate.problems, 2, most=0)
        # with a budget of 0 the model does not think, so reinforcement cannot unlearn thinking
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
        """Writes the present model to models/`name` atomically."""
        folder = self.run.folder / "models" / name
        part = folder.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_learned(part, self.model, self.tokenizer, self.progress.base)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def demand_gate(self) -> None:
        """Raises an error if thinking does not help the warm-started model: reinforcement would unlearn thinking.

        A missing measurement is repeated, unless reinforcement has begun, which implies that the gate was passed.

        Raises:
            LearningError: the gain in accuracy from thinking is below the margin.
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
        """Runs reinforcement, with a point of the learning curve every `evaluate.every` steps and at the end."""
        settings, every = self.recipe.reinforce, self.recipe.evaluate.every
        self.watcher.stage("reinforcing")
        start = self.progress.step - self.warm_updates
        if start == 0:
            self.progress.learner = self.learner(settings.learner)

        def after(step: int) -> None:
            if step % every == 0 or fraction_done(self.progress, self.curriculum, settings, step) >= 1:
                self.log_point()

        policy = Policy(self.sampler)
        reinforce(self.progress, policy, self.task, self.curriculum, settings, start=start, after=after)

    def _evaluation(self, problems: int, attempts: int, least: int = 0, most: int | None = None) -> Evaluation:
        """Evaluates the present model on validation problems; decisions during a run never use the test split."""
        self.progress.publish_weights(self.sampler)
        how = self.sampling(least, most)
        return evaluate(self.sampler, self.task, how, problems=problems, attempts=attempts, split=VALIDATION)

    def sampling(self, least: int = 0, most: int | None = None) -> Sampling:
        """Returns the sampling settings of held-out problems, with `least` to `most` thinking tokens."""
        settings = self.recipe.reinforce
        answer = settings.tokens - (settings.budget or 0)
        tokens = max(settings.tokens, answer + max(self.recipe.evaluate.budgets))
        return Sampling(temperature=settings.temperature, tokens=tokens, think_least=least, think_most=most)

    def log_point(self) -> None:
        """Measures and logs a point of the learning curve, then shows the fixed problems."""
        began, settings = time.perf_counter(), self.recipe.evaluate
        found = self._evaluation(settings.curve_problems, settings.curve_attempts, most=self.recipe.reinforce.budget)
        accuracy = found.accuracy
        audited = self.alarms.see_held_out(found.groups, self.progress.step)
        self.progress.score = found.bounds[0]  # lower bound: failed checks must not make a checkpoint the best
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
        """Returns the accuracy of the model made to think, at the first point of the curve; {} at later points."""
        budget, settings = self.recipe.reinforce.budget, self.recipe.evaluate
        if self.progress.step > self.warm_updates or budget == 0 or not opens_thoughts(self.recipe):
            return {}
        found = self._evaluation(settings.curve_problems, settings.curve_attempts, least=1, most=budget)
        self.progress.spend(evaluation_flops=sampling_flops(self.model, found.groups))
        return {f"evaluate/made_to_think{end}": value for end, value in _ends(found.accuracy)}

    def show(self) -> None:
        """Samples and shows replies to the fixed problems, unless the run is quiet."""
        if not self.watcher.quiet:
            self.progress.publish_weights(self.sampler)
            self.watcher.answers(self.sampler, self.task, self.sampling(most=self.recipe.reinforce.budget))

    def evaluate(self, name: str) -> None:
        """Records the curves of the present model under `name`, and saves rollouts for the report.

        Results that exist already are kept.
        """
        known = self.run.results("frontier") or {}
        kept = name.replace(" ", "-")
        if name in known.get("curves", {}) and (self.run.folder / "journal" / f"{kept}.parquet").exists():
            return
        began, settings = time.perf_counter(), self.recipe.evaluate
        self.watcher.stage(f"evaluating the {name} model at {len(settings.budgets)} budgets")
        self.progress.publish_weights(self.sampler)
        found = measured(name, self.sampler, self.task, self.recipe, self.sampling)
        record(found, self.run, self.task, self.recipe)
        self.run.keep(kept, found.longest.groups[:40], step=self.progress.step)
        seconds = self.progress.seconds
        seconds["evaluating"] = seconds.get("evaluating", 0.0) + time.perf_counter() - began

    def record_cost(self) -> None:
        """Records FLOPs, tokens and seconds of each phase of the run, and the limits of its task."""
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
    """Returns the suffixes of metric names and the values of an estimate: mean, low, high."""
    return ("", accuracy.mean), ("_low", accuracy.low), ("_high", accuracy.high)


def _failed(found: Evaluation) -> dict[str, float]:
    """Returns the number of failed checks, and the accuracy if all were wrong or all correct; {} for none."""
    if not found.failures:
        return {}
    wrong, right = found.bounds
    return {
        "evaluate/failed_checks": float(found.failures),
        "evaluate/accuracy_as_wrong": wrong,
        "evaluate/accuracy_as_right": right,
    }


# phase of a run → the names of its totals of FLOPs and of tokens, and of its clocks
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
    """Runs a recipe in a folder, or resumes it; returns the path of the report.

    Args:
        recipe: recipe to run.
        folder: folder of the run; an existing run of the same recipe is resumed.
        task: the task; None for the one that the recipe names.
        keep_watch: show progress.
        exports: exporters that copy metrics as they are logged, "tensorboard" or "wandb".

    Raises:
        PoziomkaError: the recipe cannot be run, or training failed.
        Interrupted: Ctrl-C stopped the run; its state is saved.
    """
    built = build(recipe, task)
    demand_problems(recipe, built)  # before creating a folder, so that it never contains an unusable recipe
    demand_exports(exports)

    def resolve(there: dict[str, Any]) -> dict[str, Any]:
        return plain(recipe_of(there, where=str(folder)))

    with Run.open(folder, plain(recipe), resolve=resolve) as run, Exports(run, exports) as copies:
        demand_same_inputs(recipe, built, run)
        training = Training(recipe, run, settled(recipe, built, run), quiet=not keep_watch)
        training.progress.listener = copies.beside(training.progress.listener)
        return training.finish()


def train_task(task: Task, folder: Path, *changes: str) -> Path:
    """Trains a small, randomly initialized model on a custom task; returns the path of the report.

    Args:
        task: a task with demonstrations, symbols and, if its problems differ in difficulty, levels.
        folder: folder of the run; an existing run of the same recipe is resumed.
        changes: settings that differ from the default recipe, written `name=value` as on the command line.

    Raises:
        PoziomkaError: the task or the settings cannot be used, or training failed.
    """
    return train(recipe_of({"name": task.name, "task": task.name}, changes), folder, task)

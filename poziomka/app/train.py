"""Runs a recipe from initial weights to a report: its stages, gates, evaluation. Wiring only."""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from poziomka.app.build import Built, adapt, build, demand_problems, learner_of, sampler_of, settled, taught, thinks
from poziomka.app.forgetting import record_knowledge
from poziomka.app.inputs import demand_same_inputs
from poziomka.app.interrupt import interruptible
from poziomka.app.measure import costs, ends, failed_checks, gate_of, measured, opens_thoughts, record, refusal
from poziomka.app.preflight import branches_of, demand_memory, demand_strategies, needs, notes_on
from poziomka.app.progress_display import Watcher
from poziomka.app.settings.recipe import Recipe, Sampled, Stage, resolved
from poziomka.app.stages import StageParts, curriculum_of, run_stage, saved_stage
from poziomka.app.watchdog import Watchdog, learning, sampling, scoring
from poziomka.core.errors import LearningError
from poziomka.core.rollouts.evaluation import Evaluation, evaluate
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain
from poziomka.core.task import Task, asked
from poziomka.learning.learner import Learner
from poziomka.learning.loops.rl import RLSettings
from poziomka.learning.loops.sft import SFTSettings
from poziomka.learning.monitoring.reward_hacking import RewardHacking
from poziomka.learning.samples.turns import describe_tools
from poziomka.learning.session import TrainingSession, fitting
from poziomka.models.flops import sampling_flops
from poziomka.models.lora import save_learned
from poziomka.reports.page import write
from poziomka.reports.reading import AFTER, BEFORE, START
from poziomka.reports.words import counted
from poziomka.runs import Run
from poziomka.runs.exports import Exports, demand_exports
from poziomka.runs.folder import demand_utf8


class Training:
    """Training run of a recipe in a folder; resumes from the newest checkpoint.

    Args:
        recipe: recipe to run.
        run: folder to read and write.
        built: components of the run; None builds those that the recipe names.
        watcher: display of the progress; None creates one.
        quiet: show no progress.

    Raises:
        RunError: an input of the run has other contents than at its start.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        built: Built | None = None,
        *,
        watcher: Watcher | None = None,
        quiet: bool = False,
    ) -> None:
        """Builds all parts and restores the newest checkpoint, if there is one."""
        self.recipe, self.run = recipe, run
        self.watcher = Watcher(recipe, run.folder, quiet=quiet) if watcher is None else watcher
        built = self.built = settled(recipe, built or build(recipe), run)
        demand_same_inputs(recipe, built.task, built.source, run)
        self.task, self.chat, self.model, self.tokenizer = built.task, built.chat, built.model, built.tokenizer
        self.sampler = sampler_of(recipe, built)
        adapt(recipe, self.model)
        self._demand_memory()
        found = taught(recipe, built)
        self.taught = found.task
        self.watcher.notes = run.notes
        self.progress = self._restored()
        self.progress.base, self.progress.thinks = built.base, thinks(self.chat)
        for note in (*built.notes, *found.notes):
            run.note(note)
        if built.scripted:
            self.progress.again = "the script that began it"

    def _demand_memory(self) -> None:
        """Raises ModelError if a step of a stage that samples needs more memory than is free; loaded models only."""
        if self.recipe.model.load is None:
            return
        prompts = [asked(self.task, problem) for problem in self.task.take("train", 0, 8, stand_ins=True)]
        turns = self.task.environment is not None
        for stage in self.recipe.sampled:
            context, branches = self.recipe.model.context, branches_of(stage, self.task)
            needed = needs(self.model, self.chat, prompts, stage, context=context, turns=turns, branches=branches)
            demand_memory(needed, self.model.device)

    def _restored(self) -> TrainingSession:
        """Returns the restored progress of the run, with the learner of its present stage."""
        saved = self.run.latest()
        name = "" if saved is None else saved_stage(saved.state)
        stage = self.recipe.named(name) if name else self.recipe.stage[0]
        self._fresh = "" if saved is not None else stage.name  # the stage whose learner is new
        progress = TrainingSession(
            self.run, self.learner(stage), self.tokenizer, self.recipe.save_every, self.watcher.hear
        )
        state = progress.restore()
        progress.extra["curriculum"] = self._curriculum_state
        before = progress.stages.sampled
        waiting = [each for each in self.recipe.sampled if each.name not in progress.stages.ended]
        self._sample_for(progress, next(iter(waiting or self.recipe.sampled[-1:]), None))
        if saved is not None and before == progress.stages.sampled:
            with fitting(saved.folder):
                self.curriculum.restore(state["curriculum"])
                self.alarms.restore(state["alarms"])
        self.watcher.restored(progress)
        return progress

    def _curriculum_state(self) -> dict[str, Any]:
        return self.curriculum.state()

    def _sample_for(self, progress: TrainingSession, stage: Sampled | None) -> None:
        """Creates curriculum and alarms for a stage that samples; `stage=None` creates both with the defaults."""
        self.curriculum = curriculum_of(self.recipe, stage or self.recipe.stage[0], self.taught)
        settings = stage if isinstance(stage, RLSettings) else RLSettings()
        self.alarms = RewardHacking(self.task, settings.alarms, settings.scorer_seconds)
        progress.alarms = self.alarms
        progress.extra["alarms"] = self.alarms.state
        progress.stages.sampled = stage.name if stage is not None else ""
        self.watcher.alarms = self.alarms.rung

    def learner(self, stage: Stage) -> Learner:
        """Returns a new learner for a stage; its reference model, if any, is the model at the start of the stage."""
        return learner_of(self.recipe, self.built, stage, self.run.folder / "models" / self._before(stage))

    def _before(self, stage: Stage) -> str:
        """Returns the name of the model that a stage begins with: the stage before it, or "start"."""
        index = self.recipe.stage.index(stage)
        return self.recipe.stage[index - 1].name if index else START

    def finish(self) -> Path:
        """Runs all remaining stages; returns the path of the report."""
        try:
            with self.watcher, self._watchdog():
                if self.progress.step == 0:
                    self.measure_knowledge(START)
                with interruptible(self.progress):
                    for stage in self.recipe.stage:
                        self.run_stage(stage.name)
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
        return Watchdog(self.recipe.watchdog, lambda: self.watcher.heard, tell, asked, lambda: self.watcher.doing)

    # ------------------------------------------------------------------------------------------------------- stages
    def run_stage(self, name: str, *, prepare: bool = True) -> None:
        """Runs a stage from where it was interrupted; a stage that is done is skipped.

        Args:
            name: name of the stage.
            prepare: first measure the model and check it against the stage's `require` settings.

        Raises:
            LearningError: the model does not reach what the stage requires, or training failed.
            Interrupted: the user asked to stop; the state is saved.
        """
        stage, stages = self.recipe.named(name), self.progress.stages
        if name in stages.ended:
            return
        if prepare and not stages.taken.get(name):
            self.prepare(stage)
            self.demand_gate(stage)
        if name not in stages.taken and self._fresh != name:
            self.progress.learner = self.learner(stage)
        self._fresh = ""
        start = self.progress.enter(name)
        if stage.steps:
            self.watcher.begin(stage)
            parts = StageParts(
                self.recipe, self.progress, self.task, self.taught, self.chat, self.sampler, self.curriculum
            )
            run_stage(parts, stage, start, lambda step, last: self._after(stage, step, last=last))
        if name not in stages.ended:
            stages.ended.append(name)

    def _after(self, stage: Stage, step: int, *, last: bool) -> None:
        """Evaluates the model after some steps of a stage, before they are saved; the last prepares the next stage."""
        self.progress.stages.taken[stage.name] = step
        index, sft = self.recipe.stage.index(stage), isinstance(stage, SFTSettings)
        following = self.recipe.stage[index + 1 :]
        if not last:
            if sft and step % max(1, stage.steps // 8) == 0:
                self.show()
            elif not sft and step % self.recipe.evaluate.every == 0:
                self.log_point()
            return
        if not sft or not following:
            self.log_point()
        self.progress.stages.ended.append(stage.name)
        for each in following:
            self.prepare(each)
            if each.steps:
                break

    def prepare(self, stage: Stage) -> None:
        """Measures the model at the start of a stage and saves it to models/; a repeated call does nothing.

        Before the first stage that is not sft, the model is also evaluated, for comparison with the trained model.
        """
        stages, compared = self.progress.stages, stage.name == self.recipe.compared
        if stage.name in stages.prepared:
            return
        stages.prepared.append(stage.name)
        if compared or self._before(stage) != START:
            self._keep_model(self._before(stage))  # old checkpoints are deleted; the reference of a loss must stay
        if isinstance(stage, Sampled) and stages.sampled != stage.name:
            self._sample_for(self.progress, stage)
        if compared and self.progress.step:
            self.measure_knowledge(BEFORE)
        self._measure_gate(stage)
        if compared:
            self.log_point()
            self.evaluate(BEFORE)

    def measure_knowledge(self, when: str) -> None:
        """Records a loaded model's log-probability of answers to general questions, under the key `when`."""
        if self.recipe.model.load is not None:
            self.watcher.stage("measuring forgetting")
            record_knowledge(when, self.model, self.chat, self.run)

    def _gate(self, stage: Stage) -> str:
        """Returns the name of a stage's `require` results: "gate" for the first stage with one, else "gate-STAGE"."""
        first = next((each.name for each in self.recipe.stage if each.require is not None), "")
        return "gate" if stage.name == first else f"gate-{stage.name}"

    def _measure_gate(self, stage: Stage) -> None:
        """Evaluates the model and records whether it fulfils the stage's `require` settings, if there are any."""
        wanted, budget = stage.require, self.recipe.sampling.max_thinking_tokens
        if wanted is None:
            return
        self.watcher.stage("measuring what thought is worth")
        direct = self._evaluation(wanted.problems, 2, most=0)
        # with a budget of 0 the model does not think, so a stage cannot unlearn thinking
        thinking = direct if budget == 0 else self._evaluation(wanted.problems, 2, least=1, most=budget)
        self.run.record(self._gate(stage), gate_of(stage.name, wanted, direct, thinking, thinks=budget != 0))

    def _keep_model(self, name: str) -> None:
        """Writes the present model to models/`name` atomically."""
        folder = self.run.folder / "models" / name
        part = folder.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_learned(part, self.model, self.tokenizer, self.progress.base)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def demand_gate(self, stage: Stage) -> None:
        """Raises an error if the model does not fulfil the stage's `require` settings; measures it if that is missing.

        Raises:
            LearningError: the gain in accuracy from thinking, or the accuracy, is below what is required.
        """
        if stage.require is None:
            return
        if self.run.results(self._gate(stage)) is None:
            self._measure_gate(stage)
        gate = self.run.results(self._gate(stage)) or {}
        if gate.get("passed") is not True:
            message = refusal(stage.name, stage.require, gate)
            raise LearningError(message)

    def _evaluation(self, problems: int, attempts: int, least: int = 0, most: int | None = None) -> Evaluation:
        """Evaluates the present model on held-out problems; decisions during a run never use the test split."""
        self.progress.publish_weights(self.sampler)
        how = self.sampling(least, most)
        return evaluate(
            self.sampler, self.task, how, problems=problems, attempts=attempts, split=self.recipe.evaluate.split
        )

    def sampling(self, least: int = 0, most: int | None = None) -> SamplingParams:
        """Returns the sampling settings of held-out problems, with `least` to `most` thinking tokens."""
        own = self.recipe.sampling
        answer = own.max_tokens - (own.max_thinking_tokens or 0)
        tokens = max(own.max_tokens, answer + max(self.recipe.evaluate.budgets))
        return SamplingParams(
            temperature=own.temperature, max_tokens=tokens, min_thinking_tokens=least, max_thinking_tokens=most
        )

    def log_point(self) -> None:
        """Evaluates the model, logs a point of the learning curve, and shows replies to three fixed problems."""
        began, settings = time.perf_counter(), self.recipe.evaluate
        found = self._evaluation(
            settings.curve_problems, settings.curve_attempts, most=self.recipe.sampling.max_thinking_tokens
        )
        accuracy = found.accuracy
        audited = self.alarms.see_held_out(found.groups, self.progress.step)
        self.progress.score = found.bounds[0]  # lower bound: failed checks must not make a checkpoint the best
        self.progress.spend(reinforce_flops=0.0, evaluation_flops=sampling_flops(self.model, found.groups))
        self.progress.log(
            "evaluate",
            {f"evaluate/accuracy{end}": value for end, value in ends(accuracy)}
            | {
                "evaluate/thinking_tokens": found.thinking,
                "evaluate/problems": float(len(found.groups)),
                "time/evaluating_seconds": time.perf_counter() - began,
            }
            | ({"evaluate/tools_rate": describe_tools(found.groups)["tools/rate"]} if self.task.environment else {})
            | self._made_to_think()
            | failed_checks(found)
            | audited,
        )
        self.show()

    def _made_to_think(self) -> dict[str, float]:
        """Returns the accuracy of the model made to think, at the first point of the curve; {} at later points."""
        budget, settings = self.recipe.sampling.max_thinking_tokens, self.recipe.evaluate
        begun = self.recipe.compared in self.progress.stages.taken
        if begun or not self.recipe.compared or budget == 0 or not opens_thoughts(self.recipe):
            return {}
        found = self._evaluation(settings.curve_problems, settings.curve_attempts, least=1, most=budget)
        self.progress.spend(evaluation_flops=sampling_flops(self.model, found.groups))
        return {f"evaluate/made_to_think{end}": value for end, value in ends(found.accuracy)}

    def show(self) -> None:
        """Samples and shows replies to three fixed validation problems, unless the run is quiet."""
        if not self.watcher.quiet:
            self.progress.publish_weights(self.sampler)
            self.watcher.answers(self.sampler, self.task, self.sampling(most=self.recipe.sampling.max_thinking_tokens))

    def evaluate(self, name: str) -> None:
        """Evaluates the present model at all thinking budgets, records it as `name`, saves rollouts for the report.

        Results that exist already are kept.
        """
        known = self.run.results_table("frontier", "curves")
        kept = name.replace(" ", "-")
        if name in known and (self.run.folder / "journal" / f"{kept}.parquet").exists():
            return
        began, settings = time.perf_counter(), self.recipe.evaluate
        tuned = any(stage.kind == "sft" for stage in self.recipe.stage) and self.progress.step > 0
        called = "initial" if name == BEFORE and not tuned else name
        self.watcher.stage(f"evaluating the {called} model at {counted(len(settings.budgets), 'budget')}")
        self.progress.publish_weights(self.sampler)
        found = measured(name, self.sampler, self.task, self.recipe, self.sampling)
        record(found, self.run, self.task, self.recipe)
        self.run.keep(kept, found.longest.groups[:40], step=self.progress.step)
        seconds = self.progress.seconds
        seconds["evaluating"] = seconds.get("evaluating", 0.0) + time.perf_counter() - began

    def record_cost(self) -> None:
        """Records FLOPs, tokens and seconds of each phase of the run, and what its task does not measure."""
        self.run.record("cost", costs(self.progress, self.recipe, self.model.parameters_count))
        self.run.record("notes", {"not_shown": list(self.task.limits)})


def train(
    recipe: Recipe, folder: Path, task: Task | None = None, *, keep_watch: bool = True, exports: Sequence[str] = ()
) -> Path:
    """Runs a recipe in a folder, or resumes it; returns the path of the report.

    Args:
        recipe: recipe to run.
        folder: folder of the run; an existing run of the same recipe is resumed.
        task: the task; None loads the one that the recipe names.
        keep_watch: show progress.
        exports: exporters that copy metrics as they are logged, "tensorboard" or "wandb".

    Raises:
        PoziomkaError: the recipe cannot be run, or training failed.
        Interrupted: Ctrl-C stopped the run; its state is saved.
    """
    demand_utf8(folder)
    watcher = Watcher(recipe, folder, quiet=not keep_watch)
    if recipe.model.load is not None:
        watcher.stage(f"loading {recipe.model.load}")
    built = build(recipe, task)
    demand_strategies(recipe, built.task)
    demand_problems(recipe, built.task, taught(recipe, built).task)  # before creating the folder of an unusable recipe
    demand_exports(exports)
    resolve = partial(resolved, where=str(folder))
    with Run.open(folder, plain(recipe), resolve=resolve) as run, Exports(run, exports) as copies:
        training = Training(recipe, run, built, watcher=watcher)
        training.progress.listener = copies.beside(training.progress.listener)
        for note in () if training.progress.step else notes_on(recipe, built.task):
            run.note(note)
        return training.finish()

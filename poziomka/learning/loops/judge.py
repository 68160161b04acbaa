"""Training of judges: the next-token loss on the verdict token after the policy's own replies, or after their steps.

    1  P training problems; G replies to each by the policy, at its sampling temperature
    2  labels: the scorer's outcome of each reply ("outcome"), or the share of k continuations of each step that are
       correct ("value"); a check that failed is no label
    3  lesson: prompt, reply or first steps, question, and the word of the label, which alone has a loss
    4  N steps on batches of lessons, drawn with replacement:  - mean of log p(word)

The verifier of Cobbe et al. 2021 (arXiv 2110.14168) with one verdict token in place of a scalar head, and the process
reward model of Math-Shepherd (arXiv 2312.08935) with binned values.

Lessons are drawn as the policy's replies come, so that the value is an estimate of the probability that the policy is
right. With `balance`, every word is drawn equally often: a class of a few percent is then learned too, and the value
is that of a policy that is right half of the time, too high for a weaker one. That changes the calibration, while the
ranking of replies stays about the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from poziomka.core.errors import LearningError, ModelError, SettingsError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import collect, wait_for
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.verdict_form import Labelled, VerdictForm
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import random_of
from poziomka.core.settings import setting
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.learning.learner import LearnerSettings
from poziomka.learning.loops.sft import finetune
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.verdict_labels import Labels, StepLabels, outcome_labels, verdict_lesson
from poziomka.learning.session import TrainingSession
from poziomka.models.lora import LoraSettings
from poziomka.models.text.chat import ChatFormat

OPTIMIZER = OptimizerSettings(learning_rate=1e-4, warmup_steps=10, decay_ratio=0.5, min_lr_ratio=0.02)


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(LearnerSettings):
    """Settings of the training of a judge: the policy's replies, their labels, and the learner's steps."""

    problems: int = setting(200, "training problems; a smaller split is used whole", low=1)
    attempts: int = setting(8, "replies of the policy to each problem", low=1)
    held_out: int = setting(100, "validation problems on which the judge is measured", low=1)
    temperature: float = setting(1.0, "temperature at which the policy is sampled", low=0.0)
    max_tokens: int = setting(256, "maximum tokens of a reply, thinking tokens included", low=1)
    max_thinking_tokens: int | None = setting(
        None, "maximum thinking tokens, after which the thought is closed; none: no limit", low=0
    )
    delimiter: str = setting("\n\n", "text that ends a step; for step values")
    continuations: int = setting(8, "continuations from which the value of a step is estimated", low=1)
    most_steps: int = setting(16, "steps of a reply that are labelled; for step values", low=1)
    scorer_seconds: float = setting(10.0, "time limit of one check by an untrusted scorer", low=0.001)
    steps: int = setting(300, "optimizer steps", low=1)
    labels_per_step: int = setting(32, "labels per step", low=1)
    balance: bool = setting(False, "draw all words equally often; the value is then no probability of success")
    optimizer: OptimizerSettings = field(default_factory=lambda: OPTIMIZER)
    lora: LoraSettings | None = setting(None, "LoRA adapters of the judge; none: all its weights are trained")
    seed: int = setting(0, "seed of replies, continuations, draws and adapters")

    @property
    def sampling(self) -> SamplingParams:
        """Sampling parameters of the policy."""
        return SamplingParams(
            temperature=self.temperature, max_tokens=self.max_tokens, max_thinking_tokens=self.max_thinking_tokens
        )


def labels_of(
    sampler: Sampler, task: Task, problems: Sequence[Problem], form: VerdictForm, settings: JudgeSettings, name: str
) -> Labels:
    """Samples the policy's replies to problems and returns their labels by problem.

    Args:
        sampler: sampler of the policy.
        task: provides the scorer and, for outcomes, the environment.
        problems: problems to attempt.
        form: its kind selects labels of replies or of steps.
        settings: numbers of replies and continuations, and how they are sampled.
        name: name of the collection, from which seeds derive; the same name repeats exactly.

    Raises:
        SettingsError: labels of steps are wanted of a task with an environment.
    """
    with Scoring(task, settings.scorer_seconds) as scoring:
        if form.kind == "outcome":
            how, attempts = settings.sampling, settings.attempts
            return outcome_labels(collect(sampler, task, problems, how, attempts=attempts, name=name, scoring=scoring))
        steps = StepLabels(
            sampler, scoring, settings.sampling, settings.delimiter, settings.continuations, settings.most_steps
        )
        return wait_for(steps.collect(problems, settings.attempts, name))


def demand_words(chat: ChatFormat, form: VerdictForm) -> None:
    """Checks that the words of a form are different single tokens.

    Raises:
        SettingsError: a word is not one token, or two words are the same token.
        ModelError: the tokenizer cannot encode the question.
    """
    chat.tokenizer.encode(form.question)
    tokens: dict[tuple[int, ...], str] = {}
    for word in form.words:
        try:
            found = tuple(chat.tokenizer.encode(word))
        except ModelError as error:
            message = f"the verdict {word!r} is not in the judge's vocabulary: {error}"
            raise SettingsError(message) from error
        if len(found) != 1 or found in tokens:
            what = f"is {len(found)} tokens" if len(found) != 1 else f"is the same token as {tokens[found]!r}"
            message = f"every verdict must be one token of its own, and {word!r} {what}: give the form other words"
            raise SettingsError(message)
        tokens[found] = word


class Verdicts:
    """Draws the lessons of each update: labelled transcripts with the question and its right answer.

    Args:
        labels: labelled transcripts.
        chat: chat format of the judge.
        form: question, and words that answer it.
        settings: lessons per update, their seed, and whether words are balanced.
        context: largest number of tokens of a lesson; None for no limit.

    Attributes:
        left_out: number of labels that cannot be lessons, by reason.
        counts: number of lessons by word.

    Raises:
        LearningError: the lessons have fewer than two different words.
    """

    def __init__(
        self,
        labels: Sequence[Labelled],
        chat: ChatFormat,
        form: VerdictForm,
        settings: JudgeSettings,
        context: int | None,
    ) -> None:
        """Tokenizes all lessons."""
        self.settings, self.left_out = settings, Counter[str]()
        self.by_word: dict[str, list[Transcript]] = {}
        for label in labels:
            try:
                lesson = verdict_lesson(chat, form, label)
            except (ModelError, TranscriptError) as error:
                self.left_out[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            if context is not None and len(lesson) > context:
                self.left_out[f"they are longer than the context of {context} tokens"] += 1
            else:
                self.by_word.setdefault(form.word(label.correct), []).append(lesson)
        self.counts = {word: len(self.by_word.get(word, ())) for word in form.words}
        self.lessons = [lesson for word in form.words for lesson in self.by_word.get(word, ())]
        if len(self.by_word) < 2:
            reasons = "".join(f"; {count} were left out: {why}" for why, count in self.left_out.most_common(1))
            message = (
                f"a judge learns from replies of different verdicts, and the {len(self.lessons)} labels have "
                f"{self.counts}{reasons}: take problems that the policy sometimes solves"
            )
            raise LearningError(message)

    def at(self, update: int) -> list[Transcript]:
        """Returns the lessons of one update; the seed and the update's number determine them."""
        random = random_of("verdicts", self.settings.seed, update)
        return [self._drawn(random) for _ in range(self.settings.labels_per_step)]

    def _drawn(self, random: Random) -> Transcript:
        lessons = random.choice(list(self.by_word.values())) if self.settings.balance else self.lessons
        return random.choice(lessons)


def teach(progress: TrainingSession, verdicts: Verdicts) -> None:
    """Trains the session's model as a judge: the remaining steps of `verdicts.settings.steps`.

    Logged every step as in supervised fine-tuning; loss/next_token is the mean of -log p(word).

    Args:
        progress: training session; its learner takes the steps.
        verdicts: draws the lessons.

    Raises:
        SettingsError: the learner has a divergence term, for which these lessons have no weights.
        LearningError: a loss is not finite; the weights are unchanged.
        Interrupted: the user requested a stop; a checkpoint was saved first.
    """
    if progress.learner.settings.kl.wanted:
        message = "a judge trains with the next-token loss alone: leave kl out of its settings"
        raise SettingsError(message)
    for why, count in verdicts.left_out.most_common():
        progress.run.note(f"{count} labels were left out: {why}")
    finetune(progress, verdicts.at, verdicts.settings.steps, start=progress.step, stage="judge")

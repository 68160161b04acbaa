"""Labels of judges, from the policy's own rollouts: outcomes of replies, and Monte-Carlo values of their first steps.

    outcome   1 if the scorer accepts the reply, else 0
    value     of the first steps of a reply: the share, of k continuations that the policy samples, that the scorer
              accepts (the soft estimate of Math-Shepherd, Wang et al. 2023, arXiv 2312.08935)

A check that failed is no label. A step ends with a delimiter, as in the searches over steps; a reply without one is a
single step.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.rollouts.verdict_form import Labelled, VerdictForm
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.task import asked
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact
from poziomka.models.text.chat import ChatFormat

Labels = list[list[Labelled]]  # by problem


def outcome_labels(groups: Sequence[Group]) -> Labels:
    """Returns the labels of complete replies: 1 for verdict CORRECT, else 0; replies whose check failed have none."""
    return [
        [
            Labelled(rollout.problem, rollout.transcript, float(rollout.score.correct))
            for rollout in group
            if rollout.score.reward is not None
        ]
        for group in groups
    ]


@dataclass(frozen=True)
class StepLabels:
    """Samples replies step by step and labels each step with the success of its continuations.

    Attributes:
        sampler: sampler of the policy.
        scoring: scores the continuations with the scorer of `scoring.task`.
        sampling: sampling parameters of replies and continuations; the seed is replaced.
        delimiter: text with which a step ends.
        continuations: number of continuations of each step.
        most_steps: number of steps of a reply after which no more are labelled.

    Raises:
        SettingsError: the delimiter is empty, a number is below 1, or the task has an environment, whose session
            cannot be continued from a step.
    """

    sampler: Sampler
    scoring: Scoring
    sampling: SamplingParams
    delimiter: str = "\n\n"
    continuations: int = 8
    most_steps: int = 16

    def __post_init__(self) -> None:
        """Checks the delimiter, the numbers and the task."""
        if not self.delimiter or min(self.continuations, self.most_steps) < 1:
            message = (
                "labels of steps need a delimiter, a continuation and a step: received delimiter "
                f"{self.delimiter!r}, {self.continuations} continuations, {self.most_steps} steps"
            )
            raise SettingsError(message)
        task = self.scoring.task
        if task.environment is not None:
            message = f"task {task.name!r} has an environment, whose session a step cannot continue: judge outcomes"
            raise SettingsError(message)

    async def collect(self, problems: Sequence[Problem], attempts: int, name: str) -> Labels:
        """Returns the labels of all steps of `attempts` replies to each problem.

        A problem that cannot be drawn, or whose transcript cannot be continued, has the labels that were found.

        Args:
            problems: problems to attempt.
            attempts: number of replies to each.
            name: name of the collection, from which seeds derive; the same name repeats exactly.
        """
        jobs = [
            self._attempt(problem, f"{name}/{number}/{problem.key}/{attempt}")
            for number, problem in enumerate(problems)
            for attempt in range(attempts)
        ]
        found = iter(await asyncio.gather(*jobs))
        return [[label for _ in range(attempts) for label in next(found)] for _ in problems]

    async def _attempt(self, problem: Problem, name: str) -> list[Labelled]:
        if problem.fault:
            return []
        seed = seed_of("judge", problem.task, name)
        steps = await self._steps(asked(self.scoring.task, problem), seed)
        jobs = [self._label(problem, *step, seed_of(seed, "step", number)) for number, step in enumerate(steps)]
        return [label for label in await asyncio.gather(*jobs) if label is not None]

    async def _steps(self, prompt: Transcript, seed: int) -> list[tuple[Transcript, int]]:
        """Returns (prompt with the first steps of one reply, number of tokens left) after each step."""
        found: list[tuple[Transcript, int]] = []
        transcript, left = prompt, self.sampling.max_tokens
        params = replace(self.sampling, stop=(*self.sampling.stop, self.delimiter), seed=seed)
        while left > 0 and len(found) < self.most_steps:
            try:
                longer = await self.sampler.extend(transcript, replace(params, max_tokens=left))
            except TranscriptError:
                break
            left -= max(longer.cost - transcript.cost, 1)
            transcript = longer
            found.append((transcript, left))
            if transcript.stop is not Stop.PHRASE:
                break
        return found

    async def _label(self, problem: Problem, transcript: Transcript, left: int, seed: int) -> Labelled | None:
        """Returns the label of the first steps of a reply, or of the complete reply; None if every check failed."""
        ends = [transcript]
        if transcript.stop is Stop.PHRASE and left > 0:
            seeds = [seed_of(seed, "continuation", number) for number in range(self.continuations)]
            params = [replace(self.sampling, max_tokens=left, seed=each) for each in seeds]
            try:
                ends = await self.sampler.branch(transcript, params)
            except TranscriptError:
                return None
        scores = await asyncio.gather(*(self.scoring.score(problem, end) for end in ends))
        right = [float(score.correct) for score in scores if score.reward is not None]
        return Labelled(problem, transcript, fmean(right)) if right else None


def verdict_lesson(chat: ChatFormat, form: VerdictForm, label: Labelled) -> Transcript:
    """Returns a tokenized transcript with the question of the form and its right answer, the only TEACHER token.

    Args:
        chat: chat format of the judge.
        form: question, and words that answer it.
        label: transcript of known correctness.

    Raises:
        TranscriptError: the judge's tokenizer differs from the transcript's, and the transcript has no text.
        ModelError: the chat format rejects the messages, or the tokenizer cannot encode the text.
    """
    before = chat.read(form.asked(label.transcript, chat.tokenizer.fingerprint))
    shown = [replace(span, author=Author.FORCED) if span.author is Author.TEACHER else span for span in before]
    word = form.word(label.correct)
    verdict = Span(Author.TEACHER, word, compact(chat.tokenizer.encode(word)))
    return replace(before, spans=(*shown, verdict))

"""Revision: a model that improves its own replies one after another, with feedback on the last one or without."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from poziomka.core.errors import EnvironmentFailure, SettingsError, TranscriptError, nearest
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.ensemble import Ensemble, Member, asked_with, requests, written_out
from poziomka.thinking.judges.judge import Judge
from poziomka.thinking.majority import answers_of, elected
from poziomka.thinking.parallel import best

REVISER = "reviser"  # role of the branches that revise earlier ones
CORRECT = "correct"  # a critique of this one word asks for no revision
CRITIQUE = (
    "Here is an attempt at this problem:\n\n{attempt}\n\nDo not solve the problem again. Check the attempt step by "
    "step, and name its first mistake in one or two sentences. If it has none, answer with the one word: correct"
)
Ask = Callable[[Sequence[Transcript], str], str]
Pick = Literal["last", "majority", "best"]


def improve(attempts: Sequence[Transcript], feedback: str) -> str:
    """Returns the request to improve on attempts at a problem, oldest first, with feedback on the last one or ""."""
    quoted = "\n\n".join(f"Attempt {number}:\n{written_out(reply)}" for number, reply in enumerate(attempts, 1))
    heard = f"\n\nFeedback on the last attempt:\n{feedback}" if feedback else ""
    return (
        f"Here is what was tried so far at this problem, the latest last.\n\n{quoted}{heard}\n\nFind the mistakes, if "
        "there are any, and solve the problem again. End with the answer in the form that the problem asks for."
    )


@dataclass(frozen=True, slots=True)
class Criticism:
    """Feedback on one reply.

    Attributes:
        text: the feedback, for the next prompt; "" if there is none, and None if the reply needs no revision.
        transcript: transcript that was sampled to get the feedback, which costs tokens; None if nothing was sampled.
    """

    text: str | None
    transcript: Transcript | None = None


class Feedback(ABC):
    """Interface of the sources of feedback on a reply, which `Revise` adds to the next prompt."""

    @abstractmethod
    async def on(
        self,
        reply: Transcript,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        problem: Problem | None,
    ) -> Criticism:
        """Returns the feedback on a reply.

        Args:
            reply: transcript of the reply to criticise.
            sampler: sampler of the policy.
            prompt: prompt of the attempt, without earlier replies.
            params: parameters of a request, with a seed of its own.
            problem: problem that is attempted; None in a chat.

        Raises:
            EnvironmentFailure: there can be no feedback on this reply; revision ends.
            TranscriptError: the sampler cannot criticise this reply; revision ends.
            SettingsError: this source needs the problem.
        """


@dataclass(frozen=True)
class ScorerFeedback(Feedback):
    """Feedback from the task's scorer: the reason of its verdict; a correct reply is not revised.

    It knows the gold answer, so it belongs to training and to upper bounds, and raises SettingsError in a chat.

    Attributes:
        scoring: scores the replies.
    """

    scoring: Scoring

    async def on(
        self, reply: Transcript, sampler: Sampler, prompt: Transcript, params: SamplingParams, problem: Problem | None
    ) -> Criticism:
        """Returns the reason of the scorer's verdict; see Feedback.on."""
        if problem is None:
            message = "feedback of the scorer needs the problem, which a chat does not have: use the model's critique"
            raise SettingsError(message)
        score = await self.scoring.score(problem, reply)
        if score.reward is None:
            raise EnvironmentFailure(score.why)
        return Criticism(None if score.correct else score.why or f"The verdict is: {score.verdict}.")


@dataclass(frozen=True)
class EnvironmentFeedback(Feedback):
    """Feedback of the environment: what its session replied last, an error of a test or a tool for example.

    A reply of the session with reward 1 ends the revision.
    """

    async def on(
        self, reply: Transcript, sampler: Sampler, prompt: Transcript, params: SamplingParams, problem: Problem | None
    ) -> Criticism:
        """Returns the textual feedback, or else the text, of the session's last reply; see Feedback.on."""
        if not reply.heard:
            return Criticism("")
        last = reply.heard[-1]
        return Criticism(None if last.reward == 1 else last.feedback or last.text.strip())


@dataclass(frozen=True)
class SelfCritique(Feedback):
    """Feedback of the policy itself, which is asked for the first mistake (Madaan et al. 2023, arXiv 2303.17651).

    Revision ends if the critique's answer is the one word "correct".

    Attributes:
        request: text of the request, in which {attempt} is replaced by the reply.
    """

    request: str = CRITIQUE

    async def on(
        self, reply: Transcript, sampler: Sampler, prompt: Transcript, params: SamplingParams, problem: Problem | None
    ) -> Criticism:
        """Returns the policy's critique; see Feedback.on."""
        asked = asked_with(prompt, self.request.replace("{attempt}", written_out(reply)))
        critique = await sampler.extend(asked, params)
        found = critique.answer
        return Criticism(None if found.strip(" .!*").casefold() == CORRECT else found, critique)


@dataclass(frozen=True)
class Revise(Strategy):
    """Sequential revision: after a first reply, each further one sees the last ones and is to improve on them.

    Without feedback, that is sequential revision as in Snell et al. 2024 (arXiv 2408.03314), for which the model needs
    training to be good; with it, Self-Refine (Madaan et al. 2023, arXiv 2303.17651). Branches of revisions have the
    role "reviser", so that training compares them with one another.

    Attributes:
        revisions: maximum number of revisions, 0 or more.
        sees: number of earlier replies in the prompt of a revision, 1 or more.
        feedback: source of feedback on the last reply, which may also end the revision; None for no feedback.
        pick: reply that answers: the last one, one with the most frequent answer (weighted by the judge, if there is
            one), or the best one by the judge.
        judge: values the replies for `pick`; "last" needs none.
        read: reader of answers for the vote, as that of `Majority`.
        ask: function from (earlier replies, feedback or "") to the text that is added to the prompt.
        inner: strategy that makes all replies.

    Raises:
        SettingsError: a number is out of range, `pick` is unknown, or "best" has no judge.
    """

    revisions: int
    sees: int = 1
    feedback: Feedback | None = None
    pick: Pick = "last"
    judge: Judge | None = None
    read: AnswerReader | None = None
    ask: Ask = improve
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if a number is out of range, `pick` is unknown, or "best" has no judge."""
        if self.revisions < 0 or self.sees < 1:
            message = (
                "revision makes 0 revisions or more, each of which sees 1 reply or more: "
                f"received {self.revisions} and {self.sees}"
            )
            raise SettingsError(message)
        if self.pick not in get_args(Pick):
            message = f"unknown pick {self.pick!r}{nearest(self.pick, get_args(Pick))}"
            raise SettingsError(message)
        if self.pick == "best" and self.judge is None:
            message = "the best revision needs a judge: give one, or pick the last one"
            raise SettingsError(message)

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with the branches of all replies; a revision that fails is made again by the next one."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        first, *more = requests(params, "revise", count=self.revisions + 1)
        made = await ensemble.sample(prompt, [first])
        for request in more:
            if not made:
                made = await ensemble.sample(prompt, [request])
                continue
            said = await self._criticism(ensemble, made[-1], prompt, request, problem)
            if said is None:
                break
            text = self.ask([member.transcript for member in made[-self.sees :]], said)
            made += await ensemble.sample(asked_with(prompt, text), [request], REVISER)
        return ensemble.attempt(await self._picked(ensemble, made, params))

    async def _criticism(
        self, ensemble: Ensemble, member: Member, prompt: Transcript, params: SamplingParams, problem: Problem | None
    ) -> str | None:
        """Returns the feedback on a reply, "" without a source; None if the reply is not to be revised."""
        if self.feedback is None:
            return ""
        params = replace(params, seed=seed_of(params.seed, "critique"))
        try:
            found = await self.feedback.on(member.transcript, ensemble.sampler, prompt, params, problem)
        except (EnvironmentFailure, TranscriptError) as error:
            ensemble.fail(prompt, "critic", str(error))
            return None
        if found.transcript is not None:
            ensemble.count(found.transcript)
        return found.text

    async def _picked(self, ensemble: Ensemble, made: Sequence[Member], params: SamplingParams) -> Member | None:
        if self.pick == "last":
            return made[-1] if made else None
        values = await ensemble.weigh(self.judge, made, params.seed)
        return best(made, values) if self.pick == "best" else elected(made, answers_of(made, self.read), values)

"""Ensembles: the attempts of an inner strategy that one strategy makes, with their branches and their exact cost."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Cost
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Rewards, Strategy
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Transcript, split_thought
from poziomka.thinking.judges.confidence import since_prompt
from poziomka.thinking.judges.judge import Judge, judgements

REPLY = "model"  # role of branches that answer the prompt itself


@dataclass(frozen=True, slots=True)
class Member:
    """One attempt of the inner strategy in an ensemble.

    Attributes:
        transcript: transcript of the branch that answers.
        index: index of that branch among the branches of the ensemble.
        branches: indices of all branches of the attempt.
    """

    transcript: Transcript
    index: int
    branches: range


class Ensemble:
    """Attempts of an inner strategy, made in rounds, that become the branches and the cost of one attempt.

    Attempts within a round are concurrent; each round waits for the one before. An attempt that fails is recorded as
    failed branches, and the others continue.

    Args:
        inner: strategy that makes the attempts.
        sampler: continues transcripts.
        open_session: opens a session of the task's environment; None if there is none.
        problem: problem that is attempted; None in a chat.

    Attributes:
        branches: branches of all attempts so far.
        sampler: continues transcripts.
    """

    def __init__(
        self, inner: Strategy, sampler: Sampler, open_session: OpenSession | None, problem: Problem | None
    ) -> None:
        """Creates an empty ensemble."""
        self.branches: list[Branch] = []
        self._inner, self.sampler, self._open, self._problem = inner, sampler, open_session, problem
        self._unlisted: list[Branch] = []  # transcripts that cost tokens and are no branches
        self._beyond = Cost()  # cost of inner attempts and judges that does not follow from branches
        self._latency = 0
        self._failures: list[str] = []

    async def sample(self, prompt: Transcript, params: Sequence[SamplingParams], role: str = REPLY) -> list[Member]:
        """Makes one round of attempts at one prompt, and returns those that did not fail, in order.

        Args:
            prompt: prompt of all attempts.
            params: parameters of each attempt.
            role: role of the branches, if the inner strategy gave them none.
        """
        found = await self._inner.attempts(self.sampler, prompt, params, open_session=self._open, problem=self._problem)
        return self._round(found, role)

    async def sample_each(
        self, requests: Sequence[tuple[Transcript, SamplingParams]], role: str = REPLY
    ) -> list[Member]:
        """Makes one round of attempts, each at a prompt of its own, and returns those that did not fail, in order.

        Args:
            requests: prompt and parameters of each attempt.
            role: role of the branches, if the inner strategy gave them none.
        """
        each = (
            self._inner.attempts(self.sampler, prompt, [params], open_session=self._open, problem=self._problem)
            for prompt, params in requests
        )
        return self._round([attempt for (attempt,) in await asyncio.gather(*each)], role)

    async def weigh(self, judge: Judge | None, members: Sequence[Member], seed: int) -> dict[int, float]:
        """Returns the judge's value of each member, by the index of its branch; 1 for all without a judge.

        A member that the judge fails to judge is recorded as a failed branch, and has no value.

        Args:
            judge: judges the members' transcripts; None for equal weights.
            members: members of the ensemble.
            seed: seed of the judge.
        """
        if judge is None or not members:
            return {member.index: 1.0 for member in members}
        transcripts = [member.transcript for member in members]
        found, cost = await judgements(judge, self.sampler, transcripts, self._problem, seed)
        self._beyond += cost
        self._latency += cost.latency
        for member, judgement in zip(members, found, strict=True):
            if judgement.value is None:
                self._fail(member.branches, judgement.why)
        pairs = zip(members, found, strict=True)
        return {member.index: judgement.value for member, judgement in pairs if judgement.value is not None}

    def reward(self, member: Member, reward: float | None) -> None:
        """Sets the reward of all branches of a member; None leaves it to the scorer."""
        for index in member.branches:
            self.branches[index] = replace(self.branches[index], reward=reward)

    def freeze(self, members: Sequence[Member]) -> None:
        """Makes training leave out all branches of members."""
        for index in (index for member in members for index in member.branches):
            self.branches[index] = replace(self.branches[index], trainable=False)

    def count(self, transcript: Transcript) -> None:
        """Adds the cost of a transcript that was sampled after the last round and is no branch."""
        self._unlisted.append(Branch(transcript))
        self._latency += transcript.cost

    def fail(self, prompt: Transcript, role: str, why: str) -> None:
        """Records a step that failed, for the reason `why`, as a failed branch that is not trained."""
        failure = Score.failed(Verdict.ERROR, why)
        self.branches.append(Branch(prompt, failure, role=role, trainable=False))

    def attempt(self, answer: Member | None, rewards: Rewards | None = None) -> Attempt:
        """Returns the attempt of all branches, answered by one member; a failed one if `answer` is None.

        Args:
            answer: member that answers.
            rewards: rewards of the branches, if they depend on one another; those of inner attempts are not used.
        """
        failure = None
        if answer is None:
            failure = self._failures[0] if self._failures else "no attempt was made"
        found = Attempt(tuple(self.branches), 0 if answer is None else answer.index, failure, rewards=rewards)
        own = Cost.of([*self.branches, *self._unlisted])
        cost = replace(Cost.together((own, self._beyond)), latency=self._latency)
        return found if cost == found.cost else replace(found, spent=cost)

    def _round(self, found: Sequence[Attempt], role: str) -> list[Member]:
        """Appends the branches of concurrent attempts, and returns those that did not fail."""
        self._latency += max((attempt.cost.latency for attempt in found), default=0)
        members = []
        for attempt in found:
            member = self._add(attempt, role)
            if attempt.failure is None:
                members.append(member)
            else:
                self._fail(member.branches, attempt.failure)
        return members

    def _add(self, attempt: Attempt, role: str) -> Member:
        """Appends the branches and the cost of an attempt."""
        start = len(self.branches)
        for branch in attempt.branches:
            parent, whole = (None if index is None else index + start for index in (branch.parent, branch.judged_as))
            role_of = role if branch.role == REPLY else branch.role
            self.branches.append(replace(branch, parent=parent, judged_as=whole, role=role_of))
        own, cost = Cost.of(attempt.branches), attempt.cost
        beyond = Cost(sampled=cost.sampled - own.sampled, read=cost.read - own.read, judged=cost.judged)
        self._beyond += beyond
        answer = attempt.branches[attempt.answer].transcript
        return Member(answer, start + attempt.answer, range(start, len(self.branches)))

    def _fail(self, branches: Iterable[int], why: str) -> None:
        self._failures.append(why)
        for index in branches:
            score = self.branches[index].score or Score.failed(Verdict.ERROR, why)
            self.branches[index] = replace(self.branches[index], score=score)


def requests(params: SamplingParams, *names: str | int, count: int, first: int = 0) -> list[SamplingParams]:
    """Returns the parameters of `count` requests, which differ in their seeds.

    Args:
        params: parameters of all requests.
        names: names from which the seeds are derived, after the seed of `params` and before the request's number.
        count: number of requests.
        first: number of the first request.
    """
    numbers = range(first, first + count)
    return [replace(params, seed=seed_of(params.seed, *names, number)) for number in numbers]


def asked_with(prompt: Transcript, text: str) -> Transcript:
    """Returns a prompt with `text` appended to its last message of the user.

    If that message has tokens already, or is not the last span, `text` becomes a new message of the user.
    """
    *before, last = prompt.spans or (Span(Author.USER, ""),)
    if last.author is Author.USER and last.tokens is None:
        return replace(prompt, spans=(*before, replace(last, text=f"{last.text}\n\n{text}")))
    return prompt + Span(Author.USER, text)


def written_out(transcript: Transcript) -> str:
    """Returns a reply as text to quote in a prompt: its thought, then its answer, without thought tags."""
    parts = split_thought("".join(span.text for span in since_prompt(transcript)))
    return "\n".join(part.replace(THINK, "").replace(CLOSE, "").strip() for part in parts if part)

"""The tree of a search: nodes are beginnings of replies, sampled step by step, judged, and recorded as branches."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from poziomka.core.environment import Session, close
from poziomka.core.errors import EnvironmentFailure, SamplerError, TranscriptError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Cost
from poziomka.core.rollouts.conversation import answered, speak
from poziomka.core.safety.failures import failures_of
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession
from poziomka.core.transcript import Author, Stop, Transcript
from poziomka.thinking.judges.judge import Judge, judgements
from poziomka.thinking.search.steps import Steps


@dataclass(eq=False, slots=True)
class Node:
    """The beginning of a reply, or a complete one: the parent's transcript and one more step.

    Attributes:
        transcript: the prompt and all steps up to this one.
        parent: node that this one continues; None for the root, which is the prompt.
        path: numbers of the children on the way from the root, from which the seed of the step is derived.
        left: number of tokens that may still be sampled for this reply.
        sampled: number of tokens sampled for this step.
        latency: number of tokens sampled for this step that had to wait for one another.
        done: whether the reply is complete.
        value: the judge's estimate, 0 to 1; None if not judged.
        failure: reason why the step or its judgement failed; None if neither did.
        rest: attempt of the strategy that sampled the rest of the reply in this step; None for an ordinary step.
        children: nodes that continue this one, in the order of their numbers.
    """

    transcript: Transcript
    parent: "Node | None" = None
    path: tuple[int, ...] = ()
    left: int = 0
    sampled: int = 0
    latency: int = 0
    done: bool = False
    value: float | None = None
    failure: str | None = None
    rest: Attempt | None = None
    children: "list[Node]" = field(default_factory=list)

    @property
    def start(self) -> int:
        """Number of tokens before the first one that was sampled for this step: what siblings share."""
        before = 0 if self.parent is None else self.parent.transcript.cost
        count = 0
        for span in self.transcript:
            if span.author is Author.MODEL:
                if span.cost > before:
                    return count + before
                before -= span.cost
            count += len(span)
        return count

    @property
    def logprobs(self) -> list[float] | None:
        """Log-probability, in nats, of each token sampled for this step; None if the sampler returned none."""
        spans = [span for span in self.transcript if span.author is Author.MODEL]
        if any(span.logprobs is None for span in spans):
            return None
        values = [value for span in spans for value in span.logprobs or ()]
        return values[len(values) - self.sampled :]


@dataclass(frozen=True, slots=True)
class Request:
    """The request to a search; the attributes are the arguments of `Strategy.attempt`."""

    sampler: Sampler
    prompt: Transcript
    params: SamplingParams
    open_session: OpenSession | None = None
    problem: Problem | None = None


class Tree:
    """The nodes that one attempt has sampled, and their cost.

    The tree of a task with an environment has a session for each node that can be continued; `close` closes them.

    Args:
        name: name of the search, from which seeds derive.
        request: the request to the search.
        steps: how replies are divided into steps.
        judge: judges the nodes.

    Attributes:
        root: the prompt, which is not judged.
        nodes: all other nodes, in the order of sampling.

    Raises:
        EnvironmentFailure: the session cannot be opened.
    """

    def __init__(self, name: str, request: Request, steps: Steps, judge: Judge) -> None:
        """Opens the session of the root, if there is an environment."""
        self.name, self.request, self.steps, self._judge = name, request, steps, judge
        self.root = Node(request.prompt, left=request.params.max_tokens)
        self.nodes: list[Node] = []
        self._sessions: dict[Node, Session] = {}
        self._judged = 0.0
        self._latency = self._judgings = 0
        if request.open_session is not None:
            with failures_of("opening a session"):
                self._sessions[self.root] = request.open_session()

    @property
    def finished(self) -> list[Node]:
        """Complete replies with a value, in the order of sampling."""
        return [node for node in self.nodes if node.done and node.failure is None and node.value is not None]

    # ------------------------------------------------------------------------------------------------------- sampling
    async def grow(
        self, plan: Iterable[tuple[Node, int]], *, complete: bool = False, judged: bool = True
    ) -> list[Node]:
        """Samples next steps concurrently and judges them.

        A step that fails, or whose judgement fails, is recorded in its node, and the others continue.

        Args:
            plan: (node, number of steps to sample after it) for nodes that are not done. With an environment, a node
                can be in one plan only, except for plans that are `complete`: its session is closed afterwards.
            complete: whether to sample the whole rest of each reply instead of its next step.
            judged: whether to judge the new nodes.

        Returns:
            The new nodes that did not fail, in the order of `plan`.

        Raises:
            SamplerError: no step could be sampled, because the sampler cannot sample at all.
            SettingsError: the judge cannot judge such transcripts.
        """
        plan = list(plan)
        born = [self._child(node) for node, count in plan for _ in range(count)]
        faults = await asyncio.gather(*(self._sample(child, complete=complete) for child in born))
        if not complete:
            self._close(node for node, _ in plan)
        self._latency += max((child.latency for child in born), default=0)
        fatal = [fault for fault in faults if fault is not None and not isinstance(fault, TranscriptError)]
        if fatal and len(fatal) == len(born):
            raise fatal[0]
        sampled = [child for child in born if child.failure is None]
        return await self.judge(sampled) if judged else sampled

    async def judge(self, nodes: Sequence[Node]) -> list[Node]:
        """Sets the values of nodes, and returns the nodes whose judgement did not fail.

        Raises:
            SettingsError: the judge cannot judge such transcripts.
        """
        if not nodes:
            return []
        request, self._judgings = self.request, self._judgings + 1
        seed = seed_of(request.params.seed, self.name, "judge", self._judgings)
        transcripts = [node.transcript for node in nodes]
        found, cost = await judgements(self._judge, request.sampler, transcripts, request.problem, seed)
        self._judged += cost.judged
        self._latency += cost.latency
        for node, judgement in zip(nodes, found, strict=True):
            node.value = judgement.value
            if judgement.value is None:
                node.failure = judgement.why or "the judge returned no value"
        return [node for node in nodes if node.failure is None]

    def _child(self, parent: Node) -> Node:
        child = Node(parent.transcript, parent, (*parent.path, len(parent.children)), parent.left)
        parent.children.append(child)
        self.nodes.append(child)
        return child

    async def _sample(self, child: Node, *, complete: bool) -> SamplerError | None:
        """Samples the step of a new node; a failure is recorded in the node, and returned if it is the sampler's."""
        last = complete or len(child.path) >= self.steps.depth
        try:
            await (self._finish(child) if last else self._continue(child))
        except EnvironmentFailure as failure:
            child.failure = str(failure)
        except SamplerError as failure:
            child.failure = str(failure)
            return failure
        finally:
            if child.done or child.failure is not None:
                self._close([child])
        return None

    async def _continue(self, child: Node) -> None:
        """Samples one step: a turn, if there is an environment."""
        request, steps, parent, seed = self.request, self.steps, _parent(child), self._seed(child)
        if request.open_session is not None:
            params = replace(request.params, max_tokens=parent.left, seed=seed)
            session = self._sessions[child] = self._fork(parent)
            child.transcript, child.left, due = await speak(request.sampler, session, parent.transcript, params)
            child.sampled = child.latency = child.transcript.cost - parent.transcript.cost
            over = not due
            if due:  # a session that fails here leaves the turn in the node, which it cost
                child.transcript, over = await answered(session, child.transcript)
            child.done = over or child.left <= 0
            return
        most = min(parent.left, steps.tokens or parent.left)
        stops = (*request.params.stop, *steps.stops)
        params = replace(request.params, max_tokens=most, stop=stops, seed=seed)
        child.transcript = await request.sampler.extend(parent.transcript, params)
        child.sampled = child.latency = child.transcript.cost - parent.transcript.cost
        child.left = parent.left - max(child.sampled, 1)  # a step without token ids counts, so that the reply ends
        child.done = child.left <= 0 or self._ended(child, most)

    async def _finish(self, child: Node) -> None:
        """Samples the whole rest of a reply by the strategy `steps.rest`."""
        request, parent = self.request, _parent(child)
        params = replace(request.params, max_tokens=parent.left, seed=self._seed(child))
        opens = None if request.open_session is None else partial(self._fork, parent)
        attempt = await self.steps.rest.attempt(
            request.sampler, parent.transcript, params, open_session=opens, problem=request.problem
        )
        child.rest, child.done, child.left = attempt, True, 0
        child.transcript = attempt.branches[attempt.answer].transcript
        child.sampled, child.latency = _sampled(attempt, parent.transcript), _latency(attempt, parent.transcript)
        self._judged += attempt.cost.judged
        child.failure = attempt.failure

    def _seed(self, node: Node) -> int:
        return seed_of(self.request.params.seed, self.name, *node.path)

    def _ended(self, node: Node, most: int) -> bool:
        """Returns whether a step of at most `most` tokens ended the reply, and not only itself."""
        if node.transcript.stop is Stop.LENGTH:
            return node.sampled < most  # the context is full
        if node.transcript.stop is Stop.PHRASE:
            said = _said(node.transcript)[len(_said(_parent(node).transcript)) :]
            return any(phrase in said for phrase in self.request.params.stop)
        return True

    # ------------------------------------------------------------------------------------------------------- sessions
    def _fork(self, node: Node) -> Session:
        try:
            with failures_of("forking it"):
                return self._sessions[node].fork()
        except EnvironmentFailure as failure:
            message = (
                f"the search {self.name!r} continues a session from one point several times, and this session cannot "
                f"be forked ({failure}); use a strategy without search, or write fork()"
            )
            raise EnvironmentFailure(message) from failure

    def keep(self, nodes: Iterable[Node]) -> None:
        """Closes the sessions of all nodes but these, which are the only ones that will be continued."""
        self._close(self._sessions.keys() - set(nodes))

    def close(self) -> None:
        """Closes all sessions."""
        self.keep(())

    def _close(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            session = self._sessions.pop(node, None)
            if session is not None:
                with suppress(EnvironmentFailure):  # the reply is complete or not continued: nothing depends on it
                    close(session)

    # ------------------------------------------------------------------------------------------------------ recording
    def attempt(self, answer: Node | None) -> Attempt:
        """Returns the attempt: one branch for each path from the root to a leaf, and the cost of all nodes.

        A branch is forked where its path leaves an earlier one, so that every sampled token belongs to one branch.
        Branches that failed have a failed score; those that were not continued have the verdict TRUNCATED and are not
        trained on.

        Args:
            answer: node of the complete reply that answers the problem; None if there is none.
        """
        branches: list[Branch] = []
        places: dict[Node, int] = {}
        forks: list[tuple[Node, int | None, int]] = [(self.root, None, 0)]
        while forks:
            node, parent, fork_at = forks.pop()
            here = len(branches)
            if not node.children:
                places[node] = here + (0 if node.rest is None else node.rest.answer)
                branches += _recorded(node, parent, fork_at, here)
                continue
            first, *others = sorted(node.children, key=lambda child: child.sampled == 0)  # a fork follows its parent
            forks += [(child, here, child.start) for child in reversed(others)]
            forks.append((first, parent, fork_at))
        if answer is not None:
            return Attempt(tuple(branches), places[answer], None, self._cost(branches))
        failure = next((node.failure for node in self.nodes if node.failure), "the search completed no reply")
        return Attempt(tuple(branches), 0, failure, self._cost(branches))

    def _cost(self, branches: Sequence[Branch]) -> Cost:
        """Returns the cost of all nodes; tokens of the model in the prompt were read and not sampled."""
        sampled = sum(node.sampled for node in self.nodes)
        read = Cost.of(branches).read + self.root.transcript.cost
        return Cost(sampled=sampled, read=read, judged=self._judged, latency=self._latency)


def _parent(node: Node) -> Node:
    assert node.parent is not None  # only the root has none, and it is not sampled
    return node.parent


def _said(transcript: Transcript) -> str:
    return "".join(span.text for span in transcript if span.author is Author.MODEL)


def _recorded(node: Node, parent: int | None, fork_at: int, here: int) -> list[Branch]:
    """Returns the branches of a leaf, the first of which has the index `here` in the attempt."""
    if node.rest is None:
        return [_scored(Branch(node.transcript, parent=parent, fork_at=fork_at), node)]
    found = []
    for number, branch in enumerate(node.rest.branches):
        if branch.parent is not None:
            forked = replace(branch, parent=branch.parent + here)
        elif number == 0:
            forked = replace(branch, parent=parent, fork_at=fork_at)
        else:
            forked = replace(branch, parent=here, fork_at=node.start)
        if branch.judged_as is not None:
            forked = replace(forked, judged_as=branch.judged_as + here)
        found.append(_scored(forked, node) if number == node.rest.answer or node.rest.failure else forked)
    return found


def _scored(branch: Branch, node: Node) -> Branch:
    """Returns a branch with the score that follows from the search; that of a complete reply is left to the scorer."""
    if node.failure is not None:
        return replace(branch, score=branch.score or Score.failed(Verdict.ERROR, node.failure))
    if not node.done:
        why = f"not continued by the search after {len(node.path)} steps"
        return replace(branch, score=Score(0.0, Verdict.TRUNCATED, None, why), trainable=False)
    return branch


def _sampled(attempt: Attempt, before: Transcript) -> int:
    """Returns the number of tokens that an attempt sampled after the transcript `before`, beside branches included."""
    count = max(attempt.cost.sampled - Cost.of(attempt.branches).sampled, 0)
    wholes = {branch.judged_as for branch in attempt.branches}  # sampled in parts, which are branches too
    for branch in (each for index, each in enumerate(attempt.branches) if index not in wholes):
        shared = before.cost if branch.parent is None else sum(branch.transcript.by(Author.MODEL)[: branch.fork_at])
        count += max(branch.transcript.cost - shared, 0)
    return count


def _latency(attempt: Attempt, before: Transcript) -> int:
    """Returns the length of an attempt's longest chain of sampled tokens after the transcript `before`."""
    if attempt.spent is not None:
        return attempt.spent.latency
    return max(max(branch.transcript.cost for branch in attempt.branches) - before.cost, 0)

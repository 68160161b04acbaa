"""With an environment a step is a turn, and every node forks its session."""

import asyncio

import pytest

from poziomka.core.environment import Reply
from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span
from poziomka.testing import ScriptedSampler
from poziomka.thinking.search import DVTS, MCTS, Beam, ParticleFilter, Rebase, Steps, ValueGuided
from poziomka.thinking.thinker import Thinker

GOAL = 6
SAMPLING = SamplingParams(max_tokens=20, stop=("!",))
SEARCHES = {
    "beam": lambda **more: Beam(candidates=6, width=2, **more),
    "dvts": lambda **more: DVTS(candidates=6, width=2, **more),
    "rebase": lambda **more: Rebase(budget=6, **more),
    "particles": lambda **more: ParticleFilter(particles=6, **more),
    "mcts": lambda **more: MCTS(simulations=24, width=3, prior="uniform", exploration=0.3, **more),
    "rollouts": lambda **more: MCTS(simulations=6, width=3, rollouts=2, prior="uniform", **more),
    "guided": lambda **more: ValueGuided(width=4, beta=20, **more),
}
every_search = pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)


class Line:
    """A session on a line from 0: a turn adds 1, 2 or 3, and the conversation ends at the goal or beyond it."""

    opened = 0

    def __init__(self, place=0):
        self.place = place
        Line.opened += 1

    async def reply(self, transcript):
        self.place += int(transcript.spans[-1].text.strip(" !"))
        return Reply(Span(Author.ENVIRONMENT, f" at {self.place}"), done=self.place >= GOAL)

    def fork(self):
        return type(self)(self.place)

    def close(self):
        Line.opened -= 1


class Stuck(Line):
    """A session that cannot be copied."""

    def fork(self):
        message = "a page of a browser is not copied"
        raise EnvironmentFailure(message)


def steps_of(transcript, sampling):
    return f" {1 + sampling.seed % 3}!"


def chance(place):
    """The probability that equally likely moves meet the goal exactly."""
    return float(place == GOAL) if place >= GOAL else sum(chance(place + move) for move in (1, 2, 3)) / 3


def worth(text):
    return chance(sum(map(int, text.replace("!", "").split())))


@pytest.fixture(autouse=True)
def _count_sessions():
    Line.opened = 0


@every_search
def test_every_branch_has_a_session_of_its_own(make, judge, run):
    found = run(make(judge=judge(worth)), ScriptedSampler(steps_of), SAMPLING, open_session=Line)
    assert found.failure is None
    for branch in found.branches:
        place, spans = 0, list(branch.transcript)[1:]
        for moved, heard in zip(spans[::2], spans[1::2], strict=False):
            place += int(moved.text.strip(" !"))
            assert heard.text == f" at {place}"
    reply = found.branches[found.answer].transcript
    assert reply.spans[-1].text == f" at {GOAL}"
    assert Line.opened == 0


@every_search
def test_replies_of_the_environment_are_read_once_where_branches_share_them(make, judge, run):
    """Words of the environment are tokens of the next step's prompt: a shared reply counts once."""
    found = run(make(judge=judge(worth)), ScriptedSampler(steps_of), SAMPLING, open_session=Line)
    prefixes, sampled = {()}, set()
    for branch in found.branches:
        path = ()
        for span in branch.transcript:
            for token in span.tokens or ():
                path += (token,)
                (sampled if span.author is Author.MODEL else prefixes).add(path)
    # equal steps of siblings are sampled twice, so there are at least as many sampled tokens as distinct prefixes
    assert found.spent.sampled >= len(sampled)
    assert found.spent.read >= len(prefixes) - 1
    assert found.spent.sampled == sum(1 for branch in found.branches for _ in own_turns(found, branch))


def own_turns(attempt, branch):
    """The turns of a branch after its fork: each is one token."""
    count = 0
    for span in branch.transcript:
        if span.author is Author.MODEL and count >= branch.fork_at:
            yield span
        count += len(span)


@every_search
def test_a_session_that_cannot_fork_is_one_clear_failure(make, judge, run, question):
    search = make(judge=judge(worth))
    found = run(search, ScriptedSampler(steps_of), SAMPLING, open_session=Stuck)
    assert "cannot be forked" in found.failure
    assert "a page of a browser is not copied" in found.failure
    assert Line.opened == 0


def test_a_session_that_fails_ends_its_branch_only(judge, run):
    class Fragile(Line):
        async def reply(self, transcript):
            if " 2!" in transcript.text:
                message = "the floor broke"
                raise ValueError(message)
            return await super().reply(transcript)

    found = run(DVTS(judge=judge(worth), candidates=6), ScriptedSampler(steps_of), SAMPLING, open_session=Fragile)
    broken = [branch for branch in found.branches if branch.score and branch.score.verdict is Verdict.ERROR]
    assert broken
    assert all("the floor broke" in branch.score.why for branch in broken)
    assert " 2!" not in found.branches[found.answer].transcript.text
    assert all(branch.transcript.spans[-1].text == " 2!" for branch in broken)  # the turn that failed cost its token
    assert Cost.of(found.branches).sampled == found.spent.sampled
    assert Line.opened == 0


def test_a_session_that_cannot_be_opened_fails_the_attempt(judge, run):
    def opens():
        message = "no room"
        raise OSError(message)

    with pytest.raises(EnvironmentFailure, match="no room"):
        run(Beam(judge=judge(worth)), ScriptedSampler(steps_of), SAMPLING, open_session=opens)


def test_the_last_step_is_the_rest_of_the_conversation(judge, run):
    search = Beam(judge=judge(worth), steps=Steps(depth=2), candidates=6)
    found = run(search, ScriptedSampler(steps_of), SAMPLING, open_session=Line)
    assert found.branches[found.answer].transcript.spans[-1].text == f" at {GOAL}"
    assert Line.opened == 0


class Lines:
    """An environment of such sessions."""

    stop = ("!",)

    def open(self, problem):
        return Line()


def test_attempts_of_a_task_are_collected_and_scored(judge):
    def scorer(problem, transcript):
        return Score.of(float(transcript.spans[-1].text == f" at {GOAL}"))

    task = Task("line", lambda *_: Problem.ask("line", "0", " Go"), scorer, environment=lambda _: Lines(), trusted=True)
    search = DVTS(judge=judge(worth), candidates=6)
    with Scoring(task) as scoring:
        collector = Collector(ScriptedSampler(steps_of), scoring, search)
        (group,) = collector.collect(task.take("train", 0, 1), SamplingParams(max_tokens=20), attempts=3)
    assert [rollout.score.verdict for rollout in group] == [Verdict.CORRECT] * 3
    kinds = {branch.score.verdict for rollout in group for branch in rollout.branches}
    assert kinds <= {Verdict.CORRECT, Verdict.WRONG, Verdict.TRUNCATED}
    assert all(rollout.cost == rollout.spent for rollout in group)


def test_a_search_is_served_as_a_sampler(judge, question):
    steps = Steps(stops=(";",))
    thinker = Thinker(ScriptedSampler([" a;", " b;", " c"]), Beam(judge=judge(lambda text: 2.0), steps=steps))
    with pytest.raises(EnvironmentFailure):  # the values are no probabilities
        asyncio.run(thinker.extend(question, SamplingParams(max_tokens=9)))
    thinker = Thinker(thinker.sampler, Beam(judge=judge(lambda text: 0.5), steps=steps))
    reply = asyncio.run(thinker.extend(question, SamplingParams(max_tokens=9)))
    assert reply.tried

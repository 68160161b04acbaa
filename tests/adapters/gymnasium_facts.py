"""What is true of `from_gymnasium`, shown on the real package; run by tests/tasks/adapters/test_gymnasium.py."""

import asyncio

import gymnasium

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.conversation import converse
from poziomka.core.rollouts.scoring import judge
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.adapters import Scale, from_gymnasium
from poziomka.testing import check_environment, check_task

CARDS = "Your sum, the dealer's card, and whether you hold an ace that counts 11: {}"


class Guess(gymnasium.Env):
    """Says whether a guess was too low or too high; a right one earns 1, each miss costs a tenth."""

    observation_space = gymnasium.spaces.Text(40)
    action_space = gymnasium.spaces.Text(3, charset="0123456789")
    moods = None  # what makes it say something else each time

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = int(self.np_random.integers(0, 1000))
        return f"a number whose digits sum to {sum(map(int, str(self.number)))}, {self.number % 97}", {}

    def step(self, action):
        if int(action) == self.number:
            return "right", 1.0, True, False, {}
        mood = "" if self.moods is None else f" {next(self.moods)}"
        return ("higher" if int(action) < self.number else "lower") + mood, -0.1, False, False, {}


class Scripted:
    """Says one turn after another; a sampler as far as `converse` asks."""

    def __init__(self, says):
        self.says = says

    async def extend(self, transcript, sampling, on_token=None):
        return transcript + Span(Author.MODEL, self.says(transcript.spans[-1].text), stop=Stop.PHRASE)


def guessing(kind=Guess, **settings):
    return from_gymnasium("guess", kind, "Guess {}.", Scale(-3, 1), **settings)


def talked(task, problem, says):
    session = task.environment(problem).open(problem)
    prompt = Transcript.of(problem.prompt)
    return asyncio.run(converse(Scripted(says), session, prompt, SamplingParams(max_tokens=64)))


def halving(high):
    low, last = 0, None

    def says(heard):
        nonlocal low, high, last
        if last is not None:
            low, high = (last + 1, high) if "higher" in heard else (low, last - 1)
        last = (low + high) // 2
        return f"<act> {last} </act>"

    return says


def blackjack(actions=("stick", "hit"), **settings):
    def make():
        return gymnasium.make("Blackjack-v1")

    return from_gymnasium("blackjack", make, CARDS, Scale(-1, 1), actions=actions, **settings)


def careful(heard):
    """Hits below 17."""
    return "<act>stick</act>" if int(heard.rpartition("(")[2].split(",")[0]) >= 17 else "<act>hit</act>"


def refused(make, message, **settings):
    try:
        from_gymnasium("refused", make, "{}", Scale(), **settings).problem("test", 0)
    except TaskError as error:
        said = str(error)
    else:
        said = "nothing was refused"
    assert message in said, said


def words_are_exchanged_until_the_episode_ends():
    task = guessing()
    problem = task.problem("train", 0)
    transcript = talked(task, problem, halving(999))
    score = judge(task.scorer, problem, transcript)
    turns = sum(span.author is Author.MODEL for span in transcript)
    assert transcript.spans[-1].text == "\nright\n"
    assert abs(score.parts["earned"] - (1 - 0.1 * (turns - 1))) < 1e-9, score
    assert abs(score.reward - (score.parts["earned"] + 3) / 4) < 1e-9, score


def rewards_are_those_of_the_environment():
    task = blackjack()
    earned = set()
    for index in range(12):
        problem = task.problem("train", index)
        score = judge(task.scorer, problem, talked(task, problem, careful))
        theirs = gymnasium.make("Blackjack-v1")
        seen, _ = theirs.reset(seed=problem.facts["seed"])
        assert str(seen) in problem.prompt[-1].content
        total, ended = 0.0, False
        while not ended:
            seen, reward, terminated, truncated, _ = theirs.step(int(seen[0] < 17))
            total, ended = total + reward, terminated or truncated
        theirs.close()
        assert score.reward == (total + 1) / 2, (score, total)
        earned.add(total)
    assert len(earned) > 1


def a_step_limit_of_the_environment_ends_an_episode():
    task = from_gymnasium("taxi", lambda: gymnasium.make("Taxi-v4", max_episode_steps=5), "{}", Scale(-50, 20))
    problem = task.problem("train", 0)
    score = judge(task.scorer, problem, talked(task, problem, lambda _: "<act> 4 </act>"))
    assert score.parts["earned"] == -50, score
    assert score.reward == 0


def an_episode_that_does_not_end_earns_nothing():
    task = guessing(turns=3)
    problem = task.problem("train", 0)
    score = judge(task.scorer, problem, talked(task, problem, lambda _: "<act> 7 </act>"))
    assert (score.verdict, score.reward) == (Verdict.UNPARSED, 0), score


def words_that_are_no_action_take_a_turn_and_change_nothing():
    task = guessing(turns=2)
    problem = task.problem("train", 0)
    transcript = talked(task, problem, lambda _: "<act> seven </act>")
    assert transcript.spans[-1].text == "\nthat is no action\n"
    assert sum(span.author is Author.MODEL for span in transcript) == 2


def the_trial_finds_nothing_that_earns_without_playing():
    check_task(guessing(), problems=2)


def a_session_keeps_the_contract_of_environments():
    task = guessing()
    problem = task.problem("train", 0)
    assert check_environment(task.environment(problem), problem, ["<act>500</act>", "x <act>1</act>"]) == []


def an_environment_that_does_not_repeat_itself_is_an_error():
    class Moody(Guess):
        moods = iter(range(1000))

    task = guessing(Moody)
    problem = task.problem("train", 0)
    score = judge(task.scorer, problem, talked(task, problem, halving(999)))
    assert (score.verdict, score.reward) == (Verdict.ERROR, None), score


def what_cannot_be_adapted_is_refused_in_a_sentence():
    refused(lambda: gymnasium.make("FrozenLake-v1"), "does 'refused' ask them all the same?")
    refused(lambda: gymnasium.make("Blackjack-v1"), "2 choices need as many names", actions=["stick"])

    class Boxed(Guess):
        action_space = gymnasium.spaces.Box(0, 1)

    refused(Boxed, "actions are words (Text) or a few choices")

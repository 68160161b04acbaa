"""A good environment passes; each planted fault is caught, and the message names it."""

import re
import time
from types import SimpleNamespace

import pytest

from poziomka.core.environment import Reply
from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, compact
from poziomka.environments import Calculator
from poziomka.testing import check_environment

PROBLEM = Problem.ask("sums", "1+1", "1 + 1 ?", "2")
SAID = (" <tool> 1 + 1 </tool>", " <tool> 2 + 2 </tool>")
TOTAL = [0]


def words(text, **fields):
    return Reply(Span(Author.ENVIRONMENT, text), **fields)


class Counter:
    """Answers with the number of the question; a state that a fork copies."""

    def __init__(self, count=0):
        self.count = count

    async def reply(self, transcript):
        self.count += 1
        return words(f" {self.count}")

    def fork(self):
        return type(self)(self.count)

    def close(self):
        pass


class Room:
    """Opens sessions of one kind."""

    def __init__(self, session=Counter, stop=("</tool>",)):
        self.stop = stop
        self.open = lambda problem: session()


def answering(answer):
    """Sessions whose replies are computed from the transcript."""

    class Session(Counter):
        async def reply(self, transcript):
            return answer(transcript)

    return Room(Session)


class Shared(Counter):
    async def reply(self, transcript):
        TOTAL[0] += 1
        return words(f" {TOTAL[0]}")


class Together(Counter):
    """Two sessions at once share what they know."""

    open = 0

    def __init__(self, count=0):
        super().__init__(count)
        Together.open += 1
        self.first = Together.open == 1

    async def reply(self, transcript):
        return words(" late" if self.first else " early")


class Leaky(Counter):
    def fork(self):
        return self


class Forgetful(Counter):
    def fork(self):
        return type(self)()


class Stubborn(Counter):
    def fork(self):
        message = "no forks here"
        raise EnvironmentFailure(message)


class Clumsy(Counter):
    def fork(self):
        raise NotImplementedError


class Nothing(Counter):
    def fork(self):
        return None


class Once(Counter):
    closed = False

    def close(self):
        if self.closed:
            message = "closed already"
            raise OSError(message)
        self.closed = True


class Family(Counter):
    """A fork that dies with the session it came from."""

    def __init__(self, count=0, alive=None):
        super().__init__(count)
        self.alive = alive or [True]
        self.parent = alive is None

    async def reply(self, transcript):
        return await super().reply(transcript) if self.alive[0] else words(" gone")

    def fork(self):
        return Family(self.count, self.alive)

    def close(self):
        self.alive[0] = self.alive[0] and not self.parent


def strict(transcript):
    text = transcript.spans[-1].text
    if text not in SAID:
        raise KeyError(text)
    return words(" fine")


def slow(transcript):
    if len(transcript.spans[-1].text) > 100_000:
        time.sleep(2.5)
    return words(" fine")


class Posing:
    """A reply that never went through the checks of Reply."""

    def __new__(cls):
        reply = object.__new__(Reply)
        attributes = {"span": Span(Author.MODEL, " 42"), "reward": None, "done": False, "feedback": None, "more": ()}
        for name, value in attributes.items():
            object.__setattr__(reply, name, value)
        return reply


FAULTS = {
    "an environment has `stop` and `open`": SimpleNamespace(stop=("</tool>",)),
    "an environment names the strings": Room(stop=()),
    "the model would not wait after": Room(stop=("?",)),
    "a session has `reply`, `fork` and `close`": Room(object),
    "the same words get the same answers": Room(Shared),
    "sessions do not know of each other": Room(Together),
    "a session answers what it is asked": answering(lambda transcript: None),
    "a session returns a Reply or None": answering(lambda transcript: " 2"),
    "a session speaks as the environment": answering(lambda transcript: Posing()),
    "only a sampler knows tokens": answering(lambda transcript: Reply(Span(Author.ENVIRONMENT, " 2", compact([2])))),
    "a reward lies from -1 to 1": answering(lambda transcript: words(" 2", reward=2.0)),
    "a session can be closed twice: it raised OSError": Room(Once),
    "a session answers in words": answering(strict),
    "a session answers within 2 s": answering(slow),
    "a fork knows the past": Room(Forgetful),
    "the session knows the past and not the other's future": Room(Leaky),
    "a fork outlives the session": Room(Family),
    "a session that cannot fork raises EnvironmentFailure": Room(Clumsy),
    "a fork is a session": Room(Nothing),
}


@pytest.mark.parametrize("environment", [Calculator(), Room()])
def test_a_good_environment_passes(environment):
    assert check_environment(environment, PROBLEM, SAID) == []


def test_a_session_may_refuse_to_fork():
    assert check_environment(Room(Stubborn), PROBLEM, SAID) == ["forking was not tried: no forks here"]


@pytest.mark.parametrize("broken", FAULTS)
def test_a_fault_is_caught(broken):
    with pytest.raises(AssertionError, match=re.escape(broken)):
        check_environment(FAULTS[broken], PROBLEM, SAID, seconds=2.0)


@pytest.mark.parametrize("said", [(), "</tool>"])
def test_the_models_turns_are_a_list(said):
    with pytest.raises(AssertionError, match="the model's turns as a list"):
        check_environment(Room(), PROBLEM, said)

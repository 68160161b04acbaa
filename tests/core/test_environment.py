"""The exchange between a sampler and a session."""

import asyncio

import pytest

from poziomka.core.environment import Reply
from poziomka.core.errors import EnvironmentFailure
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.testing import ScriptedSampler

QUESTION = Transcript.of([Message("user", "Hi")])


class Answers:
    """A session that says what it is told, and raises what it is given."""

    def __init__(self, *replies):
        self.replies = list(replies)

    async def reply(self, transcript):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Mute(Sampler):
    """Asks for an answer for ever, without tokens, as an endpoint may."""

    async def extend(self, transcript, sampling, on_token=None):
        return transcript + Span(Author.MODEL, " go", stop=Stop.PHRASE)


def reply(text, **more):
    return Reply(Span(Author.ENVIRONMENT, text), **more)


def talk(session, *script, tokens=50):
    return asyncio.run(
        converse(ScriptedSampler(script), session, QUESTION, SamplingParams(stop=("go",), max_tokens=tokens))
    )


class AfterEnd(Answers):
    """A session that is asked after turns that the model ended itself, too."""

    after_end = True


def test_they_speak_in_turn_until_the_model_ends():
    assert talk(Answers(reply(" one"), reply(" two")), " go", " go", " over").reply == " go one go two over"


def test_a_session_with_nothing_to_say_ends_it():
    assert talk(Answers(None), " go").reply == " go"


def test_a_session_that_is_done_has_the_last_word():
    assert talk(Answers(reply(" won", done=True)), " go").reply == " go won"


def test_a_model_that_never_asks_is_not_answered():
    assert talk(Answers(), " over").reply == " over"


def test_a_session_may_answer_a_turn_that_the_model_ended():
    transcript = talk(AfterEnd(reply(" one"), reply(" two"), None), " hm", " go", " over")
    assert transcript.text.endswith(" hm one go two over")
    assert transcript.reply == " go two over"  # since the answer to the turn that was over


def test_an_answer_may_have_several_spans():
    more = (Span(Author.ENVIRONMENT, " two"), Span(Author.ENVIRONMENT, " three"))
    assert talk(Answers(reply(" one", more=more)), " go", " over").reply == " go one two three over"


def test_an_answer_knows_how_long_it_took():
    (said,) = [span for span in talk(Answers(reply(" on")), " go", " over") if span.author is Author.ENVIRONMENT]
    assert said.seconds > 0


def test_the_tokens_are_those_of_all_turns_together():
    transcript = talk(Answers(*[reply(" on")] * 9), " please go", tokens=5)
    assert transcript.cost == 5
    assert transcript.stop is Stop.LENGTH


def test_an_exchange_whose_tokens_nobody_counts_ends_too():
    session = Answers(*[reply(" on")] * 9)
    transcript = asyncio.run(converse(Mute(), session, QUESTION, SamplingParams(max_tokens=4)))
    assert transcript.reply == " go on" * 4


def test_a_session_that_raises_is_a_failure_with_its_reason():
    with pytest.raises(EnvironmentFailure, match="the session raised KeyError: 'door'"):
        talk(Answers(KeyError("door")), " go")


def test_a_sessions_own_failure_is_kept():
    with pytest.raises(EnvironmentFailure, match=r"^the door is shut$"):
        talk(Answers(EnvironmentFailure("the door is shut")), " go")


def test_a_session_may_not_speak_as_the_model():
    with pytest.raises(EnvironmentFailure, match="received a span by 'model'"):
        Reply(Span(Author.MODEL, " 42"))
    with pytest.raises(EnvironmentFailure, match="received a span by 'user'"):
        reply(" 1", more=(Span(Author.USER, " 2"),))


class Torn(Answers):
    """A session that cannot say whether a call goes on."""

    def unfinished(self, transcript):
        raise KeyError(transcript.reply)


@pytest.mark.fault("B13")
def test_a_session_that_raises_when_asked_whether_a_call_goes_on_is_a_failure_too():
    with pytest.raises(EnvironmentFailure, match="the session raised KeyError: ' go'"):
        talk(Torn(None), " go")


def test_a_session_that_answers_with_anything_but_a_reply_is_a_failure():
    with pytest.raises(EnvironmentFailure, match="a session answers with a Reply or None: received a str"):
        talk(Answers("on"), " go")


@pytest.mark.fault("C1")
def test_the_prompt_of_a_problem_whose_environment_cannot_be_made_can_be_read():
    def nowhere(problem):
        raise OSError(problem.key)

    problem = Problem.ask("t", "k", "Hi")
    assert asked(Task("t", None, None, environment=nowhere), problem) == QUESTION

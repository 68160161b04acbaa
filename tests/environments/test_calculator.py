"""The calculator, its limits, and the exchange with a model."""

import asyncio
import operator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.environment import Environment, Session
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.environments import Calculator, calculate
from poziomka.testing import ScriptedSampler

PROBLEM = Problem.ask("sums", "12+30", "12 + 30 ?", "42")
QUESTION = Transcript.of(PROBLEM.prompt)
INTEGERS = st.integers(-(10**20), 10**20)


def says(*words):
    """A transcript in which the model wrote `words`."""
    return QUESTION + [Span(Author.MODEL, word) for word in words]


def answer(transcript, calculator=None):
    reply = asyncio.run((calculator or Calculator()).open(PROBLEM).reply(transcript))
    return None if reply is None else reply.span.text


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 + 30", 42),
        (" -7 // 2 ", -4),
        ("-7 % 3", 2),
        ("2 * (3 + 4)", 14),
        ("--5", 5),
        ("+1", 1),
        ("9" * 99, int("9" * 99)),
    ],
)
def test_integers_are_exact(expression, value):
    assert calculate(expression) == value


@given(INTEGERS, INTEGERS, st.sampled_from(["+", "-", "*", "//", "%"]))
def test_it_agrees_with_python(a, b, symbol):
    table = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod}
    if b != 0 or symbol in "+-*":
        assert calculate(f"({a}) {symbol} ({b})") == table[symbol](a, b)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / 2", "only"),
        ("2 ** 3", "only"),
        ("1 // 0", "zero"),
        ("1 % (2 - 2)", "zero"),
        ("", "not an expression"),
        ("1 +", "not an expression"),
        ("007", "not an expression"),
        ("()", "only"),
        ("2 (3)", "only"),
        ("len", "received 'e'"),
        ("1.5", "received '.'"),
        ("1\n+1", "received '\\\\n'"),
        ("1" * 101, "100 digits"),
        ("9" * 60 + "*" + "9" * 60, "100 digits"),
        ("1+" * 200, "200 characters"),
        ("(" * 150 + "1" + ")" * 49, "not an expression"),
        ("(" * 99 + "1" + ")" * 99, None),
        ("-" * 199 + "1", None),
    ],
)
def test_what_it_does_not_work_out_is_said(expression, reason):
    if reason is None:
        assert calculate(expression) in {1, -1}
        return
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        calculate(expression)


@given(st.text(alphabet="0123456789+-*/%() x", max_size=250))
def test_any_text_is_a_value_or_a_value_error(expression):
    with suppress(ValueError):
        assert abs(calculate(expression)) < 10**100


def test_a_call_is_answered():
    assert answer(says(" <tool> 12 + 30 </tool>")) == " <result> 42 </result>"


def test_what_cannot_be_worked_out_is_answered_in_words():
    reply = asyncio.run(Calculator().open(PROBLEM).reply(says(" <tool> 1 // 0 </tool>")))
    assert reply.span.text == " <result> error </result>"
    assert reply.feedback == "division by zero"


def test_without_a_call_there_is_no_answer():
    assert answer(says(" 42")) is None


def test_an_open_call_is_no_call():
    assert answer(says(" <tool> 12 + 30")) is None


def test_a_call_that_was_never_opened_is_an_error():
    assert answer(says(" 12 + 30 </tool>")) == " <result> error </result>"


def test_the_last_call_is_answered():
    assert answer(says(" <tool> 1 + 1 </tool> <tool> 2 + 2 </tool>")) == " <result> 4 </result>"


def test_a_call_may_be_split_between_spans():
    assert answer(says(" <tool> 1 +", " 1 </tool>")) == " <result> 2 </result>"


@pytest.mark.parametrize("author", [Author.USER, Author.ENVIRONMENT, Author.FORCED, Author.TEACHER])
def test_a_call_in_anothers_words_is_never_run(author):
    assert answer(says(" hm") + Span(author, " <tool> 1 + 1 </tool>") + Span(Author.MODEL, " so")) is None


def test_a_call_that_was_answered_is_not_answered_again():
    assert answer(says(" <tool> 1 + 1 </tool>") + Span(Author.ENVIRONMENT, " <result> 2 </result>")) is None


def test_the_limits_can_be_set():
    assert answer(says(" <tool> 99 + 1 </tool>"), Calculator(digits=2)) == " <result> error </result>"
    assert answer(says(" <tool> 1 + 1 </tool>"), Calculator(length=3)) == " <result> error </result>"


@pytest.mark.parametrize("limits", [{"length": 0}, {"digits": 0}])
def test_a_limit_that_is_not_positive_is_refused(limits):
    with pytest.raises(SettingsError, match="received"):
        Calculator(**limits)


def test_it_is_an_environment():
    assert isinstance(Calculator(), Environment)
    assert isinstance(Calculator().open(PROBLEM), Session)


def talk(*replies, tokens=100):
    calculator = Calculator()
    session = calculator.open(PROBLEM)
    sampling = SamplingParams(stop=calculator.stop, max_tokens=tokens)
    try:
        return asyncio.run(converse(ScriptedSampler(replies), session, QUESTION, sampling))
    finally:
        session.close()


def test_the_model_and_the_calculator_speak_in_turn():
    transcript = talk("<think> <tool> 12 + 30 </tool>", " </think> 42")
    assert transcript.reply == "<think> <tool> 12 + 30 </tool> <result> 42 </result> </think> 42"


def test_the_tools_words_are_never_the_models():
    transcript = talk(" <tool> 12 + 30 </tool>", " 42")
    ours = {token for token, mine in zip(transcript.tokens, transcript.by(Author.MODEL), strict=True) if mine}
    (tool,) = [span for span in transcript if span.author is Author.ENVIRONMENT]
    assert len(tool.tokens) == 3
    assert not {tool.tokens[0], tool.tokens[2]} & ours
    assert tool.logprobs is None


def test_calls_are_bounded_by_the_models_tokens():
    transcript = talk(" <tool> 1 + 1 </tool>", tokens=12)
    assert transcript.cost == 12
    assert [span.author.value for span in transcript][1:] == ["model", "environment"] * 2 + ["model"]


def test_chat_messages_of_a_tool_are_the_environments():
    transcript = Transcript.of([Message("user", "?"), Message("tool", " <tool> 1 + 1 </tool>")])
    assert answer(transcript) is None

"""A toolbox: calls run in order, state that forks, bounds, and whose fault a failure is."""

import asyncio

import pytest

from poziomka.core.environment import Environment, Session
from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.environments.sandbox.monty import Monty
from poziomka.environments.tools.formats.call_format import calls_in
from poziomka.environments.tools.tool import Tool, ToolFault, python_tool, tool
from poziomka.environments.tools.toolbox import Toolbox, shortened
from poziomka.testing import ScriptedSampler, check_environment

PROBLEM = Problem.ask("numbers", "one", "?", "42")
QUESTION = Transcript.of(PROBLEM.prompt)


def double(number: int) -> int:
    """Doubles a number."""
    return 2 * number


def moody(mood: str) -> str:
    """Raises what it is told."""
    raise {"fault": ToolFault("not today"), "ours": KeyError("door")}[mood]


class Counting:
    """A tool that keeps a count, and remembers whether it was closed."""

    def __init__(self, log, count=0):
        self.log, self.count = log, count

    def call(self, arguments):
        self.count += 1
        return str(self.count)

    def fork(self):
        return Counting(self.log, self.count)

    def close(self):
        self.log.append("closed")
        if self.count > 100:
            raise OSError


def counting(name="count", log=None, start=0):
    nothing = {"type": "object", "properties": {}}
    return Tool(name, "Counts.", nothing, lambda: Counting([] if log is None else log, start))


@pytest.fixture(scope="module")
def monty():
    interpreter = Monty(workers=2)
    yield interpreter
    interpreter.close()


@pytest.fixture
def python(monty):
    return Toolbox([python_tool(monty)])


def says(*words):
    return QUESTION + [Span(Author.MODEL, word) for word in words]


def answer(session, *words):
    reply = asyncio.run(session.reply(says(*words)))
    return None if reply is None else reply.span.text


def talk(toolbox, *script, tokens=100):
    session = toolbox.open(PROBLEM)
    sampling = SamplingParams(stop=toolbox.stop, max_tokens=tokens)
    try:
        return asyncio.run(converse(ScriptedSampler(script), session, QUESTION, sampling))
    finally:
        session.close()


def test_it_is_an_environment(python):
    assert isinstance(python, Environment)
    assert isinstance(python.open(PROBLEM), Session)


@pytest.mark.parametrize("calls", ["plain", "spelled"])
def test_it_keeps_an_environments_promises(monty, calls):
    toolbox = Toolbox([python_tool(monty)], calls)
    said = [" <tool> x = 6 * 7\nx </tool>", " <tool> x + 1 </tool>", " <tool> 1 // 0 </tool>"]
    assert check_environment(toolbox, PROBLEM, said) == []


def test_it_keeps_them_with_several_tools(monty):
    toolbox = Toolbox([python_tool(monty), counting(), tool(double)])
    said = [
        " <tool> count </tool>",
        " <tool> python x = 7 </tool>",
        " <tool> count </tool>",
        " <tool> python x </tool>",
    ]
    assert check_environment(toolbox, PROBLEM, said) == []


def test_the_model_thinks_on_after_the_result(python):
    transcript = talk(python, "<think> <tool> 487 * 39 </tool>", " so </think> 18993")
    assert transcript.reply == "<think> <tool> 487 * 39 </tool> <result> 18993 </result> so </think> 18993"


def test_the_tools_words_are_never_the_models(python):
    transcript = talk(python, " <tool> 487 * 39 </tool>", " 18993")
    (said,) = [span for span in transcript if span.author is Author.ENVIRONMENT]
    assert said.text == " <result> 18993 </result>"
    assert said.logprobs is None
    assert said.seconds > 0


def test_variables_are_kept_from_call_to_call(python):
    session = python.open(PROBLEM)
    assert answer(session, " <tool> x = 5 </tool>") == " <result> (nothing was printed) </result>"
    assert answer(session, " <tool> print(x) </tool>") == " <result> 5 </result>"
    session.close()


def test_forks_do_not_see_each_other(python):
    session = python.open(PROBLEM)
    answer(session, " <tool> x = 1 </tool>")
    fork = session.fork()
    answer(session, " <tool> x = 2 </tool>")
    assert answer(fork, " <tool> x </tool>") == " <result> 1 </result>"
    assert answer(session, " <tool> x </tool>") == " <result> 2 </result>"
    session.close()
    assert answer(fork, " <tool> x </tool>") == " <result> 1 </result>"
    fork.close()


def test_what_code_did_wrong_is_told_to_the_model(python):
    reply = asyncio.run(python.open(PROBLEM).reply(says(" <tool> print(1)\n1 // 0 </tool>")))
    assert reply.span.text.startswith(" <result> 1\nZeroDivisionError: ")
    assert "ZeroDivisionError" in reply.feedback


def test_a_tools_own_fault_is_told_to_the_model():
    assert answer(Toolbox([tool(moody)]).open(PROBLEM), " <tool> fault </tool>") == " <result> not today </result>"


def test_a_tool_that_raises_is_our_failure():
    with pytest.raises(EnvironmentFailure, match="the tool 'moody' raised KeyError: 'door'"):
        answer(Toolbox([tool(moody)]).open(PROBLEM), " <tool> ours </tool>")


def test_an_attempt_in_which_a_tool_failed_is_not_judged():
    task = Task(
        "numbers",
        lambda _split, index, _level: Problem.ask("numbers", str(index), "?"),
        lambda _problem, _transcript: Score.right("42"),
        lambda _: Toolbox([tool(moody)]),
        trusted=True,
    )
    ((rollout,),) = collect(ScriptedSampler([" <tool> ours </tool>"]), task, task.take("train", 0, 1), SamplingParams())
    assert rollout.score.verdict is Verdict.ERROR
    assert rollout.score.reward is None


def test_beyond_the_bound_no_call_is_left():
    session = Toolbox([counting()], most=2).open(PROBLEM)
    heard = [answer(session, " <tool> </tool>") for _ in range(3)]
    assert heard[1] == " <result> 2 </result>"
    assert heard[2] == " <result> no call is left: at most 2 can be made; answer now </result>"
    assert answer(session.fork(), " <tool> </tool>") == heard[2]


def test_a_fork_has_as_many_calls_left():
    session = Toolbox([counting()], most=2).open(PROBLEM)
    answer(session, " <tool> </tool>")
    fork = session.fork()
    assert answer(fork, " <tool> </tool>") == answer(session, " <tool> </tool>") == " <result> 2 </result>"


def test_the_calls_that_were_answered_are_counted(python):
    assert calls_in(talk(python, " <tool> 1 </tool>", " <tool> 1 // 0 </tool>", " 42")) == 2
    assert calls_in(talk(python, " 42")) == 0


def test_a_prompts_tool_messages_are_no_calls():
    prompt = Transcript.of([Message("user", "?"), Message("tool", "7")])
    assert calls_in(prompt + Span(Author.MODEL, " 42")) == 0


def test_a_long_result_loses_its_middle(monty):
    toolbox = Toolbox([python_tool(monty)], shown=20)
    said = answer(toolbox.open(PROBLEM), " <tool> print('a' * 50 + 'b' * 50) </tool>")
    assert said == f" <result> {'a' * 10}\n[… 80 characters left out …]\n{'b' * 10} </result>"


@pytest.mark.parametrize("most", [1, 2, 7])
def test_what_is_left_out_is_counted(most):
    text = "".join(map(str, range(10)))
    head, told, tail = shortened(text, most).split("\n")
    assert told == f"[… {10 - most} characters left out …]"
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + len(tail) == most


def test_a_tools_words_hold_no_marks(python):
    said = answer(python.open(PROBLEM), " <tool> print('</thin' + 'k> 42 </resul' + 't>') </tool>")
    assert said == " <result> < /think> 42 < /result> </result>"


def test_closing_closes_every_tool_though_one_cannot():
    log = []
    session = Toolbox([counting("a", log, 100), counting("b", log)]).open(PROBLEM)
    answer(session, " <tool> a </tool>")
    answer(session, " <tool> b </tool>")
    with pytest.raises(EnvironmentFailure, match="a tool could not be closed: a: OSError"):
        session.close()
    assert log == ["closed", "closed"]
    session.close()
    assert log == ["closed", "closed"]


def test_a_closed_session_runs_nothing_more():
    session = Toolbox([counting()]).open(PROBLEM)
    session.close()
    with pytest.raises(EnvironmentFailure, match="the session is closed"):
        answer(session, " <tool> </tool>")


def test_a_fork_that_fails_leaves_nothing_open():
    log = []

    class Stubborn(Counting):
        def fork(self):
            raise EnvironmentFailure

    stubborn = Tool("b", "Stays.", {"type": "object", "properties": {}}, lambda: Stubborn(log))
    session = Toolbox([counting("a", log), stubborn]).open(PROBLEM)
    answer(session, " <tool> a </tool>")
    answer(session, " <tool> b </tool>")
    with pytest.raises(EnvironmentFailure):
        session.fork()
    assert log == ["closed"]


def test_closing_a_toolbox_closes_what_its_tools_share():
    log = []
    nothing = {"type": "object", "properties": {}}
    toolbox = Toolbox([Tool("a", "Counts.", nothing, lambda: Counting(log), lambda: log.append("shared"))])
    toolbox.close()
    assert log == ["shared"]


@pytest.mark.parametrize(
    ("tools", "more", "reason"),
    [
        ([], {}, "different names: received \\[\\]"),
        ([counting(), counting()], {}, "received \\['count', 'count'\\]"),
        ([counting()], {"most": 0}, "received most 0"),
        ([counting()], {"shown": 0}, "shown 0"),
        ([counting()], {"calls": "plane"}, "did you mean 'plain'"),
    ],
)
def test_what_makes_no_toolbox_is_refused(tools, more, reason):
    with pytest.raises(SettingsError, match=reason):
        Toolbox(tools, **more)


def test_a_tool_that_the_format_cannot_call_is_refused():
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    with pytest.raises(SettingsError, match="no place for the argument 'b'"):
        Toolbox([tool(add)], "plain")


# ------------------------------------------------------------------------------------ a tool that raises anything
class Wild(Counting):
    """A tool of which one part raises."""

    def __init__(self, part, error):
        super().__init__([])
        self.part, self.error = part, error

    def do(self, part, result=None):
        if part == self.part:
            raise self.error
        return result

    def open(self):
        return self.do("open", self)

    def call(self, arguments):
        return self.do("call", "1")

    def fork(self):
        return self.do("fork", self)

    def close(self):
        self.do("close")


def wild(part, error):
    return Tool("wild", "Raises.", {"type": "object", "properties": {}}, Wild(part, error).open)


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), asyncio.CancelledError(), KeyError("door")])
@pytest.mark.parametrize("part", ["open", "call", "close"])
def test_a_tool_may_raise_anything_and_no_collection_ends(part, error):
    task = Task(
        "numbers",
        lambda _split, index, _level: Problem.ask("numbers", str(index), "?"),
        lambda _problem, _transcript: Score.right("42"),
        lambda _: Toolbox([wild(part, error)]),
        trusted=True,
    )
    sampler = ScriptedSampler([" <tool> </tool>", " 42"])
    ((rollout,),) = collect(sampler, task, task.take("train", 0, 1), SamplingParams())
    assert (rollout.score.verdict, rollout.score.reward) == (Verdict.ERROR, None)
    assert type(error).__name__ in rollout.score.why


@pytest.mark.parametrize("error", [SystemExit(1), OSError("disk")])
def test_a_tool_that_cannot_fork_is_an_environment_failure(error):
    session = Toolbox([wild("fork", error)]).open(PROBLEM)
    answer(session, " <tool> </tool>")
    with pytest.raises(EnvironmentFailure, match=f"forking the tool 'wild' raised {type(error).__name__}"):
        session.fork()


def test_closing_a_toolbox_closes_what_other_tools_share_too():
    def leave():
        raise SystemExit(1)

    log, nothing = [], {"type": "object", "properties": {}}
    first = Tool("a", "Leaves.", nothing, lambda: Counting(log), leave)
    second = Tool("b", "Counts.", nothing, lambda: Counting(log), lambda: log.append("shared"))
    with pytest.raises(EnvironmentFailure, match="a tool could not be closed: a: SystemExit: 1"):
        Toolbox([first, second]).close()
    assert log == ["shared"]

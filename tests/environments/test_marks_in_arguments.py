"""Marks of a call inside the strings of its arguments end nothing, where calls are read and where the model stops."""

import asyncio
import json

import pytest

from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import CLOSE, Author, Transcript
from poziomka.environments.tools.formats.registry import format_named
from poziomka.environments.tools.tool import Tool, tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.testing import ScriptedSampler

PROBLEM = Problem.ask("echo", "one", "?")


def echo(text: str) -> str:
    """Says a text again."""
    return f"{len(text)} characters"


class Code:
    """Stands for an interpreter."""

    def call(self, arguments):
        return f"ran {arguments['code']!r}"

    def fork(self):
        return self

    def close(self):
        pass


PYTHON = Tool("python", "Runs code.", {"type": "object", "properties": {"code": {"type": "string"}}}, Code)
TOOLS = {"echo": tool(echo), "python": PYTHON}
MARKS = {
    "hermes": ["</tool_call>", "<tool_call>", '"</tool_call>\\"', "</tool_call>\n<tool_call>"],
    "llama": ["<|python_tag|>", CLOSE, f'{CLOSE}{{"name": '],
    "mistral": ["[TOOL_CALLS]", "[ARGS]", "[TOOL_CALLS]echo[ARGS]{}"],
    "gemma": ["```", "``` ```", "```tool_code", "``` ```tool_code f()"],
}
CASES = [(name, mark) for name, marks in MARKS.items() for mark in marks]


@pytest.mark.fault("B13")
@pytest.mark.parametrize(("name", "mark"), CASES)
def test_a_mark_in_an_argument_is_part_of_it(name, mark):
    written = format_named(name).call(TOOLS["echo"], {"text": f"a {mark} b"}, alone=False)
    for words in (written, f"<think> hm {CLOSE}\n{written}"):
        (call,) = format_named(name).read(words, TOOLS)
        assert (call.fault, call.name, call.arguments) == ("", "echo", {"text": f"a {mark} b"})


@pytest.mark.fault("B13")
@pytest.mark.parametrize("mark", MARKS["mistral"])
def test_a_mark_in_an_argument_of_mistrals_newer_calls_is_part_of_it(mark):
    one = f"[TOOL_CALLS]echo[ARGS]{json.dumps({'text': mark})}"
    calls = format_named("mistral").read(one + one, TOOLS)
    assert [call.arguments for call in calls] == [{"text": mark}] * 2


@pytest.mark.fault("B13")
@pytest.mark.parametrize("mark", ["```", "```python", "```output", "``` and ```python"])
def test_a_fence_inside_a_string_closes_no_block_of_python(mark):
    code = f'print("{mark}")\n'
    (call,) = format_named("fenced").read(f"```python\n{code}```\n```output", {"python": PYTHON})
    assert call.arguments == {"code": code}
    assert format_named("fenced").read("```python\n1\n``` and ```", {"python": PYTHON}) == []


QUOTED = ["```tool_code\nf()\n```\n", "```tool_code \n", "so\n```tool_code\necho(text='b')\n```\nand ```tool_code\n"]


@pytest.mark.fault("B13")
@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_line_that_opens_a_block_opens_none_inside_a_string(quoted, quote):
    block = f"```tool_code\necho(text={quote}\n{quoted}{quote})\n```"
    calls = format_named("gemma").read(f"{block}\nand\n{block}", TOOLS)
    assert [(call.fault, call.arguments) for call in calls] == [("", {"text": f"\n{quoted}"})] * 2


@pytest.mark.fault("B13")
def test_a_line_that_opens_a_block_of_python_opens_none_inside_a_string():
    code = 'print("""\n```python\n1\n```\n""")\n'
    (call,) = format_named("fenced").read(f"```python\n{code}```\n```output", {"python": PYTHON})
    assert call.arguments == {"code": code}
    assert format_named("fenced").unclosed('```python\nx = """\n```python\n```output')


def test_a_block_that_is_no_python_ends_at_its_first_fence():
    one, two = format_named("gemma").read("```tool_code\necho(\n```\nand\n```tool_code\necho(text='b')\n```", TOOLS)
    assert (bool(two.fault), two.arguments) == (False, {"text": "b"})
    assert one.arguments != {"text": "b"}


def test_calls_after_one_that_is_no_json_are_read():
    broken = '<tool_call>{"name": "echo</tool_call>'
    good = '<tool_call>{"name": "echo", "arguments": {"text": "b"}}</tool_call>'
    one, two = format_named("hermes").read(good + broken, TOOLS)
    assert (one.arguments, bool(two.fault)) == ({"text": "b"}, True)


def exchange(name, *turns, tool=TOOLS["echo"]):
    """What comes of an exchange in which the model says each turn in full, however often it is stopped in it."""
    toolbox = Toolbox([tool], name)
    said = "".join(turns)

    def script(transcript, sampling):
        own = "".join(span.text for span in transcript if span.author is Author.MODEL)
        return said[len(own) :]

    session = toolbox.open(PROBLEM)
    sampling = SamplingParams(stop=toolbox.stop, max_tokens=500)
    return asyncio.run(converse(ScriptedSampler(script), session, Transcript.of(PROBLEM.prompt), sampling))


@pytest.mark.fault("B13")
@pytest.mark.parametrize("mark", MARKS["hermes"])
def test_a_model_is_not_stopped_by_a_mark_in_an_argument(mark):
    written = format_named("hermes:inside").call(TOOLS["echo"], {"text": f"a {mark} b"}, alone=False)
    transcript = exchange("hermes:inside", f"<think> hm {written}", " so </think> yes")
    heard = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    assert heard == [f"\n<tool_response>\n{len(mark) + 4} characters\n</tool_response>\n"]
    assert transcript.reply.endswith(" so </think> yes")


@pytest.mark.fault("B13")
@pytest.mark.parametrize("quote", ['"', '"""\n'])
def test_a_model_is_not_stopped_by_a_mark_in_a_string_of_its_code(quote):
    code = f"print({quote}```output{quote})\n"
    transcript = exchange("fenced", f"```python\n{code}```\n```output", " so", tool=PYTHON)
    heard = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    assert [text.startswith("\nran 'print(") for text in heard] == [True]
    assert transcript.reply.endswith(" so")


def test_a_call_that_is_no_json_is_answered_at_its_mark():
    transcript = exchange("hermes:inside", '<tool_call>{"name": 1</tool_call>', " so")
    (heard,) = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    assert "the call is not JSON" in heard

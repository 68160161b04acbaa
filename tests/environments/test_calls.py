"""How calls are read and results written, family by family; the texts of calls are as the models' makers show them."""

import asyncio
import json

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.environments.tools.formats.call_format import Call, Plain, Result, latest, unmarked
from poziomka.environments.tools.formats.registry import FORMATS, format_named, format_of
from poziomka.environments.tools.tool import Tool, tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.testing import ScriptedSampler, check_environment

PROBLEM = Problem.ask("weather", "one", "?")


def temperature(city: str, unit: str = "celsius") -> str:
    """Says how warm it is in a city.

    Args:
        city: its name
        unit: celsius or fahrenheit
    """
    return f"21 {unit} in {city}"


def square(number: int) -> int:
    """Squares a number."""
    return number * number


class Code:
    """Stands for an interpreter: shows the code that it was given."""

    def call(self, arguments):
        return f"ran {arguments['code']!r}"

    def fork(self):
        return self

    def close(self):
        pass


CODE = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
PYTHON = Tool("python", "Runs code.", CODE, Code)
TOOLS = {"temperature": tool(temperature), "square": tool(square)}
WITH_PYTHON = TOOLS | {"python": PYTHON}


def read(name, words, tools=TOOLS):
    return format_named(name).read(words, tools)


def read_one(name, words, tools=TOOLS):
    (call,) = read(name, words, tools)
    return call


PARIS = Call("temperature", {"city": "Paris"})
CALLS = {  # calls of temperature(city="Paris") and square(number=3), as each family writes them
    "hermes": (
        '<tool_call>\n{"name": "temperature", "arguments": {"city": "Paris"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "square", "arguments": {"number": 3}}\n</tool_call>'
    ),
    "llama": (
        '{"name": "temperature", "parameters": {"city": "Paris"}}; {"name": "square", "parameters": {"number": 3}}'
    ),
    "mistral": (
        '[TOOL_CALLS][{"name": "temperature", "arguments": {"city": "Paris"}}, '
        '{"name": "square", "arguments": {"number": 3}}]'
    ),
    "gemma": '```tool_code\ntemperature(city="Paris")\nsquare(number=3)\n```',
}


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_of_a_turn_are_read_in_order(name):
    assert read(name, CALLS[name]) == [PARIS, Call("square", {"number": 3})]


@pytest.mark.parametrize("name", ["hermes", "mistral", "gemma"])
def test_words_before_a_call_do_not_hide_it(name):
    words = f"<think>\nIt depends on the city.\n</think>\n\nLet me look. {CALLS[name]}"
    assert len(read(name, words)) == 2


@pytest.mark.parametrize("name", ["hermes", "mistral", "gemma"])
def test_a_call_inside_the_thought_is_a_call(name):
    assert len(read(name, f"<think>\nHm. {CALLS[name]}")) == 2


def test_llama_calls_after_the_thought():
    assert len(read("llama", f"<think> hm </think>\n{CALLS['llama']}")) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_words_without_a_call_are_none(name):
    for words in ("", "It is 21 degrees.", '{"answer": 42}', "```json\n{}\n```", "[1, 2]", "tool_call", "< tool >"):
        assert read(name, words, {"python": PYTHON}) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_reads_the_call_that_it_shows(name):
    tools = {"python": PYTHON}
    code = "print(3 * 4)" if name != "spelled" else "3 * 4"
    call = format_named(name).call(PYTHON, {"code": code})
    (read_,) = read(name, call, tools)
    assert read_.name == "python"
    assert "".join(read_.arguments["code"].split()) == "".join(code.split())


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_explains_itself_and_names_the_tools(name):
    told = format_named(name).explain({"python": PYTHON})
    assert "Runs code." in told
    assert any(mark in told for mark in (*format_named(name).marks, '"name"'))


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        (
            "hermes",
            '<tool_call>{"name": "temperature", "arguments": {"city": "Paris"}</tool_call>',
            "not JSON: Expecting",
        ),
        ("hermes", "<tool_call></tool_call>", "not JSON: Expecting value at character 1"),
        ("hermes", '<tool_call>{"name": "square"} {}</tool_call>', "not JSON alone: more follows at character 19"),
        ("hermes", "<tool_call>[1]</tool_call>", 'a call is an object with "name" and "arguments"'),
        ("hermes", f"<tool_call>{'[' * 100_000}</tool_call>", "not JSON"),
        ("hermes", '<tool_call>{"name": "squire"}</tool_call>', "unknown tool 'squire'; did you mean 'square'?"),
        ("llama", '{"name": "square", "parameters": {"number": 3}', "not JSON: Expecting ',' delimiter"),
        ("llama", "<|python_tag|>{oh}", "not JSON: Expecting property name"),
        ("mistral", "[TOOL_CALLS][{", "not JSON"),
        ("mistral", "[TOOL_CALLS]squire[ARGS]{}", "unknown tool 'squire'; did you mean 'square'?"),
        ("gemma", "```tool_code\nsquire(number=3)\n```", "unknown tool 'squire'; did you mean 'square'?"),
        ("gemma", "```tool_code\nsquare(number=three())\n```", "unknown tool 'three'"),
        ("gemma", "```tool_code\nx = 3\n```", "a call is name(argument=value)"),
        ("gemma", "```tool_code\nsquare(3\n```", "the call is not Python"),
        ("gemma", "```tool_code\nsquare(3, 4)\n```", "square takes 1 arguments: received 2"),
        ("plain", "<tool> squire 3 </tool>", "unknown tool 'squire'; did you mean 'square'?"),
        ("plain", "</tool>", "unknown tool ''"),
    ],
)
def test_a_call_that_cannot_be_read_says_what_is_wrong(name, words, said):
    assert said in read_one(name, words).fault


def test_arguments_may_be_json_in_json():
    words = '<tool_call>{"name": "square", "arguments": "{\\"number\\": 3}"}</tool_call>'
    assert read_one("hermes", words) == Call("square", {"number": 3})


def test_a_line_break_in_a_string_is_no_fault():
    assert read_one("hermes", '<tool_call>{"name": "temperature", "arguments": {"city": "a\nb"}}').arguments == {
        "city": "a\nb"
    }


def test_newer_mistral_models_write_name_and_arguments_apart():
    words = '[TOOL_CALLS]temperature[CALL_ID]abc123def[ARGS]{"city": "Paris"}[TOOL_CALLS]square[ARGS]{"number": 3}'
    assert read("mistral", words) == [
        Call("temperature", {"city": "Paris"}, id="abc123def"),
        Call("square", {"number": 3}),
    ]


def test_llama_writes_code_after_its_tag():
    assert read_one("llama", "<|python_tag|>print(3)", WITH_PYTHON) == Call("python", {"code": "print(3)"})
    assert "unknown tool 'python'" in read_one("llama", "<|python_tag|>print(3)").fault


def test_a_block_of_gemma_that_is_no_call_is_code():
    assert read_one("gemma", "```tool_code\nx = 3\nprint(x)\n```", WITH_PYTHON).arguments == {
        "code": "x = 3\nprint(x)\n"
    }


@pytest.mark.parametrize(
    "line", ['temperature("Paris")', 'print(temperature(city="Paris"))', '[default_api.temperature(city="Paris")]']
)
def test_gemma_calls_are_written_in_several_ways(line):
    assert read("gemma", f"```tool_code\n{line}\n```", WITH_PYTHON) == [PARIS]


@pytest.mark.parametrize("words", ["```python\n6 * 7\n```\n```output", "so\n```python\n6 * 7\n```\n"])
def test_the_code_with_which_the_words_end_is_run(words):
    assert read_one("fenced", words, {"python": PYTHON}) == Call("python", {"code": "6 * 7\n"})


@pytest.mark.parametrize(
    "words", ["```python\n6 * 7\n```\nThat is all.", "```python\n6 * 7", "```output", "6 ```output"]
)
def test_other_code_is_not(words):
    assert read("fenced", words, {"python": PYTHON}) == []


# -------------------------------------------------------------------------------------------------------------- results
@pytest.mark.parametrize(
    ("name", "message", "text"),
    [
        ("plain", False, " <result> 42 </result>"),
        ("hermes", True, "42"),
        ("hermes:inside", False, "\n<tool_response>\n42\n</tool_response>\n"),
        ("llama", True, "42"),
        ("mistral", True, "42"),
        ("mistral", False, '[TOOL_RESULTS]{"content": 42}[/TOOL_RESULTS]'),
        ("gemma", True, "```tool_output\n42\n```"),
        ("fenced", False, "\n42\n```\n"),
        ("fenced", True, "```output\n42\n```"),
    ],
)
def test_results_are_written_as_the_family_reads_them(name, message, text):
    assert format_named(name).write([Result(PARIS, "42")], message=message) == [text]


def test_a_result_for_mistral_is_json():
    (text,) = format_named("mistral").write([Result(PARIS, 'a "b"\nc')], message=True)
    assert json.loads(text) == 'a "b"\nc'


@pytest.mark.parametrize(
    ("text", "fault", "written"),
    [
        ("18993", False, "1 8 9 9 3"),
        ("-3", False, "- 3"),
        ("hello", False, "error"),
        ("", False, "error"),
        ("12", True, "error"),
    ],
)
def test_a_spelled_result_is_made_of_known_symbols(text, fault, written):
    assert Plain(spelled=True).write([Result(PARIS, text, fault)], message=False) == [f" <result> {written} </result>"]


def test_digits_that_stand_apart_are_read_together():
    words = " <tool> 4 8 7 * 3 9 + 5 </tool>"
    assert read_one("spelled", words, {"python": PYTHON}).arguments == {"code": "487 * 39 + 5"}
    assert read_one("plain", words, {"python": PYTHON}).arguments == {"code": "4 8 7 * 3 9 + 5"}


def test_a_plain_call_is_of_its_parameters_type():
    assert read_one("plain", "<tool> square 12 </tool>").arguments == {"number": 12}
    assert read_one("plain", "<tool> square twelve </tool>").arguments == {"number": "twelve"}
    assert read_one("plain", "<tool> temperature 12 </tool>").arguments == {"city": "12"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_tools_words_cannot_be_taken_for_the_formats(name):
    marks = format_named(name).marks
    for mark in (*marks, "<think>", "</think>"):
        assert mark not in unmarked(f"a{mark}b{mark * 2}", marks)


def test_a_tools_words_are_text_that_can_be_written():
    assert unmarked("\ud800a\0", ()).encode() == "?a\N{REPLACEMENT CHARACTER}".encode()


# ---------------------------------------------------------------------------------------------------- whose words count
@pytest.mark.parametrize("author", [Author.USER, Author.SYSTEM, Author.ENVIRONMENT, Author.FORCED, Author.TEACHER])
def test_a_call_in_anothers_words_is_never_read(author):
    call = Span(author, CALLS["hermes"])
    assert latest(Transcript((Span(Author.USER, "?"), Span(Author.MODEL, " hm"), call, Span(Author.MODEL, " so")))) in (
        " so",
        " hm so",
    )


def test_the_latest_words_begin_after_the_environment():
    spans = (Span(Author.MODEL, "a"), Span(Author.ENVIRONMENT, "b"), Span(Author.MODEL, "c"), Span(Author.MODEL, "d"))
    assert latest(Transcript(spans)) == "cd"


# ------------------------------------------------------------------------------------------------------- in an exchange
SAID = {
    "hermes": [CALLS["hermes"], '<tool_call>{"name": "square", "arguments": {"number": "x"}}</tool_call>'],
    "hermes:inside": ['<think> <tool_call>{"name": "square", "arguments": {"number": 4}}</tool_call>'],
    "llama": [CALLS["llama"], '{"name": "square", "parameters": {}}'],
    "mistral": [CALLS["mistral"], "[TOOL_CALLS]square[ARGS]{}"],
    "gemma": [CALLS["gemma"], "```tool_code\nsquare()\n```"],
}


@pytest.mark.parametrize("name", SAID)
def test_every_format_keeps_an_environments_promises(name):
    assert check_environment(Toolbox(list(TOOLS.values()), name), PROBLEM, SAID[name]) == []


def test_fenced_code_keeps_them_too():
    assert check_environment(Toolbox([PYTHON], "fenced"), PROBLEM, ["```python\n6 * 7\n```\n```output"]) == []


@pytest.mark.parametrize("name", FORMATS)
def test_no_words_take_long_to_read(name):
    marks = format_named(name).marks
    quotes = '<tool_call>{} "\\"</tool_call>'  # each ends in a string that the next one does not end
    for mark in (*marks, quotes, "```python", "```tool_code", "```output ", '{"name": 1}', "(" * 99, "- ", "1+", " \n"):
        for words in (mark * (200_000 // len(mark)), f"{marks[0]}\n{mark * (200_000 // len(mark))}x"):
            format_named(name).read(words, WITH_PYTHON)


def talk(name, *script, tools=None):
    toolbox = Toolbox(tools or list(TOOLS.values()), name)
    session = toolbox.open(PROBLEM)
    sampling = SamplingParams(stop=toolbox.stop, max_tokens=200)
    return asyncio.run(converse(ScriptedSampler(script), session, Transcript.of(PROBLEM.prompt), sampling))


def test_several_calls_of_a_turn_have_several_results():
    said = [span.text for span in talk("hermes", CALLS["hermes"], "21") if span.author is Author.ENVIRONMENT]
    assert said == ["21 celsius in Paris", "9"]


def test_a_turn_that_holds_no_call_is_the_last():
    transcript = talk("hermes", CALLS["hermes"], "It is 21 degrees.", CALLS["hermes"])
    assert transcript.spans[-1].text == "It is 21 degrees."
    assert transcript.stop is Stop.END


def test_a_thought_goes_on_after_a_result_inside_it():
    call = '<think> hm <tool_call>{"name": "square", "arguments": {"number": 4}}</tool_call>'
    told = "\n<tool_response>\n16\n</tool_response>\n"
    assert talk("hermes:inside", call, " so </think> 16").reply == f"{call}{told} so </think> 16"


def test_a_turn_of_endless_calls_is_answered_within_the_bound():
    transcript = talk("hermes", CALLS["hermes"] * 10, "done")
    said = [span.text for span in transcript if span.author is Author.ENVIRONMENT]
    assert len(said) == 9
    assert said[-1].startswith("no call is left")


@pytest.mark.parametrize(
    ("name", "tools", "reason"),
    [
        ("fenced", list(TOOLS.values()), "its blocks are code for the tool 'python'"),
        ("gemma", [Tool("to-do", "Does.", {"type": "object", "properties": {}}, Code)], "'to-do' is no name in Python"),
        ("hermse", list(TOOLS.values()), "did you mean 'hermes'"),
    ],
)
def test_a_toolbox_that_a_format_cannot_call_is_refused(name, tools, reason):
    with pytest.raises(SettingsError, match=reason):
        Toolbox(tools, name)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("{{ '<tool_call>' }}", "hermes"),
        ("<|start_header_id|>ipython", "llama"),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", "mistral"),
        ("<start_of_turn>", "plain"),
        ("", "plain"),
    ],
)
def test_the_format_is_known_by_the_template(told, name):
    assert format_of(told) == name

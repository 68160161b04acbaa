"""Tools made of functions: their schemas are those of transformers, and what does not fit is told to the model."""

from asyncio import CancelledError
from enum import Enum
from functools import partial
from typing import Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import get_json_schema

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.interpreter import Output
from poziomka.environments.tools.schema import fault_in
from poziomka.environments.tools.tool import Tool, ToolFault, python_tool, tool


class Unit(Enum):
    """Of temperature."""

    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


def everything(
    text: str,
    whole: int,
    *,
    number: float = 0.5,
    flag: bool = False,
    several: list[int] | None = None,
    names: dict[str, float] | None = None,
    unit: Literal["celsius", "fahrenheit"] = "celsius",
    either: int | str = 1,
    old: Optional[str] = None,  # noqa: UP045 as people write hints
):
    """Takes everything.

    It has a second paragraph.

    Args:
        text: a text
        whole: a number without
            a point
        number: one with a point
        flag: yes or no
        several: numbers
        names: numbers by name
        unit: of temperature
        either: a number or a text
        old: a text or nothing

    Returns:
        What it was given.
    """
    return f"{text} {whole!r} {number!r} {flag} {several} {names} {unit} {either!r} {old}"


def call(made, **arguments):
    return made.run(made.open(), arguments)


def test_a_schema_is_that_of_transformers():
    theirs = get_json_schema(everything)["function"]["parameters"]
    ours = tool(everything).schema["function"]["parameters"]
    for parameter in (*theirs["properties"].values(), *ours["properties"].values()):
        parameter["description"] = " ".join(parameter["description"].split())
    theirs["properties"]["unit"]["type"] = "string"  # which theirs leaves out
    assert ours == theirs


def test_a_tool_is_named_and_described_by_its_function():
    made = tool(everything)
    assert (made.name, made.description) == ("everything", "Takes everything. It has a second paragraph.")


def test_arguments_arrive_as_the_function_expects_them():
    assert call(tool(everything), text="a", whole=3.0, number=2, several=[1]).startswith(
        "a 3 2.0 False [1] None celsius 1"
    )


def test_an_enum_is_its_value_for_the_model_and_its_member_for_the_function():
    def warmth(unit: Unit, more: list[Unit] = []):  # noqa: B006 never changed
        """Says how warm it is."""
        return f"{unit!r} {more}"

    made = tool(warmth)
    assert made.parameters["properties"]["unit"] == {"type": "string", "enum": ["celsius", "fahrenheit"]}
    assert "<Unit.CELSIUS: 'celsius'> [<Unit.FAHRENHEIT" in call(made, unit="celsius", more=["fahrenheit"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": "a"}, "the argument 'whole' is missing"),
        ({"text": "a", "whole": 1, "nubmer": 2}, "unknown argument \"nubmer\"; did you mean 'number'?"),
        ({"text": 3, "whole": 1}, "the argument 'text' must be a string: received 3"),
        ({"text": "a", "whole": "1"}, "the argument 'whole' must be an integer: received \"1\""),
        ({"text": "a", "whole": True}, "must be an integer: received true"),
        ({"text": "a", "whole": 1.5}, "must be an integer: received 1.5"),
        ({"text": "a", "whole": 1, "number": "x"}, "the argument 'number' must be a number"),
        ({"text": "a", "whole": 1, "flag": 1}, "must be true or false: received 1"),
        ({"text": "a", "whole": 1, "several": [1, "b"]}, "the argument 'several'[1] must be an integer"),
        ({"text": "a", "whole": 1, "several": {}}, "must be a list"),
        ({"text": "a", "whole": 1, "names": {"b": "c"}}, "the argument 'names'[\"b\"] must be a number"),
        ({"text": "a", "whole": 1, "unit": "kelvin"}, 'must be one of "celsius", "fahrenheit": received "kelvin"'),
        ({"text": "a", "whole": 1, "either": []}, "must be an integer or a string"),
        ({"text": None, "whole": 1}, "must be a string: received null"),
        ({"text": ["x" * 1000], "whole": 1}, "…"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(arguments, said):
    with pytest.raises(ToolFault) as fault:
        call(tool(everything), **arguments)
    assert said in str(fault.value)
    assert len(str(fault.value)) < 200
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("arguments", [None, [], "text", 3])
def test_arguments_are_an_object(arguments):
    assert "must be an object" in fault_in(arguments, tool(everything).parameters)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["text", "whole", "several", "names", "either", "unit", "x"]), JSON, max_size=4))
def test_any_arguments_give_a_result_or_a_fault(arguments):
    try:
        assert isinstance(call(tool(everything), **arguments), str)
    except ToolFault as fault:
        assert str(fault)  # noqa: PT017 either is right


def no_hint(a):
    """Has no hint."""


def star(*a: int):
    """Takes any number."""


def stars(**a: int):
    """Takes any name."""


def by_place(a: int, /):
    """Takes no name."""


def strange(a: bytes):
    """Takes bytes."""


def keys(a: dict[int, str]):
    """Takes numbers as names."""


def mistold(number: int):
    """Explains what it does not take.

    Args:
        nubmer: a number
    """


def silent(a: int):
    return a


async def later(a: int):
    """Answers later."""


def nowhere(a: "Nowhere"):  # noqa: F821 the point
    """Takes what is not there."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_hint, "parameter 'a' of the tool 'no_hint' has no type hint"),
        (star, "has no name that a call could give"),
        (stars, "has no name that a call could give"),
        (by_place, "has no name that a call could give"),
        (strange, "is bytes, which a model cannot write as JSON"),
        (keys, "the names of an object are strings"),
        (mistold, "explains 'nubmer', which it does not take; did you mean 'number'?"),
        (silent, "the tool 'silent' has no description"),
        (later, "the tool 'later' is a coroutine"),
        (nowhere, "the type hints of the tool 'nowhere' cannot be read"),
        (lambda: None, "a tool's name is made of letters"),
    ],
)
def test_what_cannot_be_described_is_refused(function, said):
    with pytest.raises(SettingsError, match=said):
        tool(function)


def test_a_partial_needs_a_name():
    def scaled(number: int, factor: int):
        """Scales a number."""
        return number * factor

    with pytest.raises(SettingsError):
        tool(partial(scaled, factor=3))


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (3, "3"), (None, "null"), ([1, "ą"], '[1, "ą"]'), (float("inf"), "inf")]
)
def test_a_result_is_text_or_json(value, text):
    def given_back() -> object:
        """Gives something back."""
        return value

    assert call(tool(given_back)) == text


@pytest.mark.parametrize(
    "fault",
    [
        ToolFault("not now"),
        EnvironmentFailure("the door is shut"),
        OSError("disk"),
        SystemExit("status"),
        GeneratorExit("over"),
        CancelledError("gone"),
        BaseException("all"),
    ],
)
def test_a_fault_is_the_models_and_anything_else_is_ours(fault):
    def moody() -> str:
        """Raises."""
        raise fault

    kind = ToolFault if isinstance(fault, ToolFault) else EnvironmentFailure
    with pytest.raises(kind, match=str(fault)):
        call(tool(moody))


class Told:
    """An interpreter whose consoles say what they are told, as a real one that restarts would."""

    name = "told"

    def __init__(self, output):
        self.output, self.closed = output, 0

    def open(self):
        return self

    def run(self, code):
        return self.output

    def close(self):
        self.closed += 1


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (Output("1\n", "ValueError: no"), "1\nValueError: no"),
        (Output("", "ran longer than 2 s", lost=True), "ran longer than 2 s\n(the interpreter was restarted: "),
        (Output("", lost=True), "(the interpreter was restarted: its variables are gone)"),
    ],
)
def test_code_that_fails_says_how_and_what_is_gone(output, said):
    with pytest.raises(ToolFault) as fault:
        call(python_tool(Told(output)), code="x")
    assert str(fault.value).startswith(said)


def test_closing_the_tool_closes_its_interpreter():
    interpreter = Told(Output(""))
    python_tool(interpreter).close()
    assert interpreter.closed == 1


def test_a_schema_of_ones_own_must_be_an_objects():
    with pytest.raises(SettingsError, match="no object's schema"):
        Tool("a", "Does.", {"type": "string"}, lambda: None)


def test_ctrl_c_inside_a_tool_passes():
    def slow() -> str:
        """Is interrupted."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(tool(slow))

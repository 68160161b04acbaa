"""A chat template is a program from elsewhere: it runs within bounds, and what it does wrong is said in a sentence."""

import pytest

from poziomka.core.errors import ModelError
from poziomka.models.rendering import Template

HI = [{"role": "user", "content": "Hi"}]
NESTED = "{% for a in range(90000) %}{% for b in range(90000) %}"
ENDED = "{% endfor %}{% endfor %}"
GREEDY = {
    "prints for ever": NESTED + "0123456789" * 100 + ENDED,
    "loops in silence": NESTED + "{% set c = a * b %}" + ENDED,
    "gathers for ever": "{% set text %}" + NESTED + "0123456789" * 100 + ENDED + "{% endset %}",
    "multiplies a string": "{{ 'x' * 10 ** 10 }}",
    "doubles a string": "{% set n = namespace(s='xx') %}{% for a in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "pads a string": "{{ 'x'.ljust(10 ** 10) }}",
    "calls itself": "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "counts": "{{ 10 ** (10 ** 9) }}",
}


@pytest.mark.fault("E13")
@pytest.mark.parametrize("how", ["prints for ever", "multiplies a string"])
def test_a_template_that_writes_too_much_is_refused(how):
    with pytest.raises(ModelError, match="chat template"):
        Template(GREEDY[how]).render(HI, generation=True)


@pytest.mark.slow
@pytest.mark.fault("E13")
@pytest.mark.parametrize("how", GREEDY)
def test_a_template_that_does_not_come_to_an_end_is_refused(how):
    with pytest.raises(ModelError, match="chat template"):
        Template(GREEDY[how]).render(HI, generation=True)


def test_after_one_that_was_refused_others_are_rendered():
    with pytest.raises(ModelError):
        Template(GREEDY["multiplies a string"]).render(HI, generation=True)
    assert Template("{{ messages[0].content }}!").render(HI, generation=True) == "Hi!"


def test_what_a_template_raises_is_told():
    with pytest.raises(ModelError, match="refuses messages of user: only one may speak"):
        Template("{{ raise_exception('only one may speak') }}").render(HI, generation=True)


def test_a_template_that_is_nested_too_deeply_is_refused():
    with pytest.raises(ModelError, match="chat template"):
        Template("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}")


def test_words_of_any_kind_pass():
    words = "Ą 😀 \u2028 \\n \"'<>&\0"
    assert Template("{{ messages[0].content }}").render([{"role": "user", "content": words}], generation=True) == words

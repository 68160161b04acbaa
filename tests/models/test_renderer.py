"""A chat template is a program from elsewhere: it runs within bounds, and what it does wrong is said in a sentence."""

import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from poziomka.core.errors import ModelError
from poziomka.models.text.rendering import Template

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


def test_after_an_interruption_the_next_template_gets_its_own_text():
    """Ctrl-C while a template is rendered: its text, which comes later, is no answer to what is asked next."""
    endless = Template(GREEDY["loops in silence"])

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            endless.render(HI, generation=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert Template("{{ messages[0].content }}!").render(HI, generation=True) == "Hi!"


def test_a_program_that_finds_poziomka_in_its_working_folder_renders():
    """Without an installation: an interpreter that reads no .pth files, started in the folder of the sources."""
    render = "print(Template('{{ 6 * 7 }}').render([], generation=True))"
    done = subprocess.run(
        [sys._base_executable, "-c", f"from poziomka.models.text.rendering import Template; {render}"],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "42\n", done.stderr

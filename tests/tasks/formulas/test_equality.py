r"""What equals a gold answer, and what does not: the table at the top of equality.py, pair by pair."""

import logging

import pytest

from poziomka.tasks.math.formulas.algebra import algebra_agrees
from poziomka.tasks.math.formulas.equality import equal, key_of
from poziomka.tasks.math.formulas.reader import read_formula
from poziomka.tasks.math.formulas.spelling import spell

RIGHT = [
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", r"\frac{3}{6}"),
    (r"\frac{1}{2}", "1/2"),
    ("0.5", ".50"),
    ("0", "-0"),
    (r"-\frac34", r"\frac{-3}{4}"),
    (r"-\frac34", r"\dfrac{3}{-4}"),
    (r"\frac{3}{2}", r"1\frac{1}{2}"),
    ("10080", r"10,\!080"),
    ("10080", "10,080"),
    (r"\frac13", r"0.\overline{3}"),
    ("0.000067", r"6.7 \times 10^{-5}"),
    (r"\frac{\sqrt{6}}{2}", r"\sqrt{\frac{3}{2}}"),
    (r"\frac{\sqrt3}{3}", r"\frac{1}{\sqrt3}"),
    (r"11\sqrt5+11", r"11(1+\sqrt{5})"),
    (r"12\pi", r"\pi\cdot 12"),
    ("1+2i", "2i + 1"),
    (r"\cos 60^\circ + x", r"x + \frac{1}{2}"),
    ("x^2+2x+1", "(1+x)^2"),
    ("(x-7)(x+4)", "(4+x)(x-7)"),
    (r"\frac{11+9a}{20}", r"\frac{11}{20} + \frac{9a}{20}"),
    ("2^{1000}", "4^{500}"),
    (r"90^\circ", "90"),
    ("90", r"90^{\circ}"),
    (r"10\%", "10"),
    (r"\$18.90", "18.9"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"864 \mbox{ inches}^2", r"864\text{ inches}^2"),
    ("5", "x = 5"),
    ("x=5", "5"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("y = 2x + 3", "2x + 3 = y"),
    ("y = 2x + 3", "y = 3 + 2x"),
    ("x > 3", "3 < x"),
    (r"1 < x \le 5", r"5 \ge x > 1"),
    ("(1,2)", r"\left( 1, \frac{4}{2} \right)"),
    (r"\{1,2\}", r"\{2, 1\}"),
    ("1,-2", "-2, 1"),
    ("1,-2", r"x = -2 \text{ or } x = 1"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1+\sqrt5, 1-\sqrt5\}"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,+\infty) \cup (-\infty,2)".replace("+", "")),
    (r"\begin{pmatrix} 1/5 \\ -2 \end{pmatrix}", r"\begin{bmatrix} 0.2 \\ -2 \end{bmatrix}"),
    ("2516_8", "2516_{8}"),
    (r"\text{even}", "Even"),
    (r"\text{(C)}", "C"),
    (r"\text{June 20}", r"\text{june 20}"),
]
WRONG = [
    (r"\frac{1}{3}", "0.333"),
    (r"\frac{1}{3}", "0.3333333333"),  # which math-verify accepts
    ("4", "2+2"),
    ("4", r"\binom{4}{3}"),
    ("4", "2^2"),
    ("4", r"\sqrt{16}"),
    ("5", "9^{9^{9}}"),
    ("5", r"5 + 0 \cdot 9^{9^{9}}"),
    ("9", "9!!!!"),
    (r"\sqrt{2}", "1.41421356"),
    (r"\sqrt{2}", r"\frac{1414213562373095048801688724}{1000000000000000000000000000}"),
    (r"\pi", r"\frac{355}{113}"),
    ("x", "|x|"),
    ("x", r"\sqrt{x^2}"),
    ("x+1", "y+1"),
    ("(x-7)(x+4)", "x^2-3x-28"),
    ("(x-1)^2", "x^2-2x+1"),
    (r"10\%", "0.1"),
    (r"90^\circ", r"90\%"),
    (r"90^\circ", r"\frac{\pi}{2}"),
    (r"5 \text{ cm}", r"5 \text{ m}"),
    ("x=5", "y=5"),
    ("y = 2x", "2x"),
    ("y = 2x", "y > 2x"),
    ("x > 3", "x < 3"),
    ("x > 3", r"x \ge 3"),
    ("x > 3", r"(3, \infty)"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", r"\{1,2\}"),
    ("(1,2)", "1,2"),
    ("(1,2)", "(1,2,3)"),
    ("(1,2)", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\{1,2\}", "1,2"),
    (r"\{1,2\}", r"\{1,2,2\}"),
    ("1,-2", "1"),
    ("1,-2", "1,-2,3"),
    ("x=1, y=2", "1, 2"),
    (r"1 \pm \sqrt{19}", r"1 + \sqrt{19}"),
    ("[0,2]", r"[0,1) \cup [1,2]"),
    (r"\infty", r"-\infty"),
    (r"\infty", "10^{99}"),
    (r"\begin{pmatrix} 1 & 2 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 0 \\ 2 & 1 \end{pmatrix}"),
    ("2516_8", "2516"),
    ("2516_8", "2516_9"),
    (r"\text{even}", "odd"),
    (r"\text{even}", "neve"),
    (r"\text{(C)}", "c"),
    (r"\text{(C)}", "D"),
]


@pytest.mark.parametrize(("gold", "reply"), RIGHT)
def test_what_is_equal_is_right(gold, reply):
    assert equal(read_formula(gold), read_formula(reply))


@pytest.mark.parametrize(("gold", "reply"), WRONG)
def test_what_is_not_equal_or_not_worked_out_is_wrong(gold, reply):
    assert not equal(read_formula(gold), read_formula(reply))


def test_terms_and_factors_in_another_order_have_the_same_key():
    keys = {
        key_of(read_formula(text)) for text in ("x^2-3x-28", "-28 + x^2 - 3x", "x^2 - x 3 - 28".replace("x 3", "3x"))
    }
    assert len(keys) == 1
    assert key_of(read_formula("x-7")) != key_of(read_formula("x+7"))


def test_algebra_is_not_asked_about_powers_that_could_keep_it_busy():
    assert not algebra_agrees(read_formula("(x+1)^{5000}"), read_formula("(1+x)^{5000}"))
    assert not algebra_agrees(read_formula("x^{y^{z}}"), read_formula("x^{y^{z}}"))


def test_algebra_that_raises_has_not_said_that_formulas_are_equal(monkeypatch):
    import math_verify

    def fail(*arguments, **settings):
        raise RecursionError

    gold, reply = read_formula(r"\sqrt{8}"), read_formula(r"2\sqrt{2}")
    assert equal(gold, reply)
    monkeypatch.setattr(math_verify, "parse", fail)
    assert not equal(gold, reply)


def test_algebra_works_outside_the_main_thread_and_says_nothing(caplog):
    from concurrent.futures import ThreadPoolExecutor

    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(1) as thread:
        assert thread.submit(equal, read_formula("x^2-1+y"), read_formula("(x-1)(x+1)+y")).result()
    assert caplog.records == []


INDICES = ["n", "n-1", "n+1", "n+5", "-1", "-2", "2n", "3n", "n/2", "n^2", "ab", "ba", "cd", "k!", r"\alpha", r"\infty"]
INDICES += [r"\sqrt{2}", "|n|", "n_{k+1}", "n_{k-1}", r"\pm 1", "2(n+1)", "1.5", r"\binom{n}{2}", "max", "min", "-n"]


@pytest.mark.parametrize("index", INDICES)
def test_a_name_with_an_index_equals_no_name_with_another_index(index):
    name = read_formula(f"a_{{{index}}}")
    assert read_formula(spell(name)) == name
    for form in ("{}", "2{}+1", "({}, 1)", "x = {}"):
        gold = read_formula(form.format(f"a_{{{index}}}"))
        others = [other for other in (*INDICES, "7") if other != index]
        equals = [other for other in others if equal(gold, read_formula(form.format(f"a_{{{other}}}")))]
        assert not equals, (form, equals)
        assert not equal(gold, read_formula(form.format("a")))


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        ("x_1", "x_{1}"),
        ("x_{(1)}", "x_1"),
        ("x_{0.5}", r"x_{\frac12}"),
        ("a_{n+1}", "a_{ 1 + n }"),
        ("a_{n-1}", "a_{-1+n}"),
        ("a_{n+m+1}", "a_{1+m+n}"),
        ("a_{2n}", r"a_{2 \cdot n}"),
        (r"\alpha_{n+1}", r"\alpha_{1+n}"),
        ("2a_{n-1}+1", "1+2a_{n-1}"),
        ("a_{n-1}+a_{n-2}", "a_{n-2}+a_{n-1}"),
        ("F_{2n}^2", "F_{2n}F_{2n}"),
        (r"5\text{ cm}^2", r"5\text{ cm}^{2}"),
        (r"5\text{ m/s}", r"5\text{ m/s}"),
        (r"5\text{ s}^{-1}", r"5\text{ s}^{-1}"),
    ],
)
def test_indices_and_units_are_equal_in_every_spelling(gold, reply):
    assert equal(read_formula(gold), read_formula(reply))

"""Reading answers: strict, and never raising."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.rollouts.answers import read_integer, read_number, split_thought
from poziomka.core.rollouts.readers import last_integer

PARTS = st.lists(
    st.sampled_from(["<think>", "</think>", " ", "7", "-", "+", "1e5", "nan", "seven", "７", "²"]), max_size=9
)


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        ("<think> a b </think> 7", ("a b", "7")),
        (" a b </think> 7", ("a b", "7")),  # the prompt opened the thought
        ("<think> a </think> b <think> c </think> 7", ("a </think> b <think> c", "7")),
        ("<think> a </think> b </think> 7", ("a </think> b", None)),  # thought went on after its end
        ("<think> a b", ("a b", None)),
        ("<think> a </think> <think> 7", ("a", None)),
        (" 7 ", ("", "7")),
        ("", ("", "")),
        ("</think>", ("", "")),
    ],
)
def test_a_reply_is_split_where_its_thought_ends(reply, parts):
    assert split_thought(reply) == parts


@pytest.mark.parametrize(
    ("reply", "value"),
    [("<think> 1 </think> 7", 7), ("7", 7), (" -7\n", -7), ("+7", 7), ("007", 7), ("1" * 39, int("1" * 39))],
)
def test_an_integer_alone_is_the_answer(reply, value):
    assert read_integer(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "-",
        "+-7",
        "7 8",
        "7.",
        "7.0",
        "1e3",
        "nan",
        "inf",
        "seven",
        "= 7",
        "７",
        "²",
        "<think> 7",
        "1" * 41,
        "1_000",
    ],
)
def test_anything_else_is_no_answer(reply):
    assert read_integer(reply) is None


@given(st.text() | PARTS.map("".join))
def test_no_text_makes_the_readers_raise(reply):
    thought, answer = split_thought(reply)
    assert isinstance(thought, str)
    assert answer is None or answer == answer.strip()
    assert read_integer(reply) is None or answer is not None


@given(st.integers(-(10**38), 10**38), st.text(alphabet="abc 123", max_size=20))
def test_every_integer_is_read_back(value, thought):
    assert read_integer(f"<think> {thought} </think> {value}") == value


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_two_numbers_are_no_answer(a, b):
    assert read_integer(f"<think> </think> {a} {b}") is None


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("12", "12"),
        ("12.", "12"),
        ("= 12", "12"),
        ("=12", "12"),
        ("The answer is 12.", "12"),
        ("The answer is: 12!", "12"),
        ("**12**", "12"),
        ("(12)", "12"),
        ("$12", "12"),
        ("$12$", "12"),
        ("-12", "-12"),
        ("-$12", "-12"),
        ("+12", "12"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("012", "12"),
        ("0", "0"),
        ("12.50", "12.5"),
        ("12.00", "12"),
        ("$.50", "0.5"),
        ("$1,234,567.00.", "1234567"),
        ("12%", "12"),
        (r"12\%", "12"),
        (r"\boxed{12}", "12"),
        (r"$\boxed{ \$1,200 }$.", "1200"),
        (r"3 dogs and 9 cats are \boxed{12} animals", "12"),
        ("#### 12", "12"),
        ("####12", "12"),
        ("12€.", "12"),
        ("=-12", "-12"),
        ("12 eggs a day", "12"),
        ("12\n", "12"),
    ],
)
def test_one_number_among_words_is_read_in_its_shortest_form(answer, number):
    assert read_number(f"<think> 7 + 5 </think> {answer}") == number


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "twelve",
        "12 13",
        "12 12",
        "7 + 5 = 12",
        "7+5=12",
        "- 12",
        "12 -",
        "minus 12",
        "12 thousand.",
        "12 / 1",
        "3/4",
        "1e3",
        "12x",
        "x12",
        "9**9",
        "1,20",
        "1,2345",
        "1.2.3",
        "1_000",
        "12-13",
        "12:30",
        "$12-$15",
        "12 · 2",
        "1\u200b2",
        "Ⅻ",
        "~12",
        "-(12)",
        "+-12",
        "--12",
        "12 ½",
        "It is not 12.",
        "The answer isn't 12",
        "12 is wrong.",
        "²",
        "１２",
        "12 ٣",
        "nan",
        "-inf",
        r"\boxed{12} \boxed{12}",
        r"\boxed{12} \boxed{",
        r"\boxed{1 2}",
        r"\boxed{}",
        r"\boxed{\frac{1}{2}}",
        "<think> 12",
        "12 </think> 12",
        "a" * 399 + " 12",
    ],
)
def test_anything_else_is_no_number(answer):
    assert read_number(f"<think> 7 + 5 </think> {answer}") is None


DUCKS = "Janet's ducks lay 16 eggs a day. She sells half of them at the market for $2 each. What does she make a day?"


@pytest.mark.fault("B10")
@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("−5", "-5"),
        ("–5", "-5"),
        ("The answer is −5.", "-5"),
        ("−$5", "-5"),
        (r"\boxed{−5}", "-5"),
        ("90°", "90"),
        (r"90^\circ", "90"),
        ("½", "0.5"),
        ("12½", "12.5"),
        (r"1\,234", "1234"),
        (r"1{,}234", "1234"),
        (r"\boxed{1{,}000}", "1000"),
        (r"\boxed{1\,000}", "1000"),
        (r"\boxed{18\text{ dollars}}", "18"),
        (r"\boxed{\text{18}}", "18"),
        (r"\text{18}", "18"),
        (r"\boxed{$12$}", "12"),
        (r"\boxed{12.}", "12"),
        ("x=1234", "1234"),
        ("x = 1234", "1234"),
        ("1234km", "1234"),
        ("1234 km", "1234"),
        ("12 cm²", "12"),
        ("12 km/h", "12"),
        ("答案是 12", "12"),
        ("The grand total is 12", "12"),
        ("The grand total: $12.", "12"),
        (r"The grand total is \boxed{12}.", "12"),
        ("12 dollars is the grand total.", "12"),
        ("Her gross income is 12 dollars.", "12"),
        ("There are 12 boys and girls.", "12"),
        ("Area of the square: 12", "12"),
        ("12 square feet", "12"),
        (r"12\text{ cm}^2", "12"),
        ("12km^{2}", "12"),
        ("12 m²", "12"),
        (r"**\boxed{12}**", "12"),
    ],
)
def test_a_number_is_read_in_every_clear_spelling(answer, number):
    assert read_number(answer) == number


@pytest.mark.parametrize(
    "answer", ["Janet makes 16 dollars a day.", "She sells eggs for 16 dollars.", "So it is 16 eggs."]
)
def test_words_of_the_question_may_stand_around_the_number(answer):
    assert read_number(answer, DUCKS) == "16"
    assert read_number("The zookeeper found 16 giraffes.", DUCKS) is None


@pytest.mark.fault("E8")
@pytest.mark.parametrize(
    "answer",
    [
        *("half of 12", "a third of 12", "twice 12", "double 12", "minus 12", "negative 12", "the root of 12"),
        *("12 k", "12k", "12K", "12m", "12 m", "12 million", "12 millions", "12 Millionen", "12 mil", "12 lakh"),
        *("12 and a half", "12 or thirteen", "12 half", "12 halves", "12 tenths", "12 squared", "12 point five"),
        *("nicht 12", "kein 12", "pas 12", "can't be 12", "It cannot be 12", "never 12", "anything but 12", "12, not"),
        *("12? No.", "12?", "Is it 12?", "maybe 12", "It could be 12.", "12 or so", "12 is false", "if 12"),
        *(
            "about 12",
            "at least 12",
            "at most 12",
            "more than 12",
            "less than 12",
            "up to 12",
            "over 12",
            "12 and more",
        ),
        *("> 12", "x > 12", "x ≠ 12", "x ≥ 12", "one of 12", "ten and 12", "12 to fifteen", "12 in base eight"),
        r"\boxed{12 \text{ million}}",
        r"\boxed{12 or 13}",
        r"half of \boxed{12}",
        r"It is not \boxed{12}",
        r"-\boxed{12}",
        r"2 \cdot \boxed{12}",
        r"x > \boxed{12}",
        r"\boxed{12}0",
        r"\boxed{12} million",
        r"\boxed{12}?",
        *(r"\boxed{12} and more", "12 dollars and more", "12 dollars, and the same again", "12, and that is all"),
        *(
            "x^2 = 12",
            "x² = 12",
            "The number² is 12",
            "x^2 = 12 cm",
            "square 12",
            "square #### 12",
            "up to #### 12",
            r"square \boxed{12}",
            "times 12",
            "12 grand",
            "12 grand total",
            "12 gross",
        ),
        *(r"It is not true that x = \boxed{12}", r"We cannot have x = \boxed{12}", r"I doubt that x = \boxed{12}"),
    ],
)
@pytest.mark.parametrize("question", ["", DUCKS, "Is it half of a million, or at least not less than a third?"])
def test_a_number_that_other_words_change_or_deny_is_none(answer, question):
    assert read_number(answer, question) is None


@given(st.text() | st.text(alphabet="0123456789.,$%+-=(){}*\\ boxed<think>/", max_size=60))
def test_no_text_makes_the_reader_of_numbers_raise(reply):
    number = read_number(reply)
    assert number is None or float(number) == float(number)  # it can be read, and is no NaN


@given(st.decimals(-(10**12), 10**12, places=3), st.sampled_from(["{}", "${}.", "It is {}.", "= {}", "\\boxed{{{}}}"]))
def test_every_decimal_is_read_back_from_what_stands_around_it(value, around):
    read = read_number(around.format(f"{value:,f}"))
    assert read is not None
    assert Decimal(read) == value
    assert read == read_number(read)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([" ", " or ", ", ", "\n", " = ", "; "]))
def test_two_numbers_are_none(a, b, between):
    assert read_number(f"{a}{between}{b}") is None


SIGNS = ["-", "–", "−", "/", "!=", "=/=", "/=", "! =", "<", "≠", "+"]
DRESSED = ["{}$ 12", r"{}\$ 12", "${}$ 12", r"\({}\) 12", "({}) 12", "[{}] 12", "`{}` 12", "**{}** 12", "{}( 12 )"]
DRESSED += ["{}$$ 12 $$", r"{}\( 12 \)", r"{}\[ 12 \]", "{}: 12", "{}€ 12", "{}USD 12", "The change is {}$ 12"]
DRESSED += ["The change is{} 12", r"\,{}\, 12", "<answer>{}$ 12</answer>", r"\text{{{}}} 12", r"\boxed{{{}$ 12}}"]
DRESSED += [r"{}\left( 12 \right)", "12 {}$", "12 ({})", r"12 {}\$", "x {} = 12", r"{{{}}} 12"]
LATEX = r"Is $\sqrt{144} \neq \frac{1}{2} \pm \cos x$, or is $x \ge \sec 5$ in pesos?"


@pytest.mark.parametrize("form", DRESSED)
@pytest.mark.parametrize("question", ["", LATEX])
def test_a_sign_with_marks_around_it_is_not_overlooked(form, question):
    assert [sign for sign in SIGNS if read_number(form.format(sign), question) is not None] == []


@pytest.mark.parametrize(
    "answer",
    [
        *(r"\le 12", r"\sec 12", r"\sqrt 12", r"\frac 12", r"\neq 12", r"\pm 12", r"\cos 12", "cos 12", r"\= 12"),
        *(r"The answer is \sqrt 12.", r"\boxed{\le 12}", r"\boxed{\neq 12}", "$*$ 12", "(*) 12", "*$ 12", "*= 12"),
        *("! 12", "is !! 12", "12 != answer", "12! = answer", "-pesos 12", r"x ! = \boxed{12}", "(-)\n\\boxed{12}"),
    ],
)
@pytest.mark.parametrize("question", ["", LATEX])
def test_a_command_or_a_relation_before_the_number_is_not_overlooked(answer, question):
    assert read_number(answer, question) is None


@pytest.mark.parametrize(
    "answer",
    [
        *("$ 12 $", "$$ 12 $$", r"\( 12 \)", r"\[ 12 \]", "( 12 )", "[ 12 ]", "{ 12 }", "` 12 `", "== 12", ": 12"),
        *(r"\left( 12 \right)", "Answer = $ 12", "12 /week", "12 $/week", "So--the answer is 12", "-Answer: 12"),
        *(r"\!= 12", r"\\= 12", r"12 \pounds", "USD 12", "€ 12", "12 !", "**Answer:** 12", "*$12$*", "(**12**)"),
        *("**Answer: 12**", "*12*", "12 km/h", r"The answer is \to 12", r"12 \sec"),
    ],
)
def test_marks_that_are_no_signs_leave_the_number(answer):
    assert read_number(answer, "How many dollars a week?") == "12"


@pytest.mark.parametrize(
    ("answer", "value"),
    [("-$12", "-12"), ("−$12", "-12"), (r"It is -\$1,200.", "-1200"), ("15-$12", "12"), ("5 - 12", "12")],
)
def test_the_last_integer_keeps_a_sign_before_a_currency(answer, value):
    assert last_integer(answer) == value

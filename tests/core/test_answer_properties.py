"""Whatever a reply is, reading an answer out of it returns, soon, and returns what was written."""

import random
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.core.rollouts import answers
from poziomka.core.rollouts.answers import LONGEST, read_boxed, read_integer, read_number, split_thought
from poziomka.core.transcript import CLOSE, THINK

READERS = (read_integer, read_number, read_boxed)

# pieces of replies: what readers look for, what looks like it, and what breaks text apart
PIECES = (
    *(THINK, CLOSE, "<think", "think>", "</think", "<THINK>", "＜/think＞", "<answer>", "</answer>"),
    *("\\boxed{", "\\boxed {", "boxed{", "\\boxed", "{", "}", "\\{", "\\}", "\\frac{1}{2}", "\\", "$", "\\$", "$$"),
    *("7", "12", "-12", "+7", "1,200", "1,2", "007", "3.50", ".5", "5.", "1e5", "1/2", "½", "9" * 50),
    *("-", "+", "−", "–", "*", "**", "=", "(", ")", "[", "]", "_", "`", "#", "####", "%", "€", ".", ",", ":", "!"),
    *(
        " ",
        "\n",
        "\t",
        "\r\n",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\u3000",
        "\u200b",
        "\u202e",
        "\ufeff",
        "\0",
        "\ud800",
    ),
    *("nan", "inf", "not", "is", "the answer", "minus", "million", "twelve", "x", "１２", "٣", "²", "Ⅻ", "𝟏", "一"),
)
WRITTEN = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
ANY = st.text(max_size=60) | st.text(st.characters(categories=("Cs", "Nd", "No", "Nl", "Zs", "Cf", "Cc")), max_size=20)
REPLIES = WRITTEN | ANY | st.tuples(WRITTEN, ANY, WRITTEN).map("".join)
WORDS = st.text("abc xyz,.;", max_size=20)
BALANCED = st.recursive(
    st.text("abcxyz0123456789+-=^_ ", max_size=6),
    lambda inner: st.lists(inner | inner.map(lambda text: f"{{{text}}}"), max_size=4).map("".join),
    max_leaves=6,
)


@given(REPLIES)
def test_no_reply_makes_a_reader_raise(reply):
    thought, answer = split_thought(reply)
    assert isinstance(thought, str)
    for read in READERS:
        value = read(reply)
        assert value is None or answer is not None
        assert read(reply) == value


@given(REPLIES)
def test_an_answer_holds_no_mark_of_a_thought_and_nothing_around_it(reply):
    answer = split_thought(reply)[1]
    assert answer is None or (answer == answer.strip() and THINK not in answer and CLOSE not in answer)


@given(REPLIES)
def test_an_answer_that_was_read_is_read_again_as_it_is(reply):
    answer = split_thought(reply)[1]
    if answer is not None:
        assert split_thought(answer) == ("", answer)
        assert split_thought(f"{THINK} so {CLOSE} {answer}") == ("so", answer)


@given(REPLIES)
def test_a_reader_of_a_reply_reads_its_answer(reply):
    answer = split_thought(reply)[1]
    for read in READERS:
        assert read(reply) == (None if answer is None else read(answer))


@given(REPLIES)
def test_nothing_said_in_a_thought_changes_what_is_read(reply):
    thought = reply.replace(THINK, "").replace(CLOSE, "")
    if THINK not in thought and CLOSE not in thought:  # taking one away may leave another
        for read in READERS:
            assert read(f"{THINK} {thought} {CLOSE} 12") == read("12")
            assert read(f"{THINK} {thought} {CLOSE}") is None


@given(REPLIES, REPLIES)
def test_a_thought_that_goes_on_has_no_answer(before, after):
    assert split_thought(f"{before}{THINK}{after.replace(CLOSE, '')}")[1] is None


@given(REPLIES)
def test_a_number_that_was_read_is_read_again_as_it_is(reply):
    number = read_number(reply)
    if number is not None:
        assert read_number(number) == number
        assert Decimal(number).is_finite()
        assert not (number[-1] in ".0" and "." in number)
        assert number != "-0"


@given(REPLIES)
def test_an_integer_is_read_as_the_number_that_it_is(reply):
    value = read_integer(reply)
    if value is not None:
        assert read_number(reply) == str(value)


@given(WORDS, st.decimals(-(10**9), 10**9, places=2), WORDS)
def test_a_number_among_words_is_what_was_written(before, value, after):
    read = read_number(f"{before} {value:f} {after}")
    assert read is None or Decimal(read) == value


@given(st.text("0123456789+-*/=^.,:;()[]{}<> ", max_size=30))
def test_what_is_read_is_the_only_run_of_digits_there_is(answer):
    number = read_number(answer)
    if number is not None:
        digits = answer.replace(",", "").replace(".", "")
        assert len(digits.translate(NO_SIGNS).split()) == 1


NO_SIGNS = {ord(sign): " " for sign in "+-*/=^:;()[]{}<>"}


@given(BALANCED, WORDS, WORDS)
def test_what_stands_in_a_box_is_read_back(inside, before, after):
    answer = f"{before} \\boxed{{{inside}}} {after}"
    if len(answer.strip()) <= LONGEST:
        assert read_boxed(answer) == (inside.strip() or None)


@given(BALANCED, BALANCED)
def test_two_boxes_are_none(one, other):
    assert read_boxed(f"\\boxed{{{one}}} or \\boxed{{{other}}}") is None


@given(REPLIES)
def test_a_box_that_was_read_has_its_braces_in_pairs(reply):
    inside = read_boxed(reply)
    if inside is not None:
        assert inside == inside.strip() != ""
        plain = inside.replace("\\{", "").replace("\\}", "")
        assert "boxed" not in inside
        assert "\\\\" in inside or plain.count("{") == plain.count("}")


@pytest.mark.parametrize(
    ("answer", "inside"),
    [
        (r"\boxed{12}", "12"),
        (r"So $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{ x }", "x"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{}", None),
        (r"\boxed{1} \boxed{1}", None),
        (r"\boxed{1", None),
        (r"\boxed{\boxed{1}}", None),
        (r"\boxed 1", None),
        (r"boxed{1}", None),
        ("12", None),
        (r"<think> \boxed{1}", None),
        ("a" * LONGEST + r"\boxed{1}", None),
    ],
)
def test_only_one_whole_box_is_an_answer(answer, inside):
    assert read_boxed(answer) == inside


# -------------------------------------------------------------------------------------------------------------- speed
TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize(
    "piece", ["a", "9", "1,", " ", "\n", "-", "1+", "(", "{", "\\boxed{", "\\boxed{1}", THINK, CLOSE]
)
def test_ten_megabytes_are_read(piece):
    reply = f"{THINK} so {CLOSE} {piece * (TEN_MEGABYTES // len(piece))}"
    for read in (split_thought, *READERS):
        read(reply)


@pytest.mark.fault("A15")
@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
def test_a_megabyte_of_any_pieces_is_read(piece):
    reply = piece * (1_000_000 // len(piece))
    for read in (split_thought, *READERS):
        read(reply)


# --------------------------------------------------------------------------------------------------------------- fuzz
def lines_of(reply, readers=READERS):
    """Returns which lines of the readers a reply reaches, each with the line before it: what is new leads on."""
    reached, file = set(), answers.__file__
    before = [0]

    def trace(frame, event, argument):
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            reached.add((before[0], frame.f_lineno))
            before[0] = frame.f_lineno
        return trace

    known = sys.gettrace()
    sys.settrace(trace)
    try:
        for read in readers:
            before[0] = 0
            read(reply)
    finally:
        sys.settrace(known)
    return reached


def changed(reply, others, draw):
    """Returns a reply with a piece put in, taken out, doubled, or with the end of another."""
    place, end = sorted(draw.randint(0, len(reply)) for _ in range(2))
    match draw.randrange(5):
        case 0:
            return reply[:place] + draw.choice(PIECES) + reply[place:]
        case 1:
            return reply[:place] + reply[end:]
        case 2:
            return reply[:end] + reply[place:end] + reply[end:]
        case 3:
            other = draw.choice(others)
            return reply[:place] + other[draw.randint(0, len(other)) :]
        case _:
            return reply[:place] + chr(draw.choice((draw.randrange(128), draw.randrange(0x110000)))) + reply[end:]


def consistent(reply, module):
    """What the readers say of a reply fits together, and a second answer beside the first undoes it."""
    value, number, inside = module.read_integer(reply), module.read_number(reply), module.read_boxed(reply)
    answer = module.split_thought(reply)[1]
    if answer is None:
        assert (value, number, inside) == (None, None, None)
    else:
        assert module.split_thought(answer) == ("", answer)
    if value is not None:
        assert number == str(value)
        assert abs(value) < 10**40
    if number is not None:
        assert len(answer) <= LONGEST
        assert module.read_number(number) == number
        assert not ("." in number and number[-1] in ".0")
        assert "boxed" in answer or module.read_number(f"{answer} 7") is None
    if inside is not None:
        assert module.read_boxed(f"\\boxed{{{inside}}}") == inside
        assert module.read_boxed(f"{answer} \\boxed{{1}}") is None


def fuzz(replies, seed, module=answers):
    """Changes replies that reach something new, so many times; returns what was reached."""
    readers = (module.read_integer, module.read_number, module.read_boxed)
    draw = random.Random(seed)
    corpus = ["", "12", f"{THINK} so {CLOSE} 12", "\\boxed{12}", "$1,200.50."]
    reached = set().union(*(lines_of(reply, readers) for reply in corpus))
    for _ in range(replies):
        reply = draw.choice(corpus)
        for _ in range(draw.randint(1, 6)):
            reply = changed(reply, corpus, draw)[:2000]
        new = lines_of(reply, readers) - reached
        if new:
            reached |= new
            corpus.append(reply)
        consistent(reply, module)
    return reached


def test_a_fuzzer_finds_its_way_into_the_readers():
    reached = fuzz(400, 1)
    assert len(reached) > len(set().union(*map(lines_of, ("", "12"))))


PLANTED = {  # what the readers say: what a careless hand would leave of it
    "digits.isascii() and digits.isdigit()": "digits.isdigit()",
    "len(answer) > 40": "len(answer) > 400",
    '.lstrip("0") or "0"': ' or "0"',
    'part.rstrip("0")': "part",
}


@pytest.mark.fault("A15")
@pytest.mark.parametrize("right", PLANTED)
def test_a_fuzzer_finds_a_fault_that_is_planted_into_a_reader(right):
    source = Path(answers.__file__).read_text(encoding="utf-8")
    assert right in source
    module = ModuleType("planted")
    exec(compile(source.replace(right, PLANTED[right]), answers.__file__, "exec"), vars(module))
    with pytest.raises((AssertionError, ValueError)):
        fuzz(60_000, 1, module)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_fuzzer_that_is_led_by_what_it_reaches_finds_no_fault(seed):
    fuzz(400_000, seed)

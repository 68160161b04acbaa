"""Data sets of reasoning-gym as tasks: named randomness, splits that share nothing, levels, and strict scorers."""

import decimal
import os
import random
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from poziomka.core.errors import TaskError
from poziomka.core.seeds import seed_of
from poziomka.core.splits import SPLITS
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import is_task, shipped, task_named
from poziomka.tasks import reasoning_gym_package as package
from poziomka.tasks.logic.reasoning.checks import answer_parsers as forms
from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread
from poziomka.tasks.logic.reasoning.checks.board_puzzles import carried, judge_boxes, judge_traffic, least_traffic
from poziomka.tasks.logic.reasoning.checks.logic import Statements, concluded, follows
from poziomka.tasks.logic.reasoning.checks.move_puzzles import least_pours, least_swap
from poziomka.tasks.logic.reasoning.drawing import draw
from poziomka.tasks.logic.reasoning.item_filters import SOUND, captured
from poziomka.tasks.logic.reasoning.scoring_table import LEFT_OUT, RULINGS
from poziomka.tasks.logic.reasoning.upstream_patches import Bounded, lived
from poziomka.tasks.logic.reasoning_gym import Generator, reasoning_gym
from poziomka.testing import check_task

module = sys.modules["poziomka.tasks.logic.reasoning_gym"]  # by its name the package gives the function
HASHED = ("isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder")
PRINT_KEYS = f"""
from poziomka.tasks.logic.reasoning_gym import reasoning_gym
for name in {HASHED!r}:
    print(*(problem.key for problem in reasoning_gym(name).first("train", 2)))
"""


def judged(task, problem, answer):
    reply = Span(Author.MODEL, f"<think> hm </think> {answer}", stop=Stop.END)
    return task.scorer(problem, Transcript.of(problem.prompt) + reply)


def right_answer(task, problem):
    return task.demonstration(problem)[1] if task.demonstration else problem.answer


# ----------------------------------------------------------------------------------------------------------- tasks
def test_every_data_set_is_a_task_or_left_out_with_a_reason():
    known, _ = package.registry()
    assert set(known) == set(RULINGS) | set(LEFT_OUT)
    assert not set(RULINGS) & set(LEFT_OUT)


def test_they_are_in_the_tables_of_tasks():
    assert is_task("reasoning_gym:sudoku")
    assert task_named("reasoning_gym:gcd").name == "reasoning_gym:gcd"
    assert {f"reasoning_gym:{name}" for name in RULINGS} <= set(shipped())


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(TaskError, match="did you mean 'chain_sum'"):
        reasoning_gym("chain_sums")


def test_a_data_set_that_is_left_out_says_why():
    with pytest.raises(TaskError, match="running thousands of programs"):
        reasoning_gym("codeio")


def test_without_the_package_there_is_one_clear_sentence(monkeypatch):
    package.library.cache_clear()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(TaskError, match=r"need the package reasoning-gym .* install poziomka\[tasks\]"):
        reasoning_gym("chain_sum")
    package.library.cache_clear()


@pytest.mark.parametrize("name", ["chain_sum", "kakurasu", "puzzle24", "tower_of_hanoi"])
def test_a_data_set_passes_the_trial(name):
    check_task(reasoning_gym(name), problems=2)


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(RULINGS))
def test_every_data_set_passes_the_trial(name):
    check_task(reasoning_gym(name), problems=10)


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(RULINGS))
def test_two_hundred_problems_of_each_split_can_be_drawn(name):
    task = reasoning_gym(name)
    train, test = ([problem.key for problem in task.first(split, 200)] for split in ("train", "test"))
    assert not set(train) & set(test)
    assert 2 * len(set(train)) > len(train)


# ------------------------------------------------------------------------------------------------------ randomness
def test_neighbouring_seeds_of_the_package_overlap_and_neighbours_of_ours_do_not():
    kind, settings = package.registry()[0]["chain_sum"]
    one, other = ([item["question"] for item in kind(settings(seed=seed, size=50))] for seed in (7, 8))
    assert one[1:] == other[:-1]
    names = [(split, start) for split in ("train", "test") for start in (0, 50)]
    parts = [{problem.key for problem in reasoning_gym("chain_sum").take(*name, 50)} for name in names]
    assert len(set.union(*parts)) == sum(map(len, parts)) >= 195  # two small problems may be drawn twice in a split


@pytest.mark.parametrize("name", ["pool_matrix", "list_functions", "decimal_arithmetic", "arc_1d"])
def test_drawing_leaves_the_programs_generators_alone(name):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), decimal.getcontext().prec  # noqa: NPY002 the old one

    before = state()
    reasoning_gym(name).first("train", 3)
    assert state() == before


@pytest.mark.parametrize("name", ["pool_matrix", "list_functions", "acre", "gsm_symbolic", "survo"])
def test_a_source_is_pure_in_any_order(name):
    task = reasoning_gym(name)
    forwards = task.first("train", 6)
    random.seed(99)
    assert [task.problem("train", index) for index in reversed(range(6))] == forwards[::-1]


@pytest.mark.slow
def test_another_process_draws_the_same_problems():
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    output = subprocess.run(
        [sys.executable, "-c", PRINT_KEYS], env=environment, capture_output=True, text=True, check=True
    )
    ours = [" ".join(problem.key for problem in reasoning_gym(name).first("train", 2)) for name in HASHED]
    assert output.stdout.split("\n")[:-1] == ours


def test_a_generator_that_waits_for_ever_is_ended():
    chance = Bounded(1)
    chance.left = 10
    with pytest.raises(RuntimeError, match="more than"):
        any(chance.random() > 1 for _ in range(11))


def test_a_split_without_problems_is_told_and_not_looked_for_for_ever(monkeypatch):
    monkeypatch.setattr(module, "TRIES", 5)
    monkeypatch.setattr(module, "is_test", lambda name, kind: True)
    with pytest.raises(TaskError, match="'train' of reasoning_gym:gcd is exhausted: none of 5 problems"):
        reasoning_gym("gcd").problem("train", 0)


def test_a_finite_data_set_is_listed_whole():
    task = reasoning_gym("tower_of_hanoi")
    problems = [problem for split in SPLITS for problem in task.first(split, 100)]
    assert sum(map(task.count, SPLITS)) == len({problem.key for problem in problems}) == 5 * (6 + 12)


def test_texts_and_tasks_of_arc_are_held_out_in_every_disguise():
    for name in ("caesar_cipher", "emoji_mystery"):
        task = reasoning_gym(name)
        train, test = ({problem.answer for problem in task.first(split, 60)} for split in ("train", "test"))
        assert not train & test


# ---------------------------------------------------------------------------------------------------------- levels
def test_a_level_is_a_step_of_the_curriculum():
    task = reasoning_gym("chain_sum")
    first, last = (task.problem("train", 0, level) for level in task.levels)
    assert (first.level, last.level) == (1, 11)
    numbers = [[word for word in problem.prompt[0].content.split() if word.isdigit()] for problem in (first, last)]
    assert [len(row) for row in numbers] == [2, 12]
    assert {len(word) for word in numbers[0]} == {1}
    assert {len(word) for word in numbers[1]} == {10}


def test_the_mixture_has_every_level():
    problems = reasoning_gym("number_filtering").first("train", 60)
    assert {problem.level for problem in problems} == {1, 2, 3, 4}


# --------------------------------------------------------------------------------------------------------- scorers
@pytest.mark.parametrize("name", ["boxnet", "intermediate_integration", "jugs", "polynomial_equations", "survo"])
def test_a_right_answer_is_accepted_and_a_spoilt_one_refused(name):
    task = reasoning_gym(name)
    for problem in task.first("test", 3):
        gold = right_answer(task, problem)
        assert judged(task, problem, gold).reward == 1.0
        for wrong in (*task.mistakes(problem).values(), f"{gold} or so", f"It is {gold}"):
            assert judged(task, problem, wrong).reward == 0.0


def test_harmless_spellings_are_read():
    assert forms.number("1,200.50") == forms.number("+1200.5") == Decimal("1200.5")
    assert forms.number("-0") == forms.number("0")
    assert forms.values("['1.5', '-2']") == forms.values('["1.50","-2.0"]') == forms.values("[1.5, -2]")
    assert forms.fraction(r"$\frac{3}{4}$") == forms.fraction("3/4")
    assert forms.complex_number("-11.0 + 3.0i") == forms.complex_number("-11+3i")
    assert forms.complex_number("-i") == forms.complex_number("0.0 - 1.0i")
    assert forms.polynomial("8*y**4 - 4*y + 3") == forms.polynomial("3 - 4*y + 8*y**4")
    assert forms.assignments("Ann is a fool, and Bob is a sage.") == forms.assignments(
        "Bob is a sage and Ann is a fool"
    )
    assert forms.factors("107 × 2 × 2") == forms.factors("2*2*107")
    assert forms.duration("1 day, 03:20") == forms.duration("1 days, 03:20")


def test_numbers_of_any_length_are_compared_digit_by_digit():
    assert forms.number("9" * 100 + "1") != forms.number("9" * 100 + "2")
    assert forms.rounded_like(Fraction(1, 3), Decimal("0." + "0" * 40)) == Decimal("0." + "3" * 40)


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (forms.number, "1 2"),
        (forms.number, "٣"),
        (forms.number, "1,20"),
        (forms.fraction, "2/4"),
        (forms.complex_number, "1 + 2i + 3i"),
        (forms.hexadecimal, "15"),
        (forms.data, '{"a": 1, "a": 2}'),
        (forms.data, "[NaN]"),
        (forms.data, "[" * 100_000),
        (forms.polynomial, "x + x"),
        (forms.polynomial, "(x + 1)*(x - 1)"),
        (forms.assignments, "Ann is a fool, Ann is a sage"),
        (forms.significant, "1.234e+4"),
    ],
)
def test_what_is_no_answer_is_not_read(form, answer):
    with pytest.raises(Unread):
        form(answer)


def test_a_probability_may_be_rounded_to_four_digits_and_no_fewer():
    judge = RULINGS["coin_flip"].judge
    facts = {"exact": [28, 256]}
    assert [judge(facts, answer) for answer in ("28/256", "7/64", "0.109375", "0.1094")] == [""] * 4
    assert all(judge(facts, answer) for answer in ("0.109", "0.1093", "0.11", "7/65", "0"))


def test_an_antiderivative_of_any_form_is_right():
    judge = RULINGS["simple_integration"].judge
    facts = {"integrand": "2*X*exp(X**2)", "variable": "X"}
    assert judge(facts, "exp(X**2) + C") == judge(facts, "5 + E**(X*X)") == ""
    assert judge(facts, "exp(X**2)*X") != ""
    for junk in ("9**9**9**9", "exp(exp(exp(exp(99))))", "X/0", "1/(X-X)"):
        assert judge(facts, junk) != ""
    for unread in ("integrate(2*X*exp(X**2), X)", "1e999", "X.real", "(lambda: X)()", "sin(X, X)", "True"):
        with pytest.raises(Unread):
            judge(facts, unread)


# --------------------------------------------------------------------------------------------- our own works it out
def test_a_syllogism_is_judged_by_every_world():
    assert follows(["All lawyers are dogs", "All dogs are cats"], "All lawyers are cats")
    assert not follows(["All lawyers are dogs", "Some dogs are cats"], "Some lawyers are cats")  # undistributed middle
    assert follows(["No lawyers are dogs", "All cats are dogs"], "Some cats are not lawyers")


def test_a_conclusion_follows_says_something_and_is_no_premise():
    statements = Statements("PQR")
    premises = [statements.read(text) for text in ("P", "(P → Q)")]

    def objection(text):
        return statements.objection(premises, statements.read(text))

    assert objection("P ∧ Q") == ""
    assert "does not follow" in objection("R ∨ ¬Q")
    assert "whatever" in objection("R ∨ ¬R")
    assert "a premise" in objection("¬P ∨ Q")
    assert "single letter" in objection("¬¬Q")
    assert concluded("PQ", ["P", "¬P"]) is None


def test_a_go_move_captures_a_group_without_liberties():
    board = [list(row) for row in (".X...", "XO.X.", ".XOX.", "..X..", ".....")]
    assert captured(board, 1, 2) == {(1, 1), (2, 2)}
    assert captured(board, 4, 4) == set()


def test_our_game_of_life_is_the_packages():
    automata = package.library("cellpylib")
    board = automata.init_simple2d(12, 9)
    board[0] = (np.random.default_rng(5).random((12, 9)) < 0.4).astype(board.dtype)
    theirs = automata.evolve2d(board, timesteps=5, apply_rule=automata.game_of_life_rule, memoize="recursive")
    assert np.array_equal(np.array(list(lived(board[-1], 4))), theirs)


def test_our_searches_find_as_few_moves_as_the_packages():
    knights = package.library("reasoning_gym.games.knight_swap").KnightSwapLogic
    board = knights.generate_board(9, random.Random(2))
    pieces = dict.fromkeys(board) | dict(zip(sorted(board), "wwBB", strict=False))
    theirs, ours = knights.solve_swap(board, pieces, "B"), least_swap(board, pieces, "B")
    assert (theirs is None) == (ours is None)
    assert theirs is None or len(theirs) == len(ours)
    jugs = package.library("reasoning_gym.algorithmic.jugs")
    assert jugs.min_moves_n([9, 7, 3], 5) == len(least_pours([9, 7, 3], 5))


def test_cars_and_boxes_are_brought_where_they_belong():
    board = "BBH.CC.GH..K.GAAJKDD.IJL...IxL.EEFFL"
    assert judge_traffic({"board": board}, least_traffic(board)) == ""
    squares = {"0.5_0.5": ["box_red"], "0.5_1.5": ["target_red"], "1.5_0.5": [], "1.5_1.5": ["box_red", "target_red"]}
    plan = str(carried(squares)).replace("'", '"')
    assert judge_boxes({"squares": squares}, plan) == ""


@pytest.mark.parametrize("name", ["mahjong_puzzle", "basic_arithmetic", "syllogism", "tsumego", "decimal_arithmetic"])
def test_problems_that_the_package_answers_wrongly_are_not_asked(name):
    generator = Generator(name, RULINGS[name])
    highest = len(generator.steps)
    items = [draw(name, generator.steps[-1], seed_of(name, number)) for number in range(150)]
    wrong = {generator.asked(item, highest).key for item in items if SOUND[name](item)}
    assert wrong
    asked = {problem.key for problem in reasoning_gym(name).take("train", 0, 20, highest)}
    assert not wrong & asked


def test_milliseconds_that_are_cut_off_are_not_asked():
    item = {"metadata": {"start_time": "2024-01-01 10:12:15.842000", "end_time": "2024-01-01 13:43:13.804000"}}
    assert SOUND["time_intervals"]({**item, "answer": "03:30:57.962"}) == ""
    assert "962" in SOUND["time_intervals"]({**item, "answer": "03:30:57.961"})


def test_numbers_are_rounded_half_up_to_the_places_an_answer_has():
    assert forms.rounded_like(Fraction(1, 8), Decimal("0.12")) == Decimal("0.13")
    assert forms.rounded_like(Fraction(-1, 3), Decimal("0.000")) == Decimal("-0.333")

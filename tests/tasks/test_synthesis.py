"""Programs from examples are judged by what they do on lists that nobody saw, and by nothing else."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.problem import Verdict
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks.code.list_language import WORDS, run
from poziomka.tasks.code.synthesis import (
    HIDDEN,
    LONGEST,
    SHOWN,
    SYMBOLS,
    audit,
    behaviours,
    demonstration,
    fits,
    in_symbols,
    mistakes,
    probes,
    read_program,
    scorer,
    spell,
    synthesis,
    synthesis_in_words,
)
from poziomka.testing import check_task

TASK = synthesis()
PROBLEMS = [TASK.problem(split, index, level) for split in ("train", "test") for index in range(12) for level in (1, 3)]
PROBLEM = TASK.problem("train", 3, 3)


def said(answer, problem=PROBLEM, thought=""):
    reply = Span(Author.MODEL, f" <think> {thought} </think> {answer}", stop=Stop.END)
    return Transcript.of(problem.prompt) + reply


def made_with(problem):
    return tuple(problem.facts["program"])


@pytest.mark.parametrize("make", [synthesis, synthesis_in_words])
def test_it_keeps_a_tasks_contract(make):
    check_task(make(), problems=3)


def test_both_ways_to_ask_ask_the_same_problems():
    other = synthesis_in_words().problem("train", 3, 3)
    assert (other.key, other.facts, other.level) == (PROBLEM.key, PROBLEM.facts, PROBLEM.level)
    assert all(f"\n{word}: " in other.prompt[0].content for word in WORDS)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_splits_share_nothing_that_a_program_does(level):
    train, test = ({p.key for p in TASK.take(split, 0, 100, level)} for split in ("train", "test"))
    assert not train & test


def test_a_key_is_what_a_program_does_however_it_is_spelled():
    does = {}
    for problem in TASK.take("train", 0, 150, 2):
        outputs = tuple(run(made_with(problem), row) for row in probes())
        assert does.setdefault(outputs, problem.key) == problem.key
    assert len(set(does.values())) == len(does)


def test_no_shorter_program_does_the_same():
    for problem in TASK.take("train", 0, 8, 3):
        outputs = tuple(run(made_with(problem), row) for row in probes())
        shorter = (program for length in range(3) for program in product(WORDS, repeat=length))
        assert not any(tuple(run(program, row) for row in probes()) == outputs for program in shorter)


def test_behaviours_are_those_of_all_programs_up_to_a_length():
    brute = {tuple(run(program, row) for row in probes()) for n in range(3) for program in product(WORDS, repeat=n)}
    assert behaviours(2) == brute


def test_a_problem_is_neither_constant_nor_the_identity():
    for problem in PROBLEMS:
        assert len({str(wanted) for _, wanted in problem.facts["shown"]}) == SHOWN
        assert any(given != wanted for given, wanted in problem.facts["hidden"])


def test_no_list_is_both_shown_and_hidden():
    for problem in PROBLEMS:
        lists = [str(given) for which in ("shown", "hidden") for given, _ in problem.facts[which]]
        assert len(set(lists)) == len(lists) == SHOWN + HIDDEN


def test_problems_and_demonstrations_are_written_in_the_vocabulary():
    for problem in PROBLEMS:
        thought, answer = demonstration(problem)
        assert set(f"{problem.prompt[0].content} {thought} {answer}".split()) <= set(SYMBOLS)


def test_a_prompt_in_symbols_shows_inputs_and_outputs():
    assert in_symbols((((3, 1), (4, 2)), ((5,), ()))) == " 3 1 > 4 2 ; 5 >"


def test_demonstrations_end_right_and_mark_every_candidate_as_it_turned_out():
    for problem in PROBLEMS:
        thought, answer = demonstration(problem)
        assert scorer(problem, said(answer, problem)).correct
        assert thought.endswith("ok")
        assert thought.split().count("ok") >= SHOWN


def test_some_demonstrations_try_candidates_in_vain():
    tried = [demonstration(problem)[0].split().count("x") for problem in TASK.take("train", 0, 60, 3)]
    assert min(tried) == 0
    assert max(tried) > 1


def test_another_program_that_does_the_same_is_as_right():
    same = (*made_with(PROBLEM), "flip", "flip")
    assert scorer(PROBLEM, said(spell(same))).reward == audit(PROBLEM, said(spell(same))).reward == 1.0


def test_a_program_may_stand_close_to_its_brackets():
    assert scorer(PROBLEM, said(spell(made_with(PROBLEM)).replace("( ", "(").replace(" )", ")"))).correct


def test_a_program_with_too_many_words_is_wrong_whatever_it_does():
    score = scorer(PROBLEM, said(spell((*made_with(PROBLEM), *("flip",) * 2 * LONGEST))))
    assert (score.reward, score.verdict) == (0.0, Verdict.WRONG)


def test_a_program_that_fits_only_what_is_shown_is_wrong_and_says_on_which_list():
    judged = (
        scorer(problem, said(spell(program), problem))
        for problem in TASK.take("train", 0, 60, 3)
        for program in product(WORDS, repeat=3)
        if fits(program, [(tuple(given), tuple(wanted)) for given, wanted in problem.facts["shown"]])
    )
    overfitted = next(score for score in judged if not score.correct)
    assert overfitted.verdict is Verdict.WRONG
    assert "(hidden)" in overfitted.why


def test_mistakes_earn_nothing_by_either_scorer():
    for problem in PROBLEMS:
        found = mistakes(problem)
        assert len(found) >= 7 - (problem.level == 1)
        for answer in found.values():
            assert scorer(problem, said(answer, problem)).reward == 0.0
            assert audit(problem, said(answer, problem)).reward == 0.0


def test_the_audit_agrees_with_the_scorer_on_every_short_program():
    for problem in PROBLEMS[:8]:
        for program in product(WORDS, repeat=2):
            transcript = said(spell(program), problem)
            assert scorer(problem, transcript).correct >= audit(problem, transcript).correct


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "()",
        "( )",
        "reverse",
        "( reverse",
        "( reverse ) .",
        "( reverse ) ( sort )",
        "( ( reverse ) )",
        "( reverse  sort )",
        "( reverse\nsort )",
        "( reverse, sort )",
        "( Reverse )",
        "( revеrse )",  # a Cyrillic letter
        "（ reverse ）",
        "( backwards )",
        "\\boxed{( reverse )}",
        "( reverse ) because it turns the list round",
        "the program is ( reverse )",
        "( " + "flip " * 300 + ")",
    ],
)
def test_anything_but_one_program_in_brackets_is_no_answer(answer):
    assert isinstance(read_program(f"<think> </think> {answer}"), str)
    assert scorer(PROBLEM, said(answer)).verdict is Verdict.UNPARSED


def test_a_program_in_the_thought_earns_nothing():
    assert scorer(PROBLEM, said("( flip flip )", thought=spell(made_with(PROBLEM)))).reward == 0.0


@given(st.text(max_size=200))
def test_no_answer_makes_a_scorer_raise(answer):
    for judge in (scorer, audit):
        assert judge(PROBLEM, said(answer)).reward in (0.0, 1.0)

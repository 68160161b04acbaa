"""A mixture deals its parts' problems as their weights say, and gives each to its own scorer only."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.cross_check import audit
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.rollouts.scoring import judge
from poziomka.core.sampler import SamplingParams
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.environments import Calculator
from poziomka.tasks import shipped, task_named
from poziomka.tasks.discovery.market import market
from poziomka.tasks.mixture import Part, by_part, mixture, read_parts
from poziomka.tasks.toy.arithmetic import gcd, letters, small_sums, sums
from poziomka.tasks.toy.countdown import countdown
from poziomka.tasks.toy.recurrence import recurrence
from poziomka.testing import ScriptedSampler, check_task

TASK = mixture([Part(sums(), 3), Part(gcd())])
SYMBOLIC = mixture([Part(recurrence()), Part(countdown(), 2)])


def said(problem, answer):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, f" <think> </think> {answer}", stop=Stop.END)


def parts_of(task, split, start, count, level=None):
    return [problem.facts["part"] for problem in task.take(split, start, count, level)]


def finite(name, count, answer="yes"):
    """A task with so many problems, all with one answer."""

    def source(split, index, level=None):
        return Problem.ask(name, f"{split}-{index}", f"{name} {index}?", answer, index=index)

    def scorer(problem, transcript):
        right = transcript.reply.split()[-1] == problem.answer
        return Score.right(problem.answer) if right else Score.wrong("?")

    return Task(name, source, scorer, size=lambda split: count.get(split, 0), trusted=True, splits=SPLITS)


# ---------------------------------------------------------------------------------------------------------- contract
@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("mixture:")])
def test_it_keeps_a_tasks_contract(name):
    check_task(task_named(name), problems=4)


def test_a_problem_names_the_mixture_and_its_part():
    problem = TASK.problem("train", 5)
    assert problem.task == "mixture"
    assert problem.facts["part"] in ("sums", "gcd")
    assert problem.key.startswith(f"{problem.facts['part']}/")


def test_a_part_gets_back_exactly_the_problem_that_it_made():
    seen = []

    def scorer(problem, transcript):
        seen.append(problem)
        return Score.right("1")

    task = mixture([Part(replace(recurrence(), scorer=scorer))])
    for index in range(5):
        problem = task.problem("train", index)
        task.scorer(problem, said(problem, "1"))
        assert seen[-1] == recurrence().problem("train", index)


def test_a_problem_is_never_given_to_another_parts_scorer():
    problem = next(problem for problem in TASK.take("train", 0, 20) if problem.facts["part"] == "gcd")
    for forged in (
        replace(problem, facts={**problem.facts, "part": "sums"}),
        replace(problem, facts={**problem.facts, "part": "letters"}),
        replace(problem, facts={}),
        replace(problem, task="gcd"),
        gcd().problem("train", 0),
    ):
        score = judge(TASK.scorer, forged, said(forged, problem.answer))
        assert (score.reward, score.verdict) == (None, Verdict.ERROR)


def test_a_mixture_of_mixtures_gives_each_problem_to_its_scorer():
    task = mixture([Part(TASK, name="chains"), Part(letters())], name="outer")
    for problem in task.take("test", 0, 8):
        thought, answer = task.demonstration(problem)
        assert thought
        assert task.scorer(problem, said(problem, answer)).correct


# ----------------------------------------------------------------------------------------------------------- dealing
def test_every_round_holds_the_parts_as_their_weights_say():
    for start in (0, 4, 400, 2**40):
        assert Counter(parts_of(TASK, "train", start, 4)) == {"sums": 3, "gcd": 1}


def test_the_order_of_a_round_differs_by_round_and_split():
    orders = [tuple(parts_of(TASK, split, 4 * i, 4)) for split in ("train", "test") for i in range(20)]
    assert set(orders) == {tuple("gcd" if place == at else "sums" for place in range(4)) for at in range(4)}
    assert orders[:20] != orders[20:]


def test_parts_problems_come_one_after_another_without_repeats():
    dealt = [problem.key for problem in TASK.take("train", 0, 40) if problem.facts["part"] == "sums"]
    assert dealt == [f"sums/{problem.key}" for problem in sums().take("train", 0, 30)]


def test_weights_may_be_fractions_of_one():
    task = mixture([Part(sums(), 0.1), Part(gcd(), Fraction(3, 10))])
    assert Counter(parts_of(task, "train", 0, 400)) == {"sums": 100, "gcd": 300}


def test_each_problem_of_a_finite_part_comes_once_before_any_comes_again():
    task = mixture([Part(finite("few", {"train": 5, "validation": 1})), Part(gcd())])
    dealt = [p.facts["facts"]["index"] for p in task.take("train", 0, 40) if p.facts["part"] == "few"]
    rounds = [dealt[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_a_part_without_problems_in_a_split_is_named():
    task = mixture([Part(finite("for_evaluation", {"test": 3}))])
    assert len(task.take("test", 0, 3)) == 3
    with pytest.raises(TaskError, match="'for_evaluation' in 'mixture' has no problems in 'train'"):
        task.problem("train", 0)


# ------------------------------------------------------------------------------------------------------------ levels
def test_levels_are_those_of_the_part_with_most_and_spread_over_the_others():
    assert TASK.levels == (1, 9)  # sums: 2 to 10, gcd: 1 to 5
    asked = {
        level: {p.facts["part"]: p.facts["level"] for p in TASK.take("train", 0, 4, level)} for level in (1, 2, 5, 8, 9)
    }
    assert {level: own["sums"] for level, own in asked.items()} == {1: 2, 2: 3, 5: 6, 8: 9, 9: 10}
    assert {level: own["gcd"] for level, own in asked.items()} == {1: 1, 2: 2, 5: 3, 8: 5, 9: 5}


def test_a_level_that_no_one_asked_for_is_the_nearest_to_the_parts_own():
    for problem in TASK.take("train", 0, 60):
        low, count = (2, 9) if problem.facts["part"] == "sums" else (1, 5)
        assert problem.level == 1 + round((problem.facts["level"] - low) * 8 / (count - 1))


def test_a_mixture_has_no_levels_where_a_part_has_none():
    assert SYMBOLIC.levels is None
    assert {p.level for p in SYMBOLIC.take("train", 0, 9) if p.facts["part"] == "countdown"} == {0}


# ---------------------------------------------------------------------------------------------- what parts have or not
def test_it_is_trusted_only_where_all_parts_are():
    assert TASK.trusted
    assert not mixture([Part(sums()), Part(replace(gcd(), trusted=False))]).trusted


def test_symbols_are_those_of_all_parts_and_none_where_a_part_has_none():
    assert set(SYMBOLIC.symbols) == {*recurrence().symbols, *countdown().symbols}
    assert len(SYMBOLIC.symbols) == len(set(SYMBOLIC.symbols))
    assert mixture([Part(recurrence()), Part(sums())]).symbols == ()


def test_it_shows_solutions_only_where_all_parts_do():
    assert TASK.demonstration is not None
    assert mixture([Part(sums()), Part(replace(gcd(), demonstration=None))]).demonstration is None


def test_mistakes_are_those_that_a_part_tells():
    task = mixture([Part(market()), Part(sums())])
    told = {problem.facts["part"]: task.mistakes(problem) for problem in task.take("train", 0, 4)}
    assert "no position" in told["market"]
    assert told["sums"] == {}
    assert TASK.mistakes is None


def test_a_second_opinion_is_the_parts_own_or_that_the_answer_is_gold():
    task = mixture([Part(market()), Part(sums())])
    for problem in task.take("test", 0, 6):
        answer = task.demonstration(problem)[1]
        assert task.audit(problem, said(problem, answer)).correct
        assert not task.audit(problem, said(problem, "0 0 0 0 0 0")).correct
    assert TASK.audit is None


def test_a_part_that_nothing_is_known_of_has_no_second_opinion():
    task = mixture([Part(market()), Part(finite("open", {"train": 9}, answer=""))])
    problems = task.take("train", 0, 4)
    groups = collect(ScriptedSampler([" <think> </think> 1 1 1 1 1 1"]), task, problems, SamplingParams(max_tokens=20))
    opinions = audit(task, groups)
    assert {group[0].problem.facts["part"] for group in groups if group[0].id in opinions} == {"market"}


def test_limits_say_whose_they_are():
    assert any(limit.startswith("gcd: ") for limit in TASK.limits)
    assert any("part by part" in limit for limit in TASK.limits)


class Remembering:
    """A calculator that remembers which problems it was opened with."""

    def __init__(self):
        self.inner, self.opened = Calculator(), []
        self.stop = self.inner.stop

    def open(self, problem):
        self.opened.append(problem)
        return self.inner.open(problem)


def test_an_environment_is_opened_with_the_parts_own_problem_and_others_have_none():
    environment = Remembering()
    task = mixture([Part(replace(sums(), environment=lambda problem: environment)), Part(gcd())])
    problems = task.take("train", 0, 4)
    collect(ScriptedSampler([" <think> </think> 1"]), task, problems, SamplingParams(max_tokens=20))
    assert environment.opened == sums().take("train", 0, 2)
    assert TASK.environment is None


# ----------------------------------------------------------------------------------------------------- by part, by name
def test_an_evaluation_is_told_by_part():
    task = mixture([Part(finite("always", {"test": 9}, answer="1")), Part(finite("never", {"test": 9}, answer="2"))])
    evaluation = evaluate(ScriptedSampler([" <think> </think> 1"]), task, SamplingParams(max_tokens=20), problems=8)
    found = by_part(evaluation)
    assert {name: (len(each.groups), each.accuracy.mean) for name, each in found.items()} == {
        "always": (4, 1.0),
        "never": (4, 0.0),
    }


def test_a_name_lists_parts_with_weights_and_may_hold_colons_and_slashes():
    asked = []

    def named(name):
        asked.append(name)
        return replace(sums(), name=name.partition(":")[0])

    parts = read_parts("3*sums + grade_school:/data/gsm8k/main + .5*reasoning_gym:chain_sum", named)
    assert asked == ["sums", "grade_school:/data/gsm8k/main", "reasoning_gym:chain_sum"]
    assert [(part.called, float(part.weight)) for part in parts] == [
        ("sums", 3),
        ("grade_school", 1),
        ("reasoning_gym", 0.5),
    ]


def test_two_folders_of_one_task_are_told_apart_by_their_whole_names():
    parts = read_parts("grade_school:a+grade_school:b", lambda name: replace(sums(), name="grade_school"))
    assert [part.called for part in parts] == ["grade_school:a", "grade_school:b"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("3*sum+gcd", "unknown task 'sum'; did you mean 'sums'"),
        ("sums+", "has a part without a name"),
        ("2*", "has a part without a name"),
        ("0*sums", "must be a number above 0: received '0' before 'sums'"),
        ("-1*sums", "must be a number above 0: received '-1'"),
        ("nan*sums", "must be a number above 0: received 'nan'"),
        ("٣*sums", "must be a number above 0"),
        ("sums+2*sums", "'sums' stands twice"),
        ("mixture:sums", "a mixture holds no mixture by name"),
        ("grade_school", "reads its problems"),
        ("100000*sums+gcd", "within a thousandth to a thousand"),
    ],
)
def test_a_name_that_cannot_be_followed_is_answered_in_a_sentence(name, says):
    with pytest.raises(TaskError, match=says):
        task_named(f"mixture:{name}")


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_part_needs_a_weight_above_0(weight):
    with pytest.raises(TaskError, match="weight of a part"):
        Part(sums(), weight)


@pytest.mark.parametrize("parts", [[], [Part(sums()), Part(sums())]])
def test_a_mixture_needs_parts_of_different_names(parts):
    with pytest.raises(TaskError, match="parts of different names"):
        mixture(parts)


def test_one_part_alone_is_a_mixture():
    assert set(parts_of(mixture([Part(small_sums(), 7)]), "train", 0, 5)) == {"small_sums"}

"""Whole programs: right for hidden inputs or worth nothing, however white space lies."""

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.tasks import shipped, task_named
from poziomka.tasks.code.coding_negatives import SLOW
from poziomka.tasks.code.programs import programs, same_output
from poziomka.testing import check_task

pytestmark = pytest.mark.skipif(bool(sandlocked.reason()), reason=f"sandlock cannot be had: {sandlocked.reason()}")


def replied(problem, answer):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, f"<think> hm </think>\n{answer}", stop=Stop.END)


def judged(task, problem, answer, scorer=None):
    return judge(scorer or task.scorer, problem, replied(problem, answer))


@pytest.fixture(scope="module")
def sample():
    return programs("sample")


@pytest.mark.parametrize(
    ("output", "same"),
    [
        ("1 2\n3\n", True),
        ("1 2\n3", True),
        (" 1 \t2  \r\n3 \n\n\n", True),
        ("1 2 3", False),
        ("12\n3", False),
        ("1 2\n\n3", False),
        ("1 2\n3.0", False),
        ("1 2\n3\u00a0", False),
        ("", False),
        ("1 2\n3\n4", False),
        ("1 2\u20283", False),
    ],
)
def test_white_space_within_lines_is_free_and_all_else_exact(output, same):
    assert same_output(output, "1 2\n3\n") is same


def test_our_own_problems_are_shipped_and_every_solution_is_accepted(sample):
    assert "programs:sample" in shipped()
    assert (sample.count("train"), sample.count("test"), sample.count("validation")) == (7, 8, 1)
    for split in ("train", "test", "validation"):
        for problem in sample.first(split, 8):
            assert judged(sample, problem, sample.demonstration(problem)[1]).verdict is Verdict.CORRECT
    program = f"```python\n{sample.demonstration(problem)[1]}\n```"
    assert judged(sample, problem, program, sample.audit).verdict is Verdict.CORRECT


def test_what_tries_to_be_called_right_earns_nothing(sample):
    problem = next(each for each in sample.first("test", 8) if seed_of("slow", each.key) % SLOW)  # no slow ones here
    tried = {what: judged(sample, problem, program) for what, program in sample.mistakes(problem).items()}
    assert len(tried) > 20
    assert {what: score for what, score in tried.items() if score.reward != 0} == {}


@pytest.mark.soak
def test_nothing_of_the_battery_earns_anything_on_any_problem_of_ours(sample):
    for split in ("train", "test"):
        for problem in sample.first(split, 8):
            for what, program in sample.mistakes(problem).items():
                assert judged(sample, problem, program).reward == 0, (problem.key, what)


def row(question="Print twice the number.", tests=None, **more):
    tests = tests or [{"input": "1\n", "output": "2\n", "public": True}, {"input": "35\n", "output": "70\n"}]
    return {"question": question, "tests": tests, **more}


def written(path, *rows):
    path.write_text("\n".join(json.dumps(each) for each in rows), encoding="utf-8")
    return str(path)


def test_a_prompt_shows_public_tests_and_no_hidden_one(tmp_path):
    task = programs(written(tmp_path / "some.jsonl", row(level=3)))
    problem = task.problem("test", 0)
    assert problem.prompt[0].content == (
        "Print twice the number.\n\nExample input:\n1\nExample output:\n2\n\n"
        "Answer with a Python program that reads standard input and writes standard output."
    )
    assert (task.count("train"), problem.level, task.demonstration) == (0, 3, None)


def test_how_a_program_fails_is_told(tmp_path):
    task = programs(written(tmp_path / "some.jsonl", row()))
    problem = task.problem("test", 0)
    assert judged(task, problem, "print(2 * int(input()))").why == "right for 2 inputs"
    for program, why in {
        "print(2)": "test 2 of 2: wrote '2\\n', not '70\\n'",
        "print(2 * int(input()))\nraise SystemExit(1)": "test 1 of 2: ended with status 1",
        "print(1 / 0)": "test 1 of 2: ended with status 1: ZeroDivisionError: division by zero",
        "import os; os.write(1, b'\\xff')": "test 1 of 2: wrote what is no text",
        "print('x' * 2_000_000)": "test 1 of 2: wrote more than 1000000 bytes",
    }.items():
        score = judged(task, problem, program)
        assert (score.reward, score.verdict, score.why) == (0.0, Verdict.WRONG, why)
    assert judged(task, problem, "Twice the number.").verdict is Verdict.UNPARSED


def test_all_tests_of_a_program_share_its_time(tmp_path):
    tests = [{"input": f"{n}\n", "output": f"{n}\n"} for n in range(20)]
    task = programs(written(tmp_path / "some.jsonl", row(tests=tests)))
    score = judged(task, task.problem("test", 0), "import time; time.sleep(0.8); print(input())")
    assert (score.verdict, "ran longer than 3 s" in score.why) == (Verdict.WRONG, True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row(question=" "), "must have a question and a test that is not public"),
        (row(tests=[{"input": "", "output": "1", "public": True}]), "a test that is not public and has an output"),
        (row(tests=[{"input": "1", "output": " "}]), "a test that is not public and has an output"),
        (row(tests=[{"input": 1, "output": "1"}]), "a test of line 1 .* must be an object with the texts"),
        *((row() | {"tests": wrong}, "'tests' of line 1 of .* must be a list") for wrong in (5, True, 1.5, 0, "", {})),
        *(
            (row(tests=[wrong]), "a test of line 1 .* must be an object")
            for wrong in (5, None, "x", [], {"input": "1"})
        ),
        (row(level=True), "'level' of line 1 .* must be a whole number"),
        (row(level="hard"), "'level' of line 1 .* must be a whole number"),
        (row(solution=3), "line 1 of .* must have the text 'solution': received a int there"),
    ],
)
def test_a_row_that_is_none_is_refused_by_file_and_line(tmp_path, wrong, message):
    with pytest.raises(TaskError, match=message):
        programs(written(tmp_path / "some.jsonl", wrong))


async def scored(task, problem, answers):
    with Scoring(task, workers=1) as scoring:
        scores = [await scoring.score(problem, replied(problem, answer)) for answer in answers]
        worker = scoring._idle[0].process.pid
    return scores, worker


def test_a_worker_that_judges_programs_leaves_no_process_behind(sample):
    problem = sample.problem("test", 0)
    scores, worker = asyncio.run(scored(sample, problem, [sample.demonstration(problem)[1], "print('even')"]))
    assert [score.reward for score in scores] == [1.0, 0.0]
    while worker in parents():  # what is left ends on its own
        time.sleep(0.01)


def parents():
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.append(int(path.read_text().rpartition(")")[2].split()[1]))
    return found


@pytest.mark.soak
@pytest.mark.parametrize("name", ["mbpp:sample", "programs:sample"])
def test_our_own_problems_keep_a_tasks_contract(name):
    check_task(task_named(name), problems=8)

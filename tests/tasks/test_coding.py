"""Functions to write: right programs are accepted, and programs that want to be called right earn nothing."""

import gzip
import json
from contextlib import suppress
from pathlib import Path

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.environments.sandbox import sandlock_interpreter as sandlocked
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.tasks import shipped, task_named
from poziomka.tasks.code.coding import SAMPLES, SPLITS, humaneval, mbpp, read_program
from poziomka.tasks.code.coding_negatives import SLOW, slow
from poziomka.tasks.code.coding_tests import functions_of, python_of

HUMANEVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "humaneval"
needs_humaneval = pytest.mark.skipif(not HUMANEVAL.exists(), reason=f"HumanEval is not there: no {HUMANEVAL}")
pytestmark = pytest.mark.skipif(bool(sandlocked.reason()), reason=f"sandlock cannot be had: {sandlocked.reason()}")


def judged(task, problem, answer, scorer=None):
    reply = Span(Author.MODEL, f"<think> hm </think>\n{answer}", stop=Stop.END)
    return judge(scorer or task.scorer, problem, Transcript.of(problem.prompt) + reply)


@pytest.fixture(scope="module")
def sample():
    return mbpp("sample")


# ------------------------------------------------------------------------------------------------- reading a program
PROGRAM = "def f(x):\n    return x"


@pytest.mark.parametrize(
    "reply",
    [
        "{}",
        "<think> hm </think>\n{}\n",
        "```python\n{}\n```",
        "```\n{}\n```",
        "```py \n{}\n```",
        "<think>```\nno\n```</think> Here it is:\n\n```Python3\n{}\n```\nIt works.",
    ],
)
def test_a_program_is_read_bare_or_in_one_block(reply):
    assert read_program(reply.format(PROGRAM)) == PROGRAM


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n ",
        "```python\n```",
        f"<think> {PROGRAM}",
        f"```python\n{PROGRAM}",
        f"```java\n{PROGRAM}\n```",
        f"```python\n{PROGRAM}\n```\n```python\n{PROGRAM}\n```",
        f"```python\n{PROGRAM}\n```\n```\n",
        f"{PROGRAM} # {'x' * 50_000}",
        "def f(x):\n    return １",
        "def f(x):\n    '''٣'''\n    return x",
        "def f(x):\n    return x\u200b",
        "def f(x):\n    return −1",
    ],
)
def test_none_or_several_and_look_alikes_are_no_program(reply):
    assert read_program(reply) is None


def test_other_letters_in_texts_are_read():
    assert read_program("def f():\n    # →\n    return 'żółć – ok'")


# --------------------------------------------------------------------------------------------------------------- MBPP
def test_our_own_problems_are_shipped_and_in_the_splits_of_the_paper(sample):
    assert "mbpp:sample" in shipped()
    assert {split: sample.count(split) for split in (*SPLITS, "other")} == {
        "prompt": 1,
        "test": 8,
        "validation": 1,
        "train": 8,
        "other": 0,
    }
    for split, numbers in SPLITS.items():
        assert all(int(problem.key.split("/")[1]) in numbers for problem in sample.first(split, 9))


def test_every_solution_is_accepted_by_the_scorer_and_by_the_audit(sample):
    for split in SPLITS:
        for problem in sample.first(split, 9):
            thought, program = sample.demonstration(problem)
            assert thought == ""
            assert judged(sample, problem, program).verdict is Verdict.CORRECT
            assert judged(sample, problem, f"```python\n{program}\n```", sample.audit).reward == 1.0


def test_what_tries_to_be_called_right_earns_nothing(sample):
    problem = next(each for each in sample.first("test", 8) if seed_of("slow", each.key) % SLOW)  # no slow ones here
    tried = {what: judged(sample, problem, program) for what, program in sample.mistakes(problem).items()}
    assert len(tried) > 35
    assert {what: score for what, score in tried.items() if score.reward != 0} == {}


@pytest.mark.soak
def test_nothing_of_the_battery_earns_anything_on_any_problem_of_ours(sample):
    for split in SPLITS:
        for problem in sample.first(split, 9):
            for what, program in {**sample.mistakes(problem), **slow(problem.facts["name"])}.items():
                assert judged(sample, problem, program).reward == 0, (problem.key, what)


def test_a_prompt_names_the_function_and_shows_no_test(sample):
    problem = sample.problem("test", 1)
    assert problem.prompt[0].content.endswith(
        "Answer with a Python program that defines the function remainder_one, which takes 3 arguments."
    )
    assert "assert" not in problem.prompt[0].content


def test_another_right_program_is_right_and_its_order_of_tests_does_not_matter(sample):
    problem = next(problem for problem in sample.first("train", 9) if problem.facts["name"] == "transpose")
    program = "def transpose(rows):\n    return [[row[i] for row in rows] for i in range(len(rows[0]) if rows else 0)]"
    assert judged(sample, problem, program).reward == judged(sample, problem, program, sample.audit).reward == 1.0
    answers = "{1: [[1, 4], [2, 5], [3, 6]], 2: [[7]], 3: []}"
    once = f"calls = 0\ndef transpose(rows):\n    global calls\n    calls += 1\n    return {answers}[calls]"
    assert judged(sample, problem, once).reward == 1.0  # what no test can tell from a right one …
    assert judged(sample, problem, once, sample.audit).reward == 0.0  # … the audit does


def test_what_is_no_python_is_unparsed_and_what_does_not_pass_is_wrong(sample):
    problem = sample.problem("test", 0)
    name = problem.facts["name"]
    assert judged(sample, problem, "12").verdict is Verdict.WRONG
    assert judged(sample, problem, f"{name} is very easy").verdict is Verdict.UNPARSED
    assert judged(sample, problem, f"def {name}(*a):\n    pass").verdict is Verdict.WRONG
    assert judged(sample, problem, f"import os\nos._exit(0)\ndef {name}(): pass").verdict is Verdict.WRONG


def row(number=601, text="Write f.", code="def f(x):\n    return x", tests=("assert f(1) == 1",), setup=""):
    return {"task_id": number, "text": text, "code": code, "test_list": list(tests), "test_setup_code": setup}


def written(folder, *rows):
    path = folder / "mbpp.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in rows), encoding="utf-8")
    return path


def test_a_problem_asked_in_two_splits_is_left_out_of_training_and_one_that_needs_a_class_of_all(tmp_path):
    node = row(602, "Write g.", "class Node: pass\ndef f(x): return 1", ["assert f(Node()) == 1"])
    task = mbpp(str(written(tmp_path, row(601), row(11, " write F. "), node, row(603, "Write h."))))
    assert [problem.key for problem in task.first("train", 9)] == ["mbpp/603"]
    assert task.count("test") == 1


def test_tests_may_use_what_comes_with_python_and_a_function_with_a_name_of_its_own(tmp_path):
    code = "import math\ndef sum(x, y):\n    return math.floor(x + y)\n"
    task = mbpp(str(written(tmp_path, row(11, code=code, tests=["assert sum(1, y=2.5) == math.floor(3.9)"]), row())))
    problem = task.problem("test", 0)
    assert "the function sum, which takes 2 arguments" in problem.prompt[0].content
    assert judged(task, problem, code).reward == 1.0


@pytest.mark.fault("E17")
@pytest.mark.parametrize(
    "test",
    [
        "assert sorted([3, f(1)], key=lambda pair: -pair) == [3, 1]",
        "assert list(map(lambda a, *b, c=2, **d: a + c, [f(1)])) == [3]",
        "def near(one, other):\n    return abs(one - other) < 1e-9\nassert near(f(1), 1)",
        "try:\n    f(1)\nexcept ValueError as error:\n    assert error",
        "assert [x for x in [f(1)] if (y := x)] == [1]",
        "import math as m\nassert m.floor(f(1)) == 1",
        "match f(1):\n    case int(found):\n        assert found == 1",
    ],
)
def test_a_problem_whose_tests_have_names_of_their_own_is_kept(tmp_path, test):
    task = mbpp(str(written(tmp_path, row(11, tests=[test]))))
    problem = task.problem("test", 0)
    assert judged(task, problem, task.demonstration(problem)[1]).reward == 1.0
    assert judged(task, problem, "def f(x):\n    return 2").reward == (1.0 if "except" in test else 0.0)


PASS_CODE = [
    ("def g(x):\n    return x", "assert f(g) == 1"),
    ("g = lambda x: x", "assert f(g) == 1"),
    ("", "g = lambda x: x\nassert f([2, g]) == 1"),
    ("", "for g in (abs, len):\n    assert f(g) == 1"),
    ("from operator import add", "assert f(add, 1) == 1"),
    ("import operator", "assert f(operator.add) == 1"),
    ("", "assert f(str.lower) == 1"),
    ("class P:\n    pass", "assert f(P()) == 1"),
    ("", "assert f(range(3)) == 1"),
    ("def check(x):\n    return f(lambda: x)", "assert f(1) == check(3)"),
]


@pytest.mark.fault("E17")
def test_problems_that_are_left_out_are_counted_among_the_limits(tmp_path):
    code = "def f(g):\n    return g(1)"
    unfit = [
        row(12, code=code, tests=["assert f(lambda x: x) == 1"]),
        row(13, code=code, tests=["def g(x):\n    return x\nassert f(g) == 1"]),
        row(14, code=code, tests=["assert f(abs) == 1"]),
    ]
    rows = [row(11), *unfit, row(601, "Write F."), row(5000, "Write h.")]
    limits = mbpp(str(written(tmp_path, *rows))).limits
    assert len([each for each in limits if each.startswith("3 of ") and "mbpp/12, mbpp/13, mbpp/14." in each]) == 1
    assert len([each for each in limits if each.startswith("1 of ") and "mbpp/601." in each]) == 1
    assert len([each for each in limits if each.startswith("1 of ") and "mbpp/5000." in each]) == 1


@pytest.mark.fault("E17")
@pytest.mark.parametrize(("setup", "test"), PASS_CODE)
def test_a_problem_whose_tests_pass_code_in_another_way_is_left_out_too(tmp_path, setup, test):
    code = "def f(*all, **named):\n    return 1"
    rows = [row(11), row(12, "Write F.", code=code, tests=[test], setup=setup)]
    task = mbpp(str(written(tmp_path, *rows)))
    assert task.count("test") == 1
    assert any(each.startswith("1 of ") and "mbpp/12." in each for each in task.limits)


DEEP = ("x = " + "-" * 100_000 + "1", "(" * 300 + ")" * 300, "x = [" * 400, "if 1:\n" * 200 + "x", "\0")


@pytest.mark.parametrize(
    "code",
    ["x = " + "+".join("1" * 20_000), "x = " + ".".join("a" * 20_000), "x = " + "(" * 150 + "1" + ")" * 150, *DEEP],
    ids=lambda code: code[:9],
)
def test_code_that_is_too_deep_is_refused_or_read(code):
    for read in (lambda: python_of(code, "it"), lambda: functions_of("def f(): 1", code, ["assert f() == 1"], "row 1")):
        with suppress(TaskError):
            read()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"task_id": 1}], "line 1 of .* must have the text 'text': received the keys"),
        ([row(), row()], "two problems of .* have one task_id"),
        ([row(number="601")], "must have a number 'task_id'"),
        ([row(tests=[])], "the first test of line 1 of .* must call a function"),
        ([row(tests=["assert 1 == 1"])], "must call a function that the program defines"),
        ([row(tests=["assert f("])], "a test of line 1 of .* is no Python"),
        *(([row(code=code)], "the code of line 1 of .* is no Python") for code in DEEP),
        *(([row(tests=[code])], "a test of line 1 of .* is no Python") for code in DEEP),
        *(([row(setup=code)], "a test of line 1 of .* is no Python") for code in DEEP),
        *(([row() | {"test_list": wrong}], "'test_list' of line 1 .* must be a list") for wrong in (5, True, {"a": 1})),
        ([row(tests=[3])], "'test_list' of line 1 of .* must be a list of texts"),
        ([[]], "line 1 of .* must be an object: received a list"),
        ([], "holds no problem"),
    ],
)
def test_a_row_that_is_none_is_refused_by_file_and_line(tmp_path, rows, message):
    with pytest.raises(TaskError, match=message):
        mbpp(str(written(tmp_path, *rows)))


def test_files_that_are_not_there_and_a_hub_that_does_not_answer_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(TaskError, match=r"there is no file .*: name the file mbpp\.jsonl"):
        mbpp(str(tmp_path / "no" / "where" / "file.jsonl"))
    with pytest.raises(TaskError, match=r"there is no file .*: name the file HumanEval\.jsonl"):
        humaneval(str(tmp_path))
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(TaskError, match="cannot read"):
        humaneval(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, path in (("humaneval", "openai_humaneval"), ("mbpp", "google-research-datasets/mbpp")):
        with pytest.raises(TaskError, match=f"the hub did not give .* of {path} .*: download it yourself and name"):
            task_named(f"{name}:{path}")


def test_what_programs_are_not_kept_from_is_among_the_limits(sample):
    assert set(Sandlocked.not_protected) <= set(sample.limits)


# ---------------------------------------------------------------------------------------------------------- HumanEval
def stub(name="f"):
    prompt = f'def {name}(x):\n    """Return x and one more."""\n'
    test = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(-1) == 0\n"
    return {
        "task_id": "HumanEval/0",
        "prompt": prompt,
        "entry_point": name,
        "canonical_solution": "    return x + 1\n",
        "test": test,
    }


def test_a_file_written_as_humaneval_is_for_evaluation_only(tmp_path):
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(gzip.compress(json.dumps(stub()).encode()))
    task = humaneval(str(tmp_path))
    assert (task.count("train"), task.count("test")) == (0, 1)
    problem = task.problem("test", 0)
    assert "check" not in problem.prompt[0].content
    assert judged(task, problem, task.demonstration(problem)[1]).reward == 1.0
    assert judged(task, problem, problem.prompt[0].content).reward == 0.0
    assert judged(task, problem, "f = lambda x: x + 1").reward == 1.0
    assert judged(task, problem, "    return x + 1").reward == 0.0
    with pytest.raises(TaskError, match="has no problems in 'train'"):
        task.take("train", 0, 1)


@needs_humaneval
def test_solutions_of_humaneval_are_accepted():
    task = humaneval(str(HUMANEVAL))
    assert (task.count("train"), task.count("test")) == (0, 164)
    for index in (32, 38, 50, 53, 100):  # tests with helpers of the prompt, with random numbers, with a tolerance
        problem = task.problem("test", index)
        assert judged(task, problem, task.demonstration(problem)[1]).verdict is Verdict.CORRECT
        assert judged(task, problem, task.demonstration(problem)[1], task.audit).verdict is Verdict.CORRECT


@pytest.mark.soak
@needs_humaneval
def test_every_solution_of_humaneval_is_accepted_and_the_battery_is_refused_on_every_problem():
    task = humaneval(str(HUMANEVAL))
    for problem in task.take("test", 0, 164):
        assert judged(task, problem, task.demonstration(problem)[1]).verdict is Verdict.CORRECT
        for what, program in task.mistakes(problem).items():
            assert judged(task, problem, program).reward == 0, (problem.key, what)


def test_the_sample_is_a_file_that_anybody_can_read():
    assert [path.name for path in sorted((SAMPLES / "mbpp").iterdir())] == ["mbpp.jsonl"]

"""Grade school reads files written as GSM8K is, refuses others by file and line, and takes one number for an answer."""

import json
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.tasks import READ_TASKS, is_task, task_named
from poziomka.tasks.math.grade_school import HUB, SAMPLE
from poziomka.testing import check_task

ROW = {"question": "How many?", "answer": "One.\n#### 1"}


@pytest.fixture(scope="module")
def task():
    return task_named(f"grade_school:{SAMPLE}")


@pytest.fixture
def folder(tmp_path):
    """Writes a training split and returns the name of its task."""

    def write(text):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "train.jsonl").write_bytes(data)
        return f"grade_school:{tmp_path}"

    return write


def judged(problem, reply, task, stop=Stop.END):
    return judge(task.scorer, problem, Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=stop))


def test_it_keeps_a_tasks_contract(task):
    check_task(task)


def test_problems_are_those_of_the_file_in_its_order(task):
    rows = [json.loads(line) for line in (SAMPLE / "test.jsonl").read_text().splitlines()]
    problems = task.take("test", 0, len(rows))
    assert [problem.prompt[0].content for problem in problems] == [row["question"] for row in rows]
    assert [problem.answer for problem in problems] == ["120", "360", "14", "25", "7", "52", "14", "11"]
    assert (task.count("train") + task.count("validation"), task.count("test")) == (8, 8)


def test_the_gold_number_is_read_with_its_commas_sign_and_decimals(task):
    assert [task.source("train", index, None).answer for index in (2, 3, 4)] == ["2700", "-5", "2.5"]


def test_a_problems_level_is_the_number_of_steps_in_its_solution(task):
    assert [task.source("train", index, None).level for index in range(8)] == [2, 3, 2, 1, 1, 2, 1, 2]


def test_a_demonstration_is_the_solution_without_the_calculators_marks(task):
    thought, answer = task.demonstration(task.source("train", 0, None))
    assert thought == "Ola picks 3 * 40 = 120 berries.\n120 - 15 = 105 berries are left."
    assert answer == "105"
    assert task.demonstration(task.source("train", 7, None))[0].startswith("Adam is 6 + 2 = 8, and 8 < 9.")


@pytest.mark.parametrize("answer", ["2700", "2,700", "$2,700.00", "It sells 2,700 kg.", r"1,200 + 1,500: \boxed{2700}"])
def test_the_right_number_is_accepted_however_it_is_written(task, answer):
    score = judged(task.source("train", 2, None), f"<think> hm </think> {answer}", task)
    assert (score.reward, score.verdict, score.answer) == (1.0, Verdict.CORRECT, "2700")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("2701", Verdict.WRONG),
        ("27.00", Verdict.WRONG),
        ("-2700", Verdict.WRONG),
        ("2700 or 2800", Verdict.UNPARSED),
        ("1200 + 1500 = 2700", Verdict.UNPARSED),
        ("two thousand seven hundred", Verdict.UNPARSED),
        ("2.7 thousand", Verdict.UNPARSED),
        ("", Verdict.UNPARSED),
    ],
)
def test_anything_else_earns_nothing(task, answer, verdict):
    score = judged(task.source("train", 2, None), f"<think> 2700 </think> {answer}", task)
    assert (score.reward, score.verdict) == (0.0, verdict)


@pytest.mark.fault("E8")
@pytest.mark.parametrize(
    "answer",
    [
        *("2700 k", "2700 millions", "half of 2700", "2700 and a half", "2700 or twenty", "2700? No.", "nicht 2700"),
        *("can't be 2700", "twice 2700", "at least 2700", r"half of \boxed{2700}", r"-\boxed{2700}"),
    ],
)
def test_a_number_that_is_changed_or_denied_earns_nothing(task, answer):
    assert judged(task.source("train", 2, None), f"<think> hm </think> {answer}", task).reward == 0.0


@pytest.mark.fault("B10")
@pytest.mark.parametrize("answer", [r"\boxed{2{,}700}", r"\boxed{2700\text{ kg}}", r"2\,700", "2700kg", "x = 2700"])
def test_a_right_number_in_latex_is_right(task, answer):
    assert judged(task.source("train", 2, None), f"<think> hm </think> {answer}", task).correct


def test_a_loss_may_be_written_with_a_minus_sign(task):
    assert judged(task.source("train", 3, None), "<think> hm </think> −5", task).correct


def test_a_reply_that_was_cut_is_truncated(task):
    assert judged(task.source("train", 2, None), "<think> 2700", task, Stop.LENGTH).verdict is Verdict.TRUNCATED


def test_a_question_that_holds_its_answer_earns_nothing_when_it_is_repeated(folder):
    row = {"question": "Bo is 7 years older than his brother and twice his age. How old is the brother?"}
    task = task_named(folder(json.dumps(row | {"answer": "Twice is as much again.\n#### 7"})))
    assert judged(task.source("train", 0, None), f"<think> </think> {row['question']}", task).reward == 0.0
    assert judged(task.source("train", 0, None), "<think> </think> He is 7.", task).reward == 1.0


def test_white_space_around_a_question_makes_no_other_question(folder):
    rows = [
        ROW | {"question": f"{before}Question {n}?{after}"} for n in range(30) for before in " \n" for after in " \n"
    ]
    task = task_named(folder("\n".join(map(json.dumps, rows))))
    prompts = [{each.prompt for each in task.first(split, 200)} for split in ("train", "validation")]
    assert all(prompts)
    assert not prompts[0] & prompts[1]


def test_empty_lines_and_windows_line_ends_are_read(folder):
    task = task_named(folder("\r\n".join([json.dumps(ROW), "", json.dumps(ROW | {"question": "Who\x85?"}), ""])))
    assert (task.count("train"), task.count("validation")) == (1, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"train\.jsonl holds no problem"),
        ("\n\n", r"train\.jsonl holds no problem"),
        (json.dumps(ROW) + "\n{oops}\n", r"line 2 of .*train\.jsonl is not JSON: .*received '\{oops\}'"),
        ("[" * 100_000, r"line 1 of .*train\.jsonl nests lists and objects deeper"),
        ('{"question": "How many?"}', r"line 1 of .*must be an object .*received the keys \['question'\]"),
        ('{"question": 1, "answer": "#### 1"}', r"line 1 of .*must be an object with the texts"),
        ('{"question": " ", "answer": "One. #### 1"}', r"line 1 of .*must be an object with the texts"),
        ("[1]", r"line 1 of .*received a list"),
        ('{"question": "How many?", "answer": "One."}', r"line 1 of .*must end with '#### ' and one number: received"),
        ('{"question": "How many?", "answer": "One. #### one"}', r"the answer of line 1 .*received 'One. #### one'"),
        ('{"question": "How many?", "answer": "#### 1"}', r"the answer of line 1"),
        pytest.param(
            '{"question": "\\ud83d?", "answer": "#### 1"}', r"line 1 of .*half a ch", marks=pytest.mark.fault("B11")
        ),
        (b"\xff\xfe", r"line 1 of .*train\.jsonl is no UTF-8 text: its byte 0"),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_and_line(folder, text, words):
    with pytest.raises(TaskError, match=words) as caught:
        task_named(folder(text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_what_to_write(tmp_path):
    with pytest.raises(TaskError, match=r"there is no file .*train\.jsonl: name a folder with train\.jsonl"):
        task_named(f"grade_school:{tmp_path}")
    with pytest.raises(TaskError, match=r"there is no file .*nowhere/at/all"):
        task_named("grade_school:nowhere/at/all")


def test_a_missing_split_is_named_when_it_is_asked_for(folder):
    task = task_named(folder(json.dumps(ROW)))
    with pytest.raises(TaskError, match=r"there is no file .*test\.jsonl"):
        task.problem("test", 0)


def test_a_split_that_is_shorter_says_so(folder, tmp_path):
    name = folder("\n".join(json.dumps(ROW | {"question": f"How many {i}?"}) for i in range(3)))
    (tmp_path / "test.jsonl").write_text(json.dumps(ROW))
    task = task_named(name)
    with pytest.raises(TaskError, match="has 1 problems in 'test': there is no index 2"):
        task.problem("test", 2)


# ---------------------------------------------------------------------------------------------------------- the name
def test_a_task_that_is_read_says_how_to_name_it():
    with pytest.raises(TaskError, match="task 'grade_school' reads its problems: name it grade_school:FOLDER"):
        task_named("grade_school")
    with pytest.raises(TaskError, match="gsm8k:sample"):
        task_named("gsm8k")
    with pytest.raises(TaskError, match="unknown task 'grade_scool:data'; did you mean 'grade_school'"):
        task_named("grade_scool:data")


def test_names_of_both_tables_are_tasks():
    assert all(is_task(name) for name in ("sums", "recurrence", "grade_school:data", *READ_TASKS))
    assert not is_task("sums:3")
    assert not is_task("mine")


# ----------------------------------------------------------------------------------------------------------- the hub
@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache, laid out as huggingface_hub lays it out, with the training split; and no network."""
    commit = "0" * 40
    home = tmp_path / f"datasets--{HUB.replace('/', '--')}"
    file = home / "snapshots" / commit / "main/train-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text(commit)
    rows = [json.loads(line) for line in (SAMPLE / "train.jsonl").read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), file)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return file


def test_a_data_set_of_the_hub_is_read_from_its_cache(cache, task):
    assert task_named(f"grade_school:{HUB}").take("train", 0, 8) == task.take("train", 0, 8)


def test_a_bad_row_of_the_hub_is_named(cache):
    pq.write_table(pa.Table.from_pylist([ROW, ROW | {"answer": "none"}]), cache)
    with pytest.raises(TaskError, match=rf"the answer of row 1 of {HUB}/main/train-.* must end with"):
        task_named(f"grade_school:{HUB}")


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(b"PAR0")])
def test_what_the_hub_does_not_give_is_one_sentence(cache, spoil):
    spoil(cache)
    with pytest.raises(TaskError, match=rf"the hub did not give main/train-.* of {HUB} \(.*download it") as caught:
        task_named(f"grade_school:{HUB}")
    assert "\n" not in str(caught.value)


def test_without_the_hubs_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(TaskError, match="from the hub needs the package huggingface_hub: install it"):
        task_named(f"grade_school:{HUB}")


def test_solutions_keep_no_mark_of_the_calculator(task):
    assert not any(re.search("<<|>>", task.demonstration(each)[0]) for each in task.take("train", 0, 8))


@pytest.mark.fault("B14")
@pytest.mark.parametrize("name", ["grade_school", "competition", "humaneval", "mbpp", "programs"])
def test_a_home_folder_that_is_not_known_is_said(name):
    with pytest.raises(TaskError, match=r"the home folder of '~nobody-of-this-name/x' is not known"):
        task_named(f"{name}:~nobody-of-this-name/x")

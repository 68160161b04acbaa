"""Questions with answers from rows of yours: JSON Lines, with columns by any name, and data sets on the hub."""

import json

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

import poziomka as pz
from poziomka.core.errors import TaskError
from poziomka.tasks import files_of, is_task
from poziomka.testing import check_task

ROWS = [{"question": f"How many apples are in {n} bags of 3?", "answer": 3 * n} for n in range(2, 40)]


@pytest.fixture
def written(tmp_path):
    def written(*rows, file="rows.jsonl"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path

    return written


def test_a_file_is_dealt_to_three_disjoint_splits(written):
    task = pz.task_named(f"jsonl:{written(*ROWS)}")
    counts = {split: task.count(split) for split in ("train", "validation", "test")}
    assert sum(counts.values()) == len(ROWS)
    assert min(counts.values()) > 0
    check_task(task, problems=3)


def test_few_rows_leave_one_for_test(written):
    task = pz.task_named(f"jsonl:{written(*ROWS[:3])}")
    assert (task.count("test"), task.count("validation"), task.count("train")) == (1, 1, 1)


def test_a_folder_has_the_splits_of_its_files(written, tmp_path):
    written(*ROWS[:4], file="set/train.jsonl")
    written(*ROWS[4:6], file="set/test.jsonl")
    task = pz.task_named(f"jsonl:{tmp_path / 'set'}")
    assert (task.name, task.count("test")) == ("set", 2)
    assert task.problem("test", 0).answer == str(ROWS[4]["answer"])


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"prompt": "2 + 2?", "answer": "4"}, ""),
        ({"prompt": [{"role": "user", "content": "2 + 2?"}], "answer": "So it is.\n#### 4"}, ""),
        ({"text": "2 + 2?", "result": 4, "question": "no"}, "?question=text&answer=result"),
    ],
)
def test_columns_have_other_names_and_forms(written, row, options):
    others = [{name: f"{value} " for name, value in row.items() if name != "prompt"} | {"prompt": "3 + 3?"}]
    task = pz.task_named(f"jsonl:{written(row, row | others[0])}{options}")
    found = [task.problem(split, 0) for split in ("train", "test") if task.count(split)]
    assert any((each.prompt[-1].content, each.answer) == ("2 + 2?", "4") for each in found)


@pytest.mark.parametrize(
    ("gold", "reply", "verdict"),
    [
        ("12", "The answer is 12.", "correct"),
        ("12", "<think> 12 </think> 13", "wrong"),
        ("12", "12 or 13", "unparsed"),
        ("New York", "<think> Ohio </think> new york.", "correct"),
        ("New York", r"It is \boxed{New York}.", "correct"),
        ("New York", "York", "wrong"),
        ("New York", "<think> New York", "unparsed"),
    ],
)
def test_answers_are_compared_as_numbers_or_as_texts(written, gold, reply, verdict):
    task = pz.task_named(f"jsonl:{written({'question': 'Which?', 'answer': gold})}")
    problem = task.problem("train", 0)
    assert task.score(problem, pz.Transcript.of(problem.prompt) + pz.Span(pz.Author.MODEL, reply)).verdict == verdict


def test_a_scorer_of_ones_own_replaces_the_comparison(written):
    own = pz.task_named(f"jsonl:{written(*ROWS)}").limits
    task = pz.task_named(f"jsonl:{written(*ROWS)}", lambda problem, transcript: len(transcript.answer) / 10)
    assert (len(own), task.limits) == (2, ()), "the limits are those of the scorer that was replaced"
    problem = task.problem("train", 0)
    assert task.score(problem, pz.Transcript.of(problem.prompt) + pz.Span(pz.Author.MODEL, "abc")).reward == 0.3
    assert not task.trusted


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"text": "?", "answer": "1"}], "", r"line 1 of .* must have the column 'question' or 'prompt' or 'problem'"),
        ([{"question": "?"}], "", r"must have the column 'answer' .*name others by \?answer=COLUMN"),
        ([{"question": "?", "answer": "1"}], "?answers=a", r"unknown option 'answers' .*did you mean 'answer'"),
        ([{"question": "?", "answer": "1"}], "?answer=gold", "must have the column 'gold'"),
        (
            [{"question": "?", "answer": True}],
            "",
            "the answer of line 1 .* a text or a number: received a bool",
        ),
        ([{"question": "?", "answer": "#### "}], "", "the answer of line 1 .* is empty"),
        ([{"question": 3, "answer": "1"}], "", "the prompt of row 0 must be a text or chat messages: received a int"),
        ([], "", "holds no problem"),
    ],
)
def test_what_a_file_cannot_be_is_one_sentence(written, rows, options, message):
    with pytest.raises(TaskError, match=message):
        pz.task_named(f"jsonl:{written(*rows)}{options}").problem("train", 0)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(TaskError, match=r"there is no file .*nowhere\.jsonl: write one object a line"):
        pz.task_named(f"jsonl:{tmp_path / 'nowhere.jsonl'}")
    with pytest.raises(TaskError, match=r"holds no train\.jsonl and no test\.jsonl"):
        pz.task_named(f"jsonl:{tmp_path}")


def test_the_file_of_a_name_is_known_for_its_digest(written):
    path = written(*ROWS)
    assert files_of(f"jsonl:{path}?question=question") == [path]
    assert files_of("sums") == files_of("grade_school:sample") == []
    assert is_task("jsonl:anything")


# ------------------------------------------------------------------------------------------------------------ the hub
@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """A data set in the hub's cache, with the files that it lists; and no network."""
    home, commit = tmp_path / "datasets--some--fruit", "0" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(commit)
    files = [f"{config}/{split}-00000-of-00001.parquet" for config in ("main", "more") for split in ("train", "test")]
    for file in files:
        path = home / "snapshots" / commit / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(ROWS[:20] if "train" in file else ROWS[20:]), path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: ["README.md", *files])


def test_a_data_set_of_the_hub_has_its_own_splits(data_set):
    task = pz.task_named("hf:some/fruit?config=main")
    assert (task.name, task.count("test")) == ("some-fruit", len(ROWS) - 20)
    assert task.count("train") + task.count("validation") == 20


def test_a_data_set_with_several_configs_says_which(data_set):
    with pytest.raises(TaskError, match=r"has the configs main, more: name one, hf:some/fruit\?config=NAME"):
        pz.task_named("hf:some/fruit")


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", refuse)
    with pytest.raises(TaskError, match=r"the hub did not list the files of some/fruit \(OSError\): download it"):
        pz.task_named("hf:some/fruit")

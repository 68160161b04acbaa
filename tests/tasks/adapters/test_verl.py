"""verl's own scorers, read from the files of its wheel: importing verl itself needs ray and more."""

import importlib.util
from functools import partial
from pathlib import Path

import pytest
from datasets import Dataset

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript, split_thought
from poziomka.tasks.adapters import Scale, from_verl, one_box
from poziomka.testing import check_task

ENVIRONMENT = Path(__file__).resolve().parents[3] / ".envs/verl"


def scorer_of_verl(name):
    """`compute_score` of one of verl's files."""
    found = list(ENVIRONMENT.glob(f"lib/python3*/site-packages/verl/utils/reward_score/{name}.py"))
    if not found:
        pytest.fail(f"verl's scorers were not tried: there is no {ENVIRONMENT}, and `make peers` builds it")
    spec = importlib.util.spec_from_file_location(f"verl_{name}", found[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compute_score


def called(compute_score, data_source, solution_str, ground_truth, extra_info):
    """As verl's `default_compute_score` calls one of its files."""
    return compute_score(solution_str, ground_truth)


def compute(name):
    return partial(called, scorer_of_verl(name))


def rows(source="openai/gsm8k", count=40):
    return [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"What is {number} + {number + 1}?"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(2 * number + 1)},
            "extra_info": {"split": "train", "index": number},
        }
        for number in range(10, 10 + count)
    ]


def marked(row):
    return f"#### {row['reward_model']['ground_truth']}"


def boxed(row):
    return rf"\boxed{{{row['reward_model']['ground_truth']}}}"


def one_mark(reply):
    """An answer that is "#### " and one word, and nothing else."""
    answer = split_thought(reply)[1] or ""
    return answer if answer.startswith("#### ") and len(answer.split()) == 2 and len(answer) < 40 else None


def said(problem, reply):
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=Stop.END)


def first(compute_score, reply, **settings):
    task = from_verl("sums", {"train": rows(count=1)}, compute_score, **settings)
    problem = task.problem("train", 0)
    return judge(task.scorer, problem, said(problem, reply))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["gsm8k", "math_reward", "math_dapo"])
def test_rewards_are_those_of_verl(name, tmp_path):
    Dataset.from_list(rows()).to_parquet(tmp_path / "train.parquet")
    scale = Scale(-1, 1)
    task = from_verl("sums", Dataset.from_parquet(str(tmp_path / "train.parquet")), compute(name), scale=scale)
    theirs, seen = scorer_of_verl(name), set()
    for index in range(12):
        problem = task.problem("train", index)
        truth = problem.facts["columns"]["reward_model"]["ground_truth"]
        for reply in (f"#### {truth}", rf"\boxed{{{truth}}}", rf"\boxed{{{truth}}} " + "hm " * 200, f"Answer: {truth}"):
            expected = theirs(reply, truth)
            expected = expected["score"] if isinstance(expected, dict) else expected
            assert task.scorer(problem, said(problem, reply)).reward == (expected + 1) / 2
            seen.add(expected)
    assert len(seen) == 2


@pytest.mark.peers
def test_gsm8k_passes_the_trial_behind_a_strict_reader():
    check_task(from_verl("sums", rows(), compute("gsm8k"), read=one_mark, gold=marked), problems=3)


@pytest.mark.peers
def test_math_passes_the_trial_behind_a_strict_reader():
    check_task(from_verl("sums", rows(), compute("math_reward"), read=one_box, gold=boxed), problems=3)


@pytest.mark.peers
def test_the_trial_catches_what_reads_thoughts():
    with pytest.raises(AssertionError, match="received correct"):
        check_task(from_verl("sums", rows(), compute("gsm8k"), gold=marked), problems=1)


@pytest.mark.peers
def test_a_mapping_of_scores_is_kept_in_parts():
    score = first(compute("math_dapo"), "Answer: 21", scale=Scale(-1, 1))
    assert score.correct
    assert dict(score.parts) == {"score": 1, "acc": 1}
    assert "pred 21" in score.why


def test_the_function_is_given_what_verl_gives():
    given = []

    def look(**call):
        given.append(call)
        return 1

    assert first(look, "word").correct
    extra = {"split": "train", "index": 10, "num_turns": None, "rollout_reward_scores": {}}
    call = {"data_source": "openai/gsm8k", "solution_str": "word", "ground_truth": "21", "extra_info": extra}
    assert given == [call]


def test_a_coroutine_is_awaited():
    async def late(**_):
        return 0.5

    assert first(late, "word").reward == 0.5


@pytest.mark.parametrize("said_", [None, "1", float("nan"), {"acc": 1.0}, 2.0])
def test_what_is_no_score_in_range_is_an_error(said_):
    score = first(lambda **_: said_, "word")
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)


def test_a_row_without_a_right_answer_is_refused():
    with pytest.raises(TaskError, match=r"reward_model\['ground_truth'\]"):
        from_verl("sums", {"train": [{"prompt": "x", "data_source": "y"}]}, len).problem("train", 0)

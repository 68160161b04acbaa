"""TRL's own reward functions, data sets and trainer: what GRPOTrainer would reward, and what the trial finds."""

import asyncio
import math
import types
from functools import partial

import pytest
from datasets import Dataset, DatasetDict
from trl.rewards import (
    accuracy_reward,
    get_cosine_scaled_reward,
    get_soft_overlong_punishment,
    reasoning_accuracy_reward,
    think_format_reward,
)

from poziomka.core.errors import TaskError
from poziomka.core.problem import Verdict
from poziomka.core.rollouts.scoring import judge
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact
from poziomka.tasks.adapters import Scale, after_thought, from_trl, one_box
from poziomka.testing import check_task

SUMS = [
    {"prompt": [{"role": "user", "content": f"What is {a} + {b}?"}], "solution": str(a + b)}
    for a in range(11, 17)
    for b in range(21, 27)
]
REPLIES = [
    r"<think> 11 + 21 = 32 </think> \boxed{32}",
    r"<think> 11 + 21 = 33 </think> \boxed{33}",
    r"\boxed{32}",
    r"<think> \boxed{32} and I go on",
    "",
    r"<think> hm </think> \boxed{31} \boxed{32}",
]


def boxed(row):
    return rf"\boxed{{{row['solution']}}}"


def said(problem, reply, tokens=None):
    ids = None if tokens is None else compact(tokens)
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, tokens=ids, stop=Stop.END)


def exact(completions, solution, **columns):
    """Pays for the very words; what a sound reward function may look like."""
    return [float(words[0]["content"] == right) for words, right in zip(completions, solution, strict=True)]


async def short(completions, **columns):
    await asyncio.sleep(0)
    return [max(0.0, 1 - len(words[0]["content"]) / 100) for words in completions]


def sometimes(completions, solution, **columns):
    """Says nothing of odd sums."""
    return [None if int(right) % 2 else 1.0 for right in solution]


def rewards_of_trl(functions, weights, rows, replies, tokens):
    """What GRPOTrainer computes: its own `_calculate_rewards` on a bare trainer, and its sum of what is not nan."""
    import torch
    from transformers import TrainerState
    from trl import GRPOTrainer
    from trl.trainer import grpo_trainer

    trainer = object.__new__(GRPOTrainer)
    trainer.accelerator = types.SimpleNamespace(device="cpu", num_processes=1, is_main_process=True)
    trainer.reward_funcs, trainer.reward_processing_classes = functions, [None] * len(functions)
    trainer.reward_func_names = [getattr(each, "__name__", "partial") for each in functions]
    trainer.state, trainer.environments = TrainerState(), None
    trainer.args = types.SimpleNamespace(report_to=[])
    trainer._log_completion_extra = trainer._log_metric = lambda *_: None
    trainer._current_train_step_time = 0.0
    thread, loop, ready = grpo_trainer.start_event_loop_in_daemon()
    ready.wait()
    trainer.async_loop = loop
    try:
        prompts = [row["prompt"] for row in rows]
        completions = [[{"role": "assistant", "content": reply}] for reply in replies]
        each = trainer._calculate_rewards(rows, prompts, completions, tokens)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    return (each * torch.tensor(weights)).nansum(dim=1).tolist(), each.tolist()


def test_rewards_are_those_of_grpo_trainer():
    functions = [accuracy_reward, reasoning_accuracy_reward, think_format_reward, short, sometimes]
    functions += [get_soft_overlong_punishment(8, 4), get_cosine_scaled_reward(10)]
    weights, scale = [1.0, 0.5, 0.1, 0.3, 0.2, 1.0, 0.25], Scale(low=-2.0, high=4.0)
    rows, replies = [SUMS[0], SUMS[1]] * len(REPLIES), [reply for reply in REPLIES for _ in range(2)]
    tokens = [list(range(1 + number)) for number in range(len(replies))]
    totals, each = rewards_of_trl(functions, weights, rows, replies, tokens)
    task = from_trl("sums", {"train": rows}, functions, weights, scale=scale)
    for index, (reply, ids) in enumerate(zip(replies, tokens, strict=True)):
        problem = task.source("train", index, None)
        score = task.scorer(problem, said(problem, reply, ids))
        assert scale.low + score.reward * 6.0 == pytest.approx(totals[index], abs=1e-5)
        theirs = [value for value in each[index] if not math.isnan(value)]
        assert list(score.parts.values()) == pytest.approx(theirs, abs=1e-5)
    assert len({round(total, 4) for total in totals}) > 6


def test_a_sound_function_passes_the_trial():
    check_task(from_trl("sums", Dataset.from_list(SUMS), exact, read=after_thought, gold="solution"), problems=4)


def test_the_accuracy_reward_passes_the_trial_behind_a_strict_reader():
    check_task(from_trl("sums", Dataset.from_list(SUMS), accuracy_reward, read=one_box, gold=boxed), problems=3)


def test_the_trial_catches_the_accuracy_reward_that_reads_thoughts():
    task = from_trl("sums", SUMS, accuracy_reward, gold=boxed)
    with pytest.raises(AssertionError, match="the answer in the thought only"):
        check_task(task, problems=2)


def formatted(completions, **columns):
    """A planted fault: pays for the form alone."""
    return [float("</think>" in words[0]["content"]) for words in completions]


def test_the_trial_catches_a_reward_for_format_only():
    with pytest.raises(AssertionError, match=r"a scorer refuses '.*33}'"):
        check_task(from_trl("sums", {"train": SUMS[:1]}, formatted, gold=boxed), splits=["train"], problems=1)


def test_the_trial_catches_a_bonus_for_format():
    task = from_trl("sums", SUMS, [reasoning_accuracy_reward, formatted], [0.9, 0.1], gold=boxed)
    with pytest.raises(AssertionError, match=r"with reward 0\.1 "):
        check_task(task, problems=1)


def test_the_trial_catches_the_format_reward_of_trl():
    task = from_trl("sums", SUMS, think_format_reward, gold=boxed)
    with pytest.raises(AssertionError, match="a scorer accepts the gold answer"):  # not after a template's " <think>"
        check_task(task, problems=1)


def test_a_prompt_of_text_is_completed_in_text():
    seen = {}

    def look(prompts, completions, **columns):
        seen.update(prompts=prompts, completions=completions, columns=sorted(columns))
        return [1.0]

    task = from_trl("texts", [{"prompt": "Say a word.", "colour": "red"}], look)
    split = "train" if task.count("train") else "test"
    problem = task.problem(split, 0)
    assert task.scorer(problem, said(problem, "word")).reward == 1
    assert seen["prompts"] == ["Say a word."]
    assert seen["completions"] == ["word"]
    assert seen["columns"] == ["colour", "completion_ids", "log_extra", "log_metric"]


def test_splits_of_a_dataset_dict_are_kept():
    rows = DatasetDict(train=Dataset.from_list(SUMS[:30]), test=Dataset.from_list(SUMS[30:]))
    task = from_trl("sums", rows, exact, gold="solution")
    assert [task.count(split) for split in ("train", "test", "validation")] == [28, 6, 2]  # of 30
    assert task.problem("test", 0).answer == SUMS[30]["solution"]


def test_rows_without_splits_are_dealt_by_prompt():
    rows = [{"prompt": f"question {number % 50}", "solution": "1"} for number in range(400)]
    task = from_trl("dealt", rows, exact)
    splits = ("train", "validation", "test")
    keys = [{task.problem(split, i).key for i in range(task.count(split))} for split in splits]
    assert sum(task.count(split) for split in splits) == 400
    assert sum(map(len, keys)) == len(set.union(*keys))
    assert all(keys)


def test_white_space_around_a_prompt_makes_no_other_prompt():
    rows = [{"prompt": f"question {n}{after}", "solution": "1"} for n in range(50) for after in ("", " ", "\n")]
    task = from_trl("dealt", rows, exact)
    prompts = [
        {each.prompt[0].content.strip() for each in task.first(split, 200)} for split in ("train", "validation", "test")
    ]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 50


def first(function, reply="x", **settings):
    task = from_trl("one", {"train": SUMS[:1]}, function, **settings)
    problem = task.problem("train", 0)
    return judge(task.scorer, problem, said(problem, reply))


def test_a_reward_outside_its_scale_is_an_error_and_is_not_clipped():
    score = first(lambda **_: [1.5])
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)
    assert "outside the scale from 0 to 1" in score.why


def test_a_declared_scale_maps_its_ends_to_0_and_1():
    rewards = [first(lambda value=value, **_: [value], scale=Scale(-1, 3)).reward for value in (-1, 0, 1, 3)]
    assert rewards == [0, 0.25, 0.5, 1]


def test_an_answer_counts_as_correct_from_where_the_scale_says():
    verdicts = [first(lambda value=value, **_: [value], scale=Scale(right=0.5)).verdict for value in (0.4, 0.5)]
    assert verdicts == [Verdict.WRONG, Verdict.CORRECT]


def test_a_scale_upside_down_is_refused():
    with pytest.raises(TaskError, match="low < right <= high"):
        Scale(1, 0)


def test_what_does_not_apply_is_left_out_of_the_sum():
    score = first([lambda **_: [None], lambda **_: [0.5]])
    assert score.reward == 0.5
    assert list(score.parts.values()) == [0.5]


def test_where_nothing_applies_nothing_was_judged():
    score = first(sometimes) if int(SUMS[0]["solution"]) % 2 else first(lambda **_: [None])
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1.0", [1.0, 1.0]])
def test_what_is_no_reward_is_an_error(value):
    score = first(lambda **_: value if isinstance(value, list) else [value])
    assert (score.verdict, score.reward) == (Verdict.ERROR, None)


def test_a_function_that_raises_is_an_error_and_no_reward():
    score = first(lambda **_: [1 / 0])
    assert score.verdict is Verdict.ERROR
    assert "ZeroDivisionError" in score.why


def test_who_counts_tokens_that_nobody_has_fails_instead_of_counting_none():
    assert first(get_soft_overlong_punishment(8, 4), scale=Scale(-1, 0)).verdict is Verdict.ERROR


def test_what_a_function_logs_is_kept():
    score = first([accuracy_reward], r"\boxed{7}")
    assert "answer_parsed" in score.why
    assert first(lambda log_metric, **_: log_metric("depth", 3) or [1.0]).parts["metric/depth"] == 3


def test_two_functions_of_a_name_are_both_asked():
    score = first([partial(exact), partial(exact)], SUMS[0]["solution"], scale=Scale(high=2))
    assert dict(score.parts) == {"exact": 1.0, "exact#2": 1.0}


@pytest.mark.parametrize(
    ("rows", "function", "message"),
    [
        (SUMS, [], "needs a weight for each function"),
        (SUMS, "some/reward-model", "reward models are not supported"),
        (SUMS, lambda completions, trainer_state: [1.0], "asks for 'trainer_state'"),
        ([], exact, "has no rows"),
        (iter(SUMS), exact, "has no length"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_a_sentence(rows, function, message):
    with pytest.raises(TaskError, match=message):
        from_trl("refused", rows, function)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": None}, "must be a text or chat messages"),
        ({"prompt": [{"role": "king", "content": "x"}]}, "must have a role"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "holds a part of type 'image'"),
        ({"prompt": "x", "when": {1, 2}}, "column 'when' of row 0 of 'train' is no plain data"),
    ],
)
def test_a_row_that_is_no_plain_text_is_refused_by_name(row, message):
    with pytest.raises(TaskError, match=message):
        from_trl("refused", {"train": [row]}, exact).problem("train", 0)

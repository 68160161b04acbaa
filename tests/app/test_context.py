"""One row that is too long never ends a run."""

from dataclasses import replace

import pytest

from poziomka.app.build import build, sampler_of
from poziomka.app.doctor import Bench, parts_of
from poziomka.app.doctor.cost import memory
from poziomka.app.preflight import in_words, needs
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import train
from poziomka.core.problem import Problem, Score
from poziomka.core.task import Task
from poziomka.core.transcript import Message, Transcript
from poziomka.runs import Run
from poziomka.tasks import task_named

SMALL = {
    "name": "small",
    "threads": 1,
    "model": {
        "new": {
            "width": 16,
            "layers": 1,
            "heads": 2,
            "context": 40,
        }
    },
    "stage": [
        {"kind": "sft", "steps": 2, "demonstrations": {"tokens_per_step": 100}},
        {
            "kind": "rl",
            "require": {"thinking_gain": -1.0, "problems": 10},
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 2,
            "max_tokens": 12,
            "max_thinking_tokens": 8,
        },
    ],
    "evaluate": {
        "budgets": [2, 8],
        "problems": 10,
        "attempts": 1,
        "votes": [1],
        "vote_problems": 10,
        "curve_problems": 10,
        "every": 100,
    },
}


def some_long(*, size=None):
    """The task of the default recipe; each fourth problem is asked ten times over."""
    task = task_named("recurrence")

    def source(split, index, level):
        problem = task.source(split, index, level)
        if index % 4:
            return problem
        (message,) = problem.prompt
        long = replace(message, content=" ".join([message.content] * 10))
        return replace(problem, task=task.name, prompt=(long,))

    return replace(task, source=source, size=size)


@pytest.mark.fault("A1")
@pytest.mark.parametrize("size", [None, 64])
def test_a_run_over_some_overlong_prompts_ends_with_a_report(tmp_path, size):
    task = some_long(size=size)
    report = train(recipe_of(SMALL), tmp_path, task, keep_watch=False)
    run = Run.read(tmp_path)
    assert report.is_file()
    assert [line["step"] for line in run.metrics() if line["stage"] == "rl"] == [3, 4]
    noted = (tmp_path / "notes.log").read_text() if (tmp_path / "notes.log").is_file() else ""
    if size is None:
        assert "prompts are left out" not in noted
    else:
        lengths = [len(problem.prompt[0].content) for problem in task.first("train", size)]
        long = sum(length > 5 * min(lengths) for length in lengths)
        assert 0 < long < len(lengths)
        assert f"{long} of {len(lengths)} training prompts are left out" in noted
    assert run.results("frontier") is not None


@pytest.mark.fault("A1")
def test_a_reply_longer_than_the_context_is_cut_there(tmp_path):
    """The reported input, 5,000 tokens of a reply, with a context of 40 instead of 4,096."""
    train(recipe_of(SMALL, ("rl.max_tokens=5000", "rl.max_thinking_tokens=4000")), tmp_path, keep_watch=False)
    lengths = [line["length/mean"] for line in Run.read(tmp_path).metrics() if "length/mean" in line]
    assert max(lengths, default=0) <= 40


@pytest.mark.parametrize(("asked", "wanted"), [(None, 40), (30, 30), (5000, 40)])
def test_the_context_comes_from_the_model_and_the_recipe(asked, wanted):
    recipe = recipe_of(SMALL | {"model": SMALL["model"] | ({"context": asked} if asked else {})})
    assert sampler_of(recipe, build(recipe)).context == wanted


@pytest.mark.fault("A1")
def test_a_prompt_that_cannot_be_read_does_not_end_the_estimate_of_memory():
    built = build(recipe_of(SMALL))
    prompts = [Transcript.of([Message("user", text)]) for text in ("eleven", "1 2 3")]
    settings = recipe_of(SMALL).named("rl")
    assert needs(built.model, built.chat, prompts, settings) == needs(built.model, built.chat, prompts[1:], settings)


@pytest.mark.fault("A1")
def test_prompts_that_the_chat_format_refuses_do_not_end_a_run(values, tmp_path):
    """Two of the first training problems hold half a character."""

    def source(split, index, level):
        words = "\ud83d" if split == "train" and index in (1, 2) else f"What is {index}?"
        return Problem.ask("echo", f"{split}{index}", words, str(index))

    task = Task("echo", source, lambda problem, transcript: Score.wrong(""), size=40)
    train(recipe_of(values, ("sft.steps=0", "rl.failures=1")), tmp_path, task, keep_watch=False)
    assert Run.read(tmp_path).latest().step == 3


@pytest.mark.fault("A12")
def test_the_doctor_counts_memory_within_the_recipes_context():
    parts = parts_of(recipe_of(SMALL, ("model.context=20", "rl.max_tokens=5000", "rl.max_thinking_tokens=4000")))
    bench = Bench(parts)
    within = needs(parts.model, parts.chat, bench.prompts, parts.settings, context=20)
    assert within != needs(parts.model, parts.chat, bench.prompts, parts.settings)
    assert memory(bench).figure.startswith(in_words(within))

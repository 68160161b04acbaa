"""Prompts, demonstrations and rollouts that a model cannot read whole are left out and counted."""

import copy

import pytest
import torch

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.learning.curriculum.prompt_limits import fitting
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.objectives.logprobs import logprobs_of
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.config import TransformerSettings


def task_of(texts, **more):
    """A task of these prompts in each split, whose demonstrations repeat the prompt."""

    def source(split, index, level):
        return Problem.ask("texts", f"{split}{index}", texts[index], "a")

    def shown(problem):
        return problem.prompt[0].content, "a"

    scorer = lambda problem, transcript: Score.wrong("")  # noqa: E731 what it says does not matter
    return Task("texts", source, scorer, size=len(texts), trusted=True, demonstration=shown, splits=SPLITS, **more)


@pytest.mark.fault("A1")
def test_overlong_and_unreadable_prompts_are_left_out_and_counted(chat):
    found = fitting(task_of(["c", "a", "b " * 40, "a b"]), chat, context=32, tokens=8)
    assert (found.overlong, found.unread, found.task.count("train")) == (1, 1, 2)
    assert [found.task.problem("train", index).prompt[0].content for index in range(2)] == ["a", "a b"]
    assert found.task.problem("test", 2).prompt[0].content == "b " * 40, "other splits stay whole"
    assert found.notes[0].startswith("1 of 4 training prompts are left out: they are longer than 24 tokens")


@pytest.mark.fault("A1")
def test_a_reply_longer_than_the_context_is_noted_and_prompts_may_have_half_of_it(chat):
    found = fitting(task_of(["a " * 10, "a " * 20]), chat, context=32, tokens=5000)
    assert found.overlong == 1
    assert found.notes[0] == "a reply of 5000 tokens does not fit the context of 32: it is cut there"


def test_nothing_is_left_out_where_everything_fits(chat):
    task = task_of(["a", "a b"])
    assert fitting(task, chat, context=32, tokens=8).task is task
    assert fitting(task_of(["c"]), chat, context=None, tokens=8).task.count("train") == 1


@pytest.mark.fault("A1")
def test_a_task_of_overlong_prompts_only_is_refused_in_words(chat):
    with pytest.raises(
        TaskError, match=r"no training problem of task 'texts' can be answered: 2 of 2 .* raise the context"
    ):
        fitting(task_of(["a " * 40] * 2), chat, context=32, tokens=8)
    with pytest.raises(TaskError, match=r"1 of 2 .* longer than 24 tokens.*; 1 of 2 .* cannot read them"):
        fitting(task_of(["a " * 40, "c"]), chat, context=32, tokens=8)


@pytest.mark.fault("A1")
def test_demonstrations_that_cannot_be_shown_are_replaced_by_others_and_counted(chat):
    texts = ["a", "b " * 40, "c", "b"]
    lessons = Lessons(task_of(texts), chat, LessonSettings(tokens_per_step=200, direct_share=0.0), 0, 32)
    shown = lessons.at(1, 10)
    assert sum(map(len, shown)) >= 200
    assert max(map(len, shown)) <= 32
    assert any("longer than the context of 32 tokens" in note for note in lessons.notes)
    assert any("'c'" in note or " c" in note for note in lessons.notes)


def test_of_many_reasons_the_most_frequent_are_named_and_the_others_counted(chat):
    texts = ["a", *(f"c{number}" for number in range(40))]
    lessons = Lessons(task_of(texts), chat, LessonSettings(tokens_per_step=50, direct_share=0.0), 0, 32)
    lessons.at(1, 10)
    counts = [int(note.partition(" ")[0]) for note in lessons.notes]
    assert len(counts) == 6
    assert sum(counts) == lessons.left_out.total()
    assert lessons.notes[-1].endswith("demonstrations were left out for other reasons")


def test_demonstrations_that_all_fit_are_those_without_a_context(chat):
    one, two = (Lessons(task_of(["a", "b"]), chat, LessonSettings(tokens_per_step=50), 0, most) for most in (None, 32))
    assert [each.tokens for each in one.at(3, 10)] == [each.tokens for each in two.at(3, 10)]


@pytest.mark.fault("A1")
def test_a_task_without_a_demonstration_that_can_be_shown_is_refused_in_words(chat):
    with pytest.raises(TaskError, match="no demonstration of task 'texts' can be shown"):
        Lessons(task_of(["a " * 40]), chat, LessonSettings(direct_share=0.0), 0, 32).at(1, 10)


@pytest.mark.fault("A1")
def test_what_the_learner_cannot_read_is_cut_off_and_changes_nothing(chat):
    """A tool's last answer, after which nothing was written, may lie beyond the context."""
    settings = TransformerSettings(width=16, layers=1, heads=2, context=8)
    model = build_model("transformer", settings, len(chat.tokenizer), 0)
    short = Transcript((Span(Author.USER, "", compact([1] * 4)), Span(Author.TEACHER, "", compact([3, 4, 3, 4]))))
    long = short + Span(Author.ENVIRONMENT, "", compact([1] * 20))
    weights = []
    for transcript in (short, long):
        learner = Learner(copy.deepcopy(model), LearnerSettings(), 1.0)
        batch = learner.pack(imitation_examples([transcript], [Author.TEACHER]))
        assert batch.real == 8
        learner.step(batch, 1e-2)
        weights.append(learner.weights())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(logprobs_of(model, long.tokens, 1.0), logprobs_of(model, short.tokens, 1.0))

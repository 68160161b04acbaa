"""Fine-tuning learns a teacher's words, and only those; it repeats, and resumes as if it had not stopped."""

import pytest
import torch

from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.loops.sft import finetune
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.learning.session import Interrupted, TrainingSession


@pytest.fixture
def start(open_run, learner_of, build, tokenizer):
    def start(name="run", every=4, seed=0):
        return TrainingSession(open_run(name), learner_of(build(seed=seed), learning_rate=1e-2), tokenizer, every)

    return start


@pytest.fixture
def lessons(chat):
    """Answer with the symbol of the prompt; six of them, in another order each update."""

    def lessons(update):
        symbols = ["a", "b", "a" if update % 2 else "b"] * 2
        return [chat.demonstrate(Transcript.of(Problem.ask("t", "k", f" {s}").prompt), s, s) for s in symbols]

    return lessons


def column(progress, name):
    return [line[name] for line in progress.run.metrics()]


def weights(progress):
    return progress.learner.weights()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_falls(start, lessons):
    progress = start()
    finetune(progress, lessons, 40)
    losses = column(progress, "loss/next_token")
    assert losses[0] > 1.5
    assert losses[-1] < 0.05


def test_only_the_chosen_authors_tokens_are_learned(start, lessons):
    progress = start()
    finetune(progress, lessons, 1)
    assert column(progress, "tokens/learned_from") == [6 * 4]  # thought, close, answer, end
    finetune(progress, lessons, 2, start=1, authors=(Author.TEACHER, Author.USER))
    assert column(progress, "tokens/learned_from")[1] == 6 * 5


def test_every_update_is_logged_with_its_stage_and_cost(start, lessons):
    progress = start()
    finetune(progress, lessons, 3, stage="replay")
    assert column(progress, "stage") == ["replay"] * 3
    assert column(progress, "step") == [1, 2, 3]
    learner = progress.learner
    flops = learner.flops(learner.pack(imitation_examples(lessons(1), (Author.TEACHER,))))
    assert column(progress, "compute/finetune_flops") == pytest.approx([flops, 2 * flops, 3 * flops])
    assert column(progress, "compute/finetune_tokens") == [42, 84, 126]


def test_the_rate_follows_the_schedule(start, lessons, learner_of, build):
    progress = start()
    progress.learner = learner_of(build(), learning_rate=1e-2, warmup_steps=2, decay_ratio=0.5)
    finetune(progress, lessons, 8)
    assert column(progress, "optim/lr") == pytest.approx([5e-3, 1e-2, 1e-2, 1e-2, 1e-2, 7.5e-3, 5e-3, 2.5e-3])


def test_what_comes_after_an_update_comes_before_it_is_saved(start, lessons):
    progress = start(every=2)
    seen = []

    def after(update):
        newest = progress.run.latest()
        seen.append((update, len(progress.run.metrics()), newest.step if newest else None))

    finetune(progress, lessons, 3, after=after)
    assert seen == [(1, 1, None), (2, 2, None), (3, 3, 2)]
    assert progress.run.latest().step == 3


def test_two_runs_are_the_same_bit_for_bit(start, lessons):
    one, two = start("one"), start("two")
    for progress in (one, two):
        finetune(progress, lessons, 6)
    assert same(weights(one), weights(two))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(start, lessons):
    whole, stopped = start("whole"), start("stopped")
    finetune(whole, lessons, 10)

    def stop(update):
        stopped.stop = update == 5

    with pytest.raises(Interrupted):
        finetune(stopped, lessons, 10, after=stop)
    resumed = start("stopped", seed=8)
    resumed.restore()
    assert resumed.step == 5
    finetune(resumed, lessons, 10, start=resumed.step)
    assert same(weights(whole), weights(resumed))
    clocked = {"time/data_seconds", "time/learning_seconds"}
    assert [{k: v for k, v in line.items() if k not in clocked} for line in resumed.run.metrics()] == [
        {k: v for k, v in line.items() if k not in clocked} for line in whole.run.metrics()
    ]


def test_where_all_updates_are_done_nothing_happens(start, lessons):
    progress = start()
    finetune(progress, lessons, 3, start=3)
    assert progress.run.metrics() == []

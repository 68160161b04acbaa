"""What a loop has reached is logged, saved and taken up again."""

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from poziomka.core.errors import CheckpointError
from poziomka.core.transcript import Author
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.learning.session import OPTIMIZER, Clock, Interrupted, TrainingSession


@pytest.fixture
def progress_of(open_run, learner_of, build, tokenizer):
    def progress_of(name="run", seed=0, every=2, listener=None):
        return TrainingSession(open_run(name), learner_of(build(seed=seed)), tokenizer, every, listener)

    return progress_of


@pytest.fixture
def learn(rollout):
    """Takes a step, so that there is a state worth saving."""
    batch = Batch.pack(imitation_examples([rollout().transcript], [Author.MODEL]))

    def learn(progress, steps=1):
        for _ in range(steps):
            progress.learner.step(batch, 1e-2)
            progress.step += 1

    return learn


def test_a_line_holds_the_step_its_metrics_and_what_was_spent(progress_of):
    heard = []
    progress = progress_of(listener=lambda stage, line: heard.append((stage, dict(line))))
    progress.step = 3
    progress.spend(reinforce_flops=5.0)
    progress.spend(reinforce_flops=2.0, sampled_tokens=1.0)
    progress.log("reinforce", {"reward/mean": 0.5})
    (line,) = progress.run.metrics()
    wanted = {"step": 3, "reward/mean": 0.5, "compute/reinforce_flops": 7.0, "compute/sampled_tokens": 1.0}
    assert {name: line[name] for name in wanted} == wanted
    assert heard == [("reinforce", wanted)]


def test_without_a_listener_it_logs_all_the_same(progress_of):
    progress = progress_of()
    progress.log("warm_start", {})
    assert [line["stage"] for line in progress.run.metrics()] == ["warm_start"]


def test_a_checkpoint_is_saved_every_so_often_and_at_the_end(progress_of, learn):
    progress = progress_of(every=3)
    saved = []
    for step in range(1, 8):
        learn(progress)
        progress.done(last=step == 7)
        newest = progress.run.latest()
        saved.append(newest.step if newest else None)
    assert saved == [None, None, 3, 3, 3, 6, 7]


def test_a_checkpoint_is_saved_where_steps_are_slow(progress_of, learn, monkeypatch):
    monkeypatch.setattr("poziomka.learning.session.MOST_UNSAVED", 0.0)
    progress = progress_of(every=1000)
    learn(progress)
    progress.done()
    assert progress.run.latest().step == 1


def test_to_stop_is_to_save_first(progress_of, learn):
    progress = progress_of(every=100)
    learn(progress)
    progress.stop = True
    with pytest.raises(Interrupted, match=r"stopped after step 1; go on with: poziomka train --resume .*run"):
        progress.done()
    assert progress.run.latest().step == 1


def test_it_goes_on_from_the_newest_checkpoint_bit_for_bit(progress_of, learn):
    one = progress_of()
    one.extra["curriculum"] = lambda: {"place": 7}
    learn(one, 4)
    one.spend(tokens=12.0)
    one.seconds["sampling"] = 1.5
    one.save()
    two = progress_of(seed=5)
    state = two.restore()
    assert state["curriculum"] == {"place": 7}
    assert (two.step, two.spent, two.seconds) == (4, {"compute/tokens": 12.0}, {"sampling": 1.5})
    for each in (one, two):
        learn(each, 3)
    wanted = one.learner.weights()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in two.learner.weights().items())


def test_where_nothing_was_saved_there_is_nothing_to_restore(progress_of):
    progress = progress_of()
    assert progress.restore() == {}
    assert progress.step == 0


def test_a_checkpoint_before_the_first_step_can_be_restored(progress_of):
    progress_of().save()
    again = progress_of(seed=3)
    again.restore()
    assert again.step == 0
    assert again.learner.state()["state"] == {}


def test_a_checkpoint_of_another_model_is_refused(progress_of, learn, build, learner_of):
    progress = progress_of()
    learn(progress)
    progress.save()
    other = progress_of()
    other.learner = learner_of(build(vocabulary=9))
    with pytest.raises(CheckpointError, match=r"does not fit this run: the weights .* do not fit this transformer"):
        other.restore()


def test_a_checkpoint_that_lacks_something_is_refused(progress_of, learn):
    progress = progress_of()
    learn(progress)
    progress.run.save(1, progress._write, {"seconds": {}})
    with pytest.raises(CheckpointError, match=r"does not fit this run: 'spent'"):
        progress_of().restore()


@pytest.mark.parametrize("content", [b"no tensors", save({"taken": torch.zeros(3)})])
def test_a_checkpoint_with_another_optimizer_is_refused(progress_of, learn, content):
    progress = progress_of()
    learn(progress)

    def write(folder):
        progress._write(folder)
        (folder / OPTIMIZER).write_bytes(content)

    progress.run.save(1, write, {"spent": {}, "seconds": {}})
    with pytest.raises(CheckpointError, match="does not fit this run"):
        progress_of().restore()


def test_the_optimizer_is_saved_by_parameter_and_name(progress_of, learn, tmp_path):
    progress = progress_of()
    learn(progress)
    progress._write(tmp_path)
    tensors = load_file(tmp_path / OPTIMIZER)
    count = len(list(progress.learner.model.parameters()))
    own = {f"{n}.{name}" for n in range(count) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert set(tensors) == own | {"taken"}
    save_file(tensors, tmp_path / "again")


def test_rollouts_go_into_the_journal_of_their_step(progress_of, group):
    progress = progress_of()
    progress.step = 2
    progress.keep([group(1.0, 0.0)], {"r0": [0.5] * 3, "r1": [-0.5] * 3})
    assert [path.stem for path in progress.run.journals()] == ["step-000002"]


def test_a_clock_tells_seconds_by_phase():
    clock = Clock()
    clock.lap("sampling")
    clock.lap("learning")
    assert list(clock.seconds) == ["time/sampling_seconds", "time/learning_seconds"]
    assert all(seconds >= 0 for seconds in clock.seconds.values())

"""`poziomka metrics`: what a run logged, as a table or copied elsewhere; and `poziomka train --to`."""

from importlib.util import find_spec

import pytest

tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="NOT TRIED: pip install 'poziomka[tensorboard]'"
)


def test_the_metrics_of_a_run_are_listed(poziomka, reference):
    status, output, errors = poziomka("metrics", reference)
    assert status == 0, errors
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines()}
    assert rows["metric"] == ["lines", "first", "last"]
    assert rows["reward/mean"][0] == "12"


@tensorboard
def test_they_are_copied_to_event_files(poziomka, reference, tmp_path):
    status, output, errors = poziomka("metrics", reference, "--to", "tensorboard", "--folder", tmp_path / "events")
    assert status == 0, errors
    assert f"lines of metrics copied to {tmp_path / 'events'}; look at it with: tensorboard --logdir" in output
    assert len(list((tmp_path / "events").glob("events.out.tfevents.*"))) == 1


@tensorboard
def test_training_copies_them_as_they_come(poziomka, tiny, tmp_path):
    short = ["--set", "sft.steps=2", "--set", "rl.steps=1"]
    status, _, errors = poziomka("train", tiny, *short, "--run", tmp_path / "run", "--to", "tensorboard")
    assert status == 0, errors
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"loss/next_token" in events.read_bytes()
    assert b"evaluate/accuracy" in events.read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["metrics", "RUN", "--to", "tensorbord"], "metrics cannot go to 'tensorbord'; did you mean 'tensorboard'?"),
        (["metrics", "RUN", "--folder", "here"], "give it with --to tensorboard or --to wandb"),
        (["metrics", "nowhere"], "there is no run in nowhere"),
        (["train", "RECIPE", "--run", "FRESH", "--to", "csv"], "metrics cannot go to 'csv'; known: tensorboard, wandb"),
    ],
)
def test_what_is_wrong_is_one_sentence(poziomka, reference, tiny, tmp_path, words, sentence):
    names = {"RUN": reference, "RECIPE": tiny, "FRESH": tmp_path / "fresh"}
    status, _, errors = poziomka(*[names.get(word, word) for word in words])
    assert status == 2
    assert sentence in errors
    assert not (tmp_path / "fresh").exists()

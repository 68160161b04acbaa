"""`import poziomka as pz`: load a model, train it on a task of one's own, evaluate, and go on."""

import json

import pytest
import torch

import poziomka as pz
from poziomka.app.public.training import recipe_for
from poziomka.app.settings.recipe import recipe_of
from poziomka.core.errors import ModelError, RunError, SettingsError, TaskError
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.seeds import seed_of
from poziomka.testing import ScriptedSampler

LITTLE = {
    "prompts_per_step": 2,
    "group_size": 4,
    "max_tokens": 8,
    "threads": 1,
    "save_every": 1,
    "evaluate": {"problems": 10, "curve_problems": 10, "every": 2},
}
RULE = """
import poziomka as pz
from poziomka.core.seeds import seed_of

def reward(problem, transcript):
    return seed_of(problem.key, *transcript.tokens) % 2

def generate(rng):
    number = rng.randrange(10**6)
    return pz.Problem(f"{number}?", str(number))

task = pz.Task("coin", generate, reward)
"""


def coin(problem, transcript):
    """A coin for each reply, so that an untrained model has something to learn from."""
    return seed_of(problem.key, *transcript.tokens) % 2


def numbers(rng):
    number = rng.randrange(10**6)
    return pz.Problem(f"{number}?", str(number))


TASK = pz.Task("coin", numbers, coin, trusted=True)


# --------------------------------------------------------------------------------------------------------------- load
def test_a_model_is_loaded_sampled_and_saved(checkpoint, tmp_path):
    model = pz.load(checkpoint)
    assert repr(model).startswith(f"Model({str(checkpoint)!r}, ")
    asked = pz.Transcript.of([pz.Message("user", "Hi")])
    reply = wait_for(model.sampler().extend(asked, pz.SamplingParams(max_tokens=4)))
    assert reply.cost == 4
    again = pz.load(model.save(tmp_path / "saved"))
    assert model.weights.state_dict().keys() == again.weights.state_dict().keys()
    assert len(again.tokenizer) == len(model.tokenizer)
    with pytest.raises(SettingsError, match="is not empty"):
        model.save(tmp_path / "saved")


def test_a_model_that_thinks_opens_its_replies(checkpoint):
    asked = pz.Transcript.of([pz.Message("user", "Hi")])
    assert "<think>" in pz.load(checkpoint, thinks=True).sampler().read(asked).text
    assert "<think>" not in pz.load(checkpoint).sampler().read(asked).text


def test_no_model_and_a_run_without_weights_are_named(tmp_path):
    with pytest.raises(ModelError, match="there is no model 'nope'"):
        pz.load("nope")
    (tmp_path / "recipe.toml").write_text("schema_version = 1\n")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        pz.load(tmp_path)


# ----------------------------------------------------------------------------------------------------------- evaluate
def test_an_evaluation_is_printed_as_accuracy_with_its_interval():
    task = pz.Task("number", numbers, pz.exact(pz.number), trusted=True)
    found = pz.evaluate(ScriptedSampler(lambda transcript, _: transcript.text.strip("?")), task, problems=50)
    assert str(found) == "1.00 [0.93, 1.00]"
    assert repr(found) == "Evaluation(1.00 [0.93, 1.00], 50 problems)"


def test_failed_checks_are_printed():
    def fails(problem, transcript):
        raise KeyError

    broken = pz.Task("broken", numbers, fails, trusted=True)
    assert str(pz.evaluate(ScriptedSampler(["1"]), broken, problems=3)) == (
        "no attempt could be judged: 3 checks failed"
    )


def test_more_problems_than_exist_are_refused():
    few = pz.Task("few", lambda rng: pz.Problem(f"{rng.randrange(40)}?", "1"), coin, trusted=True)
    assert len(pz.evaluate(ScriptedSampler(["1"]), few).groups) == 4
    with pytest.raises(TaskError, match="task 'few' has 4 problems of 5 in 'test'"):
        pz.evaluate(ScriptedSampler(["1"]), few, problems=5)
    with pytest.raises(TaskError, match="has 0 problems of 0 in 'test'"):
        pz.evaluate(ScriptedSampler(["1"]), few, problems=0)


# -------------------------------------------------------------------------------------------------------------- train
@pytest.mark.slow
def test_a_model_learns_from_a_reward_of_ones_own_in_a_few_lines(checkpoint, tmp_path, capsys):
    rows = [{"question": f"How many is {n}?", "answer": str(n)} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = pz.task_named(f"jsonl:{tmp_path / 'rows.jsonl'}", coin)
    model = pz.load(checkpoint)
    before = {name: tensor.clone() for name, tensor in model.weights.state_dict().items()}
    run = pz.train(task, model, tmp_path / "run", steps=2, learning_rate=1e-3, **LITTLE)
    assert run.report.exists()
    assert len([line for line in run.run.metrics() if line["stage"] == "rl"]) == 2
    names = {name for line in run.run.metrics() for name in line}
    assert {"length/mean", "evaluate/tokens"} <= names
    assert not [name for name in names if "thinking" in name], "the model does not think"
    after = model.weights.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "training has weights of its own"
    trained = run.model()
    assert trained.policy == "step-000002"
    assert any(not torch.equal(before[name], tensor) for name, tensor in trained.weights.state_dict().items())
    sampler = run.sampler()
    assert sampler.policy == "step-000002"
    found = pz.evaluate(sampler, task, pz.SamplingParams(max_tokens=8), problems=2)
    assert 0 <= found.accuracy.mean <= 1
    assert str(run)
    again = pz.load(run.folder)
    assert again.policy == "step-000002"


@pytest.mark.slow
def test_an_evaluation_on_fewer_problems_than_asked_for_is_a_note_of_the_run(checkpoint, tmp_path, capsys):
    few = pz.Task("few", lambda rng: pz.Problem(f"{rng.randrange(40)}?", "1"), coin, trusted=True)
    run = pz.train(few, str(checkpoint), tmp_path / "run", steps=1, **LITTLE)
    told = "evaluate.problems = 10 of 4 in 'test'"
    assert sum(told in note for note in (run.folder / "notes.log").read_text().splitlines()) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert told in shown
    assert ("evaluating the initial model" in shown, "warm start" in shown) == (True, False)  # there is no sft stage
    assert run.run.results("frontier")["problems"] == 4


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_recipe_has_the_settings_of_train_for_the_same_model(checkpoint, thinks, lora):
    given = {"load": str(checkpoint)} | ({"thinks": True} if thinks else {}) | ({"lora": lora} if lora else {})
    model = pz.load(checkpoint, thinks=thinks)
    written = {"name": "coin", "task": "coin", "model": given}
    assert recipe_for(TASK, model, 200, **({"lora": lora} if lora else {})) == recipe_of(written)
    stage = {"kind": "rl", "steps": 12, "max_tokens": 99, "optimizer": {"learning_rate": 3e-6}}
    settings = {"max_tokens": 99, "evaluate": {"problems": 20}} | ({"lora": lora} if lora else {})
    written |= {"stage": [stage], "evaluate": {"problems": 20}}
    assert recipe_for(TASK, model, 12, 3e-6, **settings) == recipe_of(written)


def test_a_recipe_has_the_settings_of_train_for_a_new_model():
    written = {"name": "coin", "task": "coin"}
    assert recipe_for(TASK, None, 45) == recipe_of(written)


@pytest.mark.slow
def test_the_same_call_goes_on_with_a_run(checkpoint, tmp_path):
    for _ in range(2):
        run = pz.train(TASK, str(checkpoint), tmp_path / "run", steps=1, **LITTLE)
    assert len([line for line in run.run.metrics() if line["stage"] == "rl"]) == 1
    with pytest.raises(RunError, match=r"another recipe|differs|steps"):
        pz.train(TASK, str(checkpoint), tmp_path / "run", steps=2, **LITTLE)


@pytest.mark.slow
def test_a_named_task_is_resumed_by_the_command_line_unless_its_file_changed(checkpoint, tmp_path, monkeypatch):
    from poziomka.app.build import load
    from poziomka.app.settings.recipe import read_recipe
    from poziomka.app.train import train

    monkeypatch.chdir(tmp_path)
    (tmp_path / "coin.py").write_text(RULE)
    run = pz.train("coin.py:task", pz.load(checkpoint), "run", steps=1, **LITTLE)
    assert load(run.folder)[1].name == "coin"
    (tmp_path / "coin.py").write_text(RULE + "# another rule\n")
    with pytest.raises(RunError, match=r"began with other contents of the file coin\.py"):
        train(read_recipe(run.folder), run.folder, keep_watch=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grup_size": 3}, "unknown setting 'grup_size' in train; did you mean 'group_size'"),
        ({"max_new_tokens": 3}, "unknown setting 'max_new_tokens' in train; it is called 'rl.max_tokens' here"),
        ({"group_size": 1}, "train.rl.group_size must be at least 2"),
        ({"lora": {"rnk": 3}}, "unknown setting 'rnk' in train.model.lora"),
        ({"sft": 3}, "train.sft must be a table of settings: received 3"),
    ],
)
def test_a_wrong_setting_is_one_sentence(checkpoint, tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        pz.train(TASK, str(checkpoint), tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()

"""A recipe that names a pretrained model: all of a run, with all its weights learning or only adapters."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from poziomka.app.build import adapt, build, load
from poziomka.app.cli.export import export
from poziomka.app.settings.recipe import recipe_of
from poziomka.app.train import Training, train
from poziomka.core.errors import ModelError, PoziomkaError, SettingsError, TaskError
from poziomka.core.problem import Score
from poziomka.core.seeds import seed_of
from poziomka.core.settings import plain
from poziomka.learning.session import Interrupted
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import save_model
from poziomka.models.lora import has_adapters, save_learned
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs import Run
from poziomka.tasks import task_named

pytestmark = pytest.mark.slow


def heads_or_tails(problem, transcript):
    """A coin for each reply, so that an untrained model has something to learn from."""
    return Score.right("") if seed_of(problem.key, *transcript.tokens) % 2 else Score.wrong("")


def coin():
    return replace(task_named("small_sums"), scorer=heads_or_tails)


def of_model(values, **changes):
    """The values with changes to the model; None takes a setting away."""
    model = {name: value for name, value in (values["model"] | changes).items() if value is not None}
    return values | {"model": model}


def finish(recipe, folder, stop_after=None):
    """Trains; with `stop_after`, as Ctrl-C in that step of reinforcement would have it."""
    with Run.open(folder, plain(recipe)) as run:
        training = Training(recipe, run, build(recipe, coin()), quiet=True)
        before = training.progress.listener

        def hear(stage, line):
            before(stage, line)
            training.progress.stop |= line["step"] == stop_after

        training.progress.listener = hear
        training.finish()


def newest(folder):
    return Run.read(folder).latest().folder


@pytest.mark.fault("A6")
@pytest.mark.parametrize("lora", [None, {"rank": 2}, {"rank": 2, "dropout": 0.3}])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(values, tmp_path, lora):
    recipe = recipe_of(of_model(values, lora=lora))
    finish(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        finish(recipe, tmp_path / "stopped", stop_after=3)
    finish(recipe, tmp_path / "stopped")
    files = {path.name for path in newest(tmp_path / "whole").glob("*.safetensors")}
    assert files == {"optimizer.safetensors", "adapter_model.safetensors" if lora else "model.safetensors"}
    for name in files:
        one, other = (load_file(newest(tmp_path / run) / name) for run in ("whole", "stopped"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_what_learned_is_what_evaluates_and_what_is_exported(values, tmp_path):
    recipe = recipe_of(of_model(values, lora={"rank": 2}))
    finish(recipe, tmp_path / "run")
    _, task, sampler = load(tmp_path / "run")
    assert task.name == "small_sums"
    assert not has_adapters(sampler.engine.model)
    before = load_pretrained(values["model"]["load"], "bfloat16").model.state_dict()
    after = sampler.engine.weights()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in after if "attention." in name or "feedforward." in name}
    export(tmp_path / "run", None, tmp_path / "merged", None)
    merged = load_pretrained(str(tmp_path / "merged"), "bfloat16").model.state_dict()
    assert all(torch.equal(merged[name], after[name]) for name in after)
    with pytest.raises(PoziomkaError, match="is not empty"):
        export(tmp_path / "run", None, tmp_path / "merged", None)


def test_an_exported_folder_holds_the_model_and_not_the_books(values, tmp_path):
    finish(recipe_of(values), tmp_path / "run")
    export(tmp_path / "run", None, tmp_path / "out", None)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert Tokenizer.load(tmp_path / "out").fingerprint == Tokenizer.load(newest(tmp_path / "run")).fingerprint


def test_another_run_starts_from_adapters(values, tmp_path):
    finish(recipe_of(of_model(values, lora={"rank": 2})), tmp_path / "first")
    start = tmp_path / "first" / "models" / "sft"
    built = build(recipe_of(of_model(values, start=str(start))))
    plain_one = load_pretrained(values["model"]["load"], "bfloat16").model
    names = {n for n, t in built.model.state_dict().items() if not torch.equal(t, plain_one.state_dict()[n])}
    assert names
    assert all(".attention." in name or ".feedforward." in name for name in names)


@pytest.fixture
def start(values, tmp_path):
    """A checkpoint with other weights throughout, which a run may start from."""
    loaded = load_pretrained(values["model"]["load"], "bfloat16")
    with torch.no_grad():
        for number, weight in enumerate(loaded.model.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)), alpha=0.1)
    (tmp_path / "start").mkdir()
    save_model(tmp_path / "start", loaded.model, loaded.tokenizer)
    return tmp_path / "start"


@pytest.mark.fault("A5")
def test_adapters_on_top_of_a_start_are_evaluated_and_exported_with_it(values, start, tmp_path):
    finish(recipe_of(of_model(values, start=str(start), lora={"rank": 2})), tmp_path / "run")
    after = load(tmp_path / "run")[2].engine.weights()
    began = load_pretrained(str(start), "bfloat16").model.state_dict()
    changed = {name for name in after if not torch.equal(began[name], after[name])}
    assert changed
    assert changed <= {name for name in after if "attention." in name or "feedforward." in name}
    export(tmp_path / "run", None, tmp_path / "merged", None)
    merged = load_pretrained(str(tmp_path / "merged"), "bfloat16").model.state_dict()
    assert all(torch.equal(merged[name], after[name]) for name in after)


def test_adapters_on_top_of_adapters_are_refused_before_a_folder_is_made(values, tmp_path):
    built = build(recipe_of(of_model(values, lora={"rank": 2})))
    adapt(recipe_of(of_model(values, lora={"rank": 2})), built.model)
    (tmp_path / "start").mkdir()
    save_learned(tmp_path / "start", built.model, built.tokenizer, built.base)
    recipe = recipe_of(of_model(values, start=str(tmp_path / "start"), lora={"rank": 2}))
    with pytest.raises(ModelError, match="holds adapters itself: merge those first"):
        train(recipe, tmp_path / "run", keep_watch=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("A5")
@pytest.mark.parametrize(("kind", "layout"), [("k3", "rows"), ("reverse", "shared"), ("forward", "rows")])
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_divergence_holds_the_model_to_where_reinforcement_began(values, tmp_path, lora, kind, layout):
    values["stage"][1] |= {"layout": layout, "kl": {"kind": kind, "weight": 0.1}}
    recipe = recipe_of(of_model(values, lora=lora))
    finish(recipe, tmp_path)
    lines = [line for line in Run.read(tmp_path).metrics() if line["stage"] == "rl"]
    found = [line["loss/divergence"] for line in lines if "loss/divergence" in line]
    assert found
    assert found[0] == 0.0
    assert found[-1] > 0.0


@pytest.mark.fault("A5")
@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_resumed_run_is_held_to_where_reinforcement_began(values, tmp_path, lora):
    values["stage"][1]["kl"] = {"kind": "reverse", "weight": 0.1}
    recipe = recipe_of(of_model(values, lora=lora))
    finish(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        finish(recipe, tmp_path / "stopped", stop_after=4)
    finish(recipe, tmp_path / "stopped")
    one, other = (
        [line.get("loss/divergence") for line in Run.read(tmp_path / name).metrics() if line["stage"] == "rl"]
        for name in ("whole", "stopped")
    )
    assert one == other


def test_replies_of_a_pretrained_model_begin_with_a_thought(values):
    built = build(recipe_of(values))
    assert built.chat.opens_thought
    assert not build(recipe_of(of_model(values, thinks=False))).chat.opens_thought


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"load": None}, TaskError, "is for a model that reads already: name one with model.load"),
        ({"load": None, "task": "recurrence"}, ModelError, "received model.precision without model.load"),
        (
            {"load": None, "task": "recurrence", "precision": "float32", "lora": {}},
            ModelError,
            "received model.lora without model.load",
        ),
        ({"load": "nowhere"}, ModelError, "there is no model 'nowhere'"),
        ({"start": "nowhere"}, ModelError, "nowhere"),
        ({"levels": [1, 99]}, TaskError, "it cannot be trained on levels 1 to 99"),
    ],
)
def test_what_cannot_be_built_is_said_before_a_folder_is_made(values, tmp_path, changes, kind, sentence):
    top = {name: changes[name] for name in ("task", "levels") if name in changes}
    given = of_model(values, **{name: value for name, value in changes.items() if name not in top}) | top
    with pytest.raises(kind, match=sentence):
        train(recipe_of(given), tmp_path / "run", keep_watch=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("levels", [[2], [1, 2, 3], [3, 2]])
def test_levels_are_a_lowest_and_a_highest(values, levels):
    with pytest.raises(SettingsError, match="levels must be two numbers, the lowest and the highest: received"):
        recipe_of(values | {"levels": levels})


def test_a_run_is_taught_at_its_levels_and_judged_at_all(values, tmp_path):
    recipe = recipe_of(values | {"levels": [2, 2]})
    with Run.open(tmp_path / "run", plain(recipe)) as run:
        training = Training(recipe, run, build(recipe), quiet=True)
        assert {problem.level for problem in training.curriculum.take(20)} == {2}
        assert {problem.level for problem in training.task.take("test", 0, 40)} > {2}

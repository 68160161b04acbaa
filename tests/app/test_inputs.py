"""What stands outside a recipe and decides its rollouts: the clock, template variables, files that a run reads."""

import json
import shutil
from argparse import ArgumentParser
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import pytest
from safetensors.torch import load_file, save_file

from poziomka.app.build import adapt, build, load, settled
from poziomka.app.cli.chat.talk import open_sampler
from poziomka.app.cli.evaluate.evaluate import evaluate
from poziomka.app.cli.evaluate.options import options
from poziomka.app.cli.export import export
from poziomka.app.doctor import Bench, parts_of
from poziomka.app.doctor.format import template
from poziomka.app.inputs import _paths_in, demand_same_inputs
from poziomka.app.settings.recipe import read_recipe, recipe_of
from poziomka.app.train import Training, train
from poziomka.core.errors import CheckpointError, ModelError, RunError, SettingsError
from poziomka.core.problem import Problem
from poziomka.core.settings import plain, to_toml
from poziomka.core.transcript import Message, Transcript
from poziomka.models.lora import save_learned
from poziomka.models.text.rendering import Template
from poziomka.runs import Run

BODY = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
DATED = (
    "{{ '<|start|>system\nToday is ' + strftime_now('%d %B %Y, %H:%M') + '<|end|>\n' }}"
    + BODY
    + "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
CLOSING = BODY + (
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@pytest.fixture
def with_template(checkpoint, tmp_path):
    def with_template(template):
        folder = shutil.copytree(checkpoint, tmp_path / "model")
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
        return folder

    return with_template


def prompt_of(chat):
    read = chat.read(Transcript.of([Message("user", "Hi")]))
    return chat.tokenizer.inner.decode(list(read.tokens), skip_special_tokens=False)


def run_of(values, folder, **changes):
    model = {name: changes.pop(name) for name in ("thinks", "template_time", "template_variables") if name in changes}
    return recipe_of(values | {"model": values["model"] | {"load": str(folder)} | model} | changes, ("sft.steps=0",))


# ----------------------------------------------------------------------------------------------------- B2: the clock
@pytest.mark.slow
@pytest.mark.fault("B2")
def test_a_run_keeps_the_time_at_which_it_began(values, with_template, tmp_path):
    recipe = run_of(values, with_template(DATED))
    train(recipe, tmp_path / "run", keep_watch=False)
    path = tmp_path / "run" / "provenance.json"
    told = json.loads(path.read_text())
    began = datetime(2001, 2, 3, 4, 5, 6).astimezone()  # another day than today, as where a run is resumed much later
    path.write_text(json.dumps(told | {"started": began.isoformat()}))
    sampler = load(tmp_path / "run")[2]
    assert "Today is 03 February 2001, 04:05<|end|>" in prompt_of(sampler.chat)
    longer = run_of(values, recipe.model.load)
    (tmp_path / "run" / "results" / "frontier.json").unlink()  # something is left to do
    train(longer, tmp_path / "run", keep_watch=False)
    asked = {
        rollout.transcript.spans[0].tokens.tobytes()
        for rollout in Run.read(tmp_path / "run").journal("trained").rollouts
    }
    dated = {prompt_tokens(sampler.chat)}
    assert asked == dated


def prompt_tokens(chat):
    read = chat.read(Transcript.of([Message("user", "Hi")]))
    return read.spans[0].tokens.tobytes()


def test_a_recipe_may_name_the_time(values, with_template, tmp_path):
    recipe = run_of(values, with_template(DATED), template_time="2002-03-04T05:06:07+00:00")
    with Run.open(tmp_path / "run", plain(recipe)) as run:
        assert "Today is 04 March 2002, 05:06" in prompt_of(settled(recipe, build(recipe), run).chat)
    with pytest.raises(SettingsError, match="template_time must be a time such as"):
        run_of(values, recipe.model.load, template_time="today")


@pytest.mark.fault("B2")
@pytest.mark.parametrize("chance", ["{{ ['a', 'b'] | random }}", "{{ lipsum() }}"])
def test_a_template_that_draws_at_random_is_refused(chance):
    with pytest.raises(ModelError, match="chat template"):
        Template(chance + BODY).render([{"role": "user", "content": "Hi"}], generation=True)


# ------------------------------------------------------------------------------------------- B2: files that a run reads
@pytest.fixture
def reading(values, with_template, tmp_path):
    """A recipe whose model looks things up in a folder."""
    model = with_template(BODY + "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "one.txt").write_text("The lake is deep.")
    return run_of(values, model, tools={"search": {"folder": str(docs)}})


@pytest.mark.slow
@pytest.mark.fault("B2")
def test_a_run_is_not_resumed_with_other_files(reading, tmp_path):
    train(reading, tmp_path / "run", keep_watch=False)
    train(reading, tmp_path / "run", keep_watch=False)  # with the same files it goes on
    (tmp_path / "docs" / "one.txt").write_text("The lake is shallow.")
    with pytest.raises(RunError, match=r"began with other contents of the data .*docs"):
        train(reading, tmp_path / "run", keep_watch=False)


@pytest.mark.parametrize(
    ("path", "what"), [("docs/one.txt", "the data"), ("docs/two.txt", "the data"), ("model/config.json", "the model")]
)
def test_inputs_are_the_files_that_a_run_reads(path, what, reading, tmp_path):
    built = build(reading)
    with Run.open(tmp_path / "run", plain(reading)) as run:
        demand_same_inputs(reading, built.task, built.source, run)
        demand_same_inputs(reading, built.task, built.source, run)
        with (tmp_path / path).open("a") as file:
            file.write("\n")
        with pytest.raises(RunError, match=f"began with other contents of {what}"):
            demand_same_inputs(reading, built.task, built.source, run)


@pytest.mark.fault("B2")
def test_a_folder_with_a_plus_in_its_name_is_an_input_too(tmp_path):
    folder, other = tmp_path / "c++", tmp_path / "docs"
    folder.mkdir()
    other.mkdir()
    assert list(_paths_in(f"grade_school:{folder}")) == [folder]
    assert list(_paths_in(f"mixture:2*grade_school:{other}+gcd", f"python+search:{other}")) == [other, other]
    assert list(_paths_in(f"mixture:{'+'.join(['gcd'] * 100)}", "")) == []


@pytest.mark.fault("B2")
def test_a_run_that_does_not_say_when_it_started_is_refused(values, with_template, tmp_path):
    recipe = run_of(values, with_template(DATED))
    with Run.open(tmp_path / "run", plain(recipe)) as run:
        (run.folder / "provenance.json").write_text('{"schema_version": 1}')
        with pytest.raises(RunError, match="does not say when the run started"):
            settled(recipe, build(recipe), run)


def test_other_problems_under_the_same_name_are_other_inputs(reading, tmp_path):
    built = build(reading)
    others = replace(built, task=replace(built.task, source=lambda split, index, level: Problem.ask("x", "x", "?")))
    with Run.open(tmp_path / "run", plain(reading)) as run:
        demand_same_inputs(reading, built.task, built.source, run)
        with pytest.raises(RunError, match="began with other contents of the task's problems"):
            demand_same_inputs(reading, others.task, others.source, run)


@pytest.fixture
def saved(values, checkpoint, tmp_path):
    """The folder of a run that began with a copy of a model and saved a checkpoint, and that copy."""

    def saved(tools=None, **changes):
        model = shutil.copytree(checkpoint, tmp_path / "model")
        recipe = recipe_of(values | {"model": values["model"] | {"load": str(model)} | changes, "tools": tools})
        with Run.open(tmp_path / "run", plain(recipe)) as run:
            built = build(recipe)
            demand_same_inputs(recipe, built.task, built.source, run)
            adapt(recipe, built.model)
            run.save(1, lambda part: save_learned(part, built.model, built.tokenizer, built.base), {})
        return run.folder, model

    return saved


def change(model):
    """Gives a folder other weights of the same shapes."""
    tensors = load_file(model / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, model / "model.safetensors")


def taken_further(folder):
    recipe = recipe_of(Run.read(folder).recipe)
    with Run.open(folder, plain(recipe)) as run, suppress(CheckpointError):  # it holds no optimizer
        Training(recipe, run, quiet=True)


def evaluated(folder):
    parser = ArgumentParser()
    options(parser)
    evaluate(parser.parse_args([str(folder), "--budget=2", "--problems=2", "--samples=1", "--no-save"]))


USES = {
    "evaluate": evaluated,
    "chat": lambda folder: open_sampler(str(folder), None, think=None),
    "export": lambda folder: export(folder, None, folder.parent / "out", None),
    "learn": taken_further,
}


@pytest.mark.slow
@pytest.mark.fault("B2")
@pytest.mark.parametrize("use", USES)
def test_adapters_are_not_used_on_a_model_that_has_changed_since(saved, use):
    folder, model = saved(lora={"rank": 2})
    before = shutil.copytree(model, folder.parent / "before")
    change(model)
    with pytest.raises(RunError, match=f"began with other contents of the model {model}"):
        USES[use](folder)
    shutil.rmtree(model)
    before.rename(model)
    USES[use](folder)


@pytest.mark.fault("B2")
def test_a_run_whose_weights_are_all_its_own_is_exported_without_the_model_that_it_began_with(saved):
    folder, model = saved()
    change(model)
    USES["export"](folder)
    with pytest.raises(RunError, match="began with other contents of the model"):
        load(folder)


def test_where_a_run_started_is_not_needed_once_all_its_weights_are_its_own(saved, checkpoint, tmp_path):
    start = shutil.copytree(checkpoint, tmp_path / "start")
    folder, _ = saved(start=str(start))
    shutil.rmtree(start)
    assert load(folder)[2].policy == "step-000001"


@pytest.mark.fault("B2")
def test_a_run_is_not_evaluated_with_other_data_and_can_still_be_talked_with(saved, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.txt").write_text("The lake is deep.")
    folder, _ = saved(tools={"search": {"folder": str(tmp_path / "docs")}})
    (tmp_path / "docs" / "one.txt").write_text("The lake is shallow.")
    with pytest.raises(RunError, match="began with other contents of the data"):
        load(folder)
    USES["chat"](folder)


# ----------------------------------------------------------------------------------------------- B3: template variables
@pytest.mark.fault("B3")
def test_a_recipe_that_thinks_lets_the_template_know(values, with_template):
    folder = with_template(CLOSING)
    assert prompt_of(build(run_of(values, folder)).chat).endswith("<|start|>assistant\n<think>")
    closed = run_of(values, folder, thinks=False)
    assert prompt_of(build(closed).chat).endswith("<|start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.fault("B3")
def test_template_variables_are_part_of_the_recipe(values, with_template, tmp_path):
    body = BODY + "{% if add_generation_prompt %}<|start|>assistant\n[{{ mood }}{{ level }}]{% endif %}"
    recipe = run_of(values, with_template(body), template_variables={"mood": "calm", "level": 2})
    (tmp_path / "recipe.toml").write_text(to_toml(plain(recipe)))
    again = read_recipe(tmp_path, ("model.template_variables.level=3",))
    assert prompt_of(build(recipe).chat).endswith("[calm2]<think>")
    assert prompt_of(build(again).chat).endswith("[calm3]<think>")


@pytest.mark.fault("B3")
def test_the_doctor_fails_a_prompt_that_closes_a_thought_and_opens_another(values, with_template):
    folder = with_template(CLOSING)

    assert template(Bench(parts_of(run_of(values, folder)))).status == "pass"
    found = template(Bench(parts_of(run_of(values, folder, template_variables={"enable_thinking": False}))))
    assert (found.status, found.figure) == ("FAIL", "the prompt closes a thought and then opens another one")

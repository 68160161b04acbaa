"""A pretrained model is told of its tools in training, evaluation, doctor and chat, in the same words."""

import json
import shutil
from dataclasses import replace

import pytest

from poziomka.app.build import build
from poziomka.app.cli.chat.talk import Talk
from poziomka.app.doctor import Bench, examine, parts_of
from poziomka.app.settings.recipe import recipe_of
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author
from poziomka.environments.tools.tool import tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.inference.local import LocalSampler
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.tasks import task_named

TELLING = (
    "{% if tools %}<|start|>system\nCall with <tool_call>: {{ tools | tojson }}<|end|>\n{% endif %}"
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def triple(number: int) -> int:
    """Multiplies a number by three.

    Args:
        number: of any size
    """
    return 3 * number


@pytest.fixture
def telling(checkpoint, tmp_path):
    """The checkpoint with a template that describes tools."""
    folder = shutil.copytree(checkpoint, tmp_path / "telling")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TELLING}))
    return folder


def recipe(values, folder, **changes):
    return recipe_of(
        values | {"model": {"load": str(folder), "precision": "float32", "thinks": True}} | changes, ("sft.steps=0",)
    )


def prompt_of(chat, transcript):
    """What was read before the model's first word, control tokens included."""
    tokens = []
    for span in transcript:
        if span.author is Author.MODEL:
            break
        tokens += span.tokens or ()
    return chat.tokenizer.inner.decode(tokens, skip_special_tokens=False)


def prompts(built):
    """The first problem's prompt as training and evaluation sample it, and as a demonstration shows it."""
    sampler = LocalSampler(built.model, built.chat)
    problem = built.task.problem("train", 0)
    ((rollout,),) = collect(sampler, built.task, [problem], SamplingParams(max_tokens=4), attempts=1)
    shown = Lessons(built.task, built.chat, LessonSettings(tokens_per_step=1), 0)._shown(problem, "", "")
    return prompt_of(built.chat, rollout.transcript), prompt_of(built.chat, shown)


@pytest.mark.fault("C1")
@pytest.mark.parametrize("how", ["recipe", "toolbox"])
def test_a_template_that_knows_tools_describes_them_in_training(how, values, telling):
    if how == "recipe":
        built, name = build(recipe(values, telling, tools={"calculator": {}})), "calculator"
    else:
        toolbox = Toolbox([tool(triple)])
        task = replace(task_named("small_sums"), environment=lambda problem: toolbox)
        built, name = build(recipe(values, telling), task), "triple"
    sampled, shown = prompts(built)
    begun = f'<|start|>system\nCall with <tool_call>: [{{"type": "function", "function": {{"name": "{name}"'
    assert sampled.startswith(begun)
    assert shown.startswith(begun)
    environment = built.task.environment(built.task.problem("train", 0))
    assert environment.stop == ()  # Hermes' calls, as the template describes them
    assert environment.open(built.task.problem("train", 0)).after_end


@pytest.mark.fault("C1")
def test_a_template_without_tools_has_them_in_a_system_message_in_training(values, checkpoint):
    toolbox = Toolbox([tool(triple)])
    task = replace(task_named("small_sums"), environment=lambda problem: toolbox)
    for prompt in prompts(build(recipe(values, checkpoint), task)):
        assert prompt.startswith(f"<|start|>system\n{toolbox.prompt()}<|end|>\n<|start|>user\n")
        assert "Multiplies a number by three" in prompt


@pytest.mark.fault("C1")
def test_training_and_chat_tell_a_model_of_its_tools_in_the_same_words(values, checkpoint):
    built = build(recipe(values, checkpoint, tools={"calculator": {}}))
    sampled, shown = prompts(built)
    problem = built.task.problem("train", 0)
    talk = Talk(
        LocalSampler(built.model, built.chat), SamplingParams(max_tokens=4), toolbox=built.task.environment(problem)
    )
    assert talk.toolbox.prompt() in sampled
    assert talk.toolbox.examples()[0].content in sampled
    (question,) = problem.prompt
    talk.ask(question.content, Silence())
    said = prompt_of(built.chat, talk.transcript)
    talk.close()
    assert said == sampled
    assert shown.startswith(sampled.removesuffix("<think>"))


class Silence:
    """A screen that shows nothing."""

    def begin(self, *, thinking):
        pass

    def add(self, text):
        pass

    def tool(self, text):
        pass

    def end(self):
        pass


@pytest.mark.fault("C1")
def test_nothing_is_learned_from_the_examples_of_tools(values, checkpoint):
    built = build(recipe(values, checkpoint, tools={"calculator": {}}))
    lesson = Lessons(built.task, built.chat, LessonSettings(tokens_per_step=1), 0)._shown(
        built.task.problem("train", 0), "", "7"
    )
    assert "156" in "".join(span.text for span in lesson if span.author is Author.FORCED)
    assert "".join(span.text for span in lesson if span.author is Author.TEACHER).endswith("7")
    assert "156" not in "".join(span.text for span in lesson if span.author is Author.TEACHER)


class Wrapped:
    """An environment around a toolbox, as somebody might write it, that hides what the tools are."""

    def __init__(self, inner):
        self.stop, self.open = inner.stop, inner.open


def failed(parts):
    return {finding.name: finding.figure for finding in examine(Bench(parts)) if finding.status == "FAIL"}


@pytest.mark.fault("C1")
def test_the_doctor_fails_where_nothing_mentions_the_tools(values, checkpoint):
    parts = parts_of(recipe(values, checkpoint))
    toolbox = Toolbox([tool(triple)])
    hidden = replace(parts, task=replace(parts.task, environment=lambda problem: Wrapped(toolbox)))
    assert "the rendered prompt does not mention it" in failed(hidden)["tools"]


def test_the_doctor_passes_tools_that_are_described(values, checkpoint, telling):
    for folder in (checkpoint, telling):
        parts = parts_of(recipe(values, folder, tools={"calculator": {}}))
        found = {finding.name: finding for finding in examine(Bench(parts))}
        assert found["tools"].status == "pass"
        assert "groups" in found
        assert found["groups"].status == "pass"


def test_a_model_from_nothing_is_told_nothing():
    built = build(
        recipe_of(
            {
                "task": "large_numbers",
                "tools": {"calculator": {}},
                "model": {"new": {"width": 16, "layers": 1, "heads": 2}},
            }
        )
    )
    bare = build(recipe_of({"task": "large_numbers", "model": {"new": {"width": 16, "layers": 1, "heads": 2}}}))
    sampler = LocalSampler(built.model, built.chat)
    problem = built.task.problem("train", 0)
    ((rollout,),) = collect(sampler, built.task, [problem], SamplingParams(max_tokens=4), attempts=1)
    ((other,),) = collect(sampler, bare.task, [problem], SamplingParams(max_tokens=4), attempts=1)
    assert prompt_of(built.chat, rollout.transcript) == prompt_of(built.chat, other.transcript)

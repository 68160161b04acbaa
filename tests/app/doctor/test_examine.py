"""The doctor leaves everything as it found it, says what it measured, and stops where checking itself would hurt."""

from dataclasses import replace

import pytest
import torch

from poziomka.app.doctor import Bench, Status, agreement, coloured, cost, examine
from poziomka.app.preflight import needs
from poziomka.core.errors import ModelError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import collect, wait_for
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.models import lora
from poziomka.models.lora import LoraSettings
from poziomka.models.text.chat import PlainFormat


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_optimizer_and_sampler_are_afterwards_what_they_were(parts_of, build, dtype):
    parts = parts_of()
    parts.model.to(dtype)
    parts = replace(
        parts,
        learner=type(parts.learner)(parts.model, parts.learner.settings, parts.settings.temperature),
        sampler=type(parts.sampler)(parts.model, parts.chat),
    )
    bench = Bench(parts)
    examples = bench.examples(bench.mixed, bench.advantages(bench.mixed))
    parts.learner.step(parts.learner.pack(examples), 1e-3)  # so that the optimizer has a state
    wait_for(parts.sampler.load_weights("before", parts.learner.weights()))
    weights = {name: tensor.clone() for name, tensor in parts.learner.weights().items()}
    state = parts.learner.state()

    findings = {finding.name: finding for finding in examine(Bench(parts))}
    assert findings["update to sampler"].status is Status.PASS
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.learner.weights().items())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.sampler.engine.weights().items())
    assert parts.sampler.policy == "before"
    after = parts.learner.state()
    for number, tensors in state["state"].items():
        assert all(torch.equal(tensor, after["state"][number][name]) for name, tensor in tensors.items())


def test_a_lora_is_examined_and_left_as_it_was(parts_of):
    parts = parts_of()
    lora.attach(parts.model, LoraSettings(rank=2, dropout=0.0), 0)
    parts = replace(parts, learner=Learner(parts.model, LearnerSettings(), parts.settings.temperature))
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    findings = list(examine(Bench(parts)))
    assert [finding for finding in findings if finding.status is Status.FAIL] == []
    assert "tensors learn, each gets one" in next(f.figure for f in findings if f.name == "gradient")
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.model.state_dict().items())


def test_a_test_step_that_overshoots_is_taken_again_at_the_recipes_rate(parts_of, monkeypatch):
    bench, rate = Bench(parts_of()), LearnerSettings().optimizer.learning_rate
    overshot = agreement._update(bench, bench.few, 30.0)
    assert (overshot.status, "at rate 30" in overshot.figure) == (Status.FAIL, True)
    monkeypatch.setattr(agreement, "CANARY_RATE", 30.0)
    parts = parts_of()
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    found = {finding.name: finding for finding in examine(Bench(parts))}
    assert rate < 30.0
    assert found["update to sampler"].status is Status.PASS
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.model.state_dict().items())


def test_rollouts_are_the_same_after_the_examination(parts_of):
    parts = parts_of()
    before = Bench(parts).rollouts
    list(examine(Bench(parts)))
    assert [r.transcript.tokens for r in Bench(parts).rollouts] == [r.transcript.tokens for r in before]


def test_a_step_too_large_for_memory_ends_the_examination(parts_of, monkeypatch):
    monkeypatch.setattr(cost, "free_memory", lambda device: 10_000)
    (finding,) = examine(Bench(parts_of()))
    assert (finding.name, finding.status) == ("memory", Status.FAIL)
    assert "a smaller prompts_per_step" in finding.advice


def test_the_estimate_grows_with_what_is_asked_for(parts_of):
    def needed(tokens):
        parts = parts_of(settings={"max_tokens": tokens})
        return sum(needs(parts.model, parts.chat, Bench(parts).prompts, parts.settings).values())

    assert needed(400) > 2 * needed(12)


def test_a_part_that_raises_is_a_finding_and_the_others_are_still_checked(parts_of):
    class Raising(PlainFormat):
        def read(self, transcript):
            if transcript.tokenizer is not None and any(span.tokens is None for span in transcript):
                message = "this template cannot be rendered"
                raise ModelError(message)
            return super().read(transcript)

    findings = {finding.name: finding for finding in examine(Bench(parts_of(chat=Raising)))}
    assert findings["chat format"].status is Status.FAIL
    assert findings["chat format"].figure == "this template cannot be rendered"
    assert findings["update to sampler"].status is Status.PASS


def test_where_all_rewards_are_the_same_that_is_a_warning(parts_of, task):
    hopeless = replace(task, source=lambda split, index, level: Problem.ask("larger", f"{index}", " 1 2", "never"))
    hopeless = replace(hopeless, demonstration=lambda problem: ("1", "never"))

    findings = {finding.name: finding for finding in examine(Bench(parts_of(task=hopeless)))}
    assert findings["rewards"].status is Status.WARN
    assert "0\N{NO-BREAK SPACE}% of 4 groups" in findings["rewards"].figure


def test_before_a_warm_start_nothing_is_expected_of_rewards(parts_of, task):
    parts = parts_of(warmed=False)
    findings = {finding.name: finding for finding in examine(Bench(parts))}
    assert findings["rewards"].status is Status.PASS


def test_what_is_learned_from_is_shown_by_stretch(parts_of, tools):
    (right, up), (wrong, down) = coloured(Bench(parts_of(task=tools)))
    assert right.score.reward > wrong.score.reward
    assert {author for _, author, weight in up if weight > 0} == {"model"}
    assert {author for _, author, weight in down if weight < 0} == {"model"}
    assert {"template", "user"} <= {author for _, author, weight in up if not weight}


def test_rollouts_without_the_models_words_are_a_failure(parts_of):
    def silent(sampler, task, problems, sampling, **how):
        groups = collect(sampler, task, problems, sampling, **how)
        return [[_cut(rollout) for rollout in group] for group in groups]

    findings = {finding.name: finding for finding in examine(Bench(parts_of(collect=silent)))}
    assert findings["log-probabilities"].status is Status.FAIL
    assert "no rollout holds a token by the model" in findings["log-probabilities"].figure


def _cut(rollout):
    return replace(rollout, branches=(replace(rollout.branches[0], transcript=rollout.transcript.cut(1)),))

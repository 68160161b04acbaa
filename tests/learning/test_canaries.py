"""A run that goes silently wrong is stopped with a sentence; one that is well is left alone, bit for bit."""

import asyncio
import copy
from dataclasses import replace

import pytest
import torch

from poziomka.core.errors import LearningError
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Transcript, compact, compact_floats
from poziomka.inference.local import LocalSampler
from poziomka.learning.monitoring import consistency as module
from poziomka.learning.monitoring.consistency import (
    STEPS,
    ConsistencyChecks,
    best_temperature,
    precision_of,
    prompt_of,
    sample_of,
)
from poziomka.learning.objectives.logprobs import logprobs_of
from poziomka.thinking.budget import Budget
from poziomka.thinking.thinker import Thinker

WELL = {"optim/grad_norm": 1.0, "optim/lr": 1e-3, "policy/mismatch_kl": 1e-9}


@pytest.fixture
def model(build):
    """Loud enough that temperatures can be told apart."""
    return build(loud=0.3)


@pytest.fixture
def group_at(model, chat):
    """A group of sampled attempts whose stored log-probabilities are those of a temperature."""

    def group_at(rollout, temperature, stored=None):
        sampler = LocalSampler(model, chat)
        how = SamplingParams(temperature=temperature, max_tokens=12)
        written = [
            asyncio.run(sampler.extend(Transcript.of([Message("user", " a b")]), replace(how, seed=seed)))
            for seed in range(4)
        ]
        attempts = []
        for number, transcript in enumerate(written):
            scores = asyncio.run(sampler.score(transcript, stored or temperature))
            spans, place = [], 0
            for span in transcript:
                own = compact_floats(scores[place : place + len(span)])
                spans.append(replace(span, logprobs=own) if span.author is Author.MODEL else span)
                place += len(span)
            attempts.append(rollout(name=f"r{number}", spans=spans))
        return attempts

    return group_at


def moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-4)


# -------------------------------------------------------------------------------------------------------- agreement
def test_steps_that_are_well_are_left_alone(model, group):
    watch = ConsistencyChecks(model, 1.0)
    for _ in range(5):
        moved(model)
        watch.look([group(1.0, 0.0)], WELL)


def test_a_mismatch_of_several_steps_stops_the_run(model, group_at, rollout):
    watch, groups = ConsistencyChecks(model, 1.0), [group_at(rollout, 1.0)]
    apart = WELL | {"policy/mismatch_kl": 0.01}
    for _ in range(STEPS - 1):
        moved(model)
        watch.look(groups, apart)
    moved(model)
    with pytest.raises(LearningError, match=r"differ by 1\.0e-02 nats a token .* for 3 steps: the two do not compute"):
        watch.look(groups, apart)


def test_a_mismatch_now_and_then_does_not(model, group_at, rollout):
    watch, groups = ConsistencyChecks(model, 1.0), [group_at(rollout, 1.0)]
    for step in range(8):
        moved(model)
        watch.look(groups, WELL | {"policy/mismatch_kl": 0.01 if step % STEPS else 1e-9})


def test_a_wrong_temperature_stops_the_run_in_its_first_step_and_is_named(model, group_at, rollout):
    watch, groups = ConsistencyChecks(model, 1.0), [group_at(rollout, 1.0, stored=0.7)]
    with pytest.raises(LearningError, match=r"fit temperature 0\.7 instead of 1"):
        watch.look(groups, WELL | {"policy/mismatch_kl": 0.01})


def test_narrow_weights_may_differ_more(model, group):
    watch = ConsistencyChecks(model.to(torch.bfloat16), 1.0)
    for _ in range(5):
        watch.look([group(1.0, 0.0)], {"policy/mismatch_kl": 0.01})


def test_a_sampler_with_narrow_weights_may_differ_more_too(model, chat, group):
    narrow = LocalSampler(copy.deepcopy(model).to(torch.bfloat16), chat)
    assert precision_of(model, narrow) == precision_of(model, Thinker(narrow, Budget(8))) == "bf16"
    assert precision_of(model, LocalSampler(model, chat)) == precision_of(model) == "fp32"
    watch = ConsistencyChecks(model, 1.0, narrow)
    for _ in range(5):
        moved(model)
        watch.look([group(1.0, 0.0)], {"policy/mismatch_kl": 0.01})


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.5])
def test_the_temperature_that_was_stored_is_found(model, group_at, rollout, temperature):
    transcripts = [r.transcript for r in group_at(rollout, 1.0, stored=temperature)]
    assert best_temperature(model, transcripts, 1.0) == pytest.approx(temperature)
    assert best_temperature(model, transcripts, temperature) is None


def test_log_probabilities_are_those_that_were_stored(model, group_at, rollout):
    (first, *_) = group_at(rollout, 0.8)
    said, place = [0.0, *logprobs_of(model, first.transcript.tokens, 0.8).tolist()], 0
    for span in first.transcript:
        if span.logprobs is not None:
            assert list(span.logprobs) == pytest.approx(said[place : place + len(span)], abs=1e-5)
        place += len(span)


# --------------------------------------------------------------------------------------------------------- movement
def test_weights_that_stand_still_under_a_gradient_stop_the_run(model, group):
    watch = ConsistencyChecks(model, 1.0)
    for _ in range(STEPS - 1):
        watch.look([group(1.0, 0.0)], WELL)
    with pytest.raises(LearningError, match="the weights did not change in 3 steps though the gradient's norm was 1:"):
        watch.look([group(1.0, 0.0)], WELL)


@pytest.mark.parametrize("quiet", [{"optim/grad_norm": 0.0}, {"optim/lr": 0.0}])
def test_weights_that_nothing_pulls_at_may_stand_still(model, group, quiet):
    watch = ConsistencyChecks(model, 1.0)
    for _ in range(2 * STEPS):
        watch.look([group(1.0, 0.0)], WELL | quiet)


def test_every_tensor_that_learns_is_in_the_sample(model):
    before = sample_of(model)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.view(-1)[0] += 1
        assert not torch.equal(before, sample_of(model))
        before = sample_of(model)


# ---------------------------------------------------------------------------------------------------------- prompts
def test_a_group_of_two_problems_stops_the_run(model, group):
    mixed = group(1.0, 0.0)
    mixed[1] = replace(mixed[1], problem=replace(mixed[1].problem, key="2+2"))
    with pytest.raises(LearningError, match=r"group 2 holds attempts at 2 prompts \(1\+2, 2\+2\)"):
        ConsistencyChecks(model, 1.0).look([group(1.0, 0.0), mixed], WELL)


def test_a_group_of_one_problem_and_two_prompts_stops_the_run(model, group, rollout):
    other = rollout(spans=[Span(Author.USER, "", compact([2, 1])), Span(Author.MODEL, "", compact([3]))])
    with pytest.raises(LearningError, match="at 2 prompts"):
        ConsistencyChecks(model, 1.0).look([[*group(1.0), other]], WELL)


def test_an_attempt_whose_environment_failed_has_no_prompt_to_compare(model, group, rollout):
    failed = rollout(None, spans=[Span(Author.USER, " 1 2")])
    ConsistencyChecks(model, 1.0).look([[*group(1.0), failed]], WELL)


def test_a_prompt_ends_where_a_policy_begins():
    spans = (Span(Author.USER, "", compact([1, 2])), Span(Author.FORCED, "", compact([3]), policy="v1"))
    assert prompt_of(Transcript(spans)) == compact([1, 2]).tobytes()


def test_nothing_is_changed_by_looking(model, group):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    ConsistencyChecks(model, 1.0).look([group(1.0, 0.0)], WELL)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert module.SAMPLE == 64

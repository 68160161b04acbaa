"""A fixed batch gives the losses and the gradients that TRL's own code gives.

TRL's trainer wants datasets, processes and a tokenizer; its loss wants only settings. So its `_compute_loss` runs as
it is, on a bare instance that holds these, and on transformers' model with our model's weights.
"""

import copy
import types
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.objectives.kl import DivergenceSettings
from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings
from poziomka.learning.samples.advantages import group_std
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import policy_examples
from poziomka.models.transformer import Transformer, TransformerSettings

WORDS = 40
LONGEST = 9
GROUPS = [([1.0, 0.0, 0.0], [3, 8, 5]), ([0.25, 1.0, 0.5], [2, 6, 9])]  # rewards and lengths of attempts
TEMPERATURE = 0.8

# our surrogate and aggregation, TRL's settings
METHODS = {
    "grpo": (SurrogateSettings(kind="ppo"), "sequence", {"loss_type": "grpo"}),
    "dapo": (SurrogateSettings(kind="dapo"), "token", {"loss_type": "dapo", "epsilon_high": 0.28}),
    "dr_grpo": (SurrogateSettings(kind="ppo"), "constant", {"loss_type": "dr_grpo"}),
    "cispo": (SurrogateSettings(importance_cap=1.5), "token", {"loss_type": "cispo", "epsilon_high": 1.5}),
    "gspo": (
        SurrogateSettings(kind="gspo", sequence_low=0.1, sequence_high=0.15),
        "sequence",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.15},
    ),
}


@pytest.fixture(scope="session")
def trl():
    try:
        import trl.trainer.grpo_trainer as module
    except ImportError as error:
        pytest.fail(
            f"parity with TRL was not tested ({error}): pip install trl==1.16.0 transformers accelerate datasets"
        )
    return module


@pytest.fixture
def ours():
    torch.manual_seed(0)
    model = Transformer(TransformerSettings(width=32, layers=2, heads=4, key_heads=2, qk_norm=False), WORDS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model


class Alone:
    """What a single process needs of an accelerator."""

    num_processes, is_main_process = 1, True

    def autocast(self):
        return nullcontext()

    def gather(self, tensor):
        return tensor

    def reduce(self, tensor, reduction):
        return tensor


def their_loss(trl, model, settings, inputs, beta):
    """Runs TRL's `_compute_loss` on an instance that holds the settings it reads; leaves the gradient in the model."""
    trainer = object.__new__(trl.GRPOTrainer)
    trainer.args = types.SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1)
    trainer.accelerator, trainer.model, trainer._metrics = Alone(), model, {"train": defaultdict(list)}
    plain = {"importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "use_vllm": False}
    off = {"top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "_entropy_bonus_enabled": False}
    sizes = {"max_completion_length": LONGEST, "current_gradient_accumulation_steps": 1, "aux_loss_enabled": False}
    for name, value in (plain | off | sizes | settings | {"beta": beta}).items():
        setattr(trainer, name, value)
    loss = trainer._compute_loss(model.train(), inputs)
    loss.backward()
    return float(loss.detach())


def their_model(trl, model):
    config = AutoConfig.for_model(**model.config())
    other = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    found = other.load_state_dict(model.export(), strict=False)
    assert (found.unexpected_keys, found.missing_keys) == ([], ["lm_head.weight"])  # it is tied
    trl.add_fused_lm_head(other, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    return other


def padded(groups, advantages):
    """Attempts as TRL has them: prompts padded on the left, completions on the right."""
    attempts = [
        (rollout, value)
        for g, values in zip(groups, advantages, strict=True)
        for rollout, value in zip(g, values, strict=True)
    ]
    texts = [list(rollout.transcript.tokens) for rollout, _ in attempts]
    masks = [rollout.transcript.by(Author.MODEL) for rollout, _ in attempts]
    logprobs = torch.zeros(len(attempts), LONGEST)
    completions, prompts = torch.zeros(2, len(attempts), LONGEST, dtype=torch.long)
    completion_mask, prompt_mask = torch.zeros(2, len(attempts), LONGEST, dtype=torch.long)
    for row, (text, mask) in enumerate(zip(texts, masks, strict=True)):
        start = mask.index(True)
        own = len(text) - start
        completions[row, :own], completion_mask[row, :own] = torch.tensor(text[start:]), 1
        prompts[row, LONGEST - start :], prompt_mask[row, LONGEST - start :] = torch.tensor(text[:start]), 1
        logprobs[row, :own] = torch.tensor(attempts[row][0].transcript.spans[-1].logprobs)
    return {
        "prompt_ids": prompts,
        "prompt_mask": prompt_mask,
        "completion_ids": completions,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([value for _, value in attempts]),
        "old_per_token_logps": logprobs,
        "num_items_in_batch": completion_mask.sum(),
    }


@pytest.fixture
def groups(ours):
    """Groups whose tokens the model finds about as likely as the sampler did: some ratios are clipped, some not."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for number, (rewards, lengths) in enumerate(GROUPS):
        prompt = torch.randint(0, WORDS, (3 + number,), generator=draw)
        group = []
        for reward, length in zip(rewards, lengths, strict=True):
            own = torch.randint(0, WORDS, (length,), generator=draw)
            text = torch.cat([prompt, own]).unsqueeze(0)
            said = torch.log_softmax(ours.logits(ours(text))[0] / TEMPERATURE, -1).detach()
            logq = said[len(prompt) - 1 : -1].gather(1, own.unsqueeze(1)).squeeze(1)
            logq += 0.3 * torch.randn(length, generator=draw)
            spans = [
                Span(Author.USER, "", compact(prompt.tolist())),
                Span(Author.MODEL, "", compact(own.tolist()), compact_floats(logq.tolist()), Stop.END, "v1"),
            ]
            group.append(attempt(reward, spans))
        made.append(group)
    return made


def attempt(reward, spans):
    problem = Problem.ask("sums", "1+2", " 1 2", "3")
    score = Score(reward, Verdict.CORRECT if reward == 1 else Verdict.WRONG, "3")
    return Rollout("r", problem, (Branch(Transcript(tuple(spans)), score),), "v1")


def batch_of(groups, advantages, aggregation, apart=0.0):
    """A batch whose old log-probabilities are what the groups store; the sampler's are that much below."""
    batch = Batch.pack(policy_examples(groups, advantages, aggregation, LONGEST))
    return replace(batch, old=batch.logprobs, logprobs=batch.logprobs - apart)


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_are_those_of_trl(trl, ours, groups, method, beta):
    surrogate, aggregation, theirs = METHODS[method]
    reference = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.1)
    advantages = group_std(groups)
    inputs, other = padded(groups, advantages), their_model(trl, ours)
    if beta:
        inputs["ref_per_token_logps"] = their_logprobs(their_model(trl, reference), inputs)
    wanted = their_loss(trl, other, theirs, inputs, beta)

    settings = LearnerSettings(surrogate=surrogate, kl=DivergenceSettings(kind="k3", weight=beta))
    learner = Learner(ours, settings, TEMPERATURE, reference)
    sums = learner.forward_backward(batch_of(groups, advantages, aggregation))

    assert sums.loss == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    gradients = {name: parameter.grad for name, parameter in other.named_parameters()}
    for name, gradient in exported_gradients(ours).items():
        assert (gradient - gradients[name]).abs().max() <= 1e-5 * (1 + gradients[name].abs().max()), name


@pytest.mark.parametrize("kind", ["token", "sequence"])
@pytest.mark.parametrize("method", METHODS)
def test_a_truncated_correction_is_that_of_trl(trl, ours, groups, method, kind):
    """TRL corrects what vLLM sampled; its ratios, made where it samples, are spelled out here."""
    surrogate, aggregation, theirs = METHODS[method]
    advantages, apart, cap = group_std(groups), 0.1, 1.5
    inputs, other = padded(groups, advantages), their_model(trl, ours)
    gaps = apart * inputs["completion_mask"]
    gaps = gaps if kind == "token" else gaps.sum(1, keepdim=True)
    inputs["importance_sampling_ratio"] = gaps.exp().clamp(max=cap)
    on = {"use_vllm": True, "vllm_importance_sampling_correction": True}
    wanted = their_loss(trl, other, theirs | on, inputs, 0.0)

    settings = LearnerSettings(surrogate=surrogate, correction=CorrectionSettings(kind=kind, importance_cap=cap))
    learner = Learner(ours, settings, TEMPERATURE)
    sums = learner.forward_backward(batch_of(groups, advantages, aggregation, apart))

    assert (sums.cut > 0) == (kind == "sequence")
    assert sums.loss == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    gradients = {name: parameter.grad for name, parameter in other.named_parameters()}
    for name, gradient in exported_gradients(ours).items():
        assert (gradient - gradients[name]).abs().max() <= 1e-5 * (1 + gradients[name].abs().max()), name


def their_logprobs(model, inputs):
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True).log_probs[:, -LONGEST:]


def exported_gradients(model):
    """The gradients under the names that the weights are exported by."""
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for own, parameter in zip(holder.parameters(), model.parameters(), strict=True):
            own.copy_(parameter.grad)
    return holder.export()


@pytest.mark.parametrize("method", METHODS)
def test_the_batch_of_the_comparison_has_clipped_tokens_and_others(ours, groups, method):
    """Else the comparison above would not see where anything is clipped."""
    surrogate, aggregation, _ = METHODS[method]
    learner = Learner(ours, LearnerSettings(surrogate=surrogate), TEMPERATURE)
    sums = learner.forward_backward(batch_of(groups, group_std(groups), aggregation))
    assert 0 < sums.clipped < sums.policy_tokens

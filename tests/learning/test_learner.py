"""One step: the gradient is the formula's whatever the packing, and what is not a number is refused."""

import copy
import math
from array import array

import pytest
import torch

from poziomka.core.errors import LearningError
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.objectives.losses import SurrogateSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example


def examples(count=12, seed=0, logprob=-1.9):
    """Texts of which the policy wrote a part, a teacher another, and nobody learns the rest."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(4, 30, (1,), generator=draw))
        who = torch.randint(0, 3, (length,), generator=draw)
        who[0] = 2
        weight = torch.randn(length, generator=draw)
        made.append(
            Example(
                array("i", torch.randint(0, 7, (length,), generator=draw).tolist()),
                array("f", (weight * (who == 0)).tolist()),
                array("f", (weight.abs() * (who == 1)).tolist()),
                array("f", (logprob * (who == 0)).tolist()),
            )
        )
    return made


def gradients(learner, batch):
    """The gradient, taken and put aside."""
    learner.forward_backward(batch)
    return [parameter.grad.clone() for parameter in learner.model.parameters()]


def naive(model, texts, temperature=1.0):
    """The same loss, text by text and token by token."""
    loss = torch.zeros(())
    for text in texts:
        logits = model.logits(model(torch.tensor([list(text.tokens)])))[0]
        for place in range(1, len(text.tokens)):
            token = text.tokens[place]
            own = torch.log_softmax(logits[place - 1] / temperature, -1)[token]
            ratio = float((own.detach() - text.logprobs[place]).exp())
            loss = loss - text.policy[place] * min(ratio, 5.0) * own
            loss = loss - text.imitate[place] * torch.log_softmax(logits[place - 1], -1)[token]
    return loss


def close(found, wanted, tolerance=1e-5):
    return all((f - w).abs().max() <= tolerance * (1 + w.abs().max()) for f, w in zip(found, wanted, strict=True))


# -------------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("architecture", ["transformer", "recurrent"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_gradient_is_that_of_the_formula_token_by_token(build, learner_of, architecture, temperature):
    model = build(architecture=architecture, loud=0.1)
    texts = examples()
    wanted = torch.autograd.grad(naive(model, texts, temperature), list(model.parameters()))
    assert close(gradients(learner_of(model, temperature), Batch.pack(texts)), wanted)


@pytest.mark.parametrize("places", [1, 60, 200])
def test_an_accumulated_gradient_is_that_of_one_pass(build, learner_of, places):
    model, batch = build(loud=0.1), Batch.pack(examples(40))
    assert len(list(batch.split(places))) > 1
    whole = gradients(learner_of(model), batch)
    assert close(gradients(learner_of(model, learner={"microbatch_tokens": places}), batch), whole)


def test_accumulated_metrics_are_those_of_one_pass(build, learner_of):
    batch = Batch.pack(examples(40))
    whole = learner_of(build(loud=0.1)).step(batch, 0.0)
    parts = learner_of(build(loud=0.1), learner={"microbatch_tokens": 1}).step(batch, 0.0)
    assert parts == pytest.approx(whole, rel=1e-4)


def test_packing_changes_no_gradient(build, learner_of):
    model, texts = build(loud=0.1), examples()
    packed = gradients(learner_of(model), Batch.pack(texts))
    alone = [gradients(learner_of(model), Batch.pack([text])) for text in texts]
    assert close(packed, [sum(grads) for grads in zip(*alone, strict=True)])


def test_a_text_after_another_in_its_row_is_not_predicted_from_it(build, learner_of):
    """Each text's first token carries no weight, so changing it changes the loss through what follows only."""
    model = build(loud=0.1)
    text = Example(array("i", [1, 3]), array("f", [0, 0]), array("f", [0, 1.0]), array("f", [0, 0]))
    first = Example(array("i", [5, 6, 2]), array("f", [0] * 3), array("f", [0] * 3), array("f", [0] * 3))
    together = gradients(learner_of(model), Batch.pack([first, text]))
    assert close(together, gradients(learner_of(model), Batch.pack([text])))


def test_tokens_without_weight_give_no_gradient(build, learner_of):
    """The same text with other tokens after all that is learned: the same gradient."""
    model = build(loud=0.1)
    weights = (array("f", [0, 0.5, 0, 0, 0]), array("f", [0] * 5), array("f", [0, -1.0, 0, 0, 0]))
    one = Example(array("i", [1, 3, 4, 5, 6]), *weights)
    two = Example(array("i", [1, 3, 6, 6, 2]), *weights)
    assert close(gradients(learner_of(model), Batch.pack([one])), gradients(learner_of(model), Batch.pack([two])))


@pytest.mark.parametrize("kind", ["cispo", "ppo", "dapo", "gspo", "dppo", "reinforce"])
def test_every_surrogate_raises_what_was_good_and_lowers_what_was_bad(build, learner_of, kind):
    model = build(loud=0.1)
    tokens = array("i", [1, 3])
    for advantage in (1.0, -1.0):
        fresh = copy.deepcopy(model)
        before = torch.log_softmax(fresh.logits(fresh(torch.tensor([[1]])))[0, 0], -1)[3].detach()
        text = Example(tokens, array("f", [0, advantage]), array("f", [0, 0]), array("f", [0, float(before)]))
        learner = learner_of(fresh)
        settings = LearnerSettings(optimizer=learner.settings.optimizer, surrogate=SurrogateSettings(kind=kind))
        Learner(fresh, settings).step(Batch.pack([text]), 1e-3)
        after = torch.log_softmax(fresh.logits(fresh(torch.tensor([[1]])))[0, 0], -1)[3]
        assert (after - before) * advantage > 0


def test_a_long_gradient_is_cut_to_the_bound_and_logged_whole(build, learner_of):
    model, batch = build(loud=0.1), Batch.pack(examples())
    free = gradients(learner_of(model), batch)
    norm = float(torch.cat([each.flatten() for each in free]).norm())
    bound = norm / 3
    learner = learner_of(model, max_grad_norm=bound)
    learner.forward_backward(batch)
    assert learner.clip() == pytest.approx(norm, rel=1e-4)
    assert close([parameter.grad * 3 for parameter in model.parameters()], free, 1e-4)


def kept_and_found(learner, batch):
    """How many numbers are kept for the backward pass, and what it finds."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = gradients(learner, batch)
    return sum(kept), found


def test_checkpointing_keeps_less_and_changes_no_bit_of_the_gradient(build, learner_of):
    batch = Batch.pack(examples())
    all_kept, plain = kept_and_found(learner_of(build(loud=0.1)), batch)
    kept, found = kept_and_found(learner_of(build(loud=0.1), learner={"checkpointing": True}), batch)
    assert all(torch.equal(one, two) for one, two in zip(found, plain, strict=True))
    assert kept < all_kept


# ----------------------------------------------------------------------------------------------------------- metrics
def test_metrics_are_those_of_the_tokens_learned_from(build, learner_of):
    model, texts = build(loud=0.1), examples()
    metrics = learner_of(model).step(Batch.pack(texts), 0.0)
    entropies, gaps, logs, capped, learned = [], [], [], 0, 0
    for text in texts:
        logprobs = torch.log_softmax(model.logits(model(torch.tensor([list(text.tokens)])))[0], -1).detach()
        for place in range(1, len(text.tokens)):
            learned += bool(text.policy[place] or text.imitate[place])
            if text.policy[place]:
                entropies.append(float(-(logprobs[place - 1].exp() * logprobs[place - 1]).sum()))
                gap = float(logprobs[place - 1][text.tokens[place]]) - text.logprobs[place]
                gaps.append(math.expm1(gap) - gap)
                logs.append(gap)
                capped += gap > math.log(5)
    assert metrics["policy/entropy"] == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)
    assert metrics["policy/mismatch_kl"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-3)
    assert metrics["policy/correction_cut_share"] == pytest.approx(capped / len(gaps))
    assert metrics["policy/correction_mean"] == pytest.approx(
        sum(min(math.exp(g), 5) for g in logs) / len(logs), rel=1e-4
    )
    assert metrics["policy/clip_share"] == metrics["policy/moved_kl"] == 0
    assert metrics["tokens/learned_from"] == learned
    assert metrics["tokens/trained"] == sum(len(text.tokens) for text in texts)
    assert metrics["optim/lr"] == 0


def test_a_batch_of_demonstrations_has_no_policy_metrics(build, learner_of):
    text = Example(array("i", [1, 3]), array("f", [0, 0]), array("f", [0, 1.0]), array("f", [0, 0]))
    metrics = learner_of(build()).step(Batch.pack([text]), 1e-3)
    assert "loss/next_token" in metrics
    assert not {"loss/policy", "policy/entropy", "policy/mismatch_kl"} & set(metrics)


def test_a_batch_of_rollouts_has_no_imitation_metric(build, learner_of):
    text = Example(array("i", [1, 3]), array("f", [0, 1.0]), array("f", [0, 0]), array("f", [0, -1.0]))
    metrics = learner_of(build()).step(Batch.pack([text]), 1e-3)
    assert "loss/policy" in metrics
    assert "loss/next_token" not in metrics


# ------------------------------------------------------------------------------------------------ steps and refusals
def weights_of(learner):
    return {name: tensor.clone() for name, tensor in learner.weights().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("weightless", [True, False])
def test_a_batch_without_weight_changes_nothing(build, learner_of, weightless):
    """Not even by the optimizer's momentum."""
    learner = learner_of(build())
    learner.step(Batch.pack(examples()), 1e-2)
    before = weights_of(learner)
    nothing = Example(array("i", [1, 2, 3]), *[array("f", [0] * 3)] * 3)
    assert learner.step(Batch.pack([nothing] if weightless else []), 1e-2) == {"tokens/trained": 0.0}
    assert same(before, weights_of(learner))


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused_and_changes_nothing(build, learner_of, poison):
    learner = learner_of(build())
    learner.step(Batch.pack(examples()), 1e-2)
    before, state = weights_of(learner), learner.state()
    texts = examples(seed=1)
    texts[3].policy[2] = poison
    with pytest.raises(LearningError, match=r"the step was not taken.* lower rate than 0\.01"):
        learner.step(Batch.pack(texts), 1e-2)
    assert same(before, weights_of(learner))
    after = learner.state()["state"]
    assert all(torch.equal(after[key][name], state["state"][key][name]) for key in after for name in after[key])
    assert learner.step(Batch.pack(examples(seed=2)), 1e-2)["optim/grad_norm"] > 0


def test_a_step_that_overflows_is_told(build, learner_of):
    with pytest.raises(LearningError, match="left weights that are not finite"):
        learner_of(build()).step(Batch.pack(examples()), 1e30)


def test_steps_lower_the_loss(build, learner_of):
    text = Example(array("i", [1, 3, 4, 2]), array("f", [0] * 4), array("f", [0, *[1 / 3] * 3]), array("f", [0] * 4))
    learner, batch = learner_of(build()), Batch.pack([text])
    losses = [learner.step(batch, 1e-2)["loss/next_token"] for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]


def test_a_learner_goes_on_bit_for_bit_from_a_state(build, learner_of):
    one = learner_of(build(loud=0.1), weight_decay=0.1)
    for seed in range(3):
        one.step(Batch.pack(examples(seed=seed)), 1e-2)
    state, weights = one.state(), weights_of(one)
    two = learner_of(build(seed=9), weight_decay=0.1)
    two.model.load_state_dict(weights)
    two.restore(state)
    for learner in (one, two):
        for seed in range(3, 6):
            learner.step(Batch.pack(examples(seed=seed)), 1e-2)
    assert same(one.weights(), two.weights())


def test_a_state_is_a_copy(build, learner_of):
    learner = learner_of(build())
    learner.step(Batch.pack(examples()), 1e-2)
    state = learner.state()
    before = state["state"][0]["exp_avg"].clone()
    learner.step(Batch.pack(examples(seed=1)), 1e-2)
    learner.restore(state)
    learner.step(Batch.pack(examples(seed=2)), 1e-2)
    assert torch.equal(state["state"][0]["exp_avg"], before)

"""A text is read as a learner reads it; some of its tokens are spoken of, or all."""

import torch

from poziomka.learning.objectives.logprobs import logits_of, logprobs_of

TOKENS = [1, 4, 2, 6, 3, 5]


def test_log_probabilities_are_those_of_the_models_logits(build):
    model = build(loud=0.3)
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([TOKENS])))[0]
    wanted = [torch.log_softmax(logits[place] / 0.7, -1)[token] for place, token in enumerate(TOKENS[1:])]
    assert torch.allclose(logprobs_of(model, TOKENS, 0.7), torch.stack(wanted), atol=1e-5)


def test_of_chosen_tokens_the_same_is_said(build):
    model, chosen = build(loud=0.3), torch.tensor([True, False, True, False, False, True])
    every, some = logprobs_of(model, TOKENS, 1.0), logprobs_of(model, TOKENS, 1.0, chosen)
    assert torch.allclose(some, every[[1, 4]], atol=1e-6)


def test_reading_leaves_a_model_that_learns_learning(build):
    model = build().train()
    logits, ids = logits_of(model, TOKENS)
    assert model.training
    assert not logits.requires_grad
    assert ids.tolist() == TOKENS[1:]

"""A later turn, a swap of weights, a cancelled or refused request: the rest goes on as if nothing had been."""

import random

import pytest
import torch

from poziomka.core.errors import SamplerError
from poziomka.core.transcript import Stop

PROMPT = [1, 7, 8, 9, 3]
LONG = {
    "seed": 5,
    "tokens": 24,
    "thinking": True,
    "min_thinking_tokens": 24,
}  # a reply that does not end before its 24 tokens
LENGTHS = (2, 9, 3, 17, 30, 5)


def prompt(number, length=None):
    draw = random.Random(number)
    return [1, *(draw.randrange(5, 15) for _ in range((length or LENGTHS[number % len(LENGTHS)]) - 1))]


def ask_mates(desk, count):
    for number in range(count):
        desk.ask(f"mate {number}", prompt(number), seed=1000 + number, tokens=4 + number % 23)


# ---------------------------------------------------------------------------------------------------- later turns
def second_turn(desk, stop=" 7"):
    """A reply that ends at a phrase, an answer of three tokens, and the next reply; returns the next reply's prefix."""
    desk.ask("first", PROMPT, seed=11, tokens=400, stop=(stop,), thinking=True, min_thinking_tokens=400)
    desk.finish()
    assert desk.stop("first") is Stop.PHRASE
    longer = [*PROMPT, *desk.tokens("first"), 5, 6, 7]
    read = desk.engine.counters.read
    desk.ask("second", longer, seed=12, tokens=12)
    desk.finish()
    return longer, desk.engine.counters.read - read


def test_a_later_turn_reads_only_what_is_new(any_model, desk_of):
    _, read = second_turn(desk_of(any_model))
    assert read == 3  # the stop phrase's last token, and all of the answer but its last, which the first step reads


def test_a_later_turn_is_what_it_would_be_without_reuse(any_model, desk_of):
    reusing, forgetful = desk_of(any_model), desk_of(any_model, cached=0)
    longer, _ = second_turn(reusing)
    _, read = second_turn(forgetful)
    assert read == len(longer) - 1
    assert reusing.tokens("second") == forgetful.tokens("second")
    assert reusing.logprobs("second") == pytest.approx(forgetful.logprobs("second"), abs=1e-4)


def test_known_and_new_prefixes_are_read_together(any_model, desk_of):
    desk, fresh = desk_of(any_model), desk_of(any_model, cached=0)
    longer, _ = second_turn(desk)
    for each in (desk, fresh):
        each.ask("known", longer, seed=3, tokens=6)
        each.ask("new", prompt(5, 4), seed=4, tokens=6)
        each.finish()
    assert desk.tokens("known") == fresh.tokens("known")
    assert desk.tokens("new") == fresh.tokens("new")


def test_two_turns_from_one_state_do_not_know_of_each_other(any_model, desk_of):
    desk = desk_of(any_model)
    longer, _ = second_turn(desk)
    before = desk.tokens("second")
    desk.ask("other", [*longer[:-1], 9], seed=5, tokens=12)
    desk.ask("again", longer, seed=12, tokens=12)
    assert desk.finish().tokens("again") == before


def test_a_reply_that_ended_is_not_kept(desk):
    desk.ask("mine", PROMPT, seed=1, tokens=3)
    desk.finish()
    assert len(desk.engine.cache) == 0


def test_every_reply_is_kept_where_that_is_asked_for(model, desk_of):
    desk = desk_of(model, park_all=True)
    desk.ask("mine", PROMPT, seed=1, tokens=3)
    tokens = desk.finish().tokens("mine")
    read = desk.engine.counters.read
    desk.ask("next", [*PROMPT, *tokens, 5], seed=1, tokens=3)
    desk.finish()
    assert desk.engine.counters.read - read == 1


def test_adopted_weights_forget_all_prefixes(model, desk_of):
    desk = desk_of(model)
    longer, _ = second_turn(desk)
    desk.engine.adopt("v2", model.state_dict())
    assert len(desk.engine.cache) == 0
    read = desk.engine.counters.read
    desk.ask("again", longer, seed=12, tokens=12)
    desk.finish()
    assert desk.engine.counters.read - read == len(longer) - 1


def test_a_state_that_older_weights_had_a_part_in_is_not_kept(model, desk_of, build):
    desk = desk_of(model)
    desk.ask("first", PROMPT, seed=11, tokens=400, stop=(" 7",), thinking=True, min_thinking_tokens=400)
    desk.engine._admit()
    desk.engine.adopt("v2", build(seed=1).state_dict())
    assert desk.finish().stop("first") is Stop.PHRASE
    assert len(desk.engine.cache) == 0


# ------------------------------------------------------------------------------------------------- swaps, refusals
def test_new_weights_in_the_middle_split_the_span_and_name_both_policies(model, desk_of, build):
    desk = desk_of(model)
    desk.ask("mine", PROMPT, 0, True, seed=2, tokens=10, min_thinking_tokens=10)
    desk.step(4)
    desk.engine.adopt("v2", build(seed=1).state_dict())
    desk.finish()
    found = [(piece.policy, len(piece.tokens), piece.stop) for piece in desk.pieces["mine"]]
    assert found == [("v1", 4, Stop.SWAP), ("v2", 6, Stop.LENGTH)]


def test_the_next_request_is_written_by_the_new_weights(model, desk_of, build):
    new = build(seed=1)
    desk, fresh = desk_of(model), desk_of(new)
    desk.ask("before", PROMPT, seed=2, tokens=10)
    desk.finish()
    desk.engine.adopt("v2", new.state_dict())
    desk.ask("after", PROMPT, seed=2, tokens=10)
    fresh.ask("after", PROMPT, seed=2, tokens=10)
    assert desk.finish().tokens("after") == fresh.finish().tokens("after")
    assert {piece.policy for piece in desk.pieces["after"]} == {"v2"}


def test_adopted_weights_are_copied(model, desk_of, build):
    desk = desk_of(model)
    weights = {name: tensor.clone() for name, tensor in build(seed=1).state_dict().items()}
    desk.engine.adopt("v2", weights)
    before = desk.engine.score(PROMPT)
    for tensor in weights.values():
        tensor.zero_()
    assert desk.engine.score(PROMPT) == before


@pytest.mark.parametrize("fault", ["missing", "surplus", "shape"])
def test_weights_that_do_not_fit_are_refused_and_change_nothing(model, desk_of, build, fault):
    desk = desk_of(model)
    weights = dict(build(seed=1).state_dict())
    if fault == "missing":
        del weights["norm.weight"]
    elif fault == "surplus":
        weights["norm.bias"] = torch.zeros(32)
    else:
        weights["norm.weight"] = torch.zeros(31)
    before = desk.engine.score(PROMPT)
    with pytest.raises(SamplerError, match=r"version 'v2' do not fit .*'norm\."):
        desk.engine.adopt("v2", weights)
    assert desk.engine.score(PROMPT) == before
    assert desk.engine.policy == "v1"


def test_a_cancelled_row_leaves_and_the_others_stay(any_model, desk_of):
    desk, alone = desk_of(any_model), desk_of(any_model)
    first = desk.ask("first", prompt(1), **LONG)
    desk.ask("mine", PROMPT, **LONG)
    alone.ask("mine", PROMPT, **LONG)
    desk.step(3)
    first.cancelled = True
    desk.step(1)
    assert len(desk.engine._rows) == 1
    assert desk.finish().tokens("mine") == alone.finish().tokens("mine")
    assert "first" not in desk.pieces


def test_a_request_cancelled_while_it_waits_is_never_read(desk):
    desk.ask("mine", PROMPT, tokens=5).cancelled = True
    desk.finish()
    assert desk.engine.counters.read == 0
    assert not desk.pieces


def test_a_request_without_tokens_is_refused(desk):
    with pytest.raises(SamplerError, match="at least one token"):
        desk.ask("mine", [])


def test_after_forgetting_the_engine_begins_anew(desk, desk_of, model):
    ask_mates(desk, 5)
    desk.step(2)
    ask_mates(desk, 3)
    desk.engine.forget()
    assert not desk.engine.busy
    desk.pieces.clear()
    desk.ask("mine", PROMPT, **LONG)
    fresh = desk_of(model)
    fresh.ask("mine", PROMPT, **LONG)
    assert desk.finish().tokens("mine") == fresh.finish().tokens("mine")


def test_scores_are_logprobs_of_the_full_forward(any_model, desk_of):
    with torch.inference_mode():
        logits = any_model.logits(any_model(torch.tensor([PROMPT])))[0] / 0.8
        wanted = torch.log_softmax(logits, -1)[range(4), PROMPT[1:]].tolist()
    assert desk_of(any_model).engine.score(PROMPT, 0.8) == pytest.approx([0.0, *wanted], abs=1e-6)

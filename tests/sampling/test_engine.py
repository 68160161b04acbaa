"""What the engine writes does not depend on who else is being written, and costs no token that was paid for."""

import random

import pytest
import torch

from poziomka.core.errors import SamplerError
from poziomka.core.sampler import Sampling
from poziomka.core.transcript import Author, Stop
from poziomka.sampling.engine import READ_AT_ONCE, _chunks

PROMPT = [1, 7, 8, 9, 3]
LONG = {"seed": 5, "tokens": 24, "thinking": True, "think_least": 24}  # a reply that does not end before its 24 tokens
LENGTHS = (2, 9, 3, 17, 30, 5)


def prompt(number, length=None):
    draw = random.Random(number)
    return [1, *(draw.randrange(5, 15) for _ in range((length or LENGTHS[number % len(LENGTHS)]) - 1))]


def ask_mates(desk, count):
    for number in range(count):
        desk.ask(f"mate {number}", prompt(number), seed=1000 + number, tokens=4 + number % 23)


def near(found, wanted, tolerance=1e-4):
    assert len(found) == len(wanted)
    return all(abs(f - w) <= tolerance for f, w in zip(found, wanted, strict=True))


# ------------------------------------------------------------------------------------------- alone and beside others
@pytest.mark.parametrize("mates", [3, 40])
def test_a_reply_is_the_same_alone_and_beside_others(any_model, desk_of, mates):
    alone, beside = desk_of(any_model), desk_of(any_model)
    alone.ask("mine", PROMPT, **LONG)
    beside.ask("mine", PROMPT, **LONG)
    ask_mates(beside, mates)
    assert beside.finish().tokens("mine") == alone.finish().tokens("mine")
    assert near(beside.logprobs("mine"), alone.logprobs("mine"), 1e-5)


def test_a_reply_is_the_same_when_it_joins_in_the_middle(any_model, desk_of):
    alone, joined = desk_of(any_model), desk_of(any_model)
    alone.ask("mine", PROMPT, **LONG)
    ask_mates(joined, 12)
    joined.step(5)
    joined.ask("mine", PROMPT, **LONG)
    joined.step(3)
    joined.ask("late", prompt(4), seed=6, tokens=24)
    assert joined.finish().tokens("mine") == alone.finish().tokens("mine")
    assert near(joined.logprobs("mine"), alone.logprobs("mine"), 1e-5)


def test_everybody_is_answered_whoever_joins_and_leaves_when(any_model, desk_of):
    crowd = desk_of(any_model, rows=11)
    asked = []
    for number in range(60):
        crowd.ask(number, prompt(number), seed=number, tokens=1 + number % 19)
        asked.append(number)
        crowd.step(number % 3)
    assert sorted(crowd.finish().pieces) == asked
    for number in (0, 17, 42, 59):
        alone = desk_of(any_model)
        alone.ask("mine", prompt(number), seed=number, tokens=1 + number % 19)
        assert crowd.tokens(number) == alone.finish().tokens("mine")


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_logprobs_are_those_of_the_full_forward_at_the_temperature(any_model, desk_of, temperature):
    """Ragged lengths, forks, keeps and joins: every log-probability of a crowd is compared."""
    desk = desk_of(any_model)
    for number in range(24):
        desk.ask(number, prompt(number // 2), seed=number, tokens=3 + number % 17, temperature=temperature)
        desk.step(number % 2)
    desk.finish()
    for number in range(24):
        start = prompt(number // 2)
        scores = desk.engine.score([*start, *desk.tokens(number)], temperature)
        assert near(desk.logprobs(number), scores[len(start) :])


def test_a_run_repeats_bit_for_bit(any_model, desk_of):
    def written():
        desk = desk_of(any_model)
        ask_mates(desk, 20)
        desk.step(4)
        ask_later = [desk.ask(f"late {number}", prompt(number), seed=number, tokens=9) for number in range(5)]
        desk.finish()
        assert len(ask_later) == 5
        return {name: (desk.tokens(name), desk.logprobs(name)) for name in desk.pieces}

    assert written() == written()


def test_requests_wait_while_the_rows_are_taken(model, desk_of):
    narrow, wide = desk_of(model, rows=2), desk_of(model)
    for desk in (narrow, wide):
        ask_mates(desk, 9)
    narrow.step(1)
    assert len(narrow.engine._rows) <= 2
    assert len(narrow.engine._waiting) == 7
    wide.finish()
    narrow.finish()
    assert all(narrow.tokens(name) == wide.tokens(name) for name in wide.pieces)


# --------------------------------------------------------------------------------------------------- what is computed
def test_a_groups_attempts_share_one_prefill(any_model, desk_of):
    desk = desk_of(any_model)
    for seed in range(8):
        desk.ask(seed, PROMPT, seed=seed, tokens=5)
    desk.finish()
    assert desk.engine.counters.read == len(PROMPT) - 1


def test_each_different_prompt_is_read_once(desk):
    for number in range(12):
        desk.ask(number, prompt(number % 3), seed=number, tokens=5)
    desk.finish()
    assert desk.engine.counters.read == sum(len(prompt(number)) - 1 for number in range(3))


def test_a_prompt_of_one_token_needs_no_prefill(any_model, desk_of):
    desk = desk_of(any_model)
    desk.ask("mine", [1], seed=3, tokens=6)
    tokens = desk.finish().tokens("mine")
    assert desk.engine.counters.read == 0
    assert near(desk.logprobs("mine"), desk.engine.score([1, *tokens])[1:])


def test_a_finished_row_leaves_at_once(desk):
    desk.ask("short", PROMPT, temperature=0, tokens=2)
    desk.ask("long", prompt(3), seed=1, tokens=7)
    rows = []
    while desk.engine.busy:
        desk.engine.step()
        rows.append(len(desk.engine._rows))
    lengths = [len(desk.tokens("short")), len(desk.tokens("long"))]
    assert rows == [sum(length > step for length in lengths) for step in range(1, max(lengths) + 1)]
    assert desk.engine.counters.written == sum(lengths)
    assert desk.engine.counters.steps == max(lengths)


def test_prompts_of_like_length_are_read_together(desk):
    for number in range(20):
        desk.ask(number, prompt(number, 60 if number % 2 else 6), temperature=0, tokens=1)
    desk.engine._admit()
    assert desk.engine.counters.padded == 0


def test_rows_that_nobody_uses_take_no_room(desk):
    for number in range(30):
        desk.ask(number, PROMPT, seed=number, tokens=20, thinking=True, think_least=20)
        desk.finish()
    assert desk.engine._memory.stores["keys"].shape[1:4:2] == (8, 64)


def test_a_step_without_requests_does_nothing(desk):
    desk.engine.step()
    assert desk.engine.counters.steps == 0
    assert not desk.engine.busy


def test_prefixes_are_read_in_passes_of_bounded_size():
    plans = [(bytes(4 * length), 0, None) for length in sorted([2, 3, 20, 60, 61, *[3000] * 12])]
    chunks = [[len(key) // 4 for key, _, _ in chunk] for chunk in _chunks(plans)]
    assert [length for chunk in chunks for length in chunk] == [2, 3, 20, 60, 61, *[3000] * 12]
    assert all(max(chunk) * len(chunk) <= READ_AT_ONCE for chunk in chunks)
    assert all(max(chunk) <= 2 * min(chunk) + 16 for chunk in chunks)


def test_a_prefix_longer_than_a_pass_is_read_by_itself():
    plans = [(bytes(4 * READ_AT_ONCE * 2), 0, None)] * 2
    assert [len(chunk) for chunk in _chunks(plans)] == [1, 1]


# ---------------------------------------------------------------------------------------------------- later turns
def second_turn(desk, stop=" 7"):
    """A reply that ends at a phrase, an answer of three tokens, and the next reply; returns the next reply's prefix."""
    desk.ask("first", PROMPT, seed=11, tokens=400, stop=(stop,), thinking=True, think_least=400)
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
    assert near(reusing.logprobs("second"), forgetful.logprobs("second"))


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
    desk.ask("first", PROMPT, seed=11, tokens=400, stop=(" 7",), thinking=True, think_least=400)
    desk.engine._admit()
    desk.engine.adopt("v2", build(seed=1).state_dict())
    assert desk.finish().stop("first") is Stop.PHRASE
    assert len(desk.engine.cache) == 0


# ----------------------------------------------------------------------------------------------------- settings
def test_temperature_zero_takes_the_likeliest_token(any_model, desk_of):
    desk = desk_of(any_model)
    desk.ask("mine", PROMPT, temperature=0, tokens=20)
    tokens = desk.finish().tokens("mine")
    with torch.inference_mode():
        logits = any_model.logits(any_model(torch.tensor([[*PROMPT, *tokens]])))[0]
    assert logits.argmax(-1).tolist()[len(PROMPT) - 1 : -1] == tokens


def test_at_temperature_zero_the_logprobs_are_those_of_temperature_one(desk):
    desk.ask("mine", PROMPT, temperature=0, tokens=10)
    tokens = desk.finish().tokens("mine")
    assert near(desk.logprobs("mine"), desk.engine.score([*PROMPT, *tokens], 1.0)[len(PROMPT) :])
    assert desk.engine.score([*PROMPT, *tokens], 0) == desk.engine.score([*PROMPT, *tokens], 1.0)


def test_rows_with_different_settings_share_a_batch(model, desk_of):
    settings = {
        "cold": {"temperature": 0.0},
        "warm": {"temperature": 1.5},
        "few": {"top_k": 2},
        "likely": {"top_p": 0.5},
        "plain": {},
    }
    together = desk_of(model)
    for name, how in settings.items():
        together.ask(name, PROMPT, seed=4, tokens=15, **how)
    together.finish()
    for name, how in settings.items():
        alone = desk_of(model)
        alone.ask(name, PROMPT, seed=4, tokens=15, **how)
        assert alone.finish().tokens(name) == together.tokens(name)


def test_top_k_of_one_is_greedy(model, desk_of):
    desk = desk_of(model)
    desk.ask("one", PROMPT, seed=4, tokens=15, top_k=1)
    desk.ask("greedy", PROMPT, temperature=0, tokens=15)
    desk.finish()
    assert desk.tokens("one") == desk.tokens("greedy")


def test_seeds_name_replies(desk):
    for name, seed in {"a": 1, "a again": 1, "b": 2}.items():
        desk.ask(name, PROMPT, seed=seed, tokens=20)
    desk.finish()
    assert desk.tokens("a") == desk.tokens("a again")
    assert desk.tokens("a") != desk.tokens("b")


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 + 5, -(2**70)])
def test_any_whole_number_is_a_seed(desk, seed):
    desk.ask("mine", PROMPT, seed=seed, tokens=3)
    assert len(desk.finish().tokens("mine")) >= 1


def test_a_reply_taken_up_in_the_middle_goes_on_as_it_would_have(any_model, desk_of):
    desk = desk_of(any_model)
    desk.ask("whole", PROMPT, seed=6, tokens=20)
    tokens = desk.finish().tokens("whole")
    half = len(tokens) // 2
    assert half
    desk.ask("rest", [*PROMPT, *tokens[:half]], seed=6, tokens=20 - half)
    assert desk.finish().tokens("rest") == tokens[half:]


# -------------------------------------------------------------------------------------------------- ends of a reply
def test_the_limit_of_tokens_ends_a_reply(desk):
    desk.ask("mine", PROMPT, seed=6, tokens=1)
    assert len(desk.finish().tokens("mine")) == 1
    assert desk.stop("mine") in (Stop.LENGTH, Stop.END)


def test_the_end_token_ends_a_reply_and_is_kept(desk, tokenizer):
    for seed in range(20):
        desk.ask(seed, PROMPT, seed=seed, tokens=200)
    desk.finish()
    ended = [seed for seed in range(20) if desk.stop(seed) is Stop.END]
    assert ended
    for seed in ended:
        assert desk.tokens(seed).index(tokenizer.end) == len(desk.tokens(seed)) - 1


def test_a_stop_string_ends_a_reply_and_is_kept(desk, tokenizer):
    desk.ask("free", PROMPT, seed=11, tokens=40)
    desk.ask("stopped", PROMPT, seed=11, tokens=40, stop=(" 7 7 7 7 7", " 7"))
    desk.finish()
    seven = tokenizer.encode("7")[0]
    assert desk.stop("stopped") is Stop.PHRASE
    assert desk.tokens("stopped") == desk.tokens("free")[: desk.tokens("free").index(seven) + 1]


def test_a_stop_string_may_span_tokens(desk, tokenizer):
    desk.ask("free", PROMPT, seed=11, tokens=40)
    free = desk.finish().tokens("free")
    phrase = tokenizer.decode(free[3:6])
    desk.ask("stopped", PROMPT, seed=11, tokens=40, stop=(phrase,))
    assert desk.finish().tokens("stopped") == free[: 6 if len(phrase.split()) == 3 else None]
    assert desk.stop("stopped") is Stop.PHRASE


def test_a_stop_string_does_not_span_a_forced_end(desk, tokenizer):
    """The reply taken up after the forced end would not see it either."""
    how = {"thinking": True, "think_least": 5, "think_most": 5, "seed": 11, "tokens": 20}
    desk.ask("free", PROMPT, **how)
    thought, _, answer = desk.finish().pieces["free"][:3]
    phrase = tokenizer.decode([thought.tokens[-1], answer.tokens[0]])
    assert len(phrase.split()) == 2
    desk.ask("stopped", PROMPT, **how, stop=(phrase,))
    assert desk.finish().tokens("stopped")[:7] == desk.tokens("free")[:7]
    assert len(desk.tokens("stopped")) > 7


def test_a_stop_string_in_the_prefix_ends_nothing(desk, tokenizer):
    phrase = tokenizer.decode(PROMPT[1:4])
    desk.ask("mine", PROMPT, temperature=0, tokens=5, stop=(f"{phrase} 1 2 3 4 5",))
    assert desk.finish().stop("mine") is not Stop.PHRASE


# ------------------------------------------------------------------------------------------------------ thinking
def authors(desk, name):
    return [(piece.author, len(piece.tokens), piece.stop) for piece in desk.pieces[name]]


def thinker(desk, seed=0, name="mine", **how):
    """Asks with an open thought."""
    return desk.ask(name, PROMPT, 0, True, seed=seed, **{"tokens": 30, **how})


def test_a_thought_is_closed_at_its_budget(desk, tokenizer):
    thinker(desk, think_least=6, think_most=6, tokens=20)
    desk.finish()
    thought, close, answer = desk.pieces["mine"][:3]
    assert (thought.author, len(thought.tokens), thought.stop) == (Author.MODEL, 6, Stop.LENGTH)
    assert (close.author, tuple(close.tokens), len(close.logprobs)) == (Author.FORCED, tokenizer.close, 0)
    assert answer.author is Author.MODEL


def test_forced_words_do_not_count_as_tokens_of_the_request(desk):
    for seed in range(30):
        thinker(desk, seed, seed, think_least=4, think_most=4, tokens=9)
    desk.finish()
    full = [seed for seed in range(30) if desk.stop(seed) is Stop.LENGTH]
    assert full
    for seed in full:
        assert sum(len(piece.tokens) for piece in desk.pieces[seed] if piece.author is Author.MODEL) == 9


def test_no_thinking_tokens_at_all_closes_the_thought_first(desk, tokenizer):
    thinker(desk, think_most=0)
    desk.finish()
    assert desk.pieces["mine"][0].author is Author.FORCED
    assert tuple(desk.pieces["mine"][0].tokens) == tokenizer.close


def test_the_tokens_after_a_forced_end_are_read_with_it(any_model, desk_of):
    desk = desk_of(any_model)
    thinker(desk, think_least=3, think_most=3)
    tokens = desk.finish().tokens("mine")
    scores = desk.engine.score([*PROMPT, *tokens])[len(PROMPT) :]
    answer = desk.pieces["mine"][2]  # after the thought, three tokens, and one that was forced
    assert near(answer.logprobs, scores[4 : 4 + len(answer.tokens)])


def test_a_thought_that_the_model_closed_is_not_forced(desk, tokenizer):
    for seed in range(40):
        thinker(desk, seed, seed, think_most=12)
    desk.finish()
    closed = [seed for seed in range(40) if desk.pieces[seed][0].stop is Stop.THOUGHT]
    assert closed
    for seed in closed:
        assert desk.pieces[seed][0].tokens[-1] == tokenizer.close[-1]
        assert len(desk.pieces[seed][0].tokens) <= 12 + 1


def test_a_thought_shorter_than_its_least_length_is_neither_closed_nor_ended(desk, tokenizer):
    for seed in range(40):
        thinker(desk, seed, seed, think_least=8)
    desk.finish()
    for seed in range(40):
        assert not {tokenizer.end, tokenizer.close[-1]} & set(desk.tokens(seed)[:8])
    assert any({tokenizer.end, tokenizer.close[-1]} & set(desk.tokens(seed)[8:10]) for seed in range(40))


def test_a_budget_beyond_the_limit_of_tokens_forces_nothing(desk):
    thinker(desk, think_least=5, think_most=5, tokens=5)
    desk.finish()
    assert authors(desk, "mine") == [(Author.MODEL, 5, Stop.LENGTH)]


def test_a_thought_begun_in_an_earlier_turn_has_less_left(desk):
    desk.ask("mine", PROMPT, 4, True, seed=1, think_most=6, think_least=6, tokens=20)
    desk.finish()
    assert authors(desk, "mine")[0] == (Author.MODEL, 2, Stop.LENGTH)


def test_without_an_open_thought_no_budget_holds(desk):
    desk.ask("mine", PROMPT, seed=1, think_most=0, tokens=6)
    desk.finish()
    assert {author for author, _, _ in authors(desk, "mine")} == {Author.MODEL}


def test_a_thought_that_is_opened_again_gets_no_second_budget(desk, tokenizer):
    """Otherwise a model could learn to think beyond every budget."""
    for seed in range(200):
        thinker(desk, seed, seed, think_most=2, tokens=40)
    desk.finish()
    reopened = 0
    for seed in range(200):
        thinking, thought = True, 0
        for piece in desk.pieces[seed]:
            for token in piece.tokens:
                if not thinking:
                    thinking = token == tokenizer.think[0]
                    reopened += thinking
                elif token in (tokenizer.close[0], tokenizer.end):
                    thinking = False
                    assert piece.author is Author.MODEL or thought == 2
                else:
                    thought += 1
        assert thought <= 2
    assert reopened > 10


def test_marks_of_several_tokens_are_recognised_and_forced(model, tokenizer, desk_of):
    desk = desk_of(model)
    desk.engine.marks = type(desk.engine.marks)(frozenset([tokenizer.end]), (5, 6), (7, 8))
    for seed in range(300):
        thinker(desk, seed, seed, think_least=3, think_most=9, tokens=30)
    desk.finish()
    closed = [seed for seed in range(300) if desk.pieces[seed][0].stop is Stop.THOUGHT]
    forced = [seed for seed in range(300) if any(p.author is Author.FORCED for p in desk.pieces[seed])]
    assert closed
    assert forced
    for seed in closed:
        first = list(desk.pieces[seed][0].tokens)
        assert first[-2:] == [7, 8]
        assert len(first) >= 3 + 1
    for seed in forced:
        assert next(list(p.tokens) for p in desk.pieces[seed] if p.author is Author.FORCED)[:2] == [7, 8]


# ------------------------------------------------------------------------------------------------- swaps, refusals
def test_new_weights_in_the_middle_split_the_span_and_name_both_policies(model, desk_of, build):
    desk = desk_of(model)
    desk.ask("mine", PROMPT, 0, True, seed=2, tokens=10, think_least=10)
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


def test_a_request_that_cannot_fit_is_refused_in_words(model, desk_of):
    desk = desk_of(model, context=20)
    with pytest.raises(SamplerError, match=r"of 5 tokens with 17 more does not fit the context of 20: ask for fewer"):
        desk.ask("mine", PROMPT, tokens=17)
    desk.ask("fits", PROMPT, seed=1, tokens=16)
    assert not desk.finish().engine.busy


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
    assert near(desk_of(any_model).engine.score(PROMPT, 0.8), [0.0, *wanted], 1e-6)


def test_only_plain_settings_are_the_sampling_distributions():
    assert Sampling().plain
    assert not Sampling(think_least=1).plain

"""What a request asks for is what it gets: temperature, cuts, seeds, limits, stop strings, budgets of thought."""

import pytest
import torch

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Stop

PROMPT = [1, 7, 8, 9, 3]


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
    assert desk.logprobs("mine") == pytest.approx(desk.engine.score([*PROMPT, *tokens], 1.0)[len(PROMPT) :], abs=1e-4)
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
    how = {"thinking": True, "min_thinking_tokens": 5, "max_thinking_tokens": 5, "seed": 11, "tokens": 20}
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
    thinker(desk, min_thinking_tokens=6, max_thinking_tokens=6, tokens=20)
    desk.finish()
    thought, close, answer = desk.pieces["mine"][:3]
    assert (thought.author, len(thought.tokens), thought.stop) == (Author.MODEL, 6, Stop.LENGTH)
    assert (close.author, tuple(close.tokens), len(close.logprobs)) == (Author.FORCED, tokenizer.close, 0)
    assert answer.author is Author.MODEL


def test_forced_words_do_not_count_as_tokens_of_the_request(desk):
    for seed in range(30):
        thinker(desk, seed, seed, min_thinking_tokens=4, max_thinking_tokens=4, tokens=9)
    desk.finish()
    full = [seed for seed in range(30) if desk.stop(seed) is Stop.LENGTH]
    assert full
    for seed in full:
        assert sum(len(piece.tokens) for piece in desk.pieces[seed] if piece.author is Author.MODEL) == 9


def test_no_thinking_tokens_at_all_closes_the_thought_first(desk, tokenizer):
    thinker(desk, max_thinking_tokens=0)
    desk.finish()
    assert desk.pieces["mine"][0].author is Author.FORCED
    assert tuple(desk.pieces["mine"][0].tokens) == tokenizer.close


def test_the_tokens_after_a_forced_end_are_read_with_it(any_model, desk_of):
    desk = desk_of(any_model)
    thinker(desk, min_thinking_tokens=3, max_thinking_tokens=3)
    tokens = desk.finish().tokens("mine")
    scores = desk.engine.score([*PROMPT, *tokens])[len(PROMPT) :]
    answer = desk.pieces["mine"][2]  # after the thought, three tokens, and one that was forced
    assert answer.logprobs == pytest.approx(scores[4 : 4 + len(answer.tokens)], abs=1e-4)


def test_a_thought_that_the_model_closed_is_not_forced(desk, tokenizer):
    for seed in range(40):
        thinker(desk, seed, seed, max_thinking_tokens=12)
    desk.finish()
    closed = [seed for seed in range(40) if desk.pieces[seed][0].stop is Stop.THOUGHT]
    assert closed
    for seed in closed:
        assert desk.pieces[seed][0].tokens[-1] == tokenizer.close[-1]
        assert len(desk.pieces[seed][0].tokens) <= 12 + 1


def test_a_thought_shorter_than_its_least_length_is_neither_closed_nor_ended(desk, tokenizer):
    for seed in range(40):
        thinker(desk, seed, seed, min_thinking_tokens=8)
    desk.finish()
    for seed in range(40):
        assert not {tokenizer.end, tokenizer.close[-1]} & set(desk.tokens(seed)[:8])
    assert any({tokenizer.end, tokenizer.close[-1]} & set(desk.tokens(seed)[8:10]) for seed in range(40))


def test_a_budget_beyond_the_limit_of_tokens_forces_nothing(desk):
    thinker(desk, min_thinking_tokens=5, max_thinking_tokens=5, tokens=5)
    desk.finish()
    assert authors(desk, "mine") == [(Author.MODEL, 5, Stop.LENGTH)]


def test_a_thought_begun_in_an_earlier_turn_has_less_left(desk):
    desk.ask("mine", PROMPT, 4, True, seed=1, max_thinking_tokens=6, min_thinking_tokens=6, tokens=20)
    desk.finish()
    assert authors(desk, "mine")[0] == (Author.MODEL, 2, Stop.LENGTH)


def test_without_an_open_thought_no_budget_holds(desk):
    desk.ask("mine", PROMPT, seed=1, max_thinking_tokens=0, tokens=6)
    desk.finish()
    assert {author for author, _, _ in authors(desk, "mine")} == {Author.MODEL}


def test_a_thought_that_is_opened_again_gets_no_second_budget(desk, tokenizer):
    """Otherwise a model could learn to think beyond every budget."""
    for seed in range(200):
        thinker(desk, seed, seed, max_thinking_tokens=2, tokens=40)
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
        thinker(desk, seed, seed, min_thinking_tokens=3, max_thinking_tokens=9, tokens=30)
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


def test_only_plain_settings_are_the_sampling_distributions():
    assert SamplingParams().plain
    assert not SamplingParams(min_thinking_tokens=1).plain

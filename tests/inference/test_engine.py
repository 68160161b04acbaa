"""What the engine writes does not depend on who else is being written, and costs no token that was paid for."""

import random

import pytest

from poziomka.inference.engine import READ_AT_ONCE, _chunks

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


# ------------------------------------------------------------------------------------------- alone and beside others
@pytest.mark.parametrize("mates", [3, 40])
def test_a_reply_is_the_same_alone_and_beside_others(any_model, desk_of, mates):
    alone, beside = desk_of(any_model), desk_of(any_model)
    alone.ask("mine", PROMPT, **LONG)
    beside.ask("mine", PROMPT, **LONG)
    ask_mates(beside, mates)
    assert beside.finish().tokens("mine") == alone.finish().tokens("mine")
    assert beside.logprobs("mine") == pytest.approx(alone.logprobs("mine"), abs=1e-5)


def test_a_reply_is_the_same_when_it_joins_in_the_middle(any_model, desk_of):
    alone, joined = desk_of(any_model), desk_of(any_model)
    alone.ask("mine", PROMPT, **LONG)
    ask_mates(joined, 12)
    joined.step(5)
    joined.ask("mine", PROMPT, **LONG)
    joined.step(3)
    joined.ask("late", prompt(4), seed=6, tokens=24)
    assert joined.finish().tokens("mine") == alone.finish().tokens("mine")
    assert joined.logprobs("mine") == pytest.approx(alone.logprobs("mine"), abs=1e-5)


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
        assert desk.logprobs(number) == pytest.approx(scores[len(start) :], abs=1e-4)


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
    assert desk.logprobs("mine") == pytest.approx(desk.engine.score([1, *tokens])[1:], abs=1e-4)


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
        desk.ask(number, PROMPT, seed=number, tokens=20, thinking=True, min_thinking_tokens=20)
        desk.finish()
    assert (desk.engine._memory.capacity, desk.engine._memory.room) == (8, 64)


def test_a_step_without_requests_does_nothing(desk):
    desk.engine.step()
    assert desk.engine.counters.steps == 0
    assert not desk.engine.busy


def test_prefixes_are_read_in_passes_of_bounded_size():
    plans = [(bytes(4 * length), 0) for length in sorted([2, 3, 20, 60, 61, *[3000] * 12])]
    chunks = [[len(key) // 4 for key, _ in chunk] for chunk in _chunks(plans)]
    assert [length for chunk in chunks for length in chunk] == [2, 3, 20, 60, 61, *[3000] * 12]
    assert all(max(chunk) * len(chunk) <= READ_AT_ONCE for chunk in chunks)
    assert all(max(chunk) <= 2 * min(chunk) + 16 for chunk in chunks)


def test_a_prefix_longer_than_a_pass_is_read_by_itself():
    plans = [(bytes(4 * READ_AT_ONCE * 2), 0)] * 2
    assert [len(chunk) for chunk in _chunks(plans)] == [1, 1]

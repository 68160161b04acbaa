"""What a script says, and how it keeps the rules of a request."""

import asyncio

import pytest

from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.testing.fakes import ScriptedSampler, pieces

QUESTION = Transcript.of([Message("user", "What is 3 + 4?")])
THOUGHT = "<think> three and four make seven </think> 7"


def extend(script, transcript=QUESTION, **sampling):
    return asyncio.run(ScriptedSampler(script).extend(transcript, SamplingParams(**sampling)))


def written(transcript):
    return [(span.author.value, span.text, span.stop) for span in transcript.spans[1:]]


def test_the_reply_is_the_script():
    assert written(extend([" 7"])) == [("model", " 7", Stop.END)]


def test_texts_are_given_out_in_order_and_round_again():
    sampler = ScriptedSampler([" 1", " 2"])
    replies = asyncio.run(sampler.branch(QUESTION, [SamplingParams(seed=seed) for seed in range(3)]))
    assert [reply.reply for reply in replies] == [" 1", " 2", " 1"]


def test_the_same_request_gets_the_same_reply():
    sampler = ScriptedSampler([" 1", " 2"])
    replies = [asyncio.run(sampler.extend(QUESTION, SamplingParams(seed=5))) for _ in range(2)]
    assert replies[0] == replies[1]


def test_a_script_may_be_a_function():
    assert extend(lambda transcript, sampling: f" {sampling.seed}", seed=9).reply == " 9"


def test_a_function_that_returns_no_text_is_named():
    with pytest.raises(SamplerError, match="received int"):
        extend(lambda transcript, sampling: 7)


@pytest.mark.parametrize("script", [[], "seven"])
def test_an_empty_script_or_a_bare_string_is_refused(script):
    with pytest.raises(SettingsError, match="list of replies"):
        ScriptedSampler(script)


def test_every_span_has_ids_and_model_spans_have_logprobs():
    reply = extend([THOUGHT])
    assert reply.spans[-1].tokens[-1] == 0  # the end token is kept
    assert [len(span.logprobs) for span in reply.spans[1:]] == [7, 2]
    assert reply.spans[0].logprobs is None


def test_ids_are_the_same_in_every_process():
    assert list(extend([" 7"]).spans[-1].tokens) == [1826657107, 0]


def test_a_second_turn_keeps_the_first_ones_tokens():
    first = extend([" 7"])
    second = extend([" 8"], first + Span(Author.ENVIRONMENT, " no"))
    assert second.tokens[: len(first)] == first.tokens
    assert second.spans[:2] == first.spans


def test_the_tokens_of_joined_spans_are_those_of_the_joined_text():
    assert pieces("<think> a") + pieces(" b </think>") + pieces(" 7") == pieces("<think> a b </think> 7")


def test_marks_of_thought_are_pieces_of_their_own():
    assert pieces("<think>a</think>7 \n") == ["<think>", "a", "</think>", "7", " \n"]


def test_a_limit_of_tokens_cuts_the_reply():
    assert written(extend([" a b c"], tokens=2)) == [("model", " a b", Stop.LENGTH)]


def test_a_stop_string_ends_the_reply_and_is_kept():
    assert written(extend([" a<tool> 1 </tool>. b"], stop=("</tool>", "x"))) == [
        ("model", " a<tool> 1 </tool>", Stop.PHRASE)
    ]


def test_the_stop_string_that_is_complete_first_counts():
    assert extend([" abcdef"], stop=("abcdef", "c")).reply == " abc"


def test_a_stop_string_may_span_words():
    assert extend([" so it is the end of it"], stop=("the end",)).reply == " so it is the end"


def test_a_thought_at_its_budget_is_closed_by_forced_words():
    assert written(extend([THOUGHT], max_thinking_tokens=2)) == [
        ("model", "<think> three and", Stop.LENGTH),
        ("forced", " </think>", None),
        ("model", " 7", Stop.END),
    ]


def test_a_thought_that_the_prompt_opened_counts_too():
    opened = QUESTION + Span(Author.TEMPLATE, "<think>")
    assert written(extend([" a b </think> 7"], opened, max_thinking_tokens=0))[1:] == [
        ("forced", " </think>", None),
        ("model", " 7", Stop.END),
    ]


def test_a_thought_that_never_closes_is_closed_and_nothing_follows():
    reply = extend(["<think> a b c"], max_thinking_tokens=1)
    assert reply.reply == "<think> a </think>"
    assert reply.stop is Stop.END


def test_a_span_ends_with_its_thought():
    assert written(extend(["<think> a </think> 7"])) == [
        ("model", "<think> a </think>", Stop.THOUGHT),
        ("model", " 7", Stop.END),
    ]


def test_a_limit_at_the_end_of_a_thought_is_a_limit():
    assert extend(["<think> a </think> 7"], tokens=3).stop is Stop.LENGTH


def test_a_thought_that_is_opened_again_goes_on_with_its_budget():
    reply = extend(["<think> a b </think> so <think> c d </think> 7"], max_thinking_tokens=3)
    assert reply.reply == "<think> a b </think> so <think> c </think> 7"


def test_a_thought_below_its_budget_is_left_alone():
    assert extend([THOUGHT], max_thinking_tokens=6).reply == THOUGHT


def test_a_limit_of_tokens_at_the_budget_ends_the_reply_too():
    reply = extend([THOUGHT], tokens=3, max_thinking_tokens=2)
    assert reply.stop is Stop.LENGTH
    assert reply.cost == 3


def test_a_thought_that_closes_too_early_goes_on():
    assert extend(["<think> a </think> 7"], min_thinking_tokens=3).reply == "<think> a wait wait </think> 7"


def test_forced_words_cost_nothing():
    assert extend([THOUGHT], max_thinking_tokens=0).cost == 3  # "<think>", "7" and the end


def test_score_repeats_the_logprobs_of_its_own_words():
    sampler = ScriptedSampler([THOUGHT])
    reply = asyncio.run(sampler.extend(QUESTION, SamplingParams(temperature=0.5)))
    scores = asyncio.run(sampler.score(reply, 0.5))
    assert len(scores) == len(reply)
    assert scores[0] == 0
    assert scores[-9:] == pytest.approx([*reply.spans[-2].logprobs, *reply.spans[-1].logprobs], rel=1e-5)


def test_a_greedy_token_is_certain():
    assert set(extend([" 7"], temperature=0).spans[-1].logprobs) == {0.0}


def test_spans_name_the_version_that_was_adopted():
    sampler = ScriptedSampler([" 7"])
    wait_for(sampler.load_weights("step-1", {}))
    assert asyncio.run(sampler.extend(QUESTION, SamplingParams())).spans[-1].policy == "step-1"
    assert sampler.versions == ["script", "step-1"]


def test_requests_are_remembered():
    sampler = ScriptedSampler([" 7"])
    asyncio.run(sampler.extend(QUESTION, SamplingParams(seed=4)))
    assert sampler.requests == [(QUESTION, SamplingParams(seed=4))]


def test_another_tokenizers_transcript_is_refused():
    foreign = Transcript(QUESTION.spans, tokenizer="bpe-50k")
    with pytest.raises(SamplerError, match="bpe-50k"):
        extend([" 7"], foreign)


def test_a_thought_is_counted_over_requests():
    first = extend([THOUGHT], tokens=3)
    assert extend([" more and more"], first, max_thinking_tokens=3).reply == "<think> three and more </think>"


def test_a_thought_that_ends_too_early_is_filled_up():
    assert extend(["<think> a"], min_thinking_tokens=2).reply == "<think> a wait"

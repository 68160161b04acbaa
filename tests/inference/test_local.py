"""The engine behind the waist: it keeps a sampler's contract, and nobody waits for ever."""

import asyncio
from dataclasses import replace

import pytest
import torch

from poziomka.core.errors import SamplerError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.conversation import converse
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.inference.spans import thought_in
from poziomka.testing import check_sampler

FREE = SamplingParams(max_tokens=20, seed=3)
HELD_OPEN = SamplingParams(max_tokens=20, min_thinking_tokens=20, seed=3)  # writes exactly its 20 tokens


def extend(sampler, transcript, sampling=FREE):
    return asyncio.run(sampler.extend(transcript, sampling))


async def steps(sampler, count):
    """Waits until the engine has taken so many steps."""
    while sampler.engine.counters.steps < count:  # noqa: ASYNC110 the engine has no event to wait for
        await asyncio.sleep(0)


def written(transcript):
    return [(span.author, span.tokens, span.stop) for span in transcript]


# -------------------------------------------------------------------------------------------------------- contract
def test_it_keeps_a_samplers_contract(any_model, chat, question):
    """Some seed's reply has a thought that is closed once, and words: on such a one nothing is left untried."""
    untried = []
    for seed in range(300):
        sampler, sampling = LocalSampler(any_model, chat), SamplingParams(max_tokens=48, seed=seed)
        reply = extend(sampler, question(), sampling)
        spans = [span for span in reply if span.author is Author.MODEL]
        if len(spans) == 2 and len(spans[0]) > 4 and len(spans[1]) > 2 and reply.text.count("think>") == 2:
            untried.append(check_sampler(sampler, question(), sampling=sampling, weights=any_model.state_dict()))
        if [] in untried:
            break
    assert [] in untried


def test_a_replys_spans_tell_author_text_policy_and_time(sampler, question):
    reply = extend(sampler, question(), replace(FREE, min_thinking_tokens=4, max_thinking_tokens=4))
    begin, prompt, think, thought, close, answer = reply.spans[:6]
    assert [begin.author, prompt.author, think.author] == [Author.TEMPLATE, Author.USER, Author.TEMPLATE]
    assert (thought.author, thought.policy, len(thought.logprobs)) == (Author.MODEL, "initial", 4)
    assert (close.author, close.text, close.logprobs, close.stop) == (Author.FORCED, " </think>", None, None)
    assert answer.text == sampler.chat.tokenizer.decode(answer.tokens)
    assert all(span.seconds > 0 for span in (thought, close, answer))


def test_branches_share_one_prefill(sampler, question):
    samplings = [replace(FREE, seed=seed) for seed in range(8)]
    replies = asyncio.run(sampler.branch(question(" 1 2 3 4 5 6"), samplings))
    assert sampler.engine.counters.read == 7  # the beginning and six symbols; "<think>" is read by the first step
    assert len({tuple(reply.tokens) for reply in replies}) > 1


def test_a_reply_does_not_depend_on_who_asks_beside(sampler, question):
    async def crowd():
        asks = [sampler.extend(question(f" {n % 10}"), SamplingParams(max_tokens=5 + n, seed=n)) for n in range(41)]
        return await asyncio.gather(sampler.extend(question(), FREE), *asks)

    assert written(asyncio.run(crowd())[0]) == written(extend(sampler, question()))


def test_a_whole_run_repeats(model, chat, question):
    def run():
        sampler = LocalSampler(model, chat)
        samplings = [SamplingParams(max_tokens=5 + seed, seed=seed) for seed in range(20)]
        return [[span.logprobs for span in reply] for reply in asyncio.run(sampler.branch(question(), samplings))]

    assert run() == run()


def test_the_model_given_is_copied(model, chat, build, question):
    sampler = LocalSampler(model, chat)
    before = extend(sampler, question())
    model.load_state_dict(build(seed=1).state_dict())
    assert written(extend(sampler, question())) == written(before)


def test_it_serves_one_event_loop_after_another(sampler, question):
    assert written(extend(sampler, question())) == written(extend(sampler, question()))


# --------------------------------------------------------------------------------------------------------- thinking
def test_a_template_opens_the_thought_and_the_budget_closes_it(sampler, question):
    reply = extend(sampler, question(), replace(FREE, max_thinking_tokens=0))
    assert [span.author for span in reply.spans[2:5]] == [Author.TEMPLATE, Author.FORCED, Author.MODEL]
    assert reply.reply.startswith(" <think> </think>")


def test_only_the_models_words_spend_the_budget(sampler, question):
    """A tool's words in the thought are no thinking."""
    begun = extend(sampler, question(), replace(HELD_OPEN, max_tokens=4))
    begun = begun + Span(Author.ENVIRONMENT, " 1 2 3 4 5 6 7")
    reply = extend(sampler, begun, replace(FREE, min_thinking_tokens=6, max_thinking_tokens=6))
    assert [len(span) for span in reply if span.author is Author.MODEL][:2] == [4, 2]


def test_a_closed_thought_needs_no_second_end(sampler, question):
    closed = sampler.chat.read(question()) + Span(Author.FORCED, " </think>")
    reply = extend(sampler, closed, replace(FREE, max_thinking_tokens=0, max_tokens=6))
    assert sum(span.author is Author.FORCED for span in reply) == 1


def test_a_new_question_brings_a_new_budget(sampler, question):
    first = extend(sampler, question(), replace(FREE, min_thinking_tokens=3, max_thinking_tokens=3))
    asked = first + Span(Author.USER, " 5") + Span(Author.TEMPLATE, " <think>")
    tokenizer = sampler.chat.tokenizer
    assert thought_in(first, tokenizer)[0] == 3
    assert thought_in(sampler.chat.read(asked), tokenizer) == (0, True)


# ------------------------------------------------------------------------------------------------ environments, turns
class Echo:
    """A session that answers the first three times."""

    def __init__(self):
        self.said = 0

    async def reply(self, transcript):
        from poziomka.core.environment import Reply

        self.said += 1
        return Reply(Span(Author.ENVIRONMENT, f" {self.said} {self.said}")) if self.said <= 3 else None

    def fork(self):
        return self

    def close(self):
        pass


def talk(sampler, transcript):
    sampling = SamplingParams(max_tokens=300, min_thinking_tokens=300, stop=(" 7",), seed=2)
    return asyncio.run(converse(sampler, Echo(), transcript, sampling))


def test_later_turns_read_only_what_is_new(any_model, chat, question):
    sampler = LocalSampler(any_model, chat)
    reply = talk(sampler, question())
    assert sum(span.author is Author.ENVIRONMENT for span in reply) == 3
    assert sampler.engine.counters.read == 4 + 3 * 2


def test_later_turns_are_what_they_would_be_without_reuse(any_model, chat, question):
    reusing, forgetful = LocalSampler(any_model, chat), LocalSampler(any_model, chat, limits=EngineLimits(cached=0))
    assert written(talk(reusing, question())) == written(talk(forgetful, question()))
    assert forgetful.engine.counters.read > 2 * reusing.engine.counters.read


def test_an_environments_words_get_tokens_from_the_sampler(sampler, question):
    reply = talk(sampler, question())
    heard = [span for span in reply if span.author is Author.ENVIRONMENT]
    assert [list(span.tokens) for span in heard] == [sampler.chat.tokenizer.encode(f"{n} {n}") for n in (1, 2, 3)]
    assert all(span.logprobs is None for span in heard)


# --------------------------------------------------------------------------------------------------- weights, policy
def test_weights_adopted_in_the_middle_split_the_span(sampler, question, build):
    async def swap():
        reply = asyncio.create_task(sampler.extend(question(), HELD_OPEN))
        await steps(sampler, 7)
        await sampler.load_weights("newer", build(seed=1).state_dict())
        return await reply

    spans = [span for span in asyncio.run(swap()) if span.author is Author.MODEL]
    assert [(span.policy, len(span), span.stop) for span in spans] == [
        ("initial", 7, Stop.SWAP),
        ("newer", 13, Stop.LENGTH),
    ]
    assert sampler.policy == "newer"


def test_logprobs_across_a_swap_are_their_writers(sampler, question, build, model, chat):
    async def swap():
        reply = asyncio.create_task(sampler.extend(question(), HELD_OPEN))
        await steps(sampler, 7)
        await sampler.load_weights("newer", build(seed=1).state_dict())
        return await reply

    reply = asyncio.run(swap())
    old = extend(LocalSampler(model, chat), question(), HELD_OPEN)
    assert reply.spans[3].logprobs == old.spans[3].logprobs[:7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sampler_that_rests_writes_again_once_it_has_adopted(model, chat, question, dtype):
    model = model.to(dtype)
    sampler = LocalSampler(model, chat)
    before = extend(sampler, question(), HELD_OPEN)
    wait_for(sampler.release_weights())
    with pytest.raises(SamplerError, match="load weights first"):
        extend(sampler, question(), HELD_OPEN)
    with pytest.raises(SamplerError, match="load weights first"):
        asyncio.run(sampler.score(before))
    wait_for(sampler.load_weights("again", model.state_dict()))
    assert extend(sampler, question(), HELD_OPEN).tokens == before.tokens


def test_a_sampler_that_writes_does_not_rest(sampler, question):
    async def rest():
        reply = asyncio.create_task(sampler.extend(question(), HELD_OPEN))
        await steps(sampler, 7)
        await sampler.release_weights()
        return await reply

    assert asyncio.run(rest()).tokens == extend(sampler, question(), HELD_OPEN).tokens


@pytest.mark.parametrize("weights", [None, [1, 2], "step-1"])
def test_what_is_no_mapping_of_weights_is_refused(sampler, weights):
    with pytest.raises(SamplerError, match="weights are tensors by name: received"):
        wait_for(sampler.load_weights("v2", weights))


def test_scores_are_those_of_the_engine(sampler, question):
    reply = extend(sampler, question())
    scores = asyncio.run(sampler.score(reply))
    sampled = [value for span in reply for value in (span.logprobs or [0.0] * len(span))]
    mask = reply.by(Author.MODEL)
    assert len(scores) == len(reply)
    assert all(abs(s - w) < 1e-4 for s, w, own in zip(scores, sampled, mask, strict=True) if own)
    assert scores[0] == 0


def test_a_transcript_without_tokens_can_be_scored(sampler, question):
    assert len(asyncio.run(sampler.score(question()))) == 5


# ------------------------------------------------------------------------------------------------ cancelled, refused
def test_a_cancelled_request_leaves_the_engine(sampler, question):
    async def impatient():
        reply = asyncio.create_task(
            sampler.extend(question(), replace(HELD_OPEN, max_tokens=500, min_thinking_tokens=500))
        )
        other = asyncio.create_task(sampler.extend(question(), FREE))
        await steps(sampler, 3)
        reply.cancel()
        return await other, reply

    other, reply = asyncio.run(impatient())
    assert reply.cancelled()
    assert written(other) == written(extend(sampler, question(), FREE))
    assert not sampler.engine.busy
    assert sampler.engine.counters.steps < 60


def test_a_time_limit_around_a_request_holds(sampler, question):
    async def hurried():
        return await asyncio.wait_for(
            sampler.extend(question(), replace(HELD_OPEN, max_tokens=4000, min_thinking_tokens=4000)), 0.05
        )

    with pytest.raises(TimeoutError):
        asyncio.run(hurried())
    assert written(extend(sampler, question())) == written(extend(sampler, question()))


def test_a_run_that_was_broken_off_leaves_nothing_behind(sampler, question):
    """Ctrl-C cancels everything that runs in the event loop, the stepping too."""

    async def broken():
        tasks = [asyncio.create_task(sampler.extend(question(), HELD_OPEN)) for _ in range(3)]
        await steps(sampler, 2)
        assert tasks
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(broken())
    fresh = extend(sampler, question())
    assert len(sampler.engine._rows) == 0
    assert written(fresh) == written(extend(sampler, question()))


def test_a_step_that_fails_is_raised_to_everybody_who_waits(sampler, question):
    """Weights that are NaN, as a broken optimizer would leave: nobody may wait for ever."""
    weights = {name: weight.clone() for name, weight in sampler.engine.weights().items()}
    wait_for(sampler.load_weights("broken", {name: weight * torch.nan for name, weight in weights.items()}))

    async def all_of_them():
        asks = [sampler.extend(question(), FREE) for _ in range(3)]
        return await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 20)

    assert all(isinstance(found, SamplerError) for found in asyncio.run(all_of_them()))
    assert not sampler.engine.busy
    wait_for(sampler.load_weights("mended", weights))
    assert extend(sampler, question()).cost > 0


@pytest.mark.fault("A1")
@pytest.mark.parametrize("token", [999, -1])
def test_a_token_that_the_model_lacks_is_refused_and_the_others_are_answered(sampler, question, token):
    strange = sampler.chat.read(question()) + Span(Author.TEMPLATE, "?", compact([token, 3]))

    async def all_of_them():
        asks = [sampler.extend(question(), FREE), sampler.extend(strange, FREE), sampler.extend(question(), FREE)]
        return await asyncio.wait_for(asyncio.gather(*asks, return_exceptions=True), 20)

    first, refused, third = asyncio.run(all_of_them())
    assert isinstance(refused, TranscriptError)
    assert f"has token {token}, and the model has 15 tokens" in str(refused)
    assert first.cost == third.cost > 0


def test_an_unknown_symbol_is_refused_in_words(sampler, question):
    with pytest.raises(SamplerError, match="eleven"):
        extend(sampler, question(" eleven"))


def test_a_model_smaller_than_the_vocabulary_is_refused(build, chat):
    with pytest.raises(SamplerError, match="a model of 14 tokens cannot write with a tokenizer of 15"):
        LocalSampler(build(vocabulary=14), chat)


def test_a_model_with_room_beyond_the_vocabulary_writes_nothing_there_that_cannot_be_read(build, chat, question):
    sampler = LocalSampler(build(vocabulary=64), chat)
    reply = extend(sampler, question(), HELD_OPEN)
    assert max(reply.tokens) >= 15
    assert all(word in "0123456789 <think> </think> <bos>" for word in reply.text.split())


def test_a_problem_can_be_attempted_from_its_prompt(sampler):
    problem = Problem.ask("sums", "1", " 1 2", "3")
    assert extend(sampler, Transcript.of(problem.prompt)).cost > 0

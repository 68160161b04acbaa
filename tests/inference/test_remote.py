"""RemoteSampler over a real HTTP server, whose replies a script writes."""

import asyncio
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

import poziomka as pz
from poziomka.core.errors import ModelError, SamplerError, SettingsError
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Stop, Tools, Transcript
from poziomka.inference.endpoint.messages import messages_of
from poziomka.inference.endpoint.replies import Reply, spans_of
from poziomka.inference.remote import RemoteSampler
from poziomka.testing import ScriptedSampler, check_sampler
from poziomka.testing.endpoint import Fault, endpoint
from poziomka.thinking.budget import at_budgets

QUESTION = Transcript.of([Message("user", "How many?")])
FULL = "<think>one two three four</think>five six seven"
PARAMS = SamplingParams(max_tokens=20, seed=7)


def goes_on(transcript, sampling):
    """A script that continues FULL after the words that the reply has already, and answers after any closed thought."""
    written = transcript.reply
    if FULL.startswith(written):
        return FULL[len(written) :]
    return "five six seven"


@contextmanager
def remote(script=goes_on, sampler=None, **settings):
    with endpoint(ScriptedSampler(script), **settings) as served:
        yield RemoteSampler(served.url, served.model, **(sampler or {})), served


def extend(sampler, transcript=QUESTION, params=PARAMS, on_token=None, **changes):
    return asyncio.run(sampler.extend(transcript, replace(params, **changes), on_token))


def written(transcript):
    return [(span.author, span.text, span.stop) for span in transcript.spans[1:]]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", None])
def test_a_thought_in_a_field_of_its_own_is_a_span_with_tags(field):
    with remote(thoughts=field) as (sampler, _):
        reply = extend(sampler)
    assert written(reply) == [
        (Author.MODEL, "<think>one two three four</think>", Stop.THOUGHT),
        (Author.MODEL, "five six seven", Stop.END),
    ]
    assert (reply.thought, reply.answer) == ("one two three four", "five six seven")
    assert {span.policy for span in reply.spans[1:]} == {"scripted"}


def test_the_reported_tokens_are_the_cost():
    with remote() as (sampler, _):
        reply = extend(sampler)
    assert reply.cost == 10  # nine words and tags, and the end token
    assert all(span.usage > 0 for span in reply.spans[1:])
    assert extend_of_rollout(reply).thinking == reply.spans[1].usage


def extend_of_rollout(transcript):
    problem = pz.Problem.ask("task", "key", "How many?", "7")
    return pz.Rollout("name/0/key/0", problem, (pz.Branch(transcript),))


def test_a_streamed_reply_is_the_one_that_is_not_streamed():
    heard = []
    with remote() as (sampler, served):
        whole = extend(sampler)
        streamed = extend(sampler, on_token=lambda author, text: not heard.append((author, text)))
    assert written(streamed) == written(whole)
    assert "".join(text for _, text in heard) == FULL
    assert len(heard) == 7
    assert [request.get("stream", False) for request in served.requests] == [False, True]


def test_a_listener_ends_a_reply():
    with remote() as (sampler, _):
        reply = extend(sampler, on_token=lambda _, text: "two" not in text)
    assert written(reply) == [(Author.MODEL, "<think>one two", Stop.LENGTH)]
    assert reply.cost == 2  # the chunks that came


def test_a_stop_string_is_kept_and_known():
    with remote() as (sampler, _):
        assert written(extend(sampler, stop=("six", "four")))[-1] == (
            Author.MODEL,
            "<think>one two three four",
            Stop.PHRASE,
        )
        assert extend(sampler, stop=("ive s",)).answer == "five s"
        assert extend(sampler, stop=("eight",)).stop is Stop.END


def test_a_thought_is_closed_at_its_budget():
    with remote() as (sampler, served):
        reply = extend(sampler, max_thinking_tokens=3)
    assert written(reply) == [
        (Author.MODEL, "<think>one two", Stop.LENGTH),
        (Author.FORCED, "\n</think>\n\n", None),
        (Author.MODEL, "five six seven", Stop.END),
    ]
    assert [request["max_tokens"] for request in served.requests] == [1, 1, 1, 3, 17]


@pytest.mark.parametrize("budget", [0, 1])
def test_a_budget_of_the_tag_alone_leaves_no_thought(budget):
    with remote() as (sampler, _):
        reply = extend(sampler, max_thinking_tokens=budget)
    assert (reply.thought, reply.answer) == ("", "five six seven")


def test_a_thought_within_its_budget_is_one_reply():
    heard = []
    with remote() as (sampler, _):
        reply = extend(sampler, max_thinking_tokens=8, on_token=lambda _, text: not heard.append(text))
    assert reply.reply == "".join(heard) == FULL
    assert written(reply)[-1] == (Author.MODEL, "five six seven", Stop.END)


def test_an_endpoint_that_continues_no_reply_is_named_before_anything_is_sampled():
    with remote(continues=False) as (sampler, served):
        for _ in range(2):
            with pytest.raises(SamplerError, match="cannot continue a reply"):
                extend(sampler, max_thinking_tokens=3)
        assert extend(sampler).answer == "five six seven"
    assert {request["max_tokens"] for request in served.requests[:-1]} == {1}
    assert len(served.requests) == 6  # found once: the question, two ways of two requests, and the plain reply


def test_a_reply_that_has_begun_is_continued():
    begun = QUESTION + Span(Author.MODEL, "<think>one two", stop=Stop.LENGTH, usage=3)
    with remote() as (sampler, served):
        reply = extend(sampler, begun)
    assert reply.reply == FULL
    assert served.requests[-1]["continue_final_message"] is True
    assert served.requests[-1]["messages"][-1] == {"role": "assistant", "content": "<think>one two"}


def test_every_reply_can_begin_with_a_thought():
    with remote(sampler={"opens_thought": True}) as (sampler, _):
        reply = extend(sampler)
    assert written(reply)[0] == (Author.TEMPLATE, "<think>", None)
    assert reply.reply == FULL


def test_settings_without_effect_are_sent_until_they_are_refused():
    with remote(unknown=("top_k", "min_p", "max_tokens", "stream_options")) as (sampler, served):
        extend(sampler, on_token=lambda *_: True)
        reply = extend(sampler)
    assert served.requests[0]["top_k"] == -1
    assert served.requests[-1]["max_completion_tokens"] == 20
    assert {"top_k", "min_p", "max_tokens"} & served.requests[-1].keys() == set()
    assert reply.answer == "five six seven"
    assert len(served.requests) == 6  # four refusals, and a request for each reply


def test_a_refused_setting_that_changes_the_reply_is_an_error():
    with remote(unknown=("top_k",)) as (sampler, _), pytest.raises(SamplerError, match="does not accept top_k=5"):
        extend(sampler, top_k=5)


def test_a_field_of_the_user_that_is_refused_is_an_error():
    extra = {"reasoning_effort": "low"}
    refusing = remote(sampler={"extra": extra}, unknown=("reasoning_effort",))
    with refusing as (sampler, served), pytest.raises(SamplerError, match="reasoning_effort"):
        extend(sampler)
    assert served.requests[0]["reasoning_effort"] == "low"


def test_a_minimal_thought_needs_a_local_sampler():
    with remote() as (sampler, _), pytest.raises(SamplerError, match="min_thinking_tokens"):
        extend(sampler, min_thinking_tokens=2)


def seeds(count):
    return [replace(PARAMS, seed=seed) for seed in range(count)]


def by_seed(transcript, sampling):
    return f"seed {sampling.seed}"


@pytest.mark.parametrize(("most", "requests"), [(8, 2), (1, 6)])
def test_replies_are_requested_together_where_the_endpoint_supports_it(most, requests):
    with remote(by_seed, sampler={"together": 4}, most=most) as (sampler, served):
        replies = asyncio.run(sampler.branch(QUESTION, seeds(5)))
    assert [reply.reply for reply in replies] == [f"seed {seed}" for seed in range(5)]
    assert [reply.cost for reply in replies] == [3] * 5
    assert len(served.requests) == requests  # four together and one alone; or one refusal and five alone


def test_one_of_several_replies_that_is_filtered_is_asked_for_alone():
    choices = [
        {"index": 0, "message": {"content": "first"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "se"}, "finish_reason": "content_filter"},
    ]
    with remote(by_seed, sampler={"together": 2}, most=2) as (sampler, served):
        served.faults.append(Fault(200, json.dumps({"choices": choices}).encode()))
        replies = asyncio.run(sampler.branch(QUESTION, seeds(2)))
    assert [reply.reply for reply in replies] == ["first", "seed 1"]
    assert len(served.requests) == 2


def test_streams_of_replies_requested_together_are_told_apart():
    heard = {0: "", 1: ""}

    def on_token(index, _, text):
        heard[index] += text
        return True

    with remote(by_seed, sampler={"together": 2}, most=2) as (sampler, _):
        asyncio.run(sampler.branch(QUESTION, seeds(2), on_token))
    assert heard == {0: "seed 0", 1: "seed 1"}


def test_it_keeps_the_contract_of_samplers():
    with remote() as (sampler, _):
        untried = check_sampler(sampler, QUESTION)
    assert not any("stop strings" in reason or "budgets" in reason for reason in untried)


def test_earlier_thoughts_are_not_sent_and_tool_results_are_user_messages():
    later = (
        Span(Author.MODEL, "<think>old</think>first", stop=Stop.END),
        Span(Author.USER, "And now?"),
        Span(Author.MODEL, "<think>new</think>call", stop=Stop.END),
        Span(Author.ENVIRONMENT, "result one"),
        Span(Author.ENVIRONMENT, "result two"),
    )
    said = QUESTION + later
    messages, begun = messages_of(said)
    assert messages == [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "<think>new</think>call"},
        {"role": "user", "content": "result one\n\nresult two"},
    ]
    assert begun == ""


def test_tools_are_described_in_the_system_message():
    tools = Tools((), prompt="Call: add(1, 2)", examples=(Message("user", "1 + 2?"), Message("assistant", "3")))
    messages, _ = messages_of(Transcript.of([Message("system", "Be brief."), Message("user", "Hello")], tools))
    assert messages == [
        {"role": "system", "content": "Call: add(1, 2)\n\nBe brief."},
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "Hello"},
    ]


@pytest.mark.parametrize(
    "transcript",
    [
        Transcript(),
        QUESTION + Span(Author.MODEL, "done", stop=Stop.END),
        replace(QUESTION, tokenizer="some"),
    ],
)
def test_a_transcript_that_an_endpoint_cannot_continue_is_refused(transcript):
    with pytest.raises(SamplerError):
        messages_of(transcript)


def test_calls_that_the_endpoint_parsed_are_text_again():
    reply = Reply()
    fragments = [
        {"index": 0, "function": {"name": "add", "arguments": '{"a":'}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    for fragment in fragments:
        reply.take({"delta": {"tool_calls": [fragment]}, "finish_reason": None})
    reply.take({"delta": {}, "finish_reason": "tool_calls"})
    assert reply.text == '\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert reply.stop is Stop.END


def test_an_answer_after_a_forced_end_is_no_thought():
    reply = Reply(closed=True)
    reply.take({"message": {"reasoning": "It is 7.", "content": None}, "finish_reason": "stop"})
    assert reply.text == "It is 7."


def test_reported_thinking_tokens_divide_the_cost():
    reply = Reply(tokens=10, thought=9)
    reply.take({"message": {"reasoning": "short", "content": "a much longer answer"}, "finish_reason": "stop"})
    assert [span.usage for span in spans_of(reply, "model", 1.0)] == [9, 1]


def first_reply(rng, level):
    number = rng.randrange(level)
    return pz.Problem(f"Repeat {number}", answer=str(number))


def repeats(transcript, sampling):
    return "<think>easy</think>" + transcript.text.split("Repeat ")[1]


def test_a_url_is_evaluated_as_a_model():
    task = pz.Task("repeat", first_reply, pz.exact(pz.number), levels=(1000, 1000))
    with remote(repeats) as (_, served):
        found = pz.evaluate(f"{served.url}#scripted", task, PARAMS, problems=5)
    assert found.accuracy.mean == 1
    assert found.tokens == 5
    assert found.thinking > 0


def test_an_endpoint_has_no_weights_to_load():
    with pytest.raises(ModelError, match="no weights"):
        pz.load("http://localhost:1/v1#model")


def test_thoughts_without_token_ids_are_not_cut():
    task = pz.Task("repeat", first_reply, pz.exact(pz.number), levels=(1000, 1000))
    with remote() as (sampler, _), pytest.raises(SettingsError, match="no token ids"):
        at_budgets(sampler, task, PARAMS, [1, 2])


def test_an_endpoint_that_refuses_the_first_request_of_a_budget_is_an_error():
    with remote() as (sampler, served):
        served.faults.append(Fault.of(400, "no short replies"))
        with pytest.raises(SamplerError, match="no short replies"):
            extend(sampler, max_thinking_tokens=3)

"""Faults of an endpoint: each is one sentence, and fails one attempt where others can succeed."""

import asyncio
import json
import socket
from dataclasses import replace

import pytest

import poziomka as pz
from poziomka.core.errors import SamplerError, SettingsError, TranscriptError
from poziomka.core.problem import Verdict
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Message, Stop, Transcript
from poziomka.inference.endpoint import connection
from poziomka.inference.endpoint.address import Address
from poziomka.inference.endpoint.connection import Limits
from poziomka.inference.remote import RemoteSampler
from poziomka.testing import ScriptedSampler
from poziomka.testing.endpoint import Fault, endpoint

QUESTION = Transcript.of([Message("user", "How many?")])
PARAMS = SamplingParams(max_tokens=8)
QUICK = Limits(tries=3, pause=0.001)
KEY = "sk-very-secret"
EVENTS = {"Content-Type": "text/event-stream"}


def event(**choice):
    return f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n".encode()


@pytest.fixture
def served():
    with endpoint(ScriptedSampler(["five six seven"])) as running:
        yield running


@pytest.fixture
def sampler(served):
    return RemoteSampler(served.url, served.model, limits=QUICK)


def extend(sampler, on_token=None, **changes):
    return asyncio.run(sampler.extend(QUESTION, replace(PARAMS, **changes), on_token))


def fails(sampler, kind, match, **how):
    """Demands an error of exactly this class, so that TranscriptError is told from SamplerError; returns its text."""
    with pytest.raises(kind, match=match) as caught:
        extend(sampler, **how)
    assert caught.type is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_server_is_an_error_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        fails(RemoteSampler(url, "model", limits=Limits(pause=600)), SamplerError, "no server answers at")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(served, sampler, status):
    served.faults += [replace(Fault.of(status, "busy"), headers={"Retry-After": "0"})] * 2
    assert extend(sampler).reply == "five six seven"
    assert len(served.requests) == 3


def test_a_server_that_stays_busy_fails_the_attempt(served, sampler):
    served.faults += [Fault.of(503, "the model is loading")] * 3
    fails(sampler, TranscriptError, "the model is loading")
    assert len(served.requests) == 3


def test_a_server_that_asks_for_a_long_wait_fails_the_attempt_at_once(served, sampler):
    served.faults.append(replace(Fault.of(429, "slow down"), headers={"Retry-After": "86400"}))
    fails(sampler, TranscriptError, "slow down")
    assert len(served.requests) == 1


def test_a_quota_that_is_used_up_ends_everything(served, sampler):
    served.faults.append(Fault.of(429, "You exceeded your quota", code="insufficient_quota"))
    fails(sampler, SamplerError, "exceeded your quota")


def test_a_key_is_needed(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with endpoint(ScriptedSampler(["yes"]), key=KEY) as served:
        fails(RemoteSampler(served.url, served.model), SamplerError, "no API key was given")
        wrong = RemoteSampler(served.url, served.model, api_key="sk-wrong")
        assert "sk-wrong" not in fails(wrong, SamplerError, "does not accept the API key")
        monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
        right = RemoteSampler(served.url, served.model)
        reply = extend(right)
    assert reply.reply == "yes"
    assert KEY not in repr(right) + repr(right.address) + repr(reply)


def test_a_server_that_repeats_the_key_is_not_quoted_with_it(served):
    sampler = RemoteSampler(served.url, served.model, api_key=KEY, limits=QUICK)
    served.faults.append(Fault.of(400, f"bad request of {KEY}"))
    assert KEY not in fails(sampler, TranscriptError, "bad request")


def test_the_key_is_not_sent_to_another_host(served):
    with endpoint(ScriptedSampler(["stolen"])) as other:
        served.faults.append(Fault(307, headers={"Location": f"{other.url}/chat/completions"}))
        sampler = RemoteSampler(served.url, served.model, api_key=KEY, limits=QUICK)
        fails(sampler, SamplerError, "redirects to '127.0.0.1:")
        assert other.requests == []


def test_an_unknown_model_is_named_with_the_nearest(served):
    fails(RemoteSampler(served.url, "script"), SamplerError, "did you mean 'scripted'")


def test_the_only_model_needs_no_name(served):
    reply = extend(RemoteSampler(served.url))
    assert reply.spans[-1].policy == "scripted"
    assert extend(RemoteSampler(served.url.removesuffix("/v1"))).reply == "five six seven"


def test_a_url_that_is_no_api_is_named(served):
    fails(RemoteSampler(served.url + "/other", "scripted"), SamplerError, "mostly ends in /v1")
    served.faults.append(Fault(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"}))
    fails(RemoteSampler(served.url, "scripted"), SamplerError, "web page")


def test_a_request_without_an_answer_fails_its_attempt_only(served):
    sampler = RemoteSampler(served.url, served.model, limits=Limits(timeout=5.0, concurrency=1))
    task = pz.Task("count", lambda rng: pz.Problem(f"{rng.random()}", answer="7"), pz.exact(pz.number))
    served.faults.append(Fault())
    (group,) = pz.collect(sampler, task, task.first("train", 1), PARAMS, attempts=3)
    verdicts = [rollout.score.verdict for rollout in group]
    assert verdicts == [Verdict.ERROR, Verdict.UNPARSED, Verdict.UNPARSED]
    assert "did not complete a reply within 5 s" in group[0].score.why
    assert group[0].score.reward is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(200, b"{not json"), "is not JSON"),
        (Fault(200, b"[1, 2]"), "must hold an object"),
        (Fault(200, b"[" * 10_000), "nests lists"),
        (Fault(200, b'{"choices": [', promised=1000), "broke"),
        (Fault(200, b"", promised=10), "broke"),
        (Fault(200, json.dumps({"error": {"message": "worker died"}}).encode()), "worker died"),
    ],
    ids=["no JSON", "no object", "too deep", "cut", "empty", "error"],
)
def test_a_broken_answer_is_asked_for_again(served, sampler, fault, said):
    served.faults += [fault] * 2
    assert extend(sampler).reply == "five six seven"
    served.faults += [fault] * 3
    fails(sampler, TranscriptError, said)


@pytest.mark.parametrize(
    "answer", [{}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": {"content": "a"}}]}]
)
def test_an_answer_without_a_reply_fails_the_attempt(served, sampler, answer):
    served.faults.append(Fault(200, json.dumps(answer).encode()))
    fails(sampler, TranscriptError, "broke off")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b"", "broke off"),
        (b"data: [DONE]\n\n", "broke off"),
        (b'data: {"error": {"message": "worker died"}}\n\n', "worker died"),
        (b"data: {\n\n", "is not JSON"),
        (event(delta={}, finish_reason="content_filter"), "content_filter"),
    ],
    ids=["end", "done", "error", "no JSON", "filter"],
)
def test_a_stream_that_breaks_off_fails_the_attempt(served, sampler, rest, said):
    served.faults.append(Fault(200, event(delta={"content": "five"}) + rest, EVENTS))
    fails(sampler, TranscriptError, said, on_token=lambda *_: True)
    assert len(served.requests) == 1  # part of the reply was passed on already


def test_numbers_that_are_none_are_ignored(served, sampler):
    choice = {"message": {"content": "five"}, "finish_reason": "stop", "logprobs": {"content": [{"logprob": "X"}]}}
    body = json.dumps({"choices": [choice], "usage": {"completion_tokens": "X"}}).replace('"X"', "NaN")
    served.faults.append(Fault(200, body.encode()))
    reply = extend(sampler)
    assert (reply.reply, reply.cost) == ("five", 0)


def test_an_answer_has_a_bound(served, sampler, monkeypatch):
    monkeypatch.setattr(connection, "MOST", 100)
    served.faults += [Fault(200, b" " * 101)] * 3
    fails(sampler, TranscriptError, "more than")
    served.faults += [Fault(200, event(delta={"content": "a" * 101}), EVENTS)] * 3
    fails(sampler, TranscriptError, "more than", on_token=lambda *_: True)


def test_a_prompt_that_fills_the_context_gets_an_empty_reply():
    with endpoint(ScriptedSampler(["five six seven"]), context=8) as served:
        reply = extend(RemoteSampler(served.url, served.model))
    assert (reply.reply, reply.stop, reply.cost) == ("", Stop.LENGTH, 0)


def test_a_reply_ends_where_the_context_ends():
    with endpoint(ScriptedSampler(["five six seven eight"]), context=10) as served:
        reply = extend(RemoteSampler(served.url, served.model))
    assert (reply.reply, reply.stop) == ("five six", Stop.LENGTH)
    assert [request.get("max_tokens") for request in served.requests] == [8, None]


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://user:secret@host", "http://h?a=b"],
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(SettingsError) as caught:
        RemoteSampler(url, "model")
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused():
    with pytest.raises(SettingsError) as caught:
        RemoteSampler("http://localhost", "model", api_key="clé secrète")
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "model"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1", None),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1", None),
        ("https://host/api/v3/chat/completions#org/name", "https://host/api/v3", "org/name"),
    ],
)
def test_a_url_names_the_api_and_the_model(url, base, model):
    address = Address.of(url)
    assert (address.url, address.model) == (base, model)


def test_a_field_whose_name_is_a_pattern_is_no_pattern(served):
    served.faults.append(Fault(400, b'{"error": {"message": "what is a(b?"}}'))
    fails(RemoteSampler(served.url, served.model, extra={"a(b": 1}, limits=QUICK), SamplerError, "does not accept")

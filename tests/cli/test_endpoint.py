"""`poziomka evaluate` and `poziomka chat` with a model that an endpoint serves."""

import io
import json
import re
from pathlib import Path

import pytest

from poziomka.runs.run import Run
from poziomka.testing import ScriptedSampler
from poziomka.testing.endpoint import Fault, endpoint

OWN = """
import poziomka as pz
from poziomka.environments.tools.registry import tools_named
from poziomka.environments.tools.toolbox import Toolbox

def generate(rng):
    number = rng.randrange(1000)
    return pz.Problem(f"Repeat {number}", str(number))

def tools(problem):
    return Toolbox(tools_named("calculator"))

repeat = pz.Task("repeat", generate, pz.exact(pz.number), trusted=True)
tooled = pz.Task("tooled", generate, pz.exact(pz.number), environment=tools, trusted=True)
"""
KEY = "sk-very-secret"
FEW = ("--problems", "4", "--max-tokens", "20")


def asked(transcript):
    """Returns the last number that the user asked for; "" in a request that finds out how replies are continued."""
    return (re.findall(r"Repeat (\d+)", transcript.text) or [""])[-1]


def thinks(transcript, sampling):
    """Repeats the number after a thought of four words, or after the forced end of one."""
    number = asked(transcript)
    full = f"<think>one two three four</think>{number}"
    return full[len(transcript.reply) :] if full.startswith(transcript.reply) else number


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The file of two tasks; the test runs in a folder of its own, with a key in the environment."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return "own.py"


def test_a_model_of_an_endpoint_is_evaluated_and_saved(poziomka, own):
    with endpoint(ScriptedSampler(thinks), key=KEY) as served:
        command = ("evaluate", served.model, "--endpoint", served.url, "--task", f"{own}:repeat", *FEW)
        status, output, errors = poziomka(*command, "--json")
    assert status == 0, errors
    found = json.loads(output)
    (point,) = found["budgets"]
    assert (found["model"], found["policy"], found["endpoint"]) == ("scripted", "scripted", served.url)
    assert point["accuracy"]["mean"] == 1
    assert point["tokens"] == 8
    (kept,) = Path("runs").iterdir()
    groups = [list(group) for group in Run.read(kept).journal("test").groups]
    assert {rollout.transcript.thought for group in groups for rollout in group} == {"one two three four"}
    assert "rollout 1" in poziomka("show", kept, "--step", "test", "--group", "1")[1]
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_budgets_are_sampled_one_by_one(poziomka, own):
    with endpoint(ScriptedSampler(thinks)) as served:
        command = ("evaluate", served.model, "--endpoint", served.url, "--task", f"{own}:repeat", *FEW)
        status, output, errors = poziomka(*command, "--budget", "0", "3", "--json", "--no-save")
    assert status == 0, errors
    points = json.loads(output)["budgets"]
    assert [point["budget"] for point in points] == [0, 3]
    assert [point["accuracy"]["mean"] for point in points] == [1, 1]
    assert [point["thinking_tokens"] for point in points] == [1, 3]  # <think>; and two words more


def test_tools_are_called_in_turns_of_their_own(poziomka, own):
    def calls(transcript, sampling):
        if transcript.spans[-1].text.startswith("Repeat"):
            return '<tool_call>\n{"name": "calculator", "arguments": {"expression": "1 + 1"}}\n</tool_call>'
        return asked(transcript)

    with endpoint(ScriptedSampler(calls)) as served:
        command = ("evaluate", served.model, "--endpoint", served.url, "--task", f"{own}:tooled", *FEW)
        status, output, errors = poziomka(*command, "--no-save", "--json")
    assert status == 0, errors
    messages = served.requests[-1]["messages"]
    assert [message["role"] for message in messages][-3:] == ["user", "assistant", "user"]
    assert "2" in messages[-1]["content"]
    assert "calculator" in messages[0]["content"]
    assert json.loads(output)["budgets"][0]["accuracy"]["mean"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "sums", "--dtype", "float32"), "precision"),
        ((), "--task"),
        (("--task", "sums"), "no server answers at"),
    ],
)
def test_what_cannot_be_evaluated_is_named_in_a_sentence(poziomka, own, options, said):
    status, _, errors = poziomka("evaluate", "model", "--endpoint", "http://127.0.0.1:9/v1", "--no-save", *options)
    assert status == 2
    assert said in errors
    assert "Traceback" not in errors
    assert "answering" not in errors  # nothing was begun


def test_a_model_of_an_endpoint_is_chatted_with(poziomka, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("Repeat 12\nRepeat 13\n"))
    with endpoint(ScriptedSampler(lambda transcript, _: "<think>easy</think>" + transcript.text[-2:])) as served:
        status, output, errors = poziomka("chat", served.model, "--endpoint", served.url)
    assert status == 0, errors
    assert output.split() == ["[thought]", "easy", "[/thought]", "12", "[thought]", "easy", "[/thought]", "13"]
    assert [message["content"] for message in served.requests[-1]["messages"]] == ["Repeat 12", "12", "Repeat 13"]
    assert "of them thought" in errors


def test_no_thought_is_asked_of_the_endpoint(poziomka):
    with endpoint(ScriptedSampler(["plain"])) as served:
        status, output, errors = poziomka("chat", served.model, "Hello", "--endpoint", served.url, "--no-think")
    assert status == 0, errors
    assert output.strip() == "plain"
    assert served.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_study_of_an_endpoint_has_strategies_that_it_can_judge(poziomka, own):
    study = ("--endpoint", "URL", "--task", f"{own}:repeat", "--problems", "2", "--replies", "3", "--max-tokens", "20")

    def think(*options):
        with endpoint(ScriptedSampler(lambda transcript, _: asked(transcript))) as served:
            words = [served.url if word == "URL" else word for word in ("think", served.model, *study, *options)]
            return (*poziomka(*words), len(served.requests))

    status, output, errors, _ = think("--out", "study", "--json")
    assert status == 0, errors
    names = [each["name"] for each in json.loads(output)["strategies"]]
    assert "adaptive:16" in names
    assert "best_of:8" not in names  # its judge reads log-probabilities
    for options in (("best_of:2",), ("beam:2,judge=certainty",)):
        status, _, errors, requests = think("--out", "other", "--strategies", *options)
        assert (status, requests) == (2, 0)
        assert "log-probabilities" in errors


@pytest.mark.parametrize("tokens", [10**30, None])
def test_an_endpoint_with_no_usable_number_of_tokens_ends_in_no_traceback(poziomka, own, tokens):
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    answer = {"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}], **usage}
    with endpoint(ScriptedSampler(["7"])) as served:
        served.faults.extend([Fault(200, json.dumps(answer).encode())] * 4)
        model = (served.model, "--endpoint", served.url, "--task", f"{own}:repeat", "--problems", "2")
        status, output, errors = poziomka("evaluate", *model, "--json")
        assert status == 0, errors
        assert json.loads(output)["budgets"][0]["tokens"] < 10
        served.faults.extend([Fault(200, json.dumps(answer).encode())] * 8)
        status, _, errors = poziomka("think", *model, "--replies", "4", "--strategies", "majority:2")
    assert status == 2
    assert "0 tokens" in errors
    assert "2 of 2" not in errors  # no strategy is sampled in vain

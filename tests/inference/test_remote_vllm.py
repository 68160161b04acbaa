"""RemoteSampler over the server of vLLM, with the weights of SmolLM2 on both sides.

vLLM lives in an environment of its own (benchmarks/README.md says how it is made); POZIOMKA_VLLM names its interpreter.
"""

import asyncio
import os
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

import poziomka as pz
from poziomka.core.errors import SamplerError
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.inference.remote import RemoteSampler

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
VLLM = Path(os.environ.get("POZIOMKA_VLLM", ROOT.parent / "vllm-env" / "bin" / "python"))
OPTIONS = ("--max-model-len", "256", "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8")
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
QUESTION = Transcript.of([Message("user", "What is the capital of France?")])
GREEDY = SamplingParams(temperature=0, max_tokens=8)


@pytest.fixture(scope="module")
def model():
    return pz.load("smollm2", precision="float32")


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The base URL of a running server."""
    if not VLLM.exists():
        pytest.skip(f"NOT TRIED: there is no {VLLM}; name an interpreter that has vLLM: POZIOMKA_VLLM=…")
    folder = model.save(tmp_path_factory.mktemp("served") / "smollm2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "smollm2")
    command = [VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, *where, *OPTIONS]
    log = folder.parent / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env=os.environ | SETTINGS, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        while server.poll() is None:
            try:
                asyncio.run(RemoteSampler(url).extend(QUESTION, replace(GREEDY, max_tokens=1)))
                break
            except SamplerError:
                time.sleep(1)
        assert server.poll() is None, log.read_text()[-4000:]
        yield url
    finally:
        server.terminate()
        server.wait(timeout=600)


@pytest.fixture
def sampler(served):
    return RemoteSampler(served, "smollm2")


def extend(sampler, transcript=QUESTION, **changes):
    return asyncio.run(sampler.extend(transcript, replace(GREEDY, **changes)))


def test_a_greedy_reply_is_that_of_the_engine(sampler, model):
    found, wanted = extend(sampler), extend(model.sampler())
    assert found.reply == wanted.reply
    assert (found.stop, found.cost) == (wanted.stop, wanted.cost)


def test_a_reply_that_has_begun_is_continued_as_by_the_engine(sampler, model):
    begun = QUESTION + Span(Author.MODEL, "It is, as everybody knows, the city", stop=Stop.LENGTH, usage=9)
    assert extend(sampler, begun).reply == extend(model.sampler(), begun).reply


def test_a_stop_string_is_kept(sampler):
    whole = extend(sampler, max_tokens=20).reply
    cut = extend(sampler, max_tokens=20, stop=("Paris",))
    assert cut.reply == whole[: whole.index("Paris") + len("Paris")]
    assert cut.stop is Stop.PHRASE
    assert 0 < cut.cost < extend(sampler, max_tokens=20).cost


def test_a_seed_repeats_a_reply_and_replies_differ(sampler, served):
    params = [SamplingParams(max_tokens=12, seed=seed) for seed in range(4)]
    first = [reply.reply for reply in asyncio.run(sampler.branch(QUESTION, params))]
    assert first == [reply.reply for reply in asyncio.run(sampler.branch(QUESTION, params))]
    assert len(set(first)) > 1
    together = asyncio.run(RemoteSampler(served, "smollm2", together=4).branch(QUESTION, params))
    assert len({reply.reply for reply in together}) > 1
    assert 4 < sum(reply.cost for reply in together) <= 4 * 12


def test_a_thought_is_closed_at_its_budget(served):
    thinking = RemoteSampler(served, "smollm2", opens_thought=True)
    reply = extend(thinking, max_thinking_tokens=5, max_tokens=12)
    assert [span.author for span in reply.spans[1:]] == [
        Author.TEMPLATE,
        Author.MODEL,
        Author.FORCED,
        Author.MODEL,
    ]
    assert [span.cost for span in reply.spans[1:]] == [0, 5, 0, 7]


def test_the_context_bounds_prompt_and_reply(sampler):
    assert extend(sampler, max_tokens=10_000).stop in (Stop.LENGTH, Stop.END)
    full = extend(sampler, Transcript.of([Message("user", "word " * 400)]))
    assert (full.reply, full.stop) == ("", Stop.LENGTH)


def test_a_task_is_evaluated(served):
    found = pz.evaluate(f"{served}#smollm2", "sums", replace(GREEDY, max_tokens=24), problems=8)
    assert found.failures == 0
    assert 0 < found.tokens <= 24


def test_an_unknown_model_is_named(served):
    with pytest.raises(SamplerError, match="did you mean 'smollm2'"):
        extend(RemoteSampler(served, "smollm"))

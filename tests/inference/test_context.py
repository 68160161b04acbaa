"""A transcript never has more tokens than the engine and the model allow, and one that comes so far ends there."""

import asyncio
import copy

import pytest
import torch
import transformers

from poziomka.core.environment import Reply
from poziomka.core.errors import TranscriptError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.evaluation import evaluate
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer

PROMPT = [1, 7, 8, 9, 3]
ENDLESS = {"seed": 5, "thinking": True, "min_thinking_tokens": 500}


def extend(sampler, transcript, **how):
    return asyncio.run(sampler.extend(transcript, SamplingParams(**{"tokens": 20, "seed": 3} | how)))


def short_sampler(build, chat, context):
    """A sampler of a model that reads `context` tokens."""
    settings = TransformerSettings(width=32, layers=2, heads=4, context=context)
    return LocalSampler(build_model("transformer", settings, len(chat.tokenizer), 0).eval(), chat)


# ------------------------------------------------------------------------------------------------------- the bound
@pytest.mark.fault("B9")
def test_a_reply_ends_where_the_model_reads_no_further(build, chat, question):
    sampler = short_sampler(build, chat, 24)
    reply = extend(sampler, question(), tokens=200, min_thinking_tokens=200)
    assert (len(reply), reply.stop) == (24, Stop.LENGTH)


@pytest.mark.fault("B9")
@pytest.mark.parametrize(("limit", "reads", "wanted"), [(None, 24, 24), (12, 24, 12), (40, 24, 24)])
def test_the_context_is_the_smaller_of_engine_and_model(build, chat, limit, reads, wanted):
    model = short_sampler(build, chat, reads).engine.model
    assert LocalSampler(model, chat, limits=EngineLimits(context=limit)).context == wanted


def test_a_recurrent_model_reads_any_number(build, chat):
    assert LocalSampler(build("recurrent"), chat).context is None


@pytest.mark.fault("B9")
def test_a_model_of_learned_positions_stops_at_the_last(tmp_path):
    """Beside a longer row, so that padding lies beyond the last position; and after a turn that is taken up again."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=61, n_positions=64, n_embd=32, n_layer=2, n_head=2, eos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    Tokenizer.of_symbols([str(number) for number in range(56)]).save(tmp_path)
    found = load_pretrained(str(tmp_path))
    sampler = LocalSampler(found.model, PlainFormat(found.tokenizer), limits=EngineLimits(park_all=True))
    assert sampler.context == 64

    async def both(transcripts):
        how = SamplingParams(max_tokens=200, min_thinking_tokens=200, seed=1)
        return await asyncio.gather(*(sampler.extend(transcript, how) for transcript in transcripts))

    texts = [" 1 2 3", " 4" * 50]
    replies = asyncio.run(both([Transcript.of([Message("user", text)]) for text in texts]))
    assert [(len(reply), reply.stop) for reply in replies] == [(64, Stop.LENGTH)] * 2
    early = [reply.cut(40 + 20 * number) for number, reply in enumerate(replies)]
    again = asyncio.run(both([transcript + Span(Author.ENVIRONMENT, " 5") for transcript in early]))
    assert [(len(reply), reply.stop) for reply in again] == [(64, Stop.LENGTH)] * 2


@pytest.mark.fault("A1")
def test_a_reply_that_fills_the_context_is_the_beginning_of_a_longer_one(model, desk_of):
    short, long = desk_of(model, context=20), desk_of(model)
    for desk in (short, long):
        desk.ask("mine", PROMPT, tokens=40, **ENDLESS)
        desk.finish()
    assert short.tokens("mine") == long.tokens("mine")[:15]
    assert short.logprobs("mine") == long.logprobs("mine")[:15]
    assert short.stop("mine") is Stop.LENGTH


@pytest.mark.fault("A1")
def test_a_thought_that_is_closed_by_force_at_the_end_of_the_context_ends_by_length(model, desk_of):
    desk = desk_of(model, context=9)
    desk.ask("mine", PROMPT, seed=5, tokens=40, thinking=True, min_thinking_tokens=3, max_thinking_tokens=3)
    pieces = desk.finish().pieces["mine"]
    assert [(piece.author, len(piece.tokens)) for piece in pieces] == [
        (Author.MODEL, 3),
        (Author.FORCED, 1),
        (Author.MODEL, 0),
    ]
    assert desk.stop("mine") is Stop.LENGTH


# ------------------------------------------------------------------------------------------ prompts and conversations
@pytest.mark.fault("A1")
def test_a_prompt_that_fills_the_context_ends_by_length_and_the_others_are_answered(model, chat, question):
    sampler = LocalSampler(model, chat, limits=EngineLimits(context=30))

    async def both():
        how = SamplingParams(max_tokens=20, seed=3)
        return await asyncio.gather(sampler.extend(question(" 1" * 40), how), sampler.extend(question(), how))

    full, answered = asyncio.run(both())
    assert (full.cost, full.stop, full.spans[-1].policy) == (0, Stop.LENGTH, "initial")
    assert full.reply.strip() == "<think>"
    assert answered.cost > 0


class Counting:
    """Opens sessions that answer every word with a number of words."""

    stop = tuple(f" {digit}" for digit in range(10))

    def __init__(self, words):
        self.words = words

    def open(self, problem):
        return copy.copy(self)

    async def reply(self, transcript):
        return Reply(Span(Author.ENVIRONMENT, " 1" * self.words))

    def fork(self):
        return self

    def close(self):
        pass


def judge(problem, transcript):
    return Score.unparsed("no answer")


def task_of(texts, environment=None):
    def source(split, index, level):
        return Problem.ask("texts", f"{split}{index}", texts[index], "1")

    return Task("texts", source, judge, environment and (lambda problem: environment), size=len(texts), trusted=True)


@pytest.mark.fault("A1")
def test_a_tools_answer_that_fills_the_context_ends_the_conversation_by_length(model, chat):
    sampler = LocalSampler(model, chat, limits=EngineLimits(context=30))
    task = task_of([" 1"], Counting(40))
    ((rollout,),) = collect(
        sampler, task, task.take("test", 0, 1), SamplingParams(max_tokens=50, min_thinking_tokens=50)
    )
    assert [span.author for span in rollout.transcript][-3:] == [Author.MODEL, Author.ENVIRONMENT, Author.MODEL]
    assert rollout.transcript.stop is Stop.LENGTH
    assert rollout.score.verdict is Verdict.TRUNCATED


@pytest.mark.fault("A1")
def test_a_conversation_of_many_turns_never_passes_the_context(model, chat):
    sampler = LocalSampler(model, chat, limits=EngineLimits(context=30))
    task = task_of([" 1", " 2", " 3"], Counting(2))
    for group in collect(sampler, task, task.take("test", 0, 3), SamplingParams(max_tokens=50, min_thinking_tokens=50)):
        own = [place for place, mine in enumerate(group[0].transcript.by(Author.MODEL)) if mine]
        assert max(own) < 30
        assert group[0].transcript.stop is Stop.LENGTH


@pytest.mark.fault("A1")
def test_an_evaluation_records_a_verdict_for_prompts_that_cannot_be_answered(model, chat):
    """One fills the context, one holds a word that is not in the vocabulary."""
    sampler = LocalSampler(model, chat, limits=EngineLimits(context=30))
    found = evaluate(
        sampler, task_of([" 1", " 1" * 40, " eleven"]), SamplingParams(max_tokens=5), problems=3, attempts=2
    )
    assert {rollout.score.verdict for rollout in found.groups[1]} == {Verdict.TRUNCATED}
    assert {rollout.score.verdict for rollout in found.groups[2]} == {Verdict.ERROR}
    assert "eleven" in found.groups[2][0].score.why
    assert found.groups[0][0].transcript.cost > 0


def test_a_text_beyond_the_models_context_is_not_scored(build, chat, question):
    sampler = short_sampler(build, chat, 24)
    with pytest.raises(TranscriptError, match="43 tokens cannot be scored by a model that reads 24"):
        asyncio.run(sampler.score(question(" 1" * 41)))

"""A learned judge's value is the probability of its verdict, from one pass, with its own tokenizer and at its cost."""

import asyncio
import math

import pytest
import torch

from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.verdict_form import VerdictForm, as_text
from poziomka.core.sampler import Capabilities, NextTokens, SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.testing import ScriptedSampler
from poziomka.thinking.judges.judge import judgements
from poziomka.thinking.judges.learned import LearnedJudge

torch.set_num_threads(1)
DIGITS = [str(digit) for digit in range(10)]
RIGHT = VerdictForm("outcome", "right ?", ("no", "yes"))
CHANCE = VerdictForm("value", "right ?", ("0", "1", "2", "3"))


def local(symbols, limits=None, width=32):
    tokenizer = Tokenizer.of_symbols(symbols)
    model = build_model("transformer", TransformerSettings(width=width, layers=2, heads=4), len(tokenizer), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return LocalSampler(model, PlainFormat(tokenizer), limits=limits)


@pytest.fixture
def policy():
    return local([*DIGITS, "right", "?", "no", "yes"])


@pytest.fixture
def foreign():
    return local(["yes", "no", "?", "right", *reversed(DIGITS), "more"], width=16)


def replies(sampler, question=" 1 2", count=3, **settings):
    prompt = Transcript.of(Problem(question).prompt)
    params = [SamplingParams(max_tokens=6, seed=seed, **settings) for seed in range(count)]
    return asyncio.run(sampler.branch(prompt, params))


def judged(judge, transcripts):
    return asyncio.run(judge.judge(transcripts))


@pytest.mark.parametrize("form", [RIGHT, CHANCE])
def test_the_value_is_the_softmax_over_the_verdicts(policy, form):
    found = judged(LearnedJudge(policy, form), replies(policy))
    for transcript, judgement in zip(replies(policy), found, strict=True):
        tokens = policy.read(form.asked(transcript, policy.chat.tokenizer.fingerprint)).tokens
        logits = policy.engine.model.logits(policy.engine.model(torch.tensor([list(tokens)])))[0, -1]
        ids = [policy.chat.tokenizer.encode(word)[0] for word in form.words]
        expected = (torch.softmax(logits[ids], 0) * torch.tensor(form.values)).sum()
        assert judgement.value == pytest.approx(float(expected), abs=1e-5)


def test_a_scripted_sampler_judges_by_its_scores():
    sampler = ScriptedSampler([" 3"])
    (reply,) = replies(sampler, count=1)
    form = VerdictForm("outcome", " right?", (" no", " yes"))
    (judgement,) = judged(LearnedJudge(sampler, form), [reply])
    no, yes = (
        math.exp(asyncio.run(sampler.score(form.asked(reply, reply.tokenizer) + Span(Author.TEACHER, word)))[-1])
        for word in form.words
    )
    assert judgement.value == pytest.approx(yes / (no + yes))
    assert judgement.cost.judged == len(reply) + 1


def test_a_first_step_is_judged_as_a_reply_is(policy):
    (step,) = replies(policy, count=1, stop=("7",))
    (judgement,) = judged(LearnedJudge(policy, RIGHT), [step])
    assert 0 < judgement.value < 1


def test_the_cost_is_what_the_model_read_and_a_shared_prompt_counts_once(policy):
    question = " 1 2 3 4 5 6 7 8 9" * 3
    found = replies(policy, question, stop=())
    before = policy.engine.counters.read
    judgements_of = judged(LearnedJudge(policy, RIGHT), found)
    total = sum(each.cost.judged for each in judgements_of)
    assert total == policy.engine.counters.read - before
    prompt = 1 + 27 + 1  # opening token, question, "<think>"
    distinct = {tuple(each.tokens) for each in found}
    assert total <= prompt + sum(len(tokens) - prompt + 2 for tokens in distinct)
    assert [each.cost.latency for each in judgements_of] == [0, 0, 0]


def test_a_judge_of_another_tokenizer_reads_the_text(policy, foreign):
    judge = LearnedJudge(foreign, RIGHT)
    found = replies(policy)
    values = [each.value for each in judged(judge, found)]
    assert values == pytest.approx([each.value for each in judged(judge, [as_text(each) for each in found])])
    assert all(0 < value < 1 for value in values)
    assert judge.parameters < policy.capabilities.parameters


def test_the_tokens_of_a_smaller_judge_cost_less(policy, foreign):
    found = replies(policy)
    _, cost = asyncio.run(judgements(LearnedJudge(foreign, RIGHT), policy, found, None, 0))
    own = sum(each.cost.judged for each in judged(LearnedJudge(foreign, RIGHT), found))
    assert cost.judged == pytest.approx(own * foreign.capabilities.parameters / policy.capabilities.parameters)


def test_what_cannot_be_read_fails_alone_with_its_reason(policy, foreign):
    whole, *_ = replies(policy)
    cut = whole.cut(len(whole) - 1)
    strange = Transcript.of(Problem(" a word that is unknown").prompt) + Span(Author.MODEL, " 3", stop=Stop.END)
    good, no_text, unknown = judged(LearnedJudge(foreign, RIGHT), [whole, cut, strange])
    assert good.value is not None
    assert no_text.value is None
    assert "text" in no_text.why
    assert unknown.value is None
    assert unknown.why


def test_a_transcript_longer_than_the_context_fails_alone():
    sampler = local([*DIGITS, "right", "?", "no", "yes"], EngineLimits(context=12))
    short, long = replies(sampler, count=1) + replies(sampler, " 1" * 20, count=1)
    good, bad = judged(LearnedJudge(sampler, RIGHT), [short, long])
    assert good.value is not None
    assert (bad.value, bad.cost.judged) == (None, 0.0)


def test_a_verdict_outside_the_vocabulary_is_one_failure_for_all(policy):
    judge = LearnedJudge(policy, VerdictForm("outcome", "right ?", ("no", "perhaps")))
    with pytest.raises(SamplerError):
        judged(judge, replies(policy))
    found, cost = asyncio.run(judgements(judge, policy, replies(policy), None, 0))
    assert [each.value for each in found] == [None] * 3
    assert cost.judged == 0


class Undefined(ScriptedSampler):
    """A sampler whose log-probabilities of next tokens are NaN."""

    async def next_logprobs(self, transcript, texts):
        return NextTokens((math.nan,) * len(texts), 7)


class Mute(ScriptedSampler):
    """A sampler that does not score."""

    @property
    def capabilities(self):
        return Capabilities(token_ids=True)


def test_a_value_that_is_not_a_number_is_a_failed_judgement_that_was_paid_for():
    (judgement,) = judged(LearnedJudge(Undefined([" 3"])), replies(ScriptedSampler([" 3"]), count=1))
    assert judgement.value is None
    assert "nan" in judgement.why
    assert judgement.cost.judged == 7


def test_a_sampler_without_log_probabilities_is_refused():
    with pytest.raises(SettingsError):
        LearnedJudge(Mute(["a"]))


def test_no_transcripts_have_no_judgements(policy):
    assert judged(LearnedJudge(policy, RIGHT), []) == []

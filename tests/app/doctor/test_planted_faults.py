"""Each way in which runs have gone silently wrong is planted into real parts, and the doctor names it."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.transcript import CLOSE, Author, Span, Transcript, compact_floats
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.samples.weighting import policy_examples
from poziomka.models.text.chat import PlainFormat


def test_parts_that_are_well_fail_nothing(parts_of, failures):
    assert failures(parts_of()) == {}


def test_parts_with_tools_that_are_well_fail_nothing(parts_of, failures, tools):
    assert failures(parts_of(task=tools)) == {}


# ---------------------------------------------------------------------------------------------- stale sampler weights
class Deaf(LocalSampler):
    """Goes on with the weights it began with."""

    async def load_weights(self, version, weights):
        pass


class Pretender(LocalSampler):
    """Names the new version and keeps the old weights."""

    async def load_weights(self, version, weights):
        self.engine.adopt(version, {name: tensor.clone() for name, tensor in self.engine.weights().items()})


class Late(LocalSampler):
    """Is always one version behind."""

    waiting = None

    async def load_weights(self, version, weights):
        now = {name: tensor.clone() for name, tensor in weights.items()}
        before, self.waiting = self.waiting, now
        self.engine.adopt(version, before or {n: t.clone() for n, t in self.engine.weights().items()})


@pytest.mark.parametrize("sampler", [Deaf, Pretender, Late])
def test_a_sampler_with_stale_weights_is_caught(parts_of, failures, sampler):
    failed = failures(parts_of(sampler=sampler))
    assert set(failed) == {"update to sampler"}
    assert "it writes with old ones" in failed["update to sampler"].advice


# -------------------------------------------------------------------------------------------------- wrong temperature
class Undivided(LocalSampler):
    """Samples at the temperature it is asked for, and stores the log-probabilities of temperature 1."""

    async def extend(self, transcript, sampling, on_token=None):
        reply = await super().extend(transcript, sampling, on_token)
        scores, place, spans = self.engine.score(reply.tokens, 1.0), 0, []
        for span in reply:
            own = scores[place : place + len(span)]
            place += len(span)
            spans.append(span if span.logprobs is None else replace(span, logprobs=compact_floats(own)))
        return replace(reply, spans=tuple(spans))


def test_log_probabilities_at_the_wrong_temperature_are_caught_and_the_right_one_is_named(parts_of, failures):
    failed = failures(parts_of(sampler=Undivided))
    assert "those of temperature 1, not of 0.8" in failed["log-probabilities"].advice


def test_a_learner_at_another_temperature_than_the_sampler_is_caught(parts_of, failures):
    parts = parts_of()
    failed = failures(replace(parts, learner=Learner(parts.model, LearnerSettings(), 1.0)))
    assert "at temperature 1, the recipe samples at 0.8" in failed["log-probabilities"].advice


# ------------------------------------------------------------------------------------ a template that strips thinking
class Stripping(PlainFormat):
    """Renders the history anew in each turn, without its thoughts, as many a checkpoint's template does."""

    def read(self, transcript):
        if transcript.tokenizer is None or all(span.tokens is not None for span in transcript):
            return super().read(transcript)
        words = [replace(s, text=s.text.split(CLOSE)[-1], tokens=None, logprobs=None) for s in transcript if s.text]
        return super().read(Transcript(tuple(word for word in words if word.author is not Author.TEMPLATE)))


class Retokenising(PlainFormat):
    """Keeps the words, and splits them into tokens anew: the end token is lost."""

    def read(self, transcript):
        if transcript.tokenizer is None or all(span.tokens is not None for span in transcript):
            return super().read(transcript)
        anew = [replace(s, tokens=None, logprobs=None) if s.author is Author.MODEL else s for s in transcript]
        return super().read(replace(transcript, spans=tuple(anew)))


def test_a_template_that_strips_thinking_is_caught(parts_of, failures):
    failed = failures(parts_of(chat=Stripping))
    assert "earlier thoughts are stripped" in failed["chat format"].figure


def test_a_format_that_tokenises_anew_is_caught(parts_of, failures):
    failed = failures(parts_of(chat=Retokenising))
    assert "rendered or tokenised anew" in failed["chat format"].figure


# ------------------------------------------------------------------------------------------------------------ scorers
def test_a_scorer_that_accepts_anything_is_caught(parts_of, failures, task):
    failed = failures(parts_of(task=replace(task, scorer=lambda problem, transcript: Score.right(""))))
    assert "accepts" in failed["scorer"].figure
    assert "an empty answer (4 of 4)" in failed["scorer"].figure


def test_a_scorer_that_looks_for_the_answer_anywhere_is_caught(parts_of, failures, task):
    def lenient(problem, transcript):
        answer = transcript.reply.split(CLOSE)[-1]
        return Score.right(answer) if problem.answer in answer.split() else Score.wrong(answer)

    failed = failures(parts_of(task=replace(task, scorer=lenient)))
    assert "every candidate listed" in failed["scorer"].figure


def test_a_scorer_that_rejects_gold_is_caught(parts_of, failures, task):
    failed = failures(parts_of(task=replace(task, scorer=lambda problem, transcript: Score.wrong("?", "no"))))
    assert failed["scorer"].figure.startswith("refuses 4 of 4 gold answers")


def test_a_scorer_that_raises_is_caught(parts_of, failures, task):
    failed = failures(parts_of(task=replace(task, scorer=lambda problem, transcript: 1 / 0)))
    assert "ZeroDivisionError" in failed["scorer"].figure


# ------------------------------------------------------------------------------------------------------------- groups
def swapped(*given, **how):
    """Collects, and exchanges the first rollouts of the first two groups."""
    groups = collect(*given, **how)
    one, two, *others = [list(group) for group in groups]
    one[0], two[0] = two[0], one[0]
    return [one, two, *others]


def mislabelled(*given, **how):
    """Collects, and lets two rollouts of different problems exchange their words only."""
    groups = collect(*given, **how)
    one, two, *others = [list(group) for group in groups]
    first, second = one[0], two[0]
    one[0], two[0] = replace(first, branches=second.branches), replace(second, branches=first.branches)
    return [one, two, *others]


@pytest.mark.parametrize("collector", [swapped, mislabelled])
def test_rollouts_in_each_others_groups_are_caught(parts_of, failures, collector):
    failed = failures(parts_of(collect=collector))
    assert failed["groups"].figure == "2 of 4 hold attempts at different problems: number 1 for one"


# -------------------------------------------------------------------------------------------------------------- masks
def greedy_weights(*authors):
    """Puts policy weight on tokens by others than the model."""

    def weigh(groups, advantages, *how):
        def claimed(span):
            own = span.author in authors and len(span)
            return replace(span, author=Author.MODEL, logprobs=compact_floats([0.0] * len(span))) if own else span

        def relabelled(rollout):
            branch = rollout.branches[0]
            spans = tuple(claimed(span) for span in branch.transcript)
            return replace(rollout, branches=(replace(branch, transcript=replace(branch.transcript, spans=spans)),))

        return policy_examples([[relabelled(r) for r in group] for group in groups], advantages, *how)

    return weigh


@pytest.mark.parametrize("author", [Author.ENVIRONMENT, Author.FORCED, Author.TEMPLATE, Author.USER])
def test_a_mask_that_learns_from_what_the_model_did_not_write_is_caught(parts_of, failures, tools, author):
    failed = failures(parts_of(task=tools, weigh=greedy_weights(author)))
    assert f"by {author}" in failed["weights on tokens"].figure


def test_the_model_of_these_tests_does_call_its_tool(parts_of, tools):
    from poziomka.app.doctor import Bench

    spans = [span for rollout in Bench(parts_of(task=tools)).rollouts for span in rollout.transcript]
    assert any(isinstance(span, Span) and span.author is Author.ENVIRONMENT for span in spans)


def test_weights_of_the_wrong_sign_are_caught(parts_of, failures):
    def turned(groups, advantages, *how):
        return policy_examples(groups, [[None if a is None else -a for a in values] for values in advantages], *how)

    failed = failures(parts_of(weigh=turned))
    assert "have not the sign" in failed["weights on tokens"].figure


# ---------------------------------------------------------------------------------------------------------- gradients
def test_a_tensor_that_gets_no_gradient_is_caught(parts_of, failures):
    parts = parts_of()
    parts.model.blocks[1].feedforward.down.weight.register_hook(lambda gradient: gradient * 0)
    failed = failures(parts)
    assert "blocks.1.feedforward.down.weight" in failed["gradient"].figure

"""Which tokens get which weight: MODEL tokens of trainable branches, and nothing else."""

import asyncio
from dataclasses import replace

import pytest
import torch

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.environments.tools.calculator import Calculator
from poziomka.inference.local import LocalSampler
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.branches import by_role
from poziomka.learning.samples.weighting import imitation_examples, policy_examples
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer

AGGREGATIONS = ("prompt", "token", "sequence", "constant")


def model_span(*logprobs, stop=Stop.END):
    return Span(Author.MODEL, "", compact(range(5, 5 + len(logprobs))), compact_floats(logprobs), stop, "v1")


def weights(examples):
    return [sum(example.policy) for example in examples]


@pytest.fixture
def mixed(rollout):
    """Every author in one transcript; the model wrote four tokens of it."""
    return rollout(
        spans=[
            Span(Author.TEMPLATE, "", compact([1])),
            Span(Author.SYSTEM, "", compact([2, 2])),
            Span(Author.USER, "", compact([2, 3])),
            model_span(-0.5, -0.25, stop=Stop.PHRASE),
            Span(Author.ENVIRONMENT, "", compact([7, 8, 9])),
            model_span(-1.5, stop=Stop.LENGTH),
            Span(Author.FORCED, "", compact([4])),
            Span(Author.TEACHER, "", compact([6, 6])),
            model_span(-2.0),
        ]
    )


# ---------------------------------------------------------------------------------------------------------- authors
def test_only_the_models_tokens_get_policy_weight(mixed):
    (example,) = policy_examples([[mixed]], [[2.0]], "token")
    own = mixed.transcript.by(Author.MODEL)
    assert [weight != 0 for weight in example.policy] == own
    assert [weight for weight in example.policy if weight] == [0.5] * 4
    assert not any(example.imitate)


def test_their_logprobs_stand_beside_them(mixed):
    (example,) = policy_examples([[mixed]], [[2.0]], "token")
    own = mixed.transcript.by(Author.MODEL)
    assert [value for value, mine in zip(example.logprobs, own, strict=True) if mine] == [-0.5, -0.25, -1.5, -2.0]
    assert not any(value for value, mine in zip(example.logprobs, own, strict=True) if not mine)


@pytest.mark.slow
def test_what_a_calculator_answers_in_a_real_exchange_is_never_learned_from(build):
    """A random model, a real environment, a real sampler: calls happen by chance, and are answered."""
    symbols = [*map(str, range(4)), "<tool>", "</tool>", "<result>", "</result>", "+", "error"]
    tokenizer = Tokenizer.of_symbols(symbols)
    task = Task(
        "sums",
        lambda split, index, level: Problem.ask("sums", str(index), " 1 + 2", "3"),
        lambda problem, transcript: Score.wrong(""),
        environment=lambda problem: Calculator(),
        trusted=True,
    )
    sampler = LocalSampler(build(len(tokenizer), loud=0.1), PlainFormat(tokenizer))
    groups = collect(
        sampler,
        task,
        task.take("train", 0, 4),
        SamplingParams(max_tokens=60, max_thinking_tokens=12),
        attempts=6,
        name="t",
    )
    examples = policy_examples(groups, [[1.0] * 6] * 4, "token")
    rollouts = [rollout for group in groups for rollout in group]
    assert sum(span.author is Author.ENVIRONMENT for rollout in rollouts for span in rollout.transcript) > 5
    assert sum(span.author is Author.FORCED for rollout in rollouts for span in rollout.transcript) > 5
    assert len(examples) == len(rollouts)
    for example, rollout in zip(examples, rollouts, strict=True):
        assert example.tokens == rollout.transcript.tokens
        assert [weight > 0 for weight in example.policy] == rollout.transcript.by(Author.MODEL)
        scores = asyncio.run(sampler.score(rollout.transcript))
        for weight, kept, scored in zip(example.policy, example.logprobs, scores, strict=True):
            assert abs(kept - (scored if weight else 0)) < 1e-4
    batch = Batch.pack(examples)
    answers = {tokenizer.encode(word)[0] for word in ("<result>", "</result>", "error")}
    place = torch.isin(batch.tokens, torch.tensor(sorted(answers)))
    written = sum(sum(span.author is Author.ENVIRONMENT for span in r.transcript) for r in rollouts)
    assert int((place & (batch.policy_weight == 0)).sum()) >= 2 * written


def test_an_attempt_without_advantage_is_not_in_the_batch(group):
    attempts = group(1.0, 0.0, 1.0)
    assert len(policy_examples([attempts], [[1.0, None, -1.0]])) == 2
    assert policy_examples([attempts], [[None] * 3]) == []


# ------------------------------------------------------------------------------------------------------- aggregation
def test_prompt_is_the_mean_over_prompts_of_the_mean_over_the_groups_tokens(group):
    groups = [group(1.0, 0.0, lengths=[1, 3]), group(1.0, 0.0, lengths=[6, 2])]
    examples = policy_examples(groups, [[1.0, -1.0], [2.0, -2.0]], "prompt")
    assert weights(examples) == pytest.approx([1 / 8, -3 / 8, 12 / 16, -4 / 16])


def test_token_is_the_mean_over_all_tokens(group):
    groups = [group(1.0, 0.0, lengths=[1, 3]), group(1.0, 0.0, lengths=[6, 2])]
    examples = policy_examples(groups, [[1.0, -1.0], [2.0, -2.0]], "token")
    assert weights(examples) == pytest.approx([1 / 12, -3 / 12, 12 / 12, -4 / 12])


def test_sequence_is_the_mean_over_sequences_of_the_mean_over_their_tokens(group):
    groups = [group(1.0, 0.0, lengths=[1, 3]), group(1.0, 0.0, lengths=[6, 2])]
    examples = policy_examples(groups, [[1.0, -1.0], [2.0, -2.0]], "sequence")
    assert weights(examples) == pytest.approx([1 / 4, -1 / 4, 2 / 4, -2 / 4])


def test_constant_divides_by_the_most_tokens_a_reply_may_have(group):
    groups = [group(1.0, 0.0, lengths=[1, 3])]
    examples = policy_examples(groups, [[1.0, -1.0]], "constant", longest=10)
    assert weights(examples) == pytest.approx([1 / 20, -3 / 20])


@pytest.mark.parametrize("aggregation", ["prompt", "token", "sequence"])
def test_with_equal_advantages_the_weights_are_a_mean(group, aggregation):
    groups = [group(1.0, 0.0, lengths=[1, 3]), group(1.0, 0.0, 0.0, lengths=[6, 2, 9])]
    examples = policy_examples(groups, [[1.0] * 2, [1.0] * 3], aggregation)
    assert sum(weights(examples)) == pytest.approx(1)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_is_left_out_is_in_no_normaliser(group, aggregation):
    told = policy_examples([group(1.0, 0.0, lengths=[4, 2])], [[1.0, -1.0]], aggregation, 5)
    more = [group(1.0, 1.0), group(1.0, 0.0, None, lengths=[4, 2, 30]), group(0.0, 0.0)]
    assert policy_examples(more, [[None] * 2, [1.0, -1.0, None], [None] * 2], aggregation, 5) == told


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_tokens_that_others_wrote_are_in_no_normaliser(mixed, rollout, aggregation):
    short = rollout(own=4)
    told = policy_examples([[mixed, short]], [[1.0, -1.0]], aggregation, 9)
    assert weights(told)[0] == pytest.approx(-weights(told)[1])


# ---------------------------------------------------------------------------------------------------------- branches
def forked(parent, at, *logprobs, **how):
    shared = parent.cut(at)
    return Branch(shared + model_span(*logprobs), Score.wrong(""), parent=0, fork_at=at, **how)


def test_a_shared_prefix_is_learned_from_and_counted_once(rollout):
    """The fork lies in the middle of the model's span."""
    one = rollout(own=4)
    two = replace(one, branches=(*one.branches, forked(one.transcript, 4, -0.1, -0.2)))
    first, second = policy_examples([[two]], [[1.0]], "token")
    assert list(first.policy) == pytest.approx([0, 0, *[1 / 6] * 4])
    assert list(second.policy) == pytest.approx([0, 0, 0, 0, *[1 / 6] * 2])


def test_a_branch_that_is_not_trainable_is_left_out(rollout):
    one = rollout(own=4)
    two = replace(one, branches=(*one.branches, forked(one.transcript, 2, -0.1, trainable=False)))
    (example,) = policy_examples([[two]], [[1.0]], "token")
    assert weights([example]) == pytest.approx([1])


def test_words_without_logprobs_are_not_learned_from(rollout):
    remote = rollout(spans=[Span(Author.USER, "", compact([1])), Span(Author.MODEL, "", compact([5, 6]))])
    (example,) = policy_examples([[remote, rollout(own=2)]], [[1.0, 1.0]], "token")
    assert weights([example]) == pytest.approx([1])


def test_a_texts_first_token_is_never_learned_from(rollout):
    bare = rollout(spans=[model_span(-0.5, -0.5, -0.5)])
    (example,) = policy_examples([[bare]], [[1.0]], "token")
    assert list(example.policy) == pytest.approx([0, 0.5, 0.5])


# --------------------------------------------------------------------------------------------------------- imitation
def test_imitation_is_the_mean_over_the_chosen_authors_tokens(mixed):
    examples = imitation_examples([mixed.transcript, mixed.transcript], [Author.TEACHER, Author.ENVIRONMENT])
    for example in examples:
        chosen = mixed.transcript.by(Author.TEACHER, Author.ENVIRONMENT)
        assert list(example.imitate) == pytest.approx([0.1 if each else 0 for each in chosen])
        assert not any(example.policy)
        assert not any(example.logprobs)


def test_the_first_token_is_in_no_imitations_normaliser():
    text = Transcript((Span(Author.TEMPLATE, "", compact([1])), Span(Author.USER, "", compact([2, 3]))))
    (example,) = imitation_examples([text], [Author.TEMPLATE, Author.USER])
    assert list(example.imitate) == pytest.approx([0, 0.5, 0.5])


def test_nothing_chosen_weighs_nothing(mixed):
    (example,) = imitation_examples([mixed.transcript, Transcript()], [])
    assert not any(example.imitate)


def test_tokens_that_forks_share_have_the_mean_advantage_of_the_branches_that_contain_them(rollout):
    """Branch 1 forks after two of the model's four tokens, branch 2 from branch 1 after its first own token."""
    one = rollout(own=4)
    first = forked(one.transcript, 4, -0.1, -0.2)
    second = replace(forked(first.transcript, 5, -0.3), parent=1)
    family = replace(one, branches=(*one.branches, first, second))
    lines = by_role([[family]])
    assert [line.id for line in lines[0]] == ["r", "r#1", "r#2"]
    root, middle, leaf = policy_examples(lines, [[3.0, 6.0, -3.0]], "token")
    count = 4 + 2 + 1
    assert list(root.policy) == pytest.approx([0, 0, *[2.0 / count] * 2, *[3.0 / count] * 2])
    assert list(middle.policy) == pytest.approx([0, 0, 0, 0, 1.5 / count, 6.0 / count])
    assert list(leaf.policy) == pytest.approx([0, 0, 0, 0, 0, -3.0 / count])


def test_a_shared_prefix_is_learned_from_where_its_own_branch_is_left_out(rollout):
    one = rollout(own=4)
    family = replace(one, branches=(*one.branches, forked(one.transcript, 4, -0.1)))
    (fork,) = policy_examples(by_role([[family]]), [[None, 1.0]], "token")
    assert list(fork.policy) == pytest.approx([0, 0, *[1 / 3] * 3])


def test_roles_are_compared_apart_and_what_is_not_trainable_is_in_no_group(rollout):
    one = rollout(own=2)
    players = [replace(one.branches[0], role=role) for role in ("first", "second")]
    rival = replace(one.branches[0], role="first", trainable=False)
    group = [replace(one, id=f"g{n}", branches=(*players, rival)) for n in range(2)]
    assert [[line.id for line in lines] for lines in by_role([group])] == [["g0", "g1"], ["g0#1", "g1#1"]]

"""What a rollout says of itself."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem
from poziomka.core.rollout import Branch, Cost, Rollout, seed_of_rollout
from poziomka.core.transcript import Author, Span, Stop, Transcript, Tried, compact

PROBLEM = Problem.ask("sums", "1+1", "1 + 1 ?", "2")
THINKING = Span(Author.MODEL, " a b", compact([1, 2]), stop=Stop.LENGTH)
CLOSING = Span(Author.MODEL, " a b </think>", compact([1, 2, 3]), stop=Stop.THOUGHT)
FORCED = Span(Author.FORCED, " </think>", compact([3]))
WAIT = Span(Author.FORCED, " Wait", compact([5]))
ANSWER = Span(Author.MODEL, " 2", compact([4, 0]), stop=Stop.END)
TOOL = Span(Author.ENVIRONMENT, " 2", compact([4]))


@pytest.mark.parametrize(
    ("spans", "tokens"),
    [
        ((), 0),
        ((CLOSING, ANSWER), 3),
        ((THINKING, FORCED, ANSWER), 2),
        ((THINKING,), 2),
        ((THINKING, TOOL, CLOSING, ANSWER), 5),
        ((FORCED, ANSWER), 0),
        ((THINKING, WAIT, CLOSING, ANSWER), 5),
        ((THINKING, replace(FORCED, text=" </thi"), replace(FORCED, text="nk>"), ANSWER), 2),
    ],
)
def test_thinking_is_what_the_model_wrote_before_its_thought_ended(spans, tokens):
    rollout = Rollout("r", PROBLEM, (Branch(Transcript.of(PROBLEM.prompt) + spans),))
    assert rollout.thinking == tokens


def test_the_seed_comes_from_task_and_id():
    rollout = Rollout("train/3", PROBLEM, ())
    assert rollout.seed == seed_of_rollout(PROBLEM, "train/3") != seed_of_rollout(PROBLEM, "train/4")


# ------------------------------------------------------------------------------------------------------------ Cost
def wrote(*tokens, author=Author.MODEL):
    return Span(author, "", compact(tokens))


def asked(*tokens):
    return Transcript((wrote(*tokens, author=Author.USER),), "t")


def test_a_prompt_that_branches_share_is_read_once():
    branches = [Branch(asked(1, 2, 3) + wrote(*reply)) for reply in ((4, 5), (6,), (7, 8, 9))]
    assert Cost.of(branches) == Cost(sampled=6, read=3, latency=3)


def test_a_beginning_that_prompts_share_is_read_once():
    prompts = (1, 2, 3, 4), (1, 2, 5), (1, 2, 3), (6,), ()
    branches = [Branch(asked(*prompt) + wrote(9)) for prompt in prompts]
    assert Cost.of(branches) == Cost(sampled=5, read=len([1, 2, 3, 4, 5, 6]), latency=1)


def test_a_forked_branch_costs_what_follows_the_fork():
    trunk = asked(1, 2) + wrote(3, 4, 5)
    fork = Branch(trunk.cut(4) + wrote(7, author=Author.FORCED) + wrote(8), parent=0, fork_at=4)
    assert Cost.of([Branch(trunk), fork]) == Cost(sampled=3 + 1, read=2 + 1, latency=3)


def test_discarded_tokens_are_sampled_and_hide_no_token_that_was_read():
    transcript = asked(1, 2) + wrote(3) + wrote(4, 5, author=Author.FORCED) + wrote(6)
    aside = transcript.aside([Tried(3, (wrote(7, 8, 9),))])
    assert Cost.of([Branch(aside)]) == Cost(sampled=2 + 3, read=2 + 2, latency=5)


def test_costs_add_up_after_and_beside_one_another():
    one, other = Cost(sampled=3, read=2, judged=1.5, latency=3), Cost(sampled=5, read=1, judged=2.0, latency=4)
    assert one + other == Cost(sampled=8, read=3, judged=3.5, latency=7)
    assert Cost.together([one, other]) == Cost(sampled=8, read=3, judged=3.5, latency=4)
    assert (one.tokens, one.flops(10)) == (4.5, 2.0 * 10 * 6.5)

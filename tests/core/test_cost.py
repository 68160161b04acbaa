"""The cost of an attempt counts every token once: shared prefixes, discarded continuations, judges and waiting."""

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Cost, Rollout
from poziomka.core.strategy import Attempt
from poziomka.core.transcript import Author, Span, Transcript, Tried, compact
from poziomka.runs.storage.journal import read_journal, write_journal

PROMPT = Span(Author.USER, "ask", compact([1, 2, 3]))


def written(*tokens):
    return Span(Author.MODEL, "x", compact(tokens))


def test_a_single_reply_costs_its_tokens_and_reads_its_prompt():
    attempt = Attempt((Branch(Transcript((PROMPT, written(4, 5)))),))
    assert attempt.cost == Cost(sampled=2, read=3, latency=2)
    assert attempt.cost.tokens == 2
    assert attempt.cost.flops(10) == 2 * 10 * 5


def test_a_prefix_that_branches_share_counts_once():
    trunk = Branch(Transcript((PROMPT, written(4, 5), written(6))))
    fork = Branch(Transcript((PROMPT, written(4, 5), written(7, 8))), parent=0, fork_at=5)
    assert Attempt((trunk, fork)).cost == Cost(sampled=5, read=3, latency=4)


def test_votes_read_their_prompt_once_and_other_prompts_count():
    votes = tuple(Branch(Transcript((PROMPT, written(4, number)))) for number in range(3))
    assert Attempt(votes).cost == Cost(sampled=6, read=3, latency=2)
    other = Branch(Transcript((Span(Author.USER, "b", compact([9, 9])), written(4))))
    assert Attempt((*votes, other)).cost == Cost(sampled=7, read=5, latency=2)


def test_replies_of_an_environment_are_read_and_not_sampled():
    reply = Span(Author.ENVIRONMENT, "7", compact([7, 7]))
    assert Attempt((Branch(Transcript((PROMPT, written(4), reply, written(5)))),)).cost == Cost(
        sampled=2, read=5, latency=2
    )


def test_discarded_continuations_count():
    aside = Transcript((PROMPT, written(4))).aside([Tried(3, (written(5, 6),))])
    assert Attempt((Branch(aside),)).cost.sampled == 3


def asked(*tokens):
    return Transcript((Span(Author.USER, "", compact(tokens)),), "t")


def test_a_beginning_that_prompts_share_is_read_once():
    prompts = (1, 2, 3, 4), (1, 2, 5), (1, 2, 3), (6,), ()
    branches = [Branch(asked(*prompt) + written(9)) for prompt in prompts]
    assert Cost.of(branches) == Cost(sampled=5, read=len([1, 2, 3, 4, 5, 6]), latency=1)


def test_forced_tokens_after_a_fork_are_read():
    trunk = asked(1, 2) + written(3, 4, 5)
    fork = trunk.cut(4) + Span(Author.FORCED, "", compact([7])) + written(8)
    assert Cost.of([Branch(trunk), Branch(fork, parent=0, fork_at=4)]) == Cost(sampled=3 + 1, read=2 + 1, latency=3)


def test_discarded_tokens_hide_no_token_that_was_read():
    transcript = asked(1, 2) + written(3) + Span(Author.FORCED, "", compact([4, 5])) + written(6)
    aside = transcript.aside([Tried(3, (written(7, 8, 9),))])
    assert Cost.of([Branch(aside)]) == Cost(sampled=2 + 3, read=2 + 2, latency=5)


def test_an_endpoint_without_token_ids_reports_how_many_it_sampled():
    span = Span(Author.MODEL, "some words", usage=12)
    assert Transcript((Span(Author.USER, "ask", usage=5), span)).cost == 12


def test_parts_that_wait_add_their_latency_and_concurrent_ones_take_the_longest():
    a, b = Cost(sampled=4, read=1, latency=4), Cost(sampled=6, judged=2.5, latency=2)
    assert a + b == Cost(sampled=10, read=1, judged=2.5, latency=6)
    assert Cost.together((a, b)) == Cost(sampled=10, read=1, judged=2.5, latency=4)
    assert Cost.together(()) == Cost()
    assert (a + b).tokens == 12.5


@pytest.mark.parametrize("spent", [None, Cost(sampled=2, read=9, judged=3.5, latency=8)])
def test_a_journal_keeps_the_cost_that_a_strategy_measured(tmp_path, spent):
    problem = Problem.ask("toy", "1", "ask", "x")
    rollout = Rollout("a/0", problem, (Branch(Transcript((PROMPT, written(4, 5))), Score.right("x")),), spent=spent)
    write_journal(tmp_path / "step-000000.parquet", [[rollout]])
    ((found,),) = read_journal(tmp_path / "step-000000.parquet").groups
    assert (found.spent, found.cost) == (spent, spent or Cost(sampled=2, read=3, latency=2))

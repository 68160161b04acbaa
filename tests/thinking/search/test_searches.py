"""Each search equals its algorithm, computed by hand on small trees."""

import asyncio
import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from poziomka.core.errors import SettingsError
from poziomka.core.rollout import Cost
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import random_of
from poziomka.testing import ScriptedSampler
from poziomka.thinking.search import DVTS, MCTS, Annealing, Beam, ParticleFilter, Rebase, Steps, ValueGuided
from poziomka.thinking.search.mcts import Move
from poziomka.thinking.search.particles import effective, multinomial, systematic, weights
from poziomka.thinking.search.rebase import shares
from poziomka.thinking.search.tree import Request, Tree

STEPS = Steps(stops=(";",))
SAMPLING = SamplingParams(max_tokens=40)

TEXTS = {
    (0,): " a;",
    (1,): " b;",
    (2,): " c;",
    (3,): " d;",
    (0, 0): " 8",
    (0, 1): " 9",
    (1, 0): " 1;",
    (1, 1): " 2",
    (3, 0): " 3",
    (3, 1): " 4;",
    (3, 1, 0): " 5",
    (3, 1, 1): " 3",
}
VALUES = {
    "a;": 0.85,
    "b;": 0.9,
    "c;": 0.3,
    "d;": 0.8,
    "a; 8": 0.1,
    "a; 9": 0.2,
    "b; 1;": 0.15,
    "b; 2": 0.7,
    "d; 3": 0.6,
    "d; 4;": 0.95,
    "d; 4; 5": 0.5,
    "d; 4; 3": 0.65,
}


def last_word(transcript):
    return transcript.text.split()[-1]


def replies(attempt, said):
    return [said(branch.transcript) for branch in attempt.branches]


# ------------------------------------------------------------------------------------------------------- beam and DVTS
def test_a_beam_keeps_the_best_of_all(table, judge, run, said):
    found = run(Beam(judge=judge(VALUES), steps=STEPS, answer="best"), table("beam", TEXTS))
    assert replies(found, said) == ["a; 8", "a; 9", "b; 1;", "b; 2", "c;", "d;"]
    assert said(found.branches[found.answer].transcript) == "b; 2"


def test_a_complete_reply_keeps_its_place_in_the_beam(table, judge, run, said):
    values = {**VALUES, "a;": 0.1}
    scores = judge(values)
    run(Beam(judge=scores, steps=STEPS), table("beam", TEXTS))
    assert scores.asked == [
        ["a;", "b;", "c;", "d;"],
        ["b; 1;", "b; 2", "d; 3", "d; 4;"],
        ["d; 4; 5", "d; 4; 3"],  # "b; 2" is complete, and better than "d; 3"
    ]


def test_the_subtrees_of_dvts_do_not_compete(table, judge, run, said):
    scores = judge(VALUES)
    found = run(DVTS(judge=scores, steps=STEPS, answer="best"), table("dvts", TEXTS))
    assert scores.asked == [["a;", "b;", "c;", "d;"], ["b; 1;", "b; 2", "d; 3", "d; 4;"], ["d; 4; 5", "d; 4; 3"]]
    assert said(found.branches[found.answer].transcript) == "b; 2"


def test_a_vote_is_weighted_by_value(table, judge, run, said):
    found = run(DVTS(judge=judge(VALUES), steps=STEPS, read=last_word), table("dvts", TEXTS))
    assert said(found.branches[found.answer].transcript) == "d; 4; 3"  # 0.6 + 0.65 for "3", 0.7 for "2", 0.5 for "5"


def test_the_cost_is_that_of_distinct_tokens_and_of_the_judge(table, judge, run):
    scores = judge({**VALUES, "a;": 0.1}, cost=Cost(judged=3, latency=1))
    found = run(Beam(judge=scores, steps=STEPS), table("beam", TEXTS))
    # " a;" is one token, " 2" two: the end token counts. Rounds of at most 1, 2 and 2 tokens, each with 1 of the judge.
    assert found.spent == Cost(sampled=4 + (1 + 2 + 2 + 1) + (2 + 2), read=2, judged=10 * 3, latency=1 + 2 + 2 + 3)
    assert Cost.of(found.branches) == replace(found.spent, judged=0, latency=4)


def test_branches_are_forked_where_paths_part(table, judge, run):
    found = run(Beam(judge=judge({**VALUES, "a;": 0.1}), steps=STEPS), table("beam", TEXTS))
    forks = [(branch.parent, branch.fork_at) for branch in found.branches]
    # a; | b; 1; | b; 2 | c; | d; 3 | d; 4; 5 | d; 4; 3, after a question of two tokens
    assert forks == [(None, 0), (0, 2), (1, 3), (0, 2), (0, 2), (4, 3), (5, 4)]
    assert [branch.trainable for branch in found.branches] == [False, False, True, False, True, True, True]


# -------------------------------------------------------------------------------------------------------------- REBASE
def test_children_are_divided_by_a_softmax_of_values():
    # e^4.5, e^2.5 and e^0.5 of 103.8, times 8: 6.93, 0.94 and 0.13
    assert shares([0.9, 0.5, 0.1], 8, 0.2) == [7, 1, 0]
    assert shares([0.5, 0.5], 3, 0.1) == [2, 2]  # halves are rounded up
    assert shares([0.5] * 6, 1, 0.1) == [1, 0, 0, 0, 0, 0]  # all would be rounded to 0
    assert shares([0.5, 0.6], 0, 0.1) == [0, 0]


def test_complete_replies_take_from_the_budget_of_rebase(table, judge, run, said):
    texts = {(0,): " a;", (1,): " b;", (2,): " 7", (3,): " c;"}
    texts |= {(1, number): f" {number}" for number in range(3)}
    scores = judge({"a;": 0.1, "b;": 0.9, "7": 0.5, "c;": 0.1, "b; 0": 0.4, "b; 1": 0.6, "b; 2": 0.3})
    found = run(Rebase(judge=scores, steps=STEPS, budget=4, answer="best"), table("rebase", texts))
    assert scores.asked == [["a;", "b;", "7", "c;"], ["b; 0", "b; 1", "b; 2"]]  # 4 - 1 samples are left for 3 nodes
    assert said(found.branches[found.answer].transcript) == "b; 1"


# ------------------------------------------------------------------------------------------------------------ particles
def test_weights_are_a_softmax_of_log_odds():
    odds = [9, 1, 0.25]
    assert weights([0.9, 0.5, 0.2]) == pytest.approx([each / sum(odds) for each in odds])
    roots = [3, 1, 0.5]
    assert weights([0.9, 0.5, 0.2], 2.0) == pytest.approx([each / sum(roots) for each in roots])
    assert weights([1.0, 0.0]) == pytest.approx([1, 1e-14], abs=1e-9)


def test_systematic_resampling_rounds_the_expected_numbers():
    theta = [0.6, 0.25, 0.1, 0.05]
    drawn = [Counter(systematic(theta, 8, Random(seed))) for seed in range(2000)]
    for place, weight in enumerate(theta):
        counts = [each[place] for each in drawn]
        assert set(counts) <= {math.floor(8 * weight), math.ceil(8 * weight)}
        assert sum(counts) / len(counts) == pytest.approx(8 * weight, abs=0.05)


def test_multinomial_resampling_has_the_expected_numbers():
    drawn = Counter(multinomial([0.7, 0.2, 0.1], 20_000, Random(0)))
    assert [drawn[place] / 20_000 for place in range(3)] == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_annealing_flattens_collapsed_weights_early():
    theta = [0.97, 0.01, 0.01, 0.01]
    ess = 1 / (0.97**2 + 3 * 0.01**2)
    assert effective(theta) == pytest.approx(ess)
    assert Annealing().temperature(theta, 0.1) == pytest.approx(4 / ess * 0.9)
    assert Annealing().temperature(theta, 0.5) == 1.0  # late
    assert Annealing().temperature([0.25] * 4, 0.1) == 1.0  # diverse
    assert Annealing(threshold=1).temperature([0.3, 0.3, 0.2, 0.2], 0.4) == 1.0  # never sharper


@pytest.mark.parametrize("annealing", [None, Annealing()])
@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
def test_particles_are_continued_as_often_as_they_are_drawn(table, judge, run, resampling, annealing):
    texts = {(number,): f" {letter};" for number, letter in enumerate("abcd")}
    texts |= {(number, copy): f" {copy}" for number in range(4) for copy in range(4)}
    first = {"a;": 0.98, "b;": 0.1, "c;": 0.5, "d;": 0.05}
    scores = judge(lambda text: first.get(text, 0.5))
    steps = replace(STEPS, depth=10)
    search = ParticleFilter(judge=scores, steps=steps, resampling=resampling, annealing=annealing)
    run(search, table("particles", texts))
    theta = weights(list(first.values()))
    if annealing is not None:
        theta = weights(list(first.values()), 4 / effective(theta) * 0.9)
    draw = systematic if resampling == "systematic" else multinomial
    drawn = Counter(draw(theta, 4, random_of(0, "particles", "resampling", 1)))
    expected = sorted(f"{'abcd'[place]}; {copy}" for place, count in drawn.items() for copy in range(count))
    assert sorted(scores.asked[1]) == expected


# ----------------------------------------------------------------------------------------------------------------- MCTS
GAME = {(0,): " a;", (1,): " b;", (0, 0): " x", (0, 1): " y", (1, 0): " x", (1, 1): " y"}
WORTH = {"a;": 0.6, "b;": 0.5, "a; x": 0.9, "a; y": 0.1, "b; x": 0.2, "b; y": 0.3}


def statistics(search, sampler, question):
    tree = Tree("mcts", Request(sampler, question, SAMPLING), search.steps, search.judge)
    root = Move(tree.root)
    asyncio.run(search.simulate(tree, root))
    return root


def test_simulations_equal_a_tree_computed_by_hand(table, judge, question):
    scores = judge(WORTH)
    search = MCTS(judge=scores, steps=STEPS, simulations=8, prior="uniform")
    root = statistics(search, table("mcts", GAME), question)
    a, b = root.moves
    # Simulations: a, ax, ax, ax, ax, b (1.118 against 1.026), bx (1.112 against 1.044), ax.
    assert (root.visits, a.visits, b.visits) == (8, 6, 2)
    assert [move.visits for move in a.moves] == [5, 0]
    assert [move.visits for move in b.moves] == [1, 0]
    assert (a.mean, b.mean) == pytest.approx(((0.6 + 5 * 0.9) / 6, (0.5 + 0.2) / 2))
    assert search.score(b, root) == pytest.approx(0.35 + 0.5 * math.sqrt(8) / 3)
    assert scores.asked == [["a;"], ["a; x"], ["b;"], ["b; x"]]  # each node is judged once


@pytest.mark.parametrize(
    ("simulations", "answer", "reply"), [(8, "visits", "a; x"), (8, "best", "a; x"), (1, "visits", "a; x")]
)
def test_the_answer_of_a_tree_search(table, judge, run, said, simulations, answer, reply):
    search = MCTS(judge=judge(WORTH), steps=STEPS, simulations=simulations, answer=answer, prior="uniform")
    found = run(search, table("mcts", GAME))
    assert said(found.branches[found.answer].transcript) == reply


def test_priors_are_normalised_mean_probabilities_of_steps(table, judge, question):
    search = MCTS(judge=judge(WORTH), steps=STEPS, simulations=1)
    root = statistics(search, table("mcts", GAME), question)
    means = [math.exp(move.node.transcript.spans[-1].logprobs[0]) for move in root.moves]
    assert [move.prior for move in root.moves] == pytest.approx([mean / sum(means) for mean in means])
    chosen = max(root.moves, key=lambda move: move.prior)
    assert [move.visits for move in root.moves] == [move is chosen for move in root.moves]


def test_rollouts_value_a_node_by_complete_replies(table, judge, question):
    texts = {(0,): " a;", (1,): " b;", (0, 0): " p; q", (0, 1): " r"}
    scores = judge({"a; p; q": 0.75, "a; r": 0.25})
    search = MCTS(judge=scores, steps=STEPS, simulations=1, rollouts=2, prior="uniform")
    root = statistics(search, table("mcts", texts), question)
    assert (root.moves[0].mean, root.moves[1].visits) == (0.5, 0)


# --------------------------------------------------------------------------------------------------------- value-guided
def drawn(search, sampler, run, said):
    counts = Counter()
    for seed in range(300):
        found = run(search, sampler(seed), replace(SAMPLING, seed=seed))
        counts[said(found.branches[found.answer].transcript)] += 1
    return {text: count / 300 for text, count in counts.items()}


def test_a_step_is_drawn_in_proportion_to_policy_and_value(judge, run, said):
    """Candidates are samples of the policy: "a" twice, "b" and "c" once."""
    values = {"a": 0.2, "b": 0.8, "c": 0.5}
    search = ValueGuided(judge=judge(values), beta=2.0)

    def sampler(_seed):
        texts = iter([" a", " b", " a", " c"])
        return ScriptedSampler(lambda transcript, sampling: next(texts))

    raw = {text: (2 if text == "a" else 1) * math.exp(2 * value) for text, value in values.items()}
    expected = {text: weight / sum(raw.values()) for text, weight in raw.items()}
    found = drawn(search, sampler, run, said)
    assert found == pytest.approx(expected, abs=0.08)  # three standard errors of 300 attempts


def test_the_policy_can_be_its_probability(judge, question, said):
    texts = iter([" a", " b", " a", " c"])
    values = {"a": 0.2, "b": 0.8, "c": 0.5}
    search = ValueGuided(judge=judge(values), beta=2.0, policy="probability")
    sampler = ScriptedSampler(lambda transcript, sampling: next(texts))
    tree = Tree("value-guided", Request(sampler, question, SAMPLING), search.steps, search.judge)
    nodes = asyncio.run(tree.grow([(tree.root, 4)]))
    raw = [math.exp(sum(node.transcript.spans[-1].logprobs) + 2 * values[said(node.transcript)]) for node in nodes]
    raw[2] = 0.0  # the second "a"
    assert search.probabilities(nodes) == pytest.approx([weight / sum(raw) for weight in raw])


# ------------------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("search", "settings"),
    [
        (Beam, {"candidates": 5, "width": 2}),
        (DVTS, {"width": 0}),
        (Beam, {"answer": "visits"}),
        (Rebase, {"budget": 0}),
        (Rebase, {"temperature": 0.0}),
        (ParticleFilter, {"particles": 0}),
        (ParticleFilter, {"resampling": "stratified"}),
        (MCTS, {"simulations": 0}),
        (MCTS, {"prior": "learned"}),
        (MCTS, {"rollouts": -1}),
        (ValueGuided, {"beta": math.inf}),
        (ValueGuided, {"policy": "greedy"}),
    ],
)
def test_settings_out_of_range_are_refused(search, settings, judge):
    with pytest.raises(SettingsError):
        search(judge=judge({}), **settings)


@pytest.mark.parametrize(
    "settings", [{"depth": 0}, {"tokens": 0}, {"stops": ()}, {"stops": "\n"}, {"stops": ("", ";")}]
)
def test_steps_that_cannot_end_are_refused(settings):
    with pytest.raises(SettingsError):
        Steps(**settings)


@pytest.mark.parametrize("settings", [{"threshold": 1.5}, {"until": -0.1}])
def test_annealing_out_of_range_is_refused(settings):
    with pytest.raises(SettingsError):
        Annealing(**settings)

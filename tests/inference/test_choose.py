"""A token is the inverse of the cumulative distribution at one number, and the numbers are uniform."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.core.sampler import SamplingParams
from poziomka.inference.token_sampling import Cuts, choose, invert, uniforms
from poziomka.models.kernels import ops as kernels

LOGITS = torch.tensor([1.0, -0.5, 2.0, -torch.inf, 0.3, -3.0])
EDGES = torch.tensor([0.0, 1e-300, 1.0 - 2.0**-53], dtype=torch.float64)


def draw(logits, uniform, temperature=1.0, **limits):
    """Chooses once for each of many uniform numbers, from the same logits."""
    count = len(uniform)
    cuts = Cuts(**{name: torch.full((count,), value) for name, value in limits.items()}) if limits else None
    return choose(logits.expand(count, -1), uniform, torch.full((count,), temperature), cuts)


def grid(count=20_000):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def shares(tokens, vocabulary=6):
    return torch.bincount(tokens, minlength=vocabulary) / len(tokens)


def chi_square(observed, expected):
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    return float(((observed - expected) ** 2 / expected).sum())


# ------------------------------------------------------------------------------------------------------- uniforms
def test_numbers_lie_from_0_to_below_1():
    numbers = uniforms(np.arange(100_000, dtype=np.uint64), np.zeros(100_000, np.uint64))
    assert numbers.min() >= 0
    assert numbers.max() < 1


@pytest.mark.parametrize("varied", ["seeds", "places", "both"])
def test_numbers_are_uniform_over_seeds_and_places(varied):
    many, one = np.arange(100_000, dtype=np.uint64), np.full(100_000, 7, np.uint64)
    seeds, places = {"seeds": (many, one), "places": (one, many), "both": (many % 300, many // 300)}[varied]
    counts = np.histogram(uniforms(seeds.astype(np.uint64), places.astype(np.uint64)), 100, (0, 1))[0]
    assert chi_square(counts, np.full(100, 1000)) < 150  # 99 degrees of freedom: 0.1 % lie above 149


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1)])
def test_neighbouring_numbers_know_nothing_of_each_other(step):
    seeds, places = np.arange(90_000, dtype=np.uint64) // 300, np.arange(90_000, dtype=np.uint64) % 300
    first = uniforms(seeds, places)
    second = uniforms(seeds + np.uint64(step[0]), places + np.uint64(step[1]))
    counts = np.histogram2d(first, second, 10, ((0, 1), (0, 1)))[0]
    assert chi_square(counts, np.full((10, 10), 900)) < 150


def test_a_number_is_named_by_its_seed_and_place_alone():
    seeds, places = np.array([3, 9, 3], np.uint64), np.array([5, 5, 6], np.uint64)
    together = uniforms(seeds, places)
    assert together.tolist() == [float(uniforms(seeds[i : i + 1], places[i : i + 1])[0]) for i in range(3)]
    assert len(set(together.tolist())) == 3


# --------------------------------------------------------------------------------------------------- distribution
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_shares_are_the_softmax_at_the_temperature(temperature):
    tokens, _ = draw(LOGITS, grid(), temperature)
    assert torch.allclose(shares(tokens), torch.softmax(LOGITS / temperature, -1), atol=2e-4)


def test_drawn_with_the_engines_numbers_the_shares_pass_a_chi_square_test():
    numbers = uniforms(np.arange(50_000, dtype=np.uint64), np.full(50_000, 17, np.uint64))
    tokens, _ = draw(LOGITS, torch.from_numpy(numbers))
    possible = [0, 1, 2, 4, 5]
    counts = torch.bincount(tokens, minlength=6)[possible]
    assert chi_square(counts, torch.softmax(LOGITS, -1)[possible] * 50_000) < 18.5  # 4 degrees of freedom: 0.1 %


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.1, 3, allow_nan=False),
)
def test_a_token_is_the_inverse_of_the_cumulative_distribution(logits, uniform, temperature):
    tensor = torch.tensor(logits, dtype=torch.float32)
    token = int(draw(tensor, torch.tensor([uniform], dtype=torch.float64), temperature)[0])
    cumulative = (
        torch.softmax(tensor / temperature, -1).double().cumsum(0) / torch.softmax(tensor / temperature, -1).sum()
    )
    assert (cumulative[token - 1] if token else 0) <= uniform + 1e-6
    assert uniform <= cumulative[token] + 1e-6


@pytest.mark.parametrize("cut", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.01}])
@pytest.mark.parametrize("impossible", [[0], [5], [0, 1, 4, 5], [0, 1, 2, 3, 4]])
def test_a_token_of_probability_zero_is_never_drawn(cut, impossible):
    logits = torch.zeros(6)
    logits[impossible] = -torch.inf
    tokens, logprobs = draw(logits, torch.cat([EDGES, grid(1000)]), **cut)
    assert not set(tokens.tolist()) & set(impossible)
    assert bool(logprobs.isfinite().all())


def test_a_probability_that_underflows_is_never_drawn():
    tokens, _ = draw(torch.tensor([-1e4, 0.0, -1e4]), torch.cat([EDGES, grid(1000)]))
    assert set(tokens.tolist()) == {1}


def test_temperature_zero_takes_the_likeliest_and_the_first_of_equals():
    tokens, logprobs = draw(torch.tensor([0.0, 2.0, 2.0, 1.0]), grid(100), 0.0)
    assert set(tokens.tolist()) == {1}
    assert torch.allclose(logprobs, torch.log_softmax(torch.tensor([0.0, 2.0, 2.0, 1.0]), -1)[1])


@pytest.mark.parametrize("cut", [{}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.3}])
def test_the_logprob_is_the_whole_distributions_at_the_temperature(cut):
    tokens, logprobs = draw(LOGITS, grid(500), 0.7, **cut)
    assert torch.equal(logprobs, torch.log_softmax(LOGITS / 0.7, -1)[tokens])


# ----------------------------------------------------------------------------------------------------- top-k, top-p
@pytest.mark.parametrize(("top_k", "kept"), [(1, [2]), (2, [2, 0]), (3, [2, 0, 4]), (6, [0, 1, 2, 4, 5])])
def test_top_k_keeps_the_k_likeliest_in_their_proportions(top_k, kept):
    tokens, _ = draw(LOGITS, grid(), top_k=top_k)
    wanted = torch.zeros(6)
    wanted[kept] = torch.softmax(LOGITS, -1)[kept]
    assert torch.allclose(shares(tokens), wanted / wanted.sum(), atol=2e-4)


@pytest.mark.parametrize(("top_p", "kept"), [(0.05, [2]), (0.61, [2, 0]), (0.85, [2, 0, 4]), (0.96, [0, 1, 2, 4])])
def test_top_p_keeps_the_fewest_tokens_that_hold_p_together(top_p, kept):
    """The probabilities are 0.610, 0.224, 0.111, 0.050 and 0.004."""
    tokens, _ = draw(LOGITS, grid(), top_p=top_p)
    wanted = torch.zeros(6)
    wanted[kept] = torch.softmax(LOGITS, -1)[kept]
    assert torch.allclose(shares(tokens), wanted / wanted.sum(), atol=2e-4)


@pytest.mark.parametrize(
    ("min_p", "kept"), [(0.005, [0, 1, 2, 4, 5]), (0.05, [0, 1, 2, 4]), (0.15, [2, 0, 4]), (0.3, [2, 0]), (1.0, [2])]
)
def test_min_p_keeps_the_tokens_above_a_share_of_the_likeliest(min_p, kept):
    """As shares of the largest, the probabilities are 1, 0.368, 0.183, 0.082 and 0.007."""
    tokens, _ = draw(LOGITS, grid(), min_p=min_p)
    wanted = torch.zeros(6)
    wanted[kept] = torch.softmax(LOGITS, -1)[kept]
    assert torch.allclose(shares(tokens), wanted / wanted.sum(), atol=2e-4)


@pytest.mark.parametrize(("temperature", "kept"), [(0.5, {2, 0}), (1.0, {2, 0, 4}), (4.0, {2, 0, 4, 1, 5})])
def test_min_p_compares_the_probabilities_at_the_temperature(temperature, kept):
    """exp(-d / T) of the distances d of 1, 1.7, 2.5 and 5 to the largest logit, against 0.13."""
    assert set(draw(LOGITS, grid(), temperature, min_p=0.13)[0].tolist()) == kept


def test_all_cuts_keep_what_each_of_them_keeps():
    limits = {"top_k": 4, "top_p": 0.9, "min_p": 0.2}  # {0, 1, 2, 4}, {0, 2, 4}, {0, 2}
    tokens, _ = draw(LOGITS, grid(), **limits)
    wanted = torch.zeros(6)
    wanted[[0, 2]] = torch.softmax(LOGITS, -1)[[0, 2]]
    assert torch.allclose(shares(tokens), wanted / wanted.sum(), atol=2e-4)


def test_the_limits_of_a_batch_are_those_of_its_requests():
    assert Cuts.of([SamplingParams(), SamplingParams(temperature=0.0)], 6, LOGITS.device) is None
    cuts = Cuts.of([SamplingParams(), SamplingParams(min_p=0.3), SamplingParams(top_k=2)], 6, LOGITS.device)
    assert cuts.top_p is None
    assert cuts.top_k.tolist() == [6, 6, 2]
    tokens, _ = choose(LOGITS.expand(3, -1), torch.full((3,), 0.999, dtype=torch.float64), torch.ones(3), cuts)
    assert tokens.tolist() == [5, 2, 2]


def test_both_cuts_keep_what_both_keep():
    tokens, _ = draw(LOGITS, grid(), top_k=2, top_p=0.99)
    assert set(tokens.tolist()) == {0, 2}
    tokens, _ = draw(LOGITS, grid(), top_k=5, top_p=0.5)
    assert set(tokens.tolist()) == {2}


def test_of_equally_likely_tokens_top_k_keeps_the_first():
    assert set(draw(torch.zeros(5), grid(100), top_k=2)[0].tolist()) == {0, 1}


def test_a_row_that_cuts_nothing_is_not_cut_by_its_batch_mates():
    """Sums in fp32 reach 1 before the last tokens: there, rounding would cut."""
    logits = torch.cat([torch.zeros(3000), torch.full((3000,), -16.0)])
    uniform = torch.tensor([1.0 - 2.0**-53] * 2, dtype=torch.float64)
    both = choose(logits.expand(2, -1), uniform, torch.ones(2), Cuts(top_p=torch.tensor([1.0, 0.5])))[0]
    assert both[0] == draw(logits, uniform[:1])[0][0] == 5999


def test_rows_are_drawn_each_with_its_own_settings():
    logits = LOGITS.expand(4, -1)
    uniform = torch.full((4,), 0.999, dtype=torch.float64)
    temperature = torch.tensor([0.0, 1.0, 1.0, 1.0])
    top_k, top_p = torch.tensor([6, 6, 2, 6]), torch.tensor([1.0, 1.0, 1.0, 0.85])
    tokens, logprobs = choose(logits, uniform, temperature, Cuts(top_k, top_p))
    assert tokens.tolist() == [2, 5, 2, 4]
    assert all(math.isfinite(value) for value in logprobs.tolist())


@pytest.mark.parametrize("vocabulary", [2048, 5000, 49_152])
def test_a_large_vocabulary_is_searched_in_two_steps_to_the_same_token(vocabulary):
    probabilities = torch.softmax(torch.randn(50, vocabulary, generator=torch.Generator().manual_seed(1)) * 3, -1)
    uniform = grid(50)
    cumulative = probabilities.double().cumsum(-1)
    wanted = (cumulative <= uniform.unsqueeze(1) * cumulative[:, -1:]).sum(1)
    assert torch.equal(invert(probabilities, uniform), wanted)


@pytest.mark.parametrize("place", [0, 255, 256, 4991, 4999])
def test_the_one_possible_token_of_a_large_vocabulary_is_drawn_at_every_edge(place):
    probabilities = torch.zeros(len(EDGES), 5000)
    probabilities[:, place] = 1e-30
    assert invert(probabilities, EDGES).tolist() == [place] * len(EDGES)


# ---------------------------------------------------------------------------------------------------- the kernel
@pytest.mark.parametrize("temperature", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("vocabulary", [2048, 49_152, 3001])
def test_the_kernel_draws_what_the_plain_expression_draws(vocabulary, temperature):
    torch.manual_seed(0)
    logits = 3 * torch.randn(40, vocabulary)
    logits[:, 5] = -torch.inf
    how = torch.full((40,), temperature)
    tokens, logprobs = choose(logits, grid(40), how)
    with kernels.plain():
        wanted, theirs = choose(logits, grid(40), how)
    assert (tokens == wanted).sum() >= 39  # a number may fall onto an edge
    same = tokens == wanted
    assert torch.allclose(logprobs[same], theirs[same], atol=1e-5)


def test_the_kernel_never_draws_what_has_no_probability():
    logits = torch.full((3, 4096), -torch.inf)
    logits[:, 3000] = 1.0
    tokens, logprobs = choose(logits, EDGES, torch.ones(3))
    assert tokens.tolist() == [3000] * 3
    assert logprobs.tolist() == [0.0] * 3
    logits[:, 10] = 1.0
    assert choose(logits, EDGES, torch.ones(3))[0].tolist() == [10, 10, 3000]


def test_the_kernel_knows_a_row_from_its_mates():
    torch.manual_seed(0)
    logits, how = torch.randn(9, 5000), torch.ones(9)
    tokens, logprobs = choose(logits, grid(9), how)
    for row in range(9):
        alone = choose(logits[row : row + 1], grid(9)[row : row + 1], how[:1])
        assert (tokens[row], logprobs[row]) == (alone[0][0], alone[1][0])

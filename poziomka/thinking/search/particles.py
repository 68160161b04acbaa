"""Particle filtering: steps are sampled from the policy, and particles are resampled by the judge's weights."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import ClassVar, Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.seeds import random_of
from poziomka.thinking.search.base import Search, value_of
from poziomka.thinking.search.steps import demand
from poziomka.thinking.search.tree import Node, Tree

Resampling = Literal["systematic", "multinomial"]
EDGE = 1e-7  # values are kept this far from 0 and 1, whose log-odds are infinite


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """Entropic annealing: the temperature of resampling while few particles have most of the weight.

    Giannone et al. 2025 (arXiv 2510.05825). With N particles, effective sample size ESS = 1 / Σ θ², and progress p, the
    temperature is max(1, N / ESS · (1 − p)) while ESS / N is below `threshold` and p is below `until`, else 1.

    Attributes:
        threshold: ratio ESS / N below which resampling is flattened, 0 to 1.
        until: progress at which annealing ends, 0 to 1: the number of steps so far / the depth limit.

    Raises:
        SettingsError: a value is out of range.
    """

    threshold: float = 0.5
    until: float = 0.5

    def __post_init__(self) -> None:
        """Raises SettingsError if a value is out of range."""
        demand("annealing.threshold", self.threshold, "from 0 to 1", holds=0 <= self.threshold <= 1)
        demand("annealing.until", self.until, "from 0 to 1", holds=0 <= self.until <= 1)

    def temperature(self, weights: Sequence[float], progress: float) -> float:
        """Returns the temperature for weights that sum to 1, at a progress from 0 to 1."""
        ratio = effective(weights) / len(weights)
        if ratio >= self.threshold or progress >= self.until:
            return 1.0
        return max(1.0, (1 - progress) / ratio)


@dataclass(frozen=True, kw_only=True)
class ParticleFilter(Search):
    """Particle filtering: N particles are continued by one step, weighted by the judge, and resampled.

    Puri et al. 2025 (arXiv 2502.01618, algorithm 1). The weights are a softmax of the judge's log-odds, see `weights`.
    Complete replies take part in resampling with their last weight. The particles at the end compete for the answer, a
    particle that was resampled twice with two votes.

    Attributes:
        particles: number of particles N, 1 or more.
        resampling: systematic (one random number for all particles, of less variance) or multinomial (as published).
        annealing: flattens the weights while they collapse (entropic particle filtering); None for constant
            temperature 1.
    """

    name: ClassVar[str] = "particles"

    particles: int = 4
    resampling: Resampling = "systematic"
    annealing: Annealing | None = None
    answer: Literal["vote", "best", "visits"] = "best"

    def check(self) -> None:
        """Raises SettingsError if a setting is out of range."""
        demand("particles", self.particles, "1 or more", holds=self.particles >= 1)
        if self.resampling not in get_args(Resampling):
            message = f"unknown resampling {self.resampling!r}{nearest(self.resampling, get_args(Resampling))}"
            raise SettingsError(message)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns the particles at the end; one that was resampled several times is listed as often."""
        steps = 1
        particles = await tree.grow([(tree.root, self.particles)])
        while not all(node.done for node in particles):
            copies = Counter(self._resampled(tree, particles, steps))
            tree.keep(copies)
            particles = [node for node in copies.elements() if node.done]
            particles += await tree.grow((node, count) for node, count in copies.items() if not node.done)
            steps += 1
        return particles

    def _resampled(self, tree: Tree, particles: Sequence[Node], steps: int) -> list[Node]:
        """Returns N particles, drawn in proportion to their weights after `steps` steps."""
        values = [value_of(node) for node in particles]
        temperature = 1.0
        if self.annealing is not None:
            temperature = self.annealing.temperature(weights(values), steps / self.steps.depth)
        draw = systematic if self.resampling == "systematic" else multinomial
        random = random_of(tree.request.params.seed, self.name, "resampling", steps)
        return [particles[place] for place in draw(weights(values, temperature), self.particles, random)]


def weights(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Returns the weights of particles, which sum to 1: the softmax of log(v / (1 − v)) / temperature.

    Args:
        values: the judge's probabilities v, 0 to 1; those at the edges are moved inwards by 1e-7.
        temperature: flattens the weights if above 1.
    """
    inside = [min(max(value, EDGE), 1 - EDGE) for value in values]
    logits = [math.log(value / (1 - value)) / temperature for value in inside]
    largest = max(logits)
    raw = [math.exp(logit - largest) for logit in logits]
    return [weight / sum(raw) for weight in raw]


def effective(weights: Sequence[float]) -> float:
    """Returns the effective sample size 1 / Σ θ² of weights θ that sum to 1: from 1 to their number."""
    return 1 / sum(weight * weight for weight in weights)


def systematic(weights: Sequence[float], count: int, random: Random) -> list[int]:
    """Returns `count` indices, those at (u + i) / count of the cumulative weights, with one u in [0, 1) for all i."""
    offset, ends = random.random(), list(accumulate(weights))
    places, place = [], 0
    for number in range(count):
        while place < len(ends) - 1 and ends[place] <= (offset + number) / count:
            place += 1
        places.append(place)
    return places


def multinomial(weights: Sequence[float], count: int, random: Random) -> list[int]:
    """Returns `count` indices, drawn independently in proportion to the weights."""
    return random.choices(range(len(weights)), weights, k=count)

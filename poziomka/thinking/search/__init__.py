"""Searches over the steps of a reply, guided by a judge: beams, trees, particles and value-guided decoding."""

from poziomka.thinking.search.base import Search
from poziomka.thinking.search.beam import DVTS, Beam
from poziomka.thinking.search.guided import ValueGuided
from poziomka.thinking.search.mcts import MCTS
from poziomka.thinking.search.particles import Annealing, ParticleFilter
from poziomka.thinking.search.rebase import Rebase
from poziomka.thinking.search.steps import Steps

__all__ = ["DVTS", "MCTS", "Annealing", "Beam", "ParticleFilter", "Rebase", "Search", "Steps", "ValueGuided"]

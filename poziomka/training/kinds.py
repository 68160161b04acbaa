"""Kinds of training, and what is usual for each: settings that a recipe leaves out, and ranges of learning rates."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Which weights learn, and whether they learned before."""

    SCRATCH = "training from scratch"
    FULL = "full fine-tuning"
    LORA = "LoRA"


@dataclass(frozen=True)
class Rates:
    """Usual learning rates, lowest and highest.

    Attributes:
        warm_start: of fine-tuning on demonstrations.
        reinforce: of reinforcement.
    """

    warm_start: tuple[float, float]
    reinforce: tuple[float, float]


SHORT = {"warmup": 5, "decay": 0.5, "floor": 0.05}  # the course of the rate over some hundred updates

# The settings of Recipe itself are those of training from scratch.
DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.SCRATCH: {},
    Kind.FULL: {
        "warm_start": {"updates": 100, "learner": {"optimizer": {"rate": 5e-5, **SHORT}}},
        "reinforce": {"learner": {"optimizer": {"rate": 1e-5}}},
    },
    Kind.LORA: {  # adapters take about ten times the rate
        "warm_start": {"updates": 100, "learner": {"optimizer": {"rate": 2e-4, **SHORT}}},
        "reinforce": {"learner": {"optimizer": {"rate": 1e-4}}},
    },
}

# By the fewest parameters of a model, largest first. AdamW's rates in published recipes, which fall as models grow, and
# in those of this repository; Muon's are scaled to AdamW's (learning/optimizers.py). A range says what is common, not
# what is best.
USUAL: Mapping[Kind, tuple[tuple[float, Rates], ...]] = {
    Kind.SCRATCH: (
        (1e9, Rates((5e-5, 5e-4), (1e-7, 1e-5))),
        (1e7, Rates((1e-4, 2e-3), (1e-6, 2e-4))),
        (0, Rates((1e-4, 1e-2), (1e-5, 1e-3))),
    ),
    Kind.FULL: (
        (1e9, Rates((1e-6, 5e-5), (1e-7, 1e-5))),
        (1e7, Rates((5e-6, 2e-4), (5e-7, 3e-5))),
        (0, Rates((1e-5, 5e-3), (1e-6, 1e-3))),
    ),
    Kind.LORA: (
        (1e9, Rates((2e-5, 5e-4), (2e-6, 1e-4))),
        (1e7, Rates((5e-5, 1e-3), (5e-6, 3e-4))),
        (0, Rates((5e-5, 1e-2), (1e-5, 2e-3))),
    ),
}


def kind_of(pretrained: object, lora: object) -> Kind:
    """Returns the kind of a recipe with these two settings; None: it does not give them."""
    if pretrained is None:
        return Kind.SCRATCH
    return Kind.FULL if lora is None else Kind.LORA


def usual_rates(kind: Kind, parameters: int) -> Rates:
    """Returns the usual learning rates of a kind for a model with so many parameters."""
    return next(rates for least, rates in USUAL[kind] if parameters >= least)


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recipe's plain values with the defaults of its kind where it gives none."""
    return _over(DEFAULTS[kind_of(values.get("pretrained"), values.get("lora"))], values)


def _over(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values, with defaults where none is given; a value that should be a table is left for its error."""
    found = dict(values)
    for name, default in defaults.items():
        if name not in values:
            found[name] = copy.deepcopy(default)
        elif isinstance(default, dict) and isinstance(values[name], dict):
            found[name] = _over(default, values[name])
    return found

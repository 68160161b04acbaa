"""Kinds of training (from scratch, full, LoRA), each with default settings and usual ranges of learning rates."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kind of training: which weights are trained, and whether they are pretrained."""

    SCRATCH = "training from scratch"
    FULL = "full fine-tuning"
    LORA = "LoRA"


@dataclass(frozen=True)
class Rates:
    """Usual learning rates as (lowest, highest).

    Attributes:
        sft: range for fine-tuning on demonstrations.
        rl: range for reinforcement learning, which distillation and learning from served rollouts share.
    """

    sft: tuple[float, float]
    rl: tuple[float, float]

    def of(self, kind: str) -> tuple[float, float]:
        """Returns the (lowest, highest) usual learning rate of a kind of stage: "sft", "rl", "offline", "distill"."""
        return self.sft if kind == "sft" else self.rl


def _optimizer(learning_rate: float, **more: float) -> dict[str, Any]:
    return {"optimizer": {"learning_rate": learning_rate, **more}}


SHORT = {"warmup_steps": 5, "decay_ratio": 0.5, "min_lr_ratio": 0.05}  # schedule of some hundred steps

LOADED = {  # of reinforcement learning with a loaded model
    "steps": 200,
    "prompts_per_step": 8,
    "group_size": 8,
    "max_tokens": 256,
    "layout": "shared",
    "microbatch_tokens": 4096,
}

# Defaults of a stage's settings by the kind of training and of the stage, where they are not those of its class.
DEFAULTS: Mapping[Kind, Mapping[str, Mapping[str, Any]]] = {
    Kind.SCRATCH: {"sft": _optimizer(2e-3, warmup_steps=50, decay_ratio=0.6, min_lr_ratio=0.02)},
    Kind.FULL: {
        "sft": {"steps": 100, **_optimizer(5e-5, **SHORT)},
        "rl": LOADED | _optimizer(1e-5),
        "offline": _optimizer(1e-5),
        "distill": {"max_tokens": 256, **_optimizer(1e-5)},
    },
    Kind.LORA: {  # adapters need about ten times the learning rate
        "sft": {"steps": 100, **_optimizer(2e-4, **SHORT)},
        "rl": LOADED | _optimizer(1e-4),
        "offline": _optimizer(1e-4),
        "distill": {"max_tokens": 256, **_optimizer(1e-4)},
    },
}
# Stages of a recipe that names none.
STAGES: Mapping[Kind, tuple[Mapping[str, Any], ...]] = {
    Kind.SCRATCH: ({"kind": "sft"}, {"kind": "rl", "require": {"thinking_gain": 0.3}}),
    Kind.FULL: ({"kind": "rl"},),
    Kind.LORA: ({"kind": "rl"},),
}
MODEL = {"precision": "bfloat16", "thinks": False}  # defaults of a loaded model
EVALUATE = {  # defaults of the evaluations of a loaded model, whose replies take longer
    "problems": 100,
    "attempts": 1,
    "votes": [1],
    "vote_problems": 10,
    "curve_problems": 50,
    "curve_attempts": 1,
}

# By the least number of parameters of a model, largest first. AdamW's learning rates in published recipes, which fall
# as models grow, and in those of this repository; Muon's are scaled to AdamW's (learning/optim/optimizers.py). A range
# is what is common, not what is best.
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


def kind_of(load: object, lora: object) -> Kind:
    """Returns the kind of training of a recipe.

    Args:
        load: the recipe's setting `model.load`; None if absent.
        lora: the recipe's setting `model.lora`; None if absent.
    """
    if load is None:
        return Kind.SCRATCH
    return Kind.FULL if lora is None else Kind.LORA


def usual_rates(kind: Kind, parameters: int) -> Rates:
    """Returns the usual learning rates for a kind of training and a model's number of parameters."""
    return next(rates for least, rates in USUAL[kind] if parameters >= least)


def model_of(model: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Returns the settings of a model as parsed from TOML, completed with the defaults of the kind of training."""
    return dict(model) if kind is Kind.SCRATCH else _over(MODEL, model)


def completed(stage: Mapping[str, Any], kind: Kind, *, thinks: bool) -> dict[str, Any]:
    """Returns a stage's settings as parsed from TOML, completed with the defaults of its kind and kind of training.

    Half of the tokens of a loaded model that thinks may be thoughts; a loaded model that does not think has none.

    Args:
        stage: the settings, its kind among them.
        kind: kind of training.
        thinks: whether replies of a loaded model begin with a thought.
    """
    found = _over(DEFAULTS[kind].get(stage["kind"], {}), stage)
    if kind is not Kind.SCRATCH and isinstance(found.get("max_tokens"), int):
        found.setdefault("max_thinking_tokens", found["max_tokens"] // 2 if thinks else 0)
    return found


def evaluate_of(evaluate: Mapping[str, Any], kind: Kind, *, budget: int, steps: int) -> dict[str, Any]:
    """Returns the settings of evaluations as parsed from TOML, completed with the defaults of the kind of training.

    Args:
        evaluate: the settings.
        kind: kind of training.
        budget: largest number of thinking tokens of a reply in the last stage.
        steps: steps of the last stage; a loaded model is evaluated four times.
    """
    if kind is Kind.SCRATCH:
        return dict(evaluate)
    return _over(EVALUATE | {"budgets": [budget], "vote_budget": budget, "every": max(1, steps // 4)}, evaluate)


def _over(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested `values`, missing ones taken from `defaults`; a value in place of a table is left unchanged."""
    found = dict(values)
    for name, default in defaults.items():
        if name not in values:
            found[name] = copy.deepcopy(default)
        elif isinstance(default, dict) and isinstance(values[name], dict):
            found[name] = _over(default, values[name])
    return found

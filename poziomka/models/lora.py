"""Low-rank adapters: a few numbers beside each matrix learn, the matrix stays (Hu et al. 2021, arXiv 2106.09685).

    W x  becomes  W x + s B (A dropout(x)),  s = alpha / rank,  A random, B zero at first

This package keeps queries, keys and values as one product, and gate and up as another; each of them has an A and a B
of its own all the same, as `peft` has it, so that a PEFT folder holds the very numbers that learned.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from poziomka.core.errors import ModelError, nearest
from poziomka.core.safety.untrusted import open_regular, read_object
from poziomka.core.settings import setting
from poziomka.models.base import Architecture
from poziomka.models.bounds import WIDTH, real, whole
from poziomka.models.checkpoints.peft_config import demand_plain
from poziomka.models.checkpoints.weights import load_weights, save_model
from poziomka.models.layers.linear import Linear
from poziomka.models.seeding import seeded
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import Transformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "feedforward": ("gate_proj", "up_proj", "down_proj"),
}
PREFIX = "base_model.model.model.layers"  # what peft calls the blocks


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Which matrices get adapters, and how large these are."""

    rank: int = setting(16, "rows of A and columns of B", low=1)
    alpha: float = setting(32.0, "what B A x is multiplied by, times the rank", low=0.0)
    dropout: float = setting(0.0, "share of an adapter's inputs that is left out in training", low=0.0, high=0.99)
    targets: tuple[str, ...] = setting(("attention", "feedforward"), "attention, feedforward, or both")

    def __post_init__(self) -> None:
        """Refuses what is no target."""
        for target in self.targets:
            if target not in TARGETS:
                message = f"unknown target {target!r} of lora.targets{nearest(target, TARGETS)}"
                raise ModelError(message)


class Adapter(nn.Module):
    """A and B of one matrix [out, in]."""

    def __init__(self, like: Tensor, outputs: int, rank: int) -> None:
        """A as `nn.Linear` starts, B zero, in the type and on the device of `like` [.., in]."""
        super().__init__()
        self.a = nn.Parameter(like.new_empty(rank, like.shape[1]))
        self.b = nn.Parameter(like.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))


class Adapted(nn.Module):
    """A product with adapters for stretches of its outputs; it stands in the product's place, `weight` included.

    Args:
        product: what is adapted; its weights no longer learn.
        parts: the outputs of each stretch by name, in order.
        settings: rank and scale.
    """

    def __init__(self, product: nn.Linear, parts: Mapping[str, int], settings: LoraSettings) -> None:
        """Starts as the product itself."""
        super().__init__()
        self.weight, self.bias = product.weight.requires_grad_(False), product.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.adapters = nn.ModuleDict(
            {name: Adapter(product.weight.detach(), outputs, settings.rank) for name, outputs in parts.items()}
        )
        self.scale, self.dropout = settings.alpha / settings.rank, settings.dropout

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        plain = nn.functional.linear(x, self.weight, self.bias)
        adapters: list[Any] = list(self.adapters.values())
        if self.dropout:  # at 0 it would still copy
            x = nn.functional.dropout(x, self.dropout, self.training)
        inner = nn.functional.linear(x, torch.cat([adapter.a for adapter in adapters]))
        stretches = inner.chunk(len(adapters), -1)
        added = [nn.functional.linear(each, adapter.b) for each, adapter in zip(stretches, adapters, strict=True)]
        return torch.add(plain, added[0] if len(added) == 1 else torch.cat(added, -1), alpha=self.scale)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """Returns [out, in] in fp32: what merging adds to the weight."""
        adapters: list[Any] = list(self.adapters.values())
        return self.scale * torch.cat([adapter.b.float() @ adapter.a.float() for adapter in adapters])


def attach(model: Architecture, settings: LoraSettings, seed: int) -> None:
    """Gives a transformer's products adapters, in place; nothing else learns from then on.

    Args:
        model: a transformer without adapters.
        settings: see there.
        seed: of A.

    Raises:
        ModelError: the model is no transformer, or has adapters.
    """
    if not isinstance(model, Transformer) or has_adapters(model):
        what = "has adapters already" if has_adapters(model) else f"is a {type(model).__name__.lower()}"
        message = f"adapters go onto the products of a transformer without any, and this model {what}"
        raise ModelError(message)
    model.requires_grad_(False)
    wanted = {name for target in settings.targets for name in TARGETS[target]}
    with seeded(seed):
        for block in model.blocks:
            for owner, name, parts in _products(block):
                if wanted & {*parts}:
                    setattr(owner, name, Adapted(getattr(owner, name), parts, settings))


def _products(block: Any) -> Iterator[tuple[nn.Module, str, dict[str, int]]]:
    """Yields a block's products: whose attribute each is, its name, and the outputs of its parts by peft's names."""
    attention, feedforward = block.attention, block.feedforward
    queries, keys = (heads * attention.head_width for heads in (attention.heads, attention.key_heads))
    inner, width = feedforward.down.weight.shape[1], feedforward.down.weight.shape[0]
    yield attention, "qkv", {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    yield attention, "out", {"o_proj": attention.out.weight.shape[0]}
    yield feedforward, "gate_up", {"gate_proj": inner, "up_proj": inner}
    yield feedforward, "down", {"down_proj": width}


def adapted(model: nn.Module) -> dict[str, Adapted]:
    """Returns the adapted products of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Adapted)}


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters."""
    return bool(adapted(model))


def settings_of(model: nn.Module) -> LoraSettings:
    """Returns the settings that a model's adapters were made with.

    Raises:
        ModelError: the model has no adapters.
    """
    products = adapted(model).values()
    if not products:
        message = f"this {type(model).__name__.lower()} has no adapters"
        raise ModelError(message)
    some = next(iter(products))
    first: Any = next(iter(some.adapters.values()))
    rank = int(first.a.shape[0])
    names = {name for product in products for name in product.adapters}
    targets = tuple(target for target, parts in TARGETS.items() if names & {*parts})
    return LoraSettings(rank=rank, alpha=some.scale * rank, dropout=some.dropout, targets=targets)


def merge(model: nn.Module) -> None:
    """Adds adapters to the weights, in place, and takes them away: a plain model that computes the same is left."""
    for name, product in adapted(model).items():
        owner, _, last = name.rpartition(".")
        outputs, inputs = product.weight.shape
        plain = Linear(inputs, outputs, bias=product.bias is not None, device="meta")
        plain.weight = nn.Parameter((product.weight.float() + product.delta()).to(product.weight.dtype))
        plain.bias = product.bias
        setattr(model.get_submodule(owner), last, plain)
    model.requires_grad_(True)


def merged(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state of the plain model that computes the same: adapters are added to copies of the weights."""
    products = adapted(model)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if ".adapters." not in name}
    for name, product in products.items():
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = (weight.float() + product.delta()).to(weight.dtype)
    return state


def copied_adapters(model: Architecture) -> dict[str, Tensor]:
    """Returns copies of a model's adapters by the names of `stored_adapters`."""
    return {name: tensor.detach().clone() for name, tensor in _exported(model).items()}


@contextmanager
def other_adapters(model: Architecture, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the model computes with other adapters and without their dropout; gradients must not be taken there.

    Args:
        model: with adapters of the same shapes.
        tensors: by the names of `stored_adapters`.
    """
    own, products = _exported(model), adapted(model).values()
    kept = {name: parameter.data for name, parameter in own.items()}
    dropouts = [product.dropout for product in products]
    try:
        for name, parameter in own.items():
            parameter.data = tensors[name]
        for product in products:
            product.dropout = 0.0
        yield
    finally:
        for name, parameter in own.items():
            parameter.data = kept[name]
        for product, dropout in zip(products, dropouts, strict=True):
            product.dropout = dropout


def save_peft(folder: Path, model: Architecture, base: str = "") -> None:
    """Writes the adapters as `peft` reads them: adapter_config.json and adapter_model.safetensors.

    Args:
        folder: exists.
        model: with adapters.
        base: the folder or the hub's name of the model that they go onto.
    """
    settings = settings_of(model)
    tensors = {name: tensor.detach().contiguous() for name, tensor in _exported(model).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": [name for target in settings.targets for name in TARGETS[target]],
        "bias": "none",
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_peft(folder: Path, model: Architecture) -> LoraSettings:
    """Attaches the adapters of a PEFT folder to a plain transformer; returns their settings.

    Raises:
        ModelError: a file is missing or damaged, the adapters are of a kind that is not supported, or do not fit.
    """
    settings, tensors = read_settings(folder), _read(folder)
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if name.endswith("lora_A.weight")}
    if ranks != {settings.rank}:  # before adapters of that size are made
        found = ", ".join(map(str, sorted(ranks))) or "none"
        message = (
            f"the adapters {folder} do not fit their {CONFIG}: it says rank {settings.rank:,}, and their tensors "
            f"differ ({found}); fetch or save them again"
        )
        raise ModelError(message)
    attach(model, settings, 0)
    _fill(model, _fitting(folder, model, tensors))
    return settings


def restore_adapters(folder: Path, model: Architecture) -> None:
    """Takes the adapters of a PEFT folder into a model that has such adapters; raises ModelError as `load_peft`."""
    _fill(model, stored_adapters(folder, model))


def stored_adapters(folder: Path, model: Architecture) -> dict[str, Tensor]:
    """Returns the adapters of a PEFT folder by their names there, of the types and on the device of a model's own.

    Raises:
        ModelError: the file cannot be read, or the model has no such adapters.
    """
    return _fitting(folder, model, _read(folder))


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        with open_regular(folder / WEIGHTS, ModelError):  # a pipe would wait for its writer
            return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        message = f"cannot read the adapters {folder / WEIGHTS}: {error}"
        raise ModelError(message) from error


def _fill(model: Architecture, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in _exported(model).items():
            tensor.copy_(tensors[name])


def _fitting(folder: Path, model: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = _exported(model)
    wrong = sorted(
        name
        for name in {*own, *tensors}
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        message = (
            f"the adapters {folder} do not fit this model: {len(wrong)} tensors differ, {wrong[0]} for one; load the "
            "model that they were trained on"
        )
        raise ModelError(message)
    return {name: tensor.to(own[name]) for name, tensor in tensors.items()}


def base_of(folder: Path) -> str | None:
    """Returns which model a folder's adapters go onto; None where it holds no adapters.

    Raises:
        ModelError: the folder's adapter_config.json cannot be read, or names no model.
    """
    if not (folder / CONFIG).is_file():
        return None
    base = read_object(folder / CONFIG, ModelError).get("base_model_name_or_path")
    if not isinstance(base, str):
        message = f"cannot read the adapters' settings {folder / CONFIG}: base_model_name_or_path names no model"
        raise ModelError(message)
    return base


def read_settings(folder: Path) -> LoraSettings:
    """Returns the settings of a PEFT folder's adapters; raises ModelError where they are of another kind."""
    path = folder / CONFIG
    try:
        config = read_object(path, ModelError)
        demand_plain(config, str(folder))
        rank, alpha = whole(config, "r", WIDTH), real(config, "lora_alpha", zero=True)
        dropout, names = real(config, "lora_dropout", 0.0, zero=True), config["target_modules"]
    except ModelError:
        raise
    except (OSError, ValueError, KeyError) as error:
        message = f"cannot read the adapters' settings {path}: {error!r}"
        raise ModelError(message) from error
    listed = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
    targets = tuple(target for target, parts in TARGETS.items() if {*parts} <= {*listed})
    if not targets or {part for target in targets for part in TARGETS[target]} != {*listed}:
        message = (
            f"the adapters {folder} are of a kind that is not supported, with target_modules {str(names)[:80]}: plain "
            "LoRA on all of attention, all of the feed-forward, or both is"
        )
        raise ModelError(message)
    return LoraSettings(rank=rank, alpha=alpha, dropout=dropout, targets=targets)


def _exported(model: Architecture) -> dict[str, nn.Parameter]:
    """Returns the adapters by the names that peft gives their tensors."""
    found: dict[str, nn.Parameter] = {}
    for name, product in adapted(model).items():
        _, number, part, _ = name.split(".")
        home = "self_attn" if part == "attention" else "mlp"
        adapters: dict[str, Any] = dict(product.adapters.items())
        for projection, adapter in adapters.items():
            found[f"{PREFIX}.{number}.{home}.{projection}.lora_A.weight"] = adapter.a
            found[f"{PREFIX}.{number}.{home}.{projection}.lora_B.weight"] = adapter.b
    return found


# ------------------------------------------------------------------------------------------------------ checkpoints
def save_learned(folder: Path, model: Architecture, tokenizer: Tokenizer, base: str = "") -> None:
    """Writes what learns: the whole model in the hub's layout, or a PEFT folder where it has adapters."""
    if has_adapters(model):
        save_peft(folder, model, base)
        tokenizer.save(folder)
    else:
        save_model(folder, model, tokenizer)


def load_learned(folder: Path, model: Architecture) -> None:
    """Takes what `save_learned` wrote of such a model; raises ModelError where it does not fit."""
    if has_adapters(model):
        restore_adapters(folder, model)
    else:
        load_weights(folder, model)


def start_from(folder: Path, model: Architecture) -> None:
    """Gives a plain model the weights of a folder, which may hold adapters for it; raises ModelError."""
    if base_of(folder) is None:
        load_weights(folder, model)
    else:
        load_peft(folder, model)
        merge(model)

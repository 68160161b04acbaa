"""LoRA: trainable low-rank adapters beside frozen weight matrices (Hu et al. 2021, arXiv 2106.09685).

    W x  becomes  W x + s B (A dropout(x)),  s = alpha / rank,  A random, B zero at initialisation

`Transformer` fuses the projections of queries, keys and values into one product, and those of gate and up into
another. Each projection still has its own A and B, as in `peft`, so a PEFT folder contains exactly the trained values.
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
PREFIX = "base_model.model.model.layers"  # peft's name of the blocks


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """LoRA settings: rank, scale, dropout and target matrices."""

    rank: int = setting(16, "rank of the adapters", low=1)
    alpha: float = setting(32.0, "scale of the adapters times the rank: alpha / rank multiplies B A x", low=0.0)
    dropout: float = setting(0.0, "dropout of the adapters' inputs in training", low=0.0, high=0.99)
    targets: tuple[str, ...] = setting(("attention", "feedforward"), "adapted layers: attention, feedforward, or both")

    def __post_init__(self) -> None:
        """Raises ModelError for an unknown target."""
        for target in self.targets:
            if target not in TARGETS:
                message = f"unknown target {target!r} of lora.targets{nearest(target, TARGETS)}"
                raise ModelError(message)


class Adapter(nn.Module):
    """The LoRA matrices A [rank, in] and B [out, rank] of one weight [out, in]."""

    def __init__(self, like: Tensor, outputs: int, rank: int) -> None:
        """Initialises A randomly, as `nn.Linear`, and B with zeros, with the dtype and device of `like` [.., in]."""
        super().__init__()
        self.a = nn.Parameter(like.new_empty(rank, like.shape[1]))
        self.b = nn.Parameter(like.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))


class Adapted(nn.Module):
    """A linear layer with LoRA adapters; replaces the layer and keeps its `weight`.

    Each part of the outputs, such as the queries of a fused projection, has an adapter of its own.

    Args:
        product: the linear layer to adapt; its weights are frozen.
        parts: number of outputs of each part by name, in order.
        settings: rank, scale and dropout.
    """

    def __init__(self, product: nn.Linear, parts: Mapping[str, int], settings: LoraSettings) -> None:
        """Freezes the layer and adds adapters that do not change its output yet."""
        super().__init__()
        self.weight, self.bias = product.weight.requires_grad_(False), product.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.adapters = nn.ModuleDict(
            {name: Adapter(product.weight.detach(), outputs, settings.rank) for name, outputs in parts.items()}
        )
        self.scale, self.dropout = settings.alpha / settings.rank, settings.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output plus that of its adapters: x [..., in] to [..., out]."""
        plain = nn.functional.linear(x, self.weight, self.bias)
        adapters: list[Any] = list(self.adapters.values())
        if self.dropout:  # dropout of 0 would still copy x
            x = nn.functional.dropout(x, self.dropout, self.training)
        inner = nn.functional.linear(x, torch.cat([adapter.a for adapter in adapters]))
        stretches = inner.chunk(len(adapters), -1)
        added = [nn.functional.linear(each, adapter.b) for each, adapter in zip(stretches, adapters, strict=True)]
        return torch.add(plain, added[0] if len(added) == 1 else torch.cat(added, -1), alpha=self.scale)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """Returns the update alpha / rank * B A that merging adds to the weight, [out, in] in fp32."""
        adapters: list[Any] = list(self.adapters.values())
        return self.scale * torch.cat([adapter.b.float() @ adapter.a.float() for adapter in adapters])


def attach(model: Architecture, settings: LoraSettings, seed: int) -> None:
    """Adds LoRA adapters to a transformer in place and freezes all its other parameters.

    Args:
        model: a `Transformer` without adapters.
        settings: rank, scale, dropout and targets.
        seed: seed of the initial A matrices.

    Raises:
        ModelError: the model is no `Transformer`, or has adapters already.
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
    """Yields each linear layer of a block: owner module, attribute name, and output sizes by peft's names."""
    attention, feedforward = block.attention, block.feedforward
    queries, keys = (heads * attention.head_width for heads in (attention.heads, attention.key_heads))
    inner, width = feedforward.down.weight.shape[1], feedforward.down.weight.shape[0]
    yield attention, "qkv", {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    yield attention, "out", {"o_proj": attention.out.weight.shape[0]}
    yield feedforward, "gate_up", {"gate_proj": inner, "up_proj": inner}
    yield feedforward, "down", {"down_proj": width}


def adapted(model: nn.Module) -> dict[str, Adapted]:
    """Returns the adapted layers of a model by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Adapted)}


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has LoRA adapters."""
    return bool(adapted(model))


def settings_of(model: nn.Module) -> LoraSettings:
    """Returns the LoRA settings of a model's adapters.

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
    """Merges adapters into the weights, in place, and removes them; all parameters become trainable."""
    for name, product in adapted(model).items():
        owner, _, last = name.rpartition(".")
        outputs, inputs = product.weight.shape
        plain = Linear(inputs, outputs, bias=product.bias is not None, device="meta")
        plain.weight = nn.Parameter((product.weight.float() + product.delta()).to(product.weight.dtype))
        plain.bias = product.bias
        setattr(model.get_submodule(owner), last, plain)
    model.requires_grad_(True)


def merged(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict of the merged model, with adapters added to copies of the weights."""
    products = adapted(model)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if ".adapters." not in name}
    for name, product in products.items():
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = (weight.float() + product.delta()).to(weight.dtype)
    return state


def copied_adapters(model: Architecture) -> dict[str, Tensor]:
    """Returns copies of a model's adapter matrices, by their tensor names in a PEFT folder."""
    return {name: tensor.detach().clone() for name, tensor in _exported(model).items()}


@contextmanager
def other_adapters(model: Architecture, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Context manager in which the model uses other adapters, without dropout; not for computing gradients.

    Args:
        model: a model with adapters of the same shapes.
        tensors: the other adapters, by their tensor names in a PEFT folder.
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
    """Writes a model's adapters in the PEFT layout: adapter_config.json and adapter_model.safetensors.

    Args:
        folder: an existing folder.
        model: a model with adapters.
        base: folder or hub name of the base model.
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
    """Attaches the adapters of a PEFT folder to a transformer without adapters; returns their settings.

    Raises:
        ModelError: a file is missing or damaged, or the adapters are of an unsupported kind or do not fit the model.
    """
    settings, tensors = read_settings(folder), _read(folder)
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if name.endswith("lora_A.weight")}
    if ranks != {settings.rank}:  # before adapters of that size are allocated
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
    """Loads a PEFT folder's adapters into a model with adapters; raises ModelError if names or shapes differ."""
    _fill(model, stored_adapters(folder, model))


def stored_adapters(folder: Path, model: Architecture) -> dict[str, Tensor]:
    """Returns the adapters in a PEFT folder by tensor name, with the dtypes and device of the model's adapters.

    Raises:
        ModelError: the file cannot be read, or its names or shapes differ from the model's adapters.
    """
    return _fitting(folder, model, _read(folder))


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        with open_regular(folder / WEIGHTS, ModelError):  # load_file on a named pipe would block
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
    """Returns the base model's name from a folder's adapter_config.json; None if there is no such file.

    Raises:
        ModelError: the file cannot be read, or names no base model.
    """
    if not (folder / CONFIG).is_file():
        return None
    base = read_object(folder / CONFIG, ModelError).get("base_model_name_or_path")
    if not isinstance(base, str):
        message = f"cannot read the adapters' settings {folder / CONFIG}: base_model_name_or_path names no model"
        raise ModelError(message)
    return base


def read_settings(folder: Path) -> LoraSettings:
    """Returns the LoRA settings of a PEFT folder; raises ModelError if they cannot be read or are not supported."""
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
    """Returns the model's adapter parameters by their tensor names in peft."""
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
    """Saves the trained weights: a PEFT folder, which names the model `base`, if the model has adapters; else all."""
    if has_adapters(model):
        save_peft(folder, model, base)
        tokenizer.save(folder)
    else:
        save_model(folder, model, tokenizer)


def load_learned(folder: Path, model: Architecture) -> None:
    """Loads weights that `save_learned` wrote: adapters if the model has adapters, else all weights.

    Raises:
        ModelError: the folder cannot be read or does not fit the model.
    """
    if has_adapters(model):
        restore_adapters(folder, model)
    else:
        load_weights(folder, model)


def start_from(folder: Path, model: Architecture) -> None:
    """Loads a folder's weights into a model without adapters; adapters in the folder are merged into it.

    Raises:
        ModelError: the folder cannot be read or does not fit the model.
    """
    if base_of(folder) is None:
        load_weights(folder, model)
    else:
        load_peft(folder, model)
        merge(model)

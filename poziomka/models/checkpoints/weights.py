"""Checkpoints in the Hugging Face layout: config.json, model.safetensors (one file or shards), tokenizer files."""

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from poziomka.core.errors import ModelError, nearest
from poziomka.core.settings import build
from poziomka.models.base import Architecture
from poziomka.models.bounds import VOCABULARY, whole
from poziomka.models.checkpoints.description import demand_layers, described
from poziomka.models.checkpoints.families import FAMILIES, from_config, to_config
from poziomka.models.checkpoints.safetensors_io import CONFIG, WEIGHTS, Stored, demand_fit, read_json
from poziomka.models.checkpoints.weight_names import HEAD
from poziomka.models.config import TransformerSettings
from poziomka.models.hf_model import load_foreign
from poziomka.models.memory_limits import demand_room
from poziomka.models.recurrent import Recurrent
from poziomka.models.seeding import seeded
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import Transformer

ARCHITECTURES: dict[str, type[Transformer] | type[Recurrent]] = {"transformer": Transformer, "recurrent": Recurrent}
OWN = "poziomka_recurrent"  # model_type of `Recurrent`, which transformers does not have
DIGESTED = 1024  # numbers of each weight in a digest
UNCOMPARED = {  # entries of config.json without effect on the model's output
    "torch_dtype",
    "dtype",
    "architectures",
    "max_position_embeddings",
    "transformers_version",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}


def build_model(architecture: str, settings: TransformerSettings, vocabulary: int, seed: int) -> Architecture:
    """Returns a randomly initialised model; the same seed gives the same weights.

    Args:
        architecture: "transformer" or "recurrent".
        settings: the model's configuration.
        vocabulary: number of tokens.
        seed: seed of the initialisation.

    Raises:
        ModelError: the architecture is unknown, or its settings are inconsistent.
    """
    if architecture not in ARCHITECTURES:
        message = f"unknown architecture {architecture!r}{nearest(architecture, ARCHITECTURES)}"
        raise ModelError(message)
    with seeded(seed):
        return ARCHITECTURES[architecture](settings, vocabulary)


def demand_shape(architecture: str, settings: TransformerSettings) -> None:
    """Raises ModelError if `build_model` would reject the settings; builds no model.

    Args:
        architecture: "transformer" or "recurrent".
        settings: the model's configuration.
    """
    if architecture == "recurrent":
        settings.demand_parted()
    else:
        settings.demand_whole()


# ---------------------------------------------------------------------------------------------------------- saving
def save_model(folder: Path, model: Architecture, tokenizer: Tokenizer) -> None:
    """Saves weights, config and tokenizer to a folder; transformers can load the folder of a `Transformer`."""
    save_tensors(folder / WEIGHTS, model.export())
    others = sorted(tokenizer.ends - {tokenizer.end})
    marks = {
        "bos_token_id": tokenizer.begin,
        "eos_token_id": [tokenizer.end, *others] if others else tokenizer.end,
        "pad_token_id": tokenizer.pad,
    }
    (folder / CONFIG).write_text(json.dumps(model.config() | marks, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(folder)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors to one safetensors file, in their dtypes."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


# --------------------------------------------------------------------------------------------------------- loading
def digest_of(model: Architecture) -> str:
    """Returns a hash of the first numbers of every weight, which training and rounding change."""
    found = blake2b(digest_size=8)
    for name, weight in model.named_parameters():
        found.update(f"{name} {weight.dtype} {list(weight.shape)}".encode())
        found.update(weight.detach().flatten()[:DIGESTED].double().cpu().numpy().tobytes())
    return found.hexdigest()


def load_weights(folder: Path, model: Architecture) -> None:
    """Loads a checkpoint folder's weights into a model of the same configuration.

    Raises:
        ModelError: the weights are missing, damaged or of another shape, or config.json describes another model.
    """
    weights = Stored(folder)
    tied = isinstance(model, Transformer) and model.settings.tied
    try:
        demand_fit(weights.shapes, model.export(), [HEAD] if tied else [])
        if (folder / CONFIG).is_file():
            _demand_same(read_json(folder / CONFIG), model)
        model.load_exported(weights.tensors())
    except (KeyError, RuntimeError) as error:
        message = f"the weights in {folder} do not fit this {type(model).__name__.lower()}: {str(error)[:300]}"
        raise ModelError(message) from error


def _demand_same(config: Mapping[str, Any], model: Architecture) -> None:
    """Raises RuntimeError if a config describes a model that would compute other outputs with the same weights."""
    found: Mapping[str, Any] = config
    if isinstance(model, Transformer) and config.get("model_type") in FAMILIES:
        settings, vocabulary = from_config(config)
        found = to_config(settings, vocabulary, "float32")
    wanted = json.loads(json.dumps(model.config()))  # with the types of a JSON file
    for name in {*found} & {*wanted} - UNCOMPARED:
        if found[name] != wanted[name]:
            message = f"config.json says {name} {found[name]!r} where this model has {wanted[name]!r}"
            raise RuntimeError(message)


def open_model(folder: Path, dtype: torch.dtype, tokens: int = 0) -> Architecture:
    """Loads the model of a checkpoint folder, as its config.json describes it, in evaluation mode.

    Args:
        folder: a folder in the Hugging Face layout.
        dtype: dtype of the weights, for any stored dtype.
        tokens: size of the tokenizer's vocabulary; the model must have at least as many logits.

    Raises:
        ModelError: the folder is no checkpoint, of an unsupported kind, damaged, or too large for memory.
    """
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        message = f"config.json in {folder} must name a model_type: received {str(kind)[:40]}"
        raise ModelError(message)
    if kind != OWN and kind not in FAMILIES:
        return _adapted(folder, dtype, tokens, kind)
    weights = Stored(folder)
    settings, vocabulary = (_of_ours if kind == OWN else described)(folder, config, weights)
    with torch.device("meta"), _Undrawn():
        model = (Recurrent if kind == OWN else Transformer)(settings, vocabulary).to(dtype)
    _demand_tokens(folder, tokens, model)
    try:
        demand_fit(weights.shapes, model.export(), [HEAD] if kind != OWN and settings.tied else [])
    except RuntimeError as error:
        message = f"the weights in {folder} do not fit its {CONFIG}: {error}"
        raise ModelError(message) from error
    demand_room(model.parameters_count * dtype.itemsize, str(folder))
    room = {name: torch.empty(tensor.shape, dtype=dtype) for name, tensor in model.state_dict().items()}
    model.load_state_dict(room, assign=True)  # `to_empty` would import a computer algebra system, for half a second
    weights.read_into(model.export())
    return model.eval()


def _of_ours(folder: Path, config: Mapping[str, Any], stored: Stored) -> tuple[TransformerSettings, int]:
    """Returns the settings and vocabulary size of a recurrent model; raises ModelError if they are invalid."""
    try:
        settings = build(TransformerSettings, config["settings"], CONFIG)
        vocabulary = whole(config, "vocab_size", VOCABULARY)
    except (KeyError, TypeError, ValueError) as error:
        message = f"cannot read {folder / CONFIG}: {error}"
        raise ModelError(message) from error
    demand_layers(settings.layers, stored, folder)
    return settings, vocabulary


class _Undrawn(TorchFunctionMode):
    """Context in which the functions of torch.nn.init do nothing, for weights that are loaded afterwards.

    On the meta device, random initialisation would import a compiler, which takes 1.5 s.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns the tensor unchanged for functions of torch.nn.init; calls every other function."""
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _adapted(folder: Path, dtype: torch.dtype, tokens: int, kind: str) -> Architecture:
    model = load_foreign(folder, dtype, kind)
    _demand_tokens(folder, tokens, model)
    return model


def _demand_tokens(folder: Path, tokens: int, model: Architecture) -> None:
    if tokens > model.vocabulary:
        message = (
            f"the tokenizer in {folder} has {tokens} tokens and the model {model.vocabulary}: "
            "they belong to different checkpoints"
        )
        raise ModelError(message)

"""Checkpoints in the layout of the hub: config.json, model.safetensors, tokenizer files."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from poziomka.core.errors import ModelError, nearest
from poziomka.models.architecture import Architecture
from poziomka.models.recurrent import Recurrent
from poziomka.models.tokenizer import Tokenizer
from poziomka.models.transformer import Transformer, TransformerSettings

ARCHITECTURES: dict[str, type[Transformer] | type[Recurrent]] = {"transformer": Transformer, "recurrent": Recurrent}


def build_model(architecture: str, settings: TransformerSettings, vocabulary: int, seed: int) -> Architecture:
    """Returns a model from nothing; the same seed gives the same weights.

    Raises:
        ModelError: the architecture is unknown, or its settings do not fit together.
    """
    if architecture not in ARCHITECTURES:
        message = f"unknown architecture {architecture!r}{nearest(architecture, ARCHITECTURES)}"
        raise ModelError(message)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[architecture](settings, vocabulary)


def save_model(folder: Path, model: Architecture, tokenizer: Tokenizer) -> None:
    """Writes weights, configuration and tokenizer; transformers opens the folder of a transformer as it is."""
    tensors = {name: tensor.contiguous() for name, tensor in model.export().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    marks = {"bos_token_id": tokenizer.begin, "eos_token_id": tokenizer.end, "pad_token_id": tokenizer.pad}
    (folder / "config.json").write_text(json.dumps(model.config() | marks, indent=2) + "\n")
    tokenizer.save(folder)


def load_weights(folder: Path, model: Architecture) -> None:
    """Loads a saved folder's weights into a model of the same shape.

    Raises:
        ModelError: the file is missing, damaged, or of another shape.
    """
    path = folder / "model.safetensors"
    try:
        model.load_exported(load_file(path))
    except (OSError, SafetensorError) as error:
        message = f"cannot read the weights {path}: {error}"
        raise ModelError(message) from error
    except (KeyError, RuntimeError) as error:
        message = f"the weights {path} do not fit this {type(model).__name__.lower()}: {str(error)[:300]}"
        raise ModelError(message) from error

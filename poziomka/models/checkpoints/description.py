"""Transformer settings of a checkpoint folder, from its config.json checked against its tensors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.families import from_config
from poziomka.models.checkpoints.safetensors_io import Stored
from poziomka.models.checkpoints.weight_names import EMBEDDING, HEAD
from poziomka.models.config import TransformerSettings


def described(folder: Path, config: Mapping[str, Any], stored: Stored) -> tuple[TransformerSettings, int]:
    """Returns the settings and vocabulary size of a checkpoint of a family that `Transformer` supports.

    If the saved head differs from the embedding, the settings are untied even if config.json calls them tied.

    Args:
        folder: the checkpoint, for error messages.
        config: contents of its config.json.
        stored: its tensors.

    Raises:
        ModelError: config.json is invalid, or describes more layers than there are tensors.
    """
    settings, vocabulary = from_config(config)
    demand_layers(settings.layers, stored, folder)
    if settings.tied and {EMBEDDING, HEAD} <= {*stored.shapes} and not stored.same(EMBEDDING, HEAD):
        settings = replace(settings, tied=False)
    return settings, vocabulary


def demand_layers(layers: int, stored: Stored, folder: Path) -> None:
    """Raises ModelError if config.json describes more layers than the weights have tensors.

    Call it before a model of that many layers is allocated.

    Args:
        layers: number of layers in config.json.
        stored: the checkpoint's tensors.
        folder: the checkpoint, for error messages.
    """
    if layers > len(stored.shapes):
        message = (
            f"config.json in {folder} describes {layers:,} layers and its weights are {len(stored.shapes):,} tensors: "
            "they belong to different checkpoints"
        )
        raise ModelError(message)

"""The shape of a folder's model: what its config.json says, held against the tensors that lie beside it."""

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
    """Returns the shape and the vocabulary's size of a folder of one of the transformer's families.

    A head that was saved is used, also where config.json calls it tied to the embedding and it is another matrix.

    Raises:
        ModelError: config.json makes no sense, or describes more layers than there are tensors.
    """
    settings, vocabulary = from_config(config)
    demand_layers(settings.layers, stored, folder)
    if settings.tied and {EMBEDDING, HEAD} <= {*stored.shapes} and not stored.same(EMBEDDING, HEAD):
        settings = replace(settings, tied=False)
    return settings, vocabulary


def demand_layers(layers: int, stored: Stored, folder: Path) -> None:
    """Raises ModelError where a model has more layers than there are tensors, before any is made."""
    if layers > len(stored.shapes):
        message = (
            f"config.json in {folder} describes {layers:,} layers and its weights are {len(stored.shapes):,} tensors: "
            "they belong to different checkpoints"
        )
        raise ModelError(message)

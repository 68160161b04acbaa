"""Export of checkpoint folders as GGUF files for llama.cpp."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from poziomka.core.errors import ModelError, nearest
from poziomka.models.checkpoints.description import described
from poziomka.models.checkpoints.families import family_of
from poziomka.models.checkpoints.gguf.conversion import GEMMA_27B, ROPE_FACTORS, paired
from poziomka.models.checkpoints.gguf.vocabulary import vocabulary_fields
from poziomka.models.checkpoints.safetensors_io import CONFIG, Stored, read_json
from poziomka.models.checkpoints.weight_names import HEAD, Place, places
from poziomka.models.config import TransformerSettings
from poziomka.models.layers.rotary import scaled

KINDS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
}
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
}


def demand_kind(kind: str) -> None:
    """Raises ModelError if `kind` is not one of the weight types that `export_gguf` can write: f32, f16 and bf16."""
    if kind not in KINDS:
        message = f"unknown kind of weights {kind!r}{nearest(kind, KINDS)}; there are {', '.join(KINDS)}"
        raise ModelError(message)


def export_gguf(folder: Path, path: Path, kind: str = "f32") -> None:
    """Writes a checkpoint as a GGUF file, atomically.

    Args:
        folder: the checkpoint, in the Hugging Face layout.
        path: path of the new file; an existing file is replaced.
        kind: type of the weight matrices: f32, f16 or bf16. Norms and biases are always fp32.

    Raises:
        ModelError: the kind is unknown, the folder is no checkpoint, or llama.cpp does not support its model or
            tokenizer.
    """
    demand_kind(kind)
    stored = Stored(folder)
    settings, vocabulary = described(folder, read_json(folder / CONFIG), stored)
    names = [place.hub for place in places(settings)]
    facts = {
        "general.name": folder.resolve().name,
        "general.file_type": int(FILE_TYPES[kind]),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
    }
    facts |= shape_fields(settings, vocabulary) | vocabulary_fields(folder, vocabulary)
    missing, surplus = sorted({*names} - {*stored.shapes}), sorted({*stored.shapes} - {*names} - {HEAD})
    if missing or surplus:
        message = f"the weights in {folder} do not fit its {CONFIG}: see {(missing or surplus)[0]}"
        raise ModelError(message)
    descriptor, part = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    os.close(descriptor)
    try:
        _write(Path(part), settings, facts, stored, KINDS[kind])
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def _write(
    path: Path,
    settings: TransformerSettings,
    facts: Mapping[str, Any],
    stored: Stored,
    kind: gguf.GGMLQuantizationType,
) -> None:
    writer = gguf.GGUFWriter(path, family_of(settings).gguf)
    for name, value in facts.items():
        _add(writer, name, value)
    every, factors = places(settings), _rope_factors(settings)
    kinds = {place.gguf: kind if len(stored.shapes[place.hub]) > 1 else KINDS["f32"] for place in every}
    for place in every:
        block, nbytes = gguf.GGML_QUANT_SIZES[kinds[place.gguf]]
        shape = stored.shapes[place.hub]
        size = int(np.prod(shape)) // block * nbytes
        writer.add_tensor_info(place.gguf, shape, np.dtype(np.float32), size, raw_dtype=kinds[place.gguf])
    if factors is not None:
        writer.add_tensor_info(ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for place in every:
        weight = torch.empty(stored.shapes[place.hub])
        stored.read_into({place.hub: weight})
        writer.write_tensor_data(gguf.quantize(_as_in_gguf(weight, place, settings), kinds[place.gguf]))
    if factors is not None:
        writer.write_tensor_data(factors)
    writer.close()


def _as_in_gguf(weight: Tensor, place: Place, settings: TransformerSettings) -> np.ndarray:
    found: np.ndarray = weight.numpy()
    if family_of(settings).paired and place.rotated:
        found = paired(found, settings.each_head)
    if settings.offset_norms and found.ndim == 1:
        found = found + np.float32(1)
    return np.ascontiguousarray(found)


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


def _rope_factors(settings: TransformerSettings) -> np.ndarray | None:
    """Returns llama.cpp's divisors of the rotary frequencies for Llama 3.1 scaling; None for any other scaling."""
    scaling = settings.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    turns = settings.rope_base ** -(torch.arange(0, settings.each_head, 2, dtype=torch.float64) / settings.each_head)
    factors: np.ndarray = (turns / scaled(turns, settings.rope_base, scaling)[0]).float().numpy()
    return factors


# ------------------------------------------------------------------------------------------------------- metadata
def shape_fields(settings: TransformerSettings, vocabulary: int) -> dict[str, Any]:
    """Returns the GGUF metadata of a model's configuration, by key.

    Args:
        settings: the model's configuration.
        vocabulary: number of tokens.

    Raises:
        ModelError: llama.cpp does not support one of the settings in this model family.
    """
    family = family_of(settings)
    _demand_known(settings, family.model_type)
    fields: dict[str, Any] = {
        "vocab_size": vocabulary,
        "context_length": settings.context,
        "embedding_length": settings.width,
        "block_count": settings.layers,
        "feed_forward_length": settings.inside,
        "attention.head_count": settings.heads,
        "attention.head_count_kv": settings.key_heads or settings.heads,
        "attention.key_length": settings.each_head,
        "attention.value_length": settings.each_head,
        "attention.layer_norm_rms_epsilon": settings.epsilon,
        "rope.dimension_count": settings.each_head,
        "rope.freq_base": settings.rope_base,
    }
    scaling, window = settings.rope_scaling, settings.window
    if scaling is not None and scaling.kind != "llama3":
        fields |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": scaling.factor}
    if scaling is not None and scaling.kind == "yarn":
        fields["rope.scaling.original_context_length"] = scaling.original
        fields |= {"rope.scaling.yarn_beta_fast": scaling.fast, "rope.scaling.yarn_beta_slow": scaling.slow}
    if window is not None and family.model_type == "gemma3_text":
        fields["attention.sliding_window"] = window.tokens
        fields["rope.freq_base_swa"] = window.rope_base or settings.rope_base
    return {f"{family.gguf}.{name}": value for name, value in fields.items()}


def _demand_known(settings: TransformerSettings, kind: str) -> None:
    """Raises ModelError if the settings differ from values that llama.cpp hard-codes for the family `kind`."""
    window, scaling, layers = settings.window, settings.rope_scaling, settings.layers
    gemma = kind == "gemma3_text"
    sixth = tuple(layer for layer in range(layers) if (layer + 1) % 6)
    scale = settings.width / settings.heads if layers == GEMMA_27B else settings.each_head
    unknown = {
        "sliding windows": not gemma and window is not None and window.tokens < settings.context,
        "windows other than in five of six layers": gemma and (window is None or window.layers != sixth),
        "this scale of scores": gemma and settings.query_scale not in (None, scale),
        "rotary positions in these layers": kind == "smollm3" and settings.unrotated != (*range(3, layers, 4),),
        "yarn with a loudness or a ramp of its own": scaling is not None
        and scaling.kind == "yarn"
        and (scaling.loudness is not None or not scaling.truncate),
        "biases after attention": settings.out_bias and gemma,
    }
    for what, wrong in unknown.items():
        if wrong:
            message = f"a GGUF file cannot hold this {kind} model: llama.cpp knows no {what} there"
            raise ModelError(message)

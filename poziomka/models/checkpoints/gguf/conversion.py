"""Conversion of GGUF files to checkpoint folders in the Hugging Face layout, cached by the hash of the file.

The cache is `~/.cache/poziomka/gguf` (the variable `POZIOMKA_CACHE` sets another folder) and has one folder for each
file and dtype. A folder is created atomically; a damaged one is converted again.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poziomka.core.disk_cache import cache_folder
from poziomka.core.errors import ModelError
from poziomka.models.bounds import HEADS, LAYERS, LENGTH, WIDTH, real, whole
from poziomka.models.checkpoints.families import FAMILIES, family_of, to_config
from poziomka.models.checkpoints.gguf.file import GGUFFile, demand_gguf
from poziomka.models.checkpoints.gguf.tokenizer import write_tokenizer_of_gguf
from poziomka.models.checkpoints.safetensors_io import CONFIG, WEIGHTS
from poziomka.models.checkpoints.weight_names import Place, places
from poziomka.models.checkpoints.weights import save_tensors
from poziomka.models.config import SlidingWindow, TransformerSettings
from poziomka.models.layers.rotary import RopeScaling, scaled
from poziomka.models.memory_limits import demand_room
from poziomka.models.text.tokenizer_files import GENERATION

ROPE_FACTORS = "rope_freqs.weight"  # divisors of the rotary frequencies in Llama 3.1 and later
LLAMA3 = [RopeScaling(kind="llama3", factor=factor, original=8192, slow=1.0, fast=4.0) for factor in (8.0, 32.0)]
KNOWN = {  # supported metadata keys; those of the last line do not affect the model's output
    *("embedding_length", "block_count", "feed_forward_length", "context_length", "expert_count"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"),
    *("vocab_size", "rope.scaling.finetuned", "expert_used_count", "pooling_type", "tensor_data_layout"),
}
KNOWN_OF_GEMMA = {"attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa"}
NEUTRAL = {"attention.causal": True, "rope.scale_linear": 1.0, "rope.scaling.attn_factor": 1.0}  # no other values
LAYOUT = 2  # version of the cache; increase it when the conversion or the set of accepted files changes
SEAL = "sizes.json"


def converted(path: Path, dtype: torch.dtype) -> Path:
    """Returns a checkpoint folder with the contents of a GGUF file, which is converted unless it is cached.

    Args:
        path: the GGUF file.
        dtype: dtype of the converted weights.

    Raises:
        ModelError: the file is no GGUF file, of an unsupported architecture, truncated or too large for memory, or the
            cache cannot be written.
    """
    demand_gguf(path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:24]
    name = str(dtype).removeprefix("torch.")
    folder = cache_folder() / "gguf" / f"{digest}-{name}-{LAYOUT}"
    if _sound(folder):
        return folder
    file = GGUFFile(path)
    settings, vocabulary = shape_of(file)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
        try:
            _convert(file, settings, vocabulary, dtype, part)
            _seal(part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if not _sound(folder):  # another process may have converted it meanwhile
            message = (
                f"cannot keep the converted weights of {path} in {folder.parent}: "
                f"{(error.strerror or str(error)).lower()}; POZIOMKA_CACHE names another folder"
            )
            raise ModelError(message) from error
    return folder


def _convert(file: GGUFFile, settings: TransformerSettings, vocabulary: int, dtype: torch.dtype, folder: Path) -> None:
    demand_room(sum(prod(stored.shape) for stored in file.stored.values()) * dtype.itemsize, str(file.path))
    name = str(dtype).removeprefix("torch.")
    write_tokenizer_of_gguf(file.metadata, folder)
    marks = json.loads((folder / GENERATION).read_bytes())
    config = to_config(settings, vocabulary, name) | marks
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_tensors(folder / WEIGHTS, {name: tensor.to(dtype) for name, tensor in tensors_of(file, settings)})


def tensors_of(file: GGUFFile, settings: TransformerSettings) -> Iterator[tuple[str, Tensor]]:
    """Yields every weight in fp32 with its name in a Hugging Face checkpoint.

    Raises:
        ModelError: weights are missing or unexpected, or the rows of a query or key projection do not divide into
            heads.
    """
    known = {place.gguf: place for place in places(settings)}
    missing, surplus = sorted({*known} - {*file.stored}), sorted({*file.stored} - {*known} - {ROPE_FACTORS})
    for names, what in ((missing, "lacks"), (surplus, "has, and we have no place for,")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            message = f"the GGUF file {file.path} {what} {names[0]}{more}"
            raise ModelError(message)
    for name, place in known.items():
        rows = file.stored[name].shape[0]
        if place.rotated and rows % settings.each_head:
            message = f"the GGUF file {file.path} holds {name} of {rows} rows, and a head has {settings.each_head}"
            raise ModelError(message)
        yield place.hub, torch.from_numpy(np.array(_as_on_the_hub(file.tensor(name), place, settings)))


def _as_on_the_hub(weight: np.ndarray, place: Place, settings: TransformerSettings) -> np.ndarray:
    """Returns a weight of a GGUF file as in a Hugging Face checkpoint.

    It undoes two changes of GGUF: the order of the rows of rotary pairs, and Gemma's norm weights w stored as 1 + w.
    """
    if family_of(settings).paired and place.rotated:
        return unpaired(weight, settings.each_head)
    if settings.offset_norms and weight.ndim == 1:
        return weight - 1
    return weight


def unpaired(rows: np.ndarray, head: int) -> np.ndarray:
    """Returns a query or key weight of a GGUF file with its rows in the order of a Hugging Face checkpoint.

    In a head of C = `head` rows, GGUF stores the two rows of a rotary pair next to each other (0, C/2, 1, C/2+1, …);
    they are reordered to 0, 1, 2, ….
    """
    return rows.reshape(-1, head // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def paired(rows: np.ndarray, head: int) -> np.ndarray:
    """Returns a query or key weight of a Hugging Face checkpoint with its rows in the order of a GGUF file.

    The rows 0, 1, 2, … of each head of C = `head` rows are reordered to 0, C/2, 1, C/2+1, …; the inverse of `unpaired`.
    """
    return rows.reshape(-1, 2, head // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


# ------------------------------------------------------------------------------------------------------- settings
def shape_of(file: GGUFFile) -> tuple[TransformerSettings, int]:
    """Returns the transformer settings and vocabulary size of a GGUF file's model.

    Raises:
        ModelError: the architecture or a feature is not supported, or the metadata is incomplete or invalid.
    """
    architecture = str(file.metadata.get("general.architecture"))
    known = {family.gguf: family for family in reversed(FAMILIES.values())}
    if architecture not in known:
        names = ", ".join(sorted(known))
        message = f"the GGUF file {file.path} holds a model of architecture {architecture!r}; known: {names}"
        raise ModelError(message)
    family = known[architecture]
    facts = {
        name.removeprefix(f"{architecture}."): value
        for name, value in file.metadata.items()
        if name.startswith(f"{architecture}.")
    }
    if facts.get("expert_count"):
        message = (
            f"the GGUF file {file.path} holds a mixture of {facts['expert_count']} experts, which is not supported"
        )
        raise ModelError(message)
    known_facts = KNOWN | KNOWN_OF_GEMMA if family.model_type == "gemma3_text" else KNOWN
    for name in sorted({*facts} - known_facts):
        if facts[name] != NEUTRAL[name] if name in NEUTRAL else facts[name]:
            said = f"{architecture}.{name} {str(facts[name])[:40]}"
            message = f"the GGUF file {file.path} says {said}, which is not supported"
            raise ModelError(message)
    try:
        return _settings(facts, file, family.model_type), file.stored["token_embd.weight"].shape[0]
    except ModelError:
        raise
    except KeyError as error:
        message = f"the GGUF file {file.path} does not say {error.args[0]!r} of its {architecture} model"
        raise ModelError(message) from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        message = f"the metadata of the GGUF file {file.path} make no sense: {error}"
        raise ModelError(message) from error


def _settings(facts: Mapping[str, Any], file: GGUFFile, kind: str) -> TransformerSettings:
    layers = whole(facts, "block_count", min(LAYERS, len(file.stored)))
    width, heads = whole(facts, "embedding_length", WIDTH), whole(facts, "attention.head_count", HEADS)
    head = whole(facts, "attention.key_length", WIDTH, width // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if facts.get(name, head) != head:
            message = f"{name} is {facts[name]}, and other than {head}, the width of a head, is not supported"
            raise ValueError(message)
    gemma = kind == "gemma3_text"
    scale = None
    if gemma:  # not in the file; llama.cpp derives it from the size too
        scale = float(width // heads if layers == GEMMA_27B else head)
    settings = TransformerSettings(
        width=width,
        layers=layers,
        heads=heads,
        key_heads=whole(facts, "attention.head_count_kv", HEADS, heads),
        head_width=head,
        inner=whole(facts, "feed_forward_length", WIDTH),
        tied="output.weight" not in file.stored,
        epsilon=float(f"{real(facts, 'attention.layer_norm_rms_epsilon', zero=True):.6g}"),  # 1e-5, stored in fp32
        rope_base=real(facts, "rope.freq_base", 10_000.0),
        rope_scaling=_scaling(facts, file, head),
        window=_near(facts, layers) if gemma else None,
        unrotated=tuple(range(3, layers, 4)) if kind == "smollm3" else (),
        qk_norm="blk.0.attn_q_norm.weight" in file.stored,
        qkv_bias="blk.0.attn_q.bias" in file.stored,
        out_bias="blk.0.attn_output.bias" in file.stored,
        gate="gelu_tanh" if gemma else "silu",
        query_scale=scale,
        offset_norms=gemma,
        post_norms=gemma,
        scaled_embedding=gemma,
        context=whole(facts, "context_length", LENGTH, 4096),
        family=kind,
    )
    settings.demand_whole()
    family_of(settings)
    return settings


GEMMA_27B = 62  # layers of the only Gemma 3 whose attention scores are not scaled by the head width


def _near(facts: Mapping[str, Any], layers: int) -> SlidingWindow | None:
    if not facts.get("attention.sliding_window"):
        return None
    base = real(facts, "rope.freq_base_swa", 10_000.0)
    every = whole(facts, "attention.sliding_window_pattern", LAYERS, 6)
    near = tuple(layer for layer in range(layers) if (layer + 1) % every)
    return SlidingWindow(tokens=whole(facts, "attention.sliding_window", LENGTH), layers=near, rope_base=base)


def _scaling(facts: Mapping[str, Any], file: GGUFFile, head: int) -> RopeScaling | None:
    kind = facts.get("rope.scaling.type", "none")
    if ROPE_FACTORS in file.stored and kind != "none":
        message = f"it slows its rotary positions twice, by {ROPE_FACTORS} and by rope.scaling.type {kind!r}"
        raise ValueError(message)
    if ROPE_FACTORS in file.stored:
        return _llama3(file, real(facts, "rope.freq_base", 10_000.0), head)
    if kind == "none":
        return None
    factor = real(facts, "rope.scaling.factor")
    if kind == "linear":
        return RopeScaling(kind="linear", factor=factor)
    if kind == "yarn":
        return RopeScaling(
            kind="yarn",
            factor=factor,
            original=whole(facts, "rope.scaling.original_context_length", LENGTH),
            fast=real(facts, "rope.scaling.yarn_beta_fast", 32.0),
            slow=real(facts, "rope.scaling.yarn_beta_slow", 1.0),
        )
    message = f"rotary positions of type {kind!r} are not known"
    raise ValueError(message)


def _llama3(file: GGUFFile, base: float, head: int) -> RopeScaling:
    """Returns the Llama 3 scaling whose frequency divisors match those in the file; raises ValueError if none does."""
    stored = torch.from_numpy(np.array(file.tensor(ROPE_FACTORS))).double()
    turns = base ** -(torch.arange(0, head, 2, dtype=torch.float64) / head)
    for rule in LLAMA3:
        if stored.shape == turns.shape and torch.allclose(turns / scaled(turns, base, rule)[0], stored, rtol=1e-3):
            return rule
    message = f"{ROPE_FACTORS} is not that of a known Llama 3"
    raise ValueError(message)


# ------------------------------------------------------------------------------------------------------- the cache
def _marks(folder: Path) -> dict[str, list[int]]:
    """Returns the size in bytes and two checksums of each file in a cached folder, by file name.

    The checksums are the sums of the file's eight-byte words and of the remaining bytes, as fast as reading memory.
    """
    marks = {}
    for path in sorted(folder.iterdir()):
        if path.name != SEAL:
            data = np.fromfile(path, np.uint8) if path.stat().st_size < 8 else np.memmap(path, np.uint8, "r")
            words = data[: len(data) // 8 * 8].view(np.uint64)
            marks[path.name] = [len(data), int(words.sum(dtype=np.uint64)), int(data[len(words) * 8 :].sum())]
    return marks


def _seal(folder: Path) -> None:
    (folder / SEAL).write_text(json.dumps(_marks(folder)), encoding="utf-8")


def _sound(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / SEAL).read_bytes()) == _marks(folder))
    except (OSError, ValueError):
        return False

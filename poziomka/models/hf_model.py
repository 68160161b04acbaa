"""Adapter from causal language models of transformers to `Architecture`, for families that `Transformer` lacks.

It is slower than `Transformer`: every step copies the cached keys and values into transformers' own cache, and packed
sequences are read as separate rows. A model must keep no state but keys and values, accept position ids, and compute
logits as a linear function of the hidden states; any other model is rejected at load time.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from poziomka.core.errors import ModelError
from poziomka.models.base import Architecture, Packing, Work, masked
from poziomka.models.cache import Memory, zeros
from poziomka.models.checkpoints.safetensors_io import CONFIG, Stored, read_json
from poziomka.models.memory_limits import demand_room

MISSING = "other models need transformers: `pip install 'poziomka[hub]'`"
SLOWER = "this model runs through transformers and not through our own transformer, which is slower"
IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
COUNTS = re.compile(r"(num|n)_\w*(layer|expert|block)\w*|\w*_(layers|experts|blocks|depth)|depth")
LAYERS, EXPERTS = 1024, 1 << 14  # counts that a config may have however few tensors there are


def load_foreign(folder: Path, dtype: torch.dtype, kind: object) -> "HFModel":
    """Loads a checkpoint folder's model through transformers; Python code in the folder is never run.

    Args:
        folder: the checkpoint, in the Hugging Face layout.
        dtype: dtype of the weights.
        kind: the model_type of its config.json, for error messages.

    Raises:
        ModelError: transformers is not installed or cannot read the model, the model needs its own code, `HFModel` does
            not support it, or its config describes more weights than its files have or than memory can hold.
    """
    try:
        import transformers  # noqa: PLC0415 an optional dependency that takes seconds to import
    except ModuleNotFoundError as error:
        message = f"config.json in {folder} says model_type {kind!r}, which is no family of ours; {MISSING}"
        raise ModelError(message) from error
    stored = Stored(folder)
    _demand_own_code(folder, kind, transformers.CONFIG_MAPPING)
    _demand_parts(read_json(folder / CONFIG), folder, len(stored.shapes))
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        _demand_size(transformers.AutoModelForCausalLM, config, stored, folder, dtype)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
        inner, found = loaded
        _demand_same_weights(found, folder)
        model = HFModel(inner.eval(), transformers.DynamicCache)
        model.demand_adaptable(str(kind))
    except ModelError:
        raise
    except Exception as error:  # transformers raises errors of any class for a damaged config
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = (
            f"config.json in {folder} says model_type {kind!r}, which is no family of ours, and transformers "
            f"{transformers.__version__} cannot read it as a causal model either: {reason[:200]}"
        )
        raise ModelError(message) from error
    return model


def _demand_own_code(folder: Path, kind: object, known: Mapping[str, Any]) -> None:
    """Raises ModelError if a checkpoint needs Python code that is not part of transformers.

    Args:
        folder: the checkpoint.
        kind: its model_type.
        known: config classes of transformers by model_type.
    """
    config = read_json(folder / CONFIG)
    if config.get("auto_map") and kind not in known:
        message = (
            f"config.json in {folder} says model_type {kind!r}, which transformers does not know, and names code of "
            "its own in auto_map; code that comes with a model is never run: take a checkpoint of a known model_type"
        )
        raise ModelError(message)
    _demand_no_kernels(config, folder)


def _demand_no_kernels(config: Mapping[str, Any], folder: Path) -> None:
    """Raises ModelError if a config, or one nested in it, names an attention or experts implementation on the hub."""
    for name, value in config.items():
        if name in IMPLEMENTATIONS and "/" in str(value):
            message = (
                f"config.json in {folder} names code on the hub in {name} ({str(value)[:80]!r}); code that comes with "
                f"a model is never run: remove {name} from config.json"
            )
            raise ModelError(message)
        if isinstance(value, dict):
            _demand_no_kernels(value, folder)


def _demand_parts(config: Mapping[str, Any], folder: Path, tensors: int) -> None:
    """Raises ModelError if a config has implausible counts of layers or experts, which would be slow to allocate.

    A count is implausible if it exceeds both the number of tensors in the files, `tensors`, and 1,024 layers or 16,384
    experts.
    """
    for name, value in config.items():
        most = max(EXPERTS if "expert" in name else LAYERS, tensors)
        if COUNTS.fullmatch(name) and isinstance(value, int) and value > most:
            message = f"config.json in {folder} says {name} {value:,}, and its weights are {tensors:,} tensors"
            raise ModelError(message)
        if isinstance(value, dict):
            _demand_parts(value, folder, tensors)


def _demand_size(auto: Any, config: Any, stored: Stored, folder: Path, dtype: torch.dtype) -> None:
    """Raises ModelError if a config's model has over twice the parameters of its files, or does not fit in memory.

    Args:
        auto: AutoModelForCausalLM of transformers.
        config: the model's config in transformers.
        stored: the tensors in the files.
        folder: the checkpoint, for error messages.
        dtype: dtype of the weights in memory.
    """
    with torch.device("meta"):
        described = auto.from_config(config, trust_remote_code=False)
    count = sum(parameter.numel() for parameter in described.parameters())
    if count > 2 * stored.count:  # a tied head may be counted twice
        message = (
            f"config.json in {folder} describes a model of {count:,} parameters and its weights are {stored.count:,}: "
            "they belong to different checkpoints"
        )
        raise ModelError(message)
    demand_room(count * dtype.itemsize + sum(buffer.nbytes for buffer in described.buffers()), str(folder))


def _demand_same_weights(found: Mapping[str, Any], folder: Path) -> None:
    """Raises ModelError if a loaded checkpoint lacks weights, or has unexpected ones or ones of another shape.

    Args:
        found: the loading info that `from_pretrained` of transformers returns.
        folder: the checkpoint, for error messages.
    """
    wrong = [*sorted(found["missing_keys"]), *sorted(found["unexpected_keys"])]
    wrong += sorted(map(str, found["mismatched_keys"]))
    if wrong:
        message = f"the weights in {folder} do not fit its config.json: {wrong[0]}, the first of {len(wrong)}"
        raise ModelError(message)


class HFModel(Architecture):
    """A causal language model of transformers as an `Architecture`.

    The inner model's dropout and other behaviour of training mode are off even in training, because the sampler runs
    without them; set `Architecture.dropout` to enable them.

    Args:
        inner: an AutoModelForCausalLM.
        cache: the class DynamicCache of transformers.

    Raises:
        ModelError: the model's cache contains anything but keys and values, or their shapes differ between layers.
    """

    def __init__(self, inner: Any, cache: Any) -> None:
        """Runs the model on one token to find the shapes of its cache."""
        super().__init__()
        self.inner, self._cache = inner, cache
        self.head = inner.get_output_embeddings()
        self.vocabulary = self.head.weight.shape[0]
        longest = getattr(inner.config.get_text_config(), "max_position_embeddings", None)
        self.context = longest if isinstance(longest, int) and longest > 0 else None
        seen = self._read(
            torch.zeros(1, 1, dtype=torch.long), use_cache=True, past_key_values=cache(config=inner.config)
        )
        kept = getattr(seen, "past_key_values", None)
        plain = kept is not None and all(type(layer).__name__ == "DynamicLayer" for layer in kept.layers)
        shapes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in kept.layers} if plain else set()
        if len(shapes) != 1:
            message = (
                f"{type(inner).__name__} cannot be adapted: it remembers something else than keys and values of every "
                "token, alike in all layers"
            )
            raise ModelError(message)
        ((keys, values),) = shapes
        self.remembered = {"keys": (len(kept.layers), *keys[1:]), "values": (len(kept.layers), *values[1:])}

    def train(self, mode: bool = True) -> Self:  # noqa: FBT002 nn.Module's own signature
        """Sets training or evaluation mode; the inner model stays in evaluation mode unless `dropout` is set."""
        super().train(mode)
        self.inner.train(mode and self.dropout)
        return self

    @torch.no_grad()
    def demand_adaptable(self, kind: str) -> None:
        """Checks that this adapter computes the inner model's own logits, with and without a decode cache.

        A short random text is read in one pass by the inner model, and by this adapter in one pass and in pieces of
        different lengths through the cache.

        Args:
            kind: the model_type, for the error message.

        Raises:
            ModelError: the logits differ, so the model treats positions or computes logits in an unsupported way.
        """
        tokens = torch.randint(self.vocabulary, (2, 7), generator=torch.Generator().manual_seed(0))
        wanted = self.inner(input_ids=tokens, use_cache=False).logits.float()
        memory, counts = self.memory(2, 4), torch.tensor([2, 4])
        self(tokens[:, :4], memory, counts=counts)
        rest = torch.stack([tokens[row, counts[row] : counts[row] + 2] for row in range(2)])
        found = self.logits(self(rest, memory))
        ragged = torch.stack([wanted[row, counts[row] : counts[row] + 2] for row in range(2)])
        gap = max((self.logits(self(tokens)) - wanted).abs().max(), (found - ragged).abs().max())
        if not gap <= (1e-3 if wanted.dtype == self.head.weight.dtype else 0.2) * wanted.std():
            message = (
                f"a model of type {kind!r} cannot be adapted: read in pieces it differs from itself by {gap:.2g} in "
                "its logits, so its positions or its logits are not made as ours are"
            )
            raise ModelError(message)

    def _read(self, tokens: Tensor, **how: Any) -> Any:
        return self.inner.base_model(input_ids=tokens, **how)

    def _demand_positions(self, length: int) -> None:
        """Raises ModelError if a text of `length` tokens exceeds the model's positions."""
        if self.context is not None and length > self.context:
            message = (
                f"a text of {length:,} tokens does not fit this {type(self.inner).__name__}, which has positions for "
                f"{self.context:,}: shorten the text, or ask for fewer tokens"
            )
            raise ModelError(message)

    def forward(
        self,
        tokens: Tensor,
        memory: Memory | None = None,
        *,
        counts: Tensor | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Returns the hidden states [B, T, D] of tokens; see `Architecture.forward` for the arguments.

        Raises:
            ModelError: a sequence is longer than the model's positions (`context`).
        """
        if memory is not None:
            return self._remembering(tokens, memory, counts)
        if packing is not None:
            return self._unpacked(tokens, packing)
        self._demand_positions(tokens.shape[1])
        out: Tensor = self._read(tokens, use_cache=False).last_hidden_state
        return out

    def _unpacked(self, tokens: Tensor, packing: Packing) -> Tensor:
        """Returns hidden states [B, T, D] of packed sequences, each of which the model reads in a row of its own.

        All padding of a row of `tokens` becomes one more sequence.
        """
        rows, length = tokens.shape
        number = packing.sequence + 1 + torch.arange(rows, device=tokens.device).unsqueeze(1) * (length + 1)
        _, row = number.unique(return_inverse=True)
        place = torch.where(packing.sequence < 0, 0, packing.position)
        apart = tokens.new_zeros(int(row.max()) + 1, int(place.max()) + 1)
        apart[row, place] = tokens
        return self(apart)[row, place]

    def _remembering(self, tokens: Tensor, memory: Memory, counts: Tensor | None) -> Tensor:
        """Returns hidden states [B, T, D] of tokens that continue cached sequences, and updates the cache.

        Cached sequences have different lengths, and new tokens are placed after the longest; an attention mask hides
        the gap.
        """
        rows, length = tokens.shape
        self._demand_positions(int((memory.lengths + (length if counts is None else counts)).max()))
        lengths, seen = memory.lengths.clone(), int(memory.lengths.max())
        memory.reserve(seen + length)
        keys, values = memory["keys"], memory["values"]
        cache = self._cache(config=self.inner.config)
        if seen:
            for layer in range(len(keys)):
                cache.update(keys[layer][:, :, :seen], values[layer][:, :, :seen], layer)
        columns = torch.arange(seen + length, device=tokens.device)
        visible = (columns < lengths.unsqueeze(1)) | (columns >= seen)
        place = lengths.unsqueeze(1) + torch.arange(length, device=tokens.device)
        within = place if self.context is None else place.clamp(max=self.context - 1)  # padding may exceed it
        seeing = self._read(
            tokens, attention_mask=visible.long(), position_ids=within, past_key_values=cache, use_cache=True
        )
        row = torch.arange(rows, device=tokens.device).unsqueeze(1)
        for layer, fresh in enumerate(seeing.past_key_values.layers):
            keys[layer][row, :, place] = fresh.keys[:, :, seen:].transpose(1, 2)
            values[layer][row, :, place] = fresh.values[:, :, seen:].transpose(1, 2)
        memory.advance(length if counts is None else counts)
        out: Tensor = seeing.last_hidden_state
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns logits [..., V] in fp32 for hidden states [..., D], computed in the dtype of the head's weight.

        The logits of the ids in `unused` are -1e9.
        """
        return masked(nn.functional.linear(hidden, self.head.weight, self.head.bias).float(), self.unused)

    def memory(self, rows: int, length: int) -> Memory:
        """Returns an empty decode cache for `rows` sequences of `length` tokens each.

        It stores "keys" and "values", [rows, heads, tokens, head width] for each layer.
        """
        stores = {
            name: [zeros((rows, heads, length, width), self.head.weight) for _ in range(layers)]
            for name, (layers, heads, _, width) in self.remembered.items()
        }
        return Memory(stores, {"keys": 2, "values": 2}, rows)

    def work(self, tokens: float) -> Work:
        """Returns the floating-point operations of a forward pass over the first `tokens` tokens of a text.

        Each weight of a matrix product takes two operations for each token. Attention takes 4 x hidden size operations
        for each layer and each pair of a query and a visible key.
        """
        weights = {id(parameter): parameter.numel() for parameter in self.parameters() if parameter.dim() > 1}
        tables = {id(table): table.numel() for table in (self.inner.get_input_embeddings().weight, self.head.weight)}
        products = sum(weights.values()) - sum(tables.values())
        config = self.inner.config.get_text_config()
        looks = config.num_hidden_layers * config.hidden_size * tokens * (tokens + 1) / 2
        return Work(2.0 * products * tokens, 4.0 * looks, 2.0 * self.head.weight.numel() * tokens)

    def config(self) -> dict[str, object]:
        """Returns the entries of `config.json`: the inner model's config, and the dtype of its weights."""
        found: dict[str, object] = self.inner.config.to_dict()
        return found | {"torch_dtype": str(self.head.weight.dtype).removeprefix("torch.")}

    def export(self) -> dict[str, Tensor]:
        """Returns weights and saved buffers by their names in transformers; tied weights have one entry."""
        saved = self.inner.state_dict()
        named = [*self.inner.named_parameters(), *self.inner.named_buffers()]
        return {name: tensor.detach() for name, tensor in named if name in saved}

    def load_exported(self, weights: dict[str, Tensor]) -> None:
        """Copies weights, by the names that `export` uses, into the model.

        Raises:
            RuntimeError: a name is missing or unexpected, or a shape differs.
        """
        own = self.export()
        if {*weights} != {*own}:
            message = f"weights differ in {min({*weights} ^ {*own})}"
            raise RuntimeError(message)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(weights[name])

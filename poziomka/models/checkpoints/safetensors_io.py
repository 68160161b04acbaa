"""Reading of a checkpoint's safetensors files, one or several shards, directly into existing tensors.

The format is https://github.com/huggingface/safetensors#format. Reading into allocated memory takes half the time and
half the memory of mapping the file and copying from it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poziomka.core.errors import ModelError
from poziomka.core.safety.untrusted import open_regular, parse_json, parse_object, read_regular

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "*.pth", "*.pt", "*.ckpt")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
OTHER_DTYPES = {  # dtypes of the format that are not supported for weights
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}
DERIVED = re.compile(r"(.*\.)?rotary_emb\.(inv_freq|original_inv_freq|cos_cached|sin_cached)")
HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library


@dataclass(frozen=True)
class Entry:
    """Location of a stored tensor: file, dtype, shape, and offset in bytes from the beginning of the file."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


class Stored:
    """The stored tensors of a checkpoint folder; only headers are read until tensors are requested.

    Buffers of rotary frequencies and angles are left out, as in transformers: they follow from the configuration.

    Args:
        folder: the checkpoint folder.

    Attributes:
        shapes: shapes of the tensors by name.

    Raises:
        ModelError: there are no weights, a shard is missing, truncated or damaged, or the weights are pickled.
    """

    def __init__(self, folder: Path) -> None:
        """Reads and checks the header of every shard."""
        self._entries: dict[str, Entry] = {}
        for path in _shards(folder):
            found = _contents(path)
            twice = sorted({*found} & {*self._entries})
            if twice:
                message = f"the weights in {folder} hold {twice[0]} twice, in {path.name} and in another shard"
                raise ModelError(message)
            self._entries |= found
        self.shapes = {name: entry.shape for name, entry in self._entries.items()}

    @property
    def count(self) -> int:
        """Number of values of all tensors together."""
        return sum(map(prod, self.shapes.values()))

    def read_into(self, places: Mapping[str, Tensor]) -> None:
        """Reads stored tensors into existing ones of the same shapes, converting dtypes.

        Args:
            places: target tensors by name, of any dtype and device.

        Raises:
            ModelError: a file cannot be read, or a tensor is stored in a dtype that is not supported.
        """
        for name in places:
            dtype = self._entries[name].dtype
            if dtype not in DTYPES.values():
                stored = next(key for key, value in OTHER_DTYPES.items() if value is dtype)
                path, kinds = self._entries[name].path, ", ".join(DTYPES)
                message = f"cannot read the weights {path}: {name} is stored as {stored}, and only {kinds} are read"
                raise ModelError(message)
        for path in dict.fromkeys(self._entries[name].path for name in places):
            try:
                with path.open("rb", buffering=0) as file:
                    for name, place in places.items():
                        entry = self._entries[name]
                        if entry.path == path:
                            file.seek(entry.start)
                            _fill(place, entry, file)
            except OSError as error:
                message = f"cannot read the weights {path}: {(error.strerror or str(error)).lower()}"
                raise ModelError(message) from error

    def same(self, one: str, other: str) -> bool:
        """Whether two stored tensors have equal shapes and values; raises ModelError if a file cannot be read."""
        if self.shapes[one] != self.shapes[other]:
            return False
        made = {name: torch.empty(self.shapes[name], dtype=self._entries[name].dtype) for name in (one, other)}
        self.read_into(made)
        first, second = made[one], made[other]
        if first.dtype != second.dtype:
            first, second = first.double(), second.double()
        return torch.equal(first, second)

    def tensors(self) -> dict[str, Tensor]:
        """Returns all stored tensors by name, in their stored dtypes."""
        made = {name: torch.empty(entry.shape, dtype=entry.dtype) for name, entry in self._entries.items()}
        self.read_into(made)
        return made


def _fill(place: Tensor, entry: Entry, file: Any) -> None:
    direct = place.dtype == entry.dtype and place.is_contiguous() and place.device.type == "cpu"
    target = place if direct else torch.empty(entry.shape, dtype=entry.dtype)
    view = target.detach().reshape(-1).view(torch.uint8).numpy().data
    while view:
        count = file.readinto(view)
        if not count:
            message = "the file became shorter while it was read"
            raise OSError(message)
        view = view[count:]
    if not direct:
        place.copy_(target)


def _contents(path: Path) -> dict[str, Entry]:
    """Returns the tensors' locations, by name, from the header of a safetensors file.

    Raises:
        ModelError: the header is damaged, or does not fit the file's size.
    """

    def demand(holds: bool, wrong: str) -> None:
        if not holds:
            message = f"cannot read the weights {path}: {wrong}; fetch or save it again"
            raise ModelError(message)

    entries: dict[str, Entry] = {}
    places: list[tuple[int, int]] = []
    size, end = 0, 8
    try:
        size = path.stat().st_size
        with open_regular(path, ModelError) as file:
            length = int.from_bytes(file.read(8), "little")
            demand(2 <= length <= min(HEADER_LIMIT, size - 8), "it is no safetensors file, or cut short in its header")
            table = parse_json(file.read(length), f"the header of {path}", ModelError)
        for name, entry in table.items():
            if name == "__metadata__":
                continue
            stored = entry["dtype"]
            known = DTYPES | OTHER_DTYPES
            demand(stored in known, f"{name} is stored as {stored}, and only {', '.join(DTYPES)} are read")
            dtype, shape, (start, stop) = known[stored], tuple(entry["shape"]), entry["data_offsets"]
            sizes = all(type(size) is int and size >= 0 for size in (*shape, start, stop))
            fills = sizes and stop - start == prod(shape) * dtype.itemsize
            demand(fills, f"{name} of shape {list(shape)} does not fill its place")
            places.append((start, stop))
            if not DERIVED.fullmatch(name):
                entries[name] = Entry(path, dtype, shape, 8 + length + start)
        end = 8 + length + max((stop for _, stop in places), default=0)
    except OSError as error:
        demand(holds=False, wrong=(error.strerror or str(error)).lower())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        demand(holds=False, wrong=f"its header is damaged ({error})")
    demand(end <= size, f"it is cut short, {size:,} of {end:,} bytes")
    filled = sorted(places)
    whole = all(start == before for (start, _), (_, before) in zip(filled, [(0, 0), *filled], strict=False))
    demand(whole and end == size, "its tensors overlap, or bytes lie between or after them that belong to none")
    return entries


def _shards(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        table = read_json(folder / INDEX).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            message = f"cannot read {folder / INDEX}: it has no table 'weight_map' of files"
            raise ModelError(message)
        paths = [folder / Path(name).name for name in sorted(set(table.values()))]
        absent = [path.name for path in paths if not path.is_file()]
        if absent:
            message = f"the weights in {folder} lack {len(absent)} of {len(paths)} shards: fetch {absent[0]} again"
            raise ModelError(message)
        return paths
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        message = (
            f"the weights {folder / pickles[0]} are pickled, which can run code when opened, and are not read; convert "
            "them with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
        raise ModelError(message)
    message = f"cannot read the weights {folder / WEIGHTS}: there is no such file, and no {INDEX} either"
    raise ModelError(message)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; raises ModelError if the file is missing or contains no object."""
    try:
        return parse_object(read_regular(path, ModelError), str(path), ModelError)
    except FileNotFoundError as error:
        message = f"{path.parent} is no folder of a checkpoint: it has no {path.name}"
        raise ModelError(message) from error


def demand_fit(found: Mapping[str, Iterable[int]], wanted: Mapping[str, Tensor], spare: Iterable[str] = ()) -> None:
    """Checks that a checkpoint's tensors have the names and shapes of a model's weights.

    Args:
        found: shapes of the stored tensors by name.
        wanted: the model's weights by name.
        spare: names that may be stored without a counterpart in the model, such as a tied head.

    Raises:
        RuntimeError: tensors are missing, unexpected or of another shape; the message names the first one.
    """
    surplus, missing = sorted({*found} - {*wanted} - {*spare}), sorted({*wanted} - {*found})
    wrong = sorted(name for name in {*wanted} & {*found} if tuple(found[name]) != tuple(wanted[name].shape))
    for names, what in ((missing, "the file lacks"), (surplus, "it has no place for")):
        if names:
            message = f"{what} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
            raise RuntimeError(message)
    if wrong:
        more = f", and {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
        message = f"{wrong[0]} is {list(found[wrong[0]])} and not {list(wanted[wrong[0]].shape)}{more}"
        raise RuntimeError(message)

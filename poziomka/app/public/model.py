"""`load`: a language model with its tokenizer and chat format, from a folder, a GGUF file, the hub or a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from poziomka.app.build import dated, recipe_in
from poziomka.app.cli.export import export
from poziomka.core.errors import ModelError, RunError
from poziomka.core.safety.untrusted import expanded
from poziomka.inference.endpoint.address import is_url
from poziomka.inference.local import LocalSampler
from poziomka.learning.session import TrainingSession
from poziomka.models.base import Architecture
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs import Run


@dataclass(frozen=True, repr=False)
class Model:
    """A language model that `load` returned.

    Attributes:
        name: folder, file or name from which `train` loads the model.
        weights: the torch module.
        chat: chat format, which turns messages into tokens.
        source: folder that the weights were read from.
        precision: precision of the weights, "float32" or "bfloat16".
        thinks: whether replies begin with "<think>".
        variables: variables of the chat template.
        policy: name of the weights' version, which a sampler stores in the spans that it writes.
        notes: sentences about the model for the user.
    """

    name: str
    weights: Architecture
    chat: ChatFormat
    source: Path
    precision: str
    thinks: bool = False
    variables: Mapping[str, object] = field(default_factory=dict)
    policy: str = "initial"
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Returns the name, the number of parameters and the precision."""
        return f"Model({self.name!r}, {self.weights.parameters_count:,} parameters, {self.precision})"

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the chat format."""
        return self.chat.tokenizer

    def sampler(self) -> LocalSampler:
        """Returns a sampler with a copy of the weights."""
        return LocalSampler(self.weights, self.chat, self.policy)

    def save(self, folder: str | Path) -> Path:
        """Writes the model to a new folder in the Hugging Face layout, LoRA adapters merged; returns the folder.

        Raises:
            SettingsError: the folder exists and is not empty.
        """
        export(self.source, None, Path(folder), None)
        return Path(folder)


def load(
    name: str | Path,
    *,
    precision: str = "bfloat16",
    thinks: bool = False,
    template_variables: Mapping[str, object] | None = None,
) -> Model:
    """Loads a language model.

        model = pz.load("smollm2")

    Args:
        name: "smollm2", a folder in the Hugging Face layout, a GGUF file, organisation/name on the Hugging Face hub, or
            the folder of a run, whose newest weights are loaded.
        precision: precision of the weights, "bfloat16" or "float32"; a processor without bfloat16 instructions computes
            in float32. Ignored for a run, whose recipe sets it.
        thinks: begin every reply with "<think>", for a model that thinks or is trained to. Ignored for a run.
        template_variables: variables of the chat template. Ignored for a run.

    Raises:
        ModelError: there is no such model, or it cannot be read.
        RunError: the run has saved no weights yet.
    """
    if is_url(str(name)):
        message = (
            f"{name} is an endpoint, which has no weights to load: pass it to evaluate, or make a RemoteSampler of it"
        )
        raise ModelError(message)
    folder = expanded(str(name), ModelError)
    if (folder / "recipe.toml").is_file():
        return _of_run(folder)
    own = dict(template_variables or {})
    variables = ({"enable_thinking": True} if thinks else {}) | own
    loaded = load_pretrained(str(name), precision, opens_thought=thinks, variables=variables)
    return Model(str(name), loaded.model, loaded.chat, loaded.source, precision, thinks, own, notes=loaded.notes)


def _of_run(folder: Path) -> Model:
    """Returns the newest weights of a run, with the precision and chat format of its recipe."""
    run = Run.read(folder)
    recipe = recipe_in(run)
    wanted = recipe.model
    saved = run.latest()
    if saved is None:
        message = f"the run {folder} has no checkpoint yet: train it first, with poziomka train --resume {folder}"
        raise RunError(message)
    whole = load_pretrained(
        str(saved.folder), wanted.precision, opens_thought=wanted.thinks, variables=wanted.variables
    )
    chat = dated(recipe, whole.chat, run)
    return Model(
        name=str(saved.folder),
        weights=whole.model,
        chat=chat,
        source=saved.folder,
        precision=wanted.precision,
        thinks=wanted.thinks,
        variables=wanted.template_variables,
        policy=TrainingSession.version_of(saved.step),
        notes=(*run.notes, *whole.notes),
    )

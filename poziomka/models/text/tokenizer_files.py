"""Tokenizer files of a checkpoint folder, stored as bytes so that saving leaves them unchanged."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from poziomka.core.errors import ModelError
from poziomka.core.safety.untrusted import parse_object, read_regular

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GENERATION, MODEL, NAMES = "generation_config.json", "config.json", "special_tokens_map.json"
COPIED = (
    TOKENIZER,
    CONFIG,
    TEMPLATE,
    GENERATION,
    NAMES,
    "added_tokens.json",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer files of a checkpoint.

    Attributes:
        folder: the folder that was read.
        contents: contents of the files by name; `config.json`, which belongs to the model, is read but not saved.
    """

    folder: Path
    contents: Mapping[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> "TokenizerFiles":
        """Reads the tokenizer files of a folder.

        Raises:
            ModelError: there is no `tokenizer.json`, or a file cannot be read.
        """
        if not (folder / TOKENIZER).is_file():
            other = [name for name in ("tokenizer.model", "vocab.json") if (folder / name).is_file()]
            convert = "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            advice = (
                f"convert its {other[0]} with transformers: {convert}"
                if other
                else "give the folder of a checkpoint that has one"
            )
            message = f"cannot read the tokenizer {folder / TOKENIZER}: there is no such file; {advice}"
            raise ModelError(message)
        try:
            present = [name for name in (*COPIED, MODEL) if (folder / name).is_file()]
            return cls(folder, {name: read_regular(folder / name, ModelError) for name in present})
        except OSError as error:
            message = f"cannot read the tokenizer in {folder}: {error}"
            raise ModelError(message) from error

    def save(self, folder: Path, ends: Sequence[int], end: str) -> None:
        """Writes the files to a folder unchanged, except for entries that name other end tokens than `ends`.

        If the template uses `eos_token`, that entry is unchanged, because the template's text would change with it.

        Args:
            folder: an existing folder.
            ends: ids that end a reply; the first is the one that training used.
            end: text of the token `ends[0]`.
        """
        stated: dict[str, tuple[str, Any]] = {GENERATION: ("eos_token_id", list(ends) if len(ends) > 1 else ends[0])}
        if "eos_token" not in (self.template or ""):
            stated |= dict.fromkeys((CONFIG, NAMES), ("eos_token", end))
        for name in COPIED:
            if name in self.contents:
                content = self.contents[name]
                if name in stated and not self._agrees(name, *stated[name]):
                    key, value = stated[name]
                    content = json.dumps(self.json(name) | {key: value}, indent=2, ensure_ascii=False).encode() + b"\n"
                (folder / name).write_bytes(content)

    def _agrees(self, name: str, key: str, wanted: Any) -> bool:
        """Whether a file's entry `key` equals `wanted`; a special_tokens_map.json without the entry agrees too.

        In generation_config.json, one id and a list of that id are equal, and the order of ids does not matter.
        """
        found = self.json(name).get(key)
        if name == NAMES and found is None:
            return True
        if name != GENERATION:
            return bool((found.get("content") if isinstance(found, dict) else found) == wanted)
        return _listed(found) == _listed(wanted)

    def json(self, name: str) -> dict[str, Any]:
        """Returns the object in a JSON file; {} if there is no such file.

        Raises:
            ModelError: the file contains no JSON object.
        """
        return parse_object(self.contents[name], str(self.folder / name), ModelError) if name in self.contents else {}

    @cached_property
    def names(self) -> dict[str, str]:
        """Texts of the special tokens by name, {"bos_token": "<s>", …}, without names that are set to null."""
        named = self.json(NAMES) | self.json(CONFIG)
        texts = {}
        for key, value in named.items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                texts[key] = text
        return texts

    @cached_property
    def template(self) -> str | None:
        """Jinja source of the chat template (of several, the one named "default"); None if there is none."""
        if TEMPLATE in self.contents:
            return self.contents[TEMPLATE].decode("utf-8", errors="replace")
        value = self.json(CONFIG).get("chat_template") or self.json("chat_template.json").get("chat_template")
        if isinstance(value, list):
            named = {str(entry.get("name")): entry.get("template") for entry in value if isinstance(entry, dict)}
            value = named.get("default", next(iter(named.values()), None))
        return value if isinstance(value, str) else None


def _listed(ids: Any) -> set[str]:
    """Returns one id or a list of ids as a set, each as JSON, because a file may contain values of any type."""
    return {json.dumps(each) for each in (ids if isinstance(ids, list) else [ids])}


@dataclass(frozen=True)
class ControlTokens:
    """Ids of the control tokens.

    Attributes:
        begin: BOS id, which opens a text; None if there is none.
        ends: ids that end a reply, the tokenizer's own EOS token first.
        pad: padding id.
    """

    begin: int | None
    ends: tuple[int, ...]
    pad: int

    @classmethod
    def of(cls, files: TokenizerFiles, inner: tokenizers.Tokenizer) -> "ControlTokens":
        """Returns the control tokens of a checkpoint.

        End tokens are those that the tokenizer's files name and those whose ids are in generation_config.json or
        config.json. The BOS token is found by its id only if tokenizer_config.json has no entry for it.

        Args:
            files: the checkpoint's files.
            inner: its tokenizer.

        Raises:
            ModelError: a named token or an id is not in the vocabulary, or there is no end token.
        """

        def named(key: str) -> list[int]:
            if key not in files.names:
                return []
            token = inner.token_to_id(files.names[key])
            if token is None:
                message = (
                    f"the tokenizer in {files.folder} names {files.names[key]!r} as its {key} "
                    f"but has no such token; its files belong to different checkpoints"
                )
                raise ModelError(message)
            return [token]

        def numbered(key: str) -> list[int]:
            found = []
            for name in (GENERATION, MODEL):
                value = files.json(name).get(key)
                listed = value if isinstance(value, list) else [value]
                found += [token for token in listed if isinstance(token, int) and not isinstance(token, bool)]
            known = range(1 << 32)  # ids that the tokenizer library can look up
            unknown = [token for token in found if token not in known or inner.id_to_token(token) is None]
            if unknown:
                message = (
                    f"{key} {unknown[0]} is no token of the tokenizer in {files.folder}, "
                    f"which has {inner.get_vocab_size()}; its files belong to different checkpoints"
                )
                raise ModelError(message)
            return found

        ends = tuple(dict.fromkeys([*named("eos_token"), *numbered("eos_token_id")]))
        if not ends:
            message = f"the tokenizer in {files.folder} names no end token: set eos_token in its {CONFIG}"
            raise ModelError(message)
        begin = named("bos_token") if "bos_token" in files.json(CONFIG) else numbered("bos_token_id")
        pad = named("pad_token") or list(ends)
        return cls(begin[0] if begin else None, ends, pad[0])

"""Text to token ids and back, over the `tokenizers` library."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers

from poziomka.core.answers import CLOSE, THINK
from poziomka.core.errors import ModelError

BEGIN, END, PAD = "<bos>", "<eos>", "<pad>"


class Tokenizer:
    """A vocabulary with its special tokens.

    Texts are written with a space before each symbol (" 3 + 4"), so that spans join into well-formed text.

    Attributes:
        begin, end, pad: ids of the special tokens.
        think, close: ids that spell "<think>" and "</think>"; one each in our own vocabularies.
        fingerprint: names the vocabulary; transcripts carry it.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        """Wraps a tokenizer of the `tokenizers` library.

        Raises:
            ModelError: a special token is missing.
        """
        self.inner = inner
        special = {name: inner.token_to_id(name) for name in (BEGIN, END, PAD)}
        missing = [name for name, token in special.items() if token is None]
        if missing:
            message = f"the tokenizer has no {', '.join(missing)}; a vocabulary needs {BEGIN}, {END} and {PAD}"
            raise ModelError(message)
        self.begin, self.end, self.pad = (token for token in special.values() if token is not None)
        self.think, self.close = tuple(self.encode(THINK)), tuple(self.encode(CLOSE))
        vocabulary = json.dumps(sorted(inner.get_vocab().items()), ensure_ascii=False)
        self.fingerprint = blake2b(vocabulary.encode(), digest_size=8).hexdigest()
        self._words = [inner.id_to_token(i) for i in range(len(self))]

    @classmethod
    def of_symbols(cls, symbols: Sequence[str]) -> "Tokenizer":
        """Returns a tokenizer of whole symbols, separated by white space; the special tokens come first."""
        names = [PAD, BEGIN, END, THINK, CLOSE, *symbols]
        if len(set(names)) != len(names):
            message = f"symbols must differ from each other and from {', '.join(names[:5])}"
            raise ModelError(message)
        inner = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=None))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return cls(inner)

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Reads `tokenizer.json` from a checkpoint's folder; raises ModelError where it cannot be read."""
        try:
            return cls(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
        except ModelError:
            raise
        except Exception as error:  # the library raises plain Exception
            message = f"cannot read the tokenizer {folder / 'tokenizer.json'}: {error}"
            raise ModelError(message) from error

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` and the configuration that transformers expects beside it."""
        self.inner.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": END,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    def __len__(self) -> int:
        """Size of the vocabulary."""
        size: int = self.inner.get_vocab_size()
        return size

    def encode(self, text: str) -> list[int]:
        """Returns ids.

        Raises:
            ModelError: a symbol is not in the vocabulary.
        """
        try:
            ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the library raises plain Exception for an unknown symbol
            message = f"cannot write {text[:80]!r} in this vocabulary of {len(self)} tokens: {error}"
            raise ModelError(message) from error
        if len(ids) < len(text.split()):
            unknown = [word for word in text.split() if self.inner.token_to_id(word) is None]
            message = f"the symbol {unknown[0]!r} is not in this vocabulary of {len(self)} tokens"
            raise ModelError(message)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, a space before each symbol.

        Begin, end and padding read as nothing, and so do ids beyond the vocabulary, for which a model may have room.
        """
        silent = (self.begin, self.end, self.pad)
        return "".join(f" {self._words[i]}" for i in ids if i not in silent and i < len(self._words))

"""`Tokenizer`: text to token ids and back, on top of the `tokenizers` library."""

import copy
import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from unicodedata import category

import tokenizers
from tokenizers import models, pre_tokenizers

from poziomka.core.errors import ModelError
from poziomka.core.transcript import CLOSE, THINK
from poziomka.models.text.patterns import patterns_in, repeats_a_repetition
from poziomka.models.text.tokenizer_files import CONFIG, TOKENIZER, ControlTokens, TokenizerFiles

BEGIN, END, PAD = "<bos>", "<eos>", "<pad>"
ANCHOR = "\n"  # encoded before a text from the middle, so that no space is prepended to it, and then removed
ESCAPED_OR_REGEX = re.compile(rb'"Regex"|\\u00')  # bytes of a tokenizer.json that may contain a regular expression


class Tokenizer:
    """A tokenizer with its control tokens, either a pretrained checkpoint's or the symbol vocabulary of a tiny model.

    A symbol vocabulary decodes each symbol with a space before it (" 3 + 4"), so that spans join into well-formed text.

    Attributes:
        begin: BOS id, which opens a text; None if the vocabulary has none.
        end: EOS id, which ends a reply; the first of the checkpoint's end tokens.
        ends: all ids that end a reply.
        pad: padding id.
        think, close: the ids that encode "<think>" and "</think>", a single one if the vocabulary has it as a token.
        spelled: ids whose text contains the last character of "</think>", with their texts; empty in a symbol
            vocabulary.
        special: ids that only a template may produce; encoding plain text never gives one of them.
        fingerprint: hash of the vocabulary, stored in transcripts.
        files: the loaded files, to save them again; None for a symbol vocabulary.
    """

    def __init__(self, inner: tokenizers.Tokenizer, files: TokenizerFiles | None = None) -> None:
        """Wraps a tokenizer of the `tokenizers` library.

        Args:
            inner: the tokenizer.
            files: the checkpoint's files; None for a symbol vocabulary.

        Raises:
            ModelError: a control token is missing, or the files do not belong together.
        """
        self.inner, self.files = inner, files
        self._lock = Lock()  # guards `encode_special_tokens`, which `encode_template` changes
        control = ControlTokens.of(files, inner) if files else _control_of_symbols(inner)
        self.begin, self.ends, self.pad = control.begin, frozenset(control.ends), control.pad
        self.end = control.ends[0]
        vocabulary = inner.get_vocab()
        self._length = max(vocabulary.values(), default=-1) + 1
        text = json.dumps(sorted(vocabulary.items()), ensure_ascii=False)
        self.fingerprint = blake2b(text.encode(), digest_size=8).hexdigest()
        self.special = frozenset(number for number, added in inner.get_added_tokens_decoder().items() if added.special)
        unknown = inner.token_to_id(files.names.get("unk_token", "")) if files else None
        controls = self.special | self.ends | (set() if self.begin is None else {self.begin})
        self._kept = controls - ({unknown} - self.ends)  # text may become the unknown token, but no other
        inner.encode_special_tokens = True  # True means: encode their texts as ordinary text
        inner.no_truncation()  # a tokenizer.json may enable truncation and padding, which would change the text
        inner.no_padding()
        self._anchor: list[int] = []
        if files and len(self._ids("a")) != len(self._ids(f"{ANCHOR}a")) - len(self._ids(ANCHOR)):
            self._anchor = self._ids(ANCHOR)
        self.think, self.close = (self._mark(text) for text in (THINK, CLOSE))
        self._lead = self._ids("a")[-1:] if files else []  # decoded before other ids, to keep their leading space
        self._led = len(inner.decode(self._lead, skip_special_tokens=False))
        last = [token for text, token in vocabulary.items() if CLOSE[-1] in text] if files else []
        self.spelled = {token: self.decode([token]) for token in last if token not in self.special}

    @classmethod
    def of_symbols(cls, symbols: Sequence[str]) -> "Tokenizer":
        """Returns a tokenizer of white-space-separated symbols; the control tokens have the first ids.

        Raises:
            ModelError: two symbols are equal, or one equals a control token.
        """
        names = [PAD, BEGIN, END, THINK, CLOSE, *symbols]
        if len(set(names)) != len(names):
            message = f"symbols must differ from each other and from {', '.join(names[:5])}"
            raise ModelError(message)
        inner = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=None))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return cls(inner)

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Loads the tokenizer of a checkpoint folder with a `tokenizer.json`.

        Raises:
            ModelError: a file is missing or cannot be read, the files do not belong together, or a regular expression
                can take exponential time.
        """
        files = TokenizerFiles.read(folder)
        settings = files.json(TOKENIZER) if ESCAPED_OR_REGEX.search(files.contents[TOKENIZER]) else {}
        bad = next((text for text in patterns_in(settings) if repeats_a_repetition(text)), None)
        if bad is not None:
            message = (
                f"the tokenizer {folder / TOKENIZER} splits text by {bad[:80]!r}, which can take for ever on a long "
                "text: a repeated group can match in several ways; give another tokenizer"
            )
            raise ModelError(message)
        try:
            inner = tokenizers.Tokenizer.from_buffer(files.contents[TOKENIZER])
            if isinstance(inner.model, models.WordLevel):
                return cls(inner)
            return cls(_guarded(inner, files), files)
        except ModelError:
            raise
        except Exception as error:  # the library raises plain Exception
            message = f"cannot read the tokenizer {folder / TOKENIZER}: {error}"
            raise ModelError(message) from error

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` and the other tokenizer files: the loaded files, unchanged except for the end tokens.

        The files then name `end` and `ends` as the end of a reply.
        """
        if self.files:
            ends = [self.end, *sorted(self.ends - {self.end})]
            self.files.save(folder, ends, str(self.inner.id_to_token(self.end)))
            return
        self.inner.save(str(folder / TOKENIZER))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BEGIN,
            "eos_token": END,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")

    def ending_with(self, end: int) -> "Tokenizer":
        """Returns a copy with `end` as the end of a reply, in addition to the present end tokens."""
        other = copy.copy(self)
        other.end, other.ends = end, self.ends | {end}
        return other

    def unused(self, rows: int) -> list[int]:
        """Returns the ids below `rows`, the model's number of logits, that are not in the vocabulary."""
        return sorted({*range(rows)} - {*self.inner.get_vocab().values()})

    def __len__(self) -> int:
        """Size of the vocabulary: the largest id plus 1."""
        return self._length

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a plain text; the text of a control token in it becomes ordinary tokens.

        A checkpoint's tokenizer encodes the text as the middle of a longer one: it adds neither a space nor a BOS
        token.

        Raises:
            ModelError: a symbol is not in the symbol vocabulary, or the tokenizer cannot encode the text.
        """
        ids = self._inside(text)
        if self.files is None:
            self._demand_known(text, ids)
        elif not self._kept.isdisjoint(ids):  # a model that looks up whole pieces can produce control tokens anyway
            return self._broken(text, next(token for token in ids if token in self._kept))
        return ids

    def encode_template(self, text: str, *, opening: bool = False) -> list[int]:
        """Returns the ids of a template's text, in which the texts of control tokens become control tokens.

        Args:
            text: the template's text.
            opening: whether the text begins the transcript.

        Raises:
            ModelError: a symbol is not in the symbol vocabulary, or the tokenizer cannot encode the text.
        """
        if not self.files:
            return self.encode(text)
        with self._lock:
            self.inner.encode_special_tokens = False
            try:
                return self._inside(text, opening=opening)
            finally:
                self.inner.encode_special_tokens = True

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, decoded as the middle of a longer text.

        BOS, end and padding ids are skipped, and so are ids beyond the vocabulary, for which a model may have logits.
        Bytes that form no complete character are decoded as U+FFFD.
        """
        silent = {self.begin, self.pad, *self.ends}
        spoken = [token for token in ids if token not in silent and token < self._length]
        if not self.files:
            return "".join(f" {self.inner.id_to_token(token)}" for token in spoken)
        text: str = self.inner.decode(self._lead + spoken, skip_special_tokens=False)
        return text[self._led :]

    def _inside(self, text: str, *, opening: bool = False) -> list[int]:
        """Returns the ids of a text, encoded as the middle of a longer one, or as its beginning if `opening` is set."""
        try:
            if self._anchor and text and not opening:
                return self._ids(ANCHOR + text)[len(self._anchor) :]
            return self._ids(text)
        except Exception as error:  # the library raises plain Exception for an unknown symbol
            message = f"cannot write {text[:80]!r} in this vocabulary of {len(self)} tokens: {error}"
            raise ModelError(message) from error

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        return ids

    def _mark(self, text: str) -> tuple[int, ...]:
        token = self.inner.token_to_id(text)
        return tuple(self.encode(text)) if token is None else (token,)

    def _demand_known(self, text: str, ids: list[int]) -> None:
        if len(ids) < len(text.split()):
            unknown = [word for word in text.split() if self.inner.token_to_id(word) is None]
            message = f"the symbol {unknown[0]!r} is not in this vocabulary of {len(self)} tokens"
            raise ModelError(message)

    def _broken(self, text: str, token: int) -> list[int]:
        """Returns the ids of a plain text that would otherwise be encoded with the control token `token`.

        Each occurrence of that token's text is split in two, and its halves are encoded separately.

        Raises:
            ModelError: the token's text does not occur, or has one character.
        """
        word = self.inner.id_to_token(token) or ""
        before, found, after = text.partition(word)
        if not found or len(word) < 2:
            message = f"cannot write {text[:80]!r}: this tokenizer makes the control token {word!r} of it"
            raise ModelError(message)
        return [*self.encode(before + word[:1]), *self.encode(word[1:] + after)]


def _control_of_symbols(inner: tokenizers.Tokenizer) -> ControlTokens:
    names = (BEGIN, END, PAD)
    special = {name: token for name in names if (token := inner.token_to_id(name)) is not None}
    if len(special) < len(names):
        missing = ", ".join(name for name in names if name not in special)
        message = f"the tokenizer has no {missing}; a vocabulary needs {BEGIN}, {END} and {PAD}"
        raise ModelError(message)
    return ControlTokens(special[BEGIN], (special[END],), special[PAD])


def _of_a_word(character: str) -> bool:
    """Whether a character can be part of a word: a letter, mark, digit, "-", "'", white space, "▁" or "Ġ"."""
    return category(character)[0] in "LMN" or character.isspace() or character in "▁Ġ'’-"


def _guarded(inner: tokenizers.Tokenizer, files: TokenizerFiles) -> tokenizers.Tokenizer:
    """Returns the tokenizer with more added tokens flagged as special, so that plain text cannot produce them.

    All added tokens but words and white space are flagged. Many checkpoints lack the flag on the tokens of tool calls,
    of fill-in-the-middle or of thoughts. An added token in the chat template is flagged even if it is spelled like a
    word.
    """
    template = files.template or ""
    control = {
        added.content
        for added in inner.get_added_tokens_decoder().values()
        if not added.special
        and added.content.strip()
        and (added.content in template or not all(map(_of_a_word, added.content)))
    }
    if not control:
        return inner
    settings = json.loads(files.contents[TOKENIZER])
    for added in settings["added_tokens"]:
        added["special"] |= added["content"] in control
    return tokenizers.Tokenizer.from_str(json.dumps(settings))

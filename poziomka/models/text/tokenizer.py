"""Text to token ids and back, over the `tokenizers` library."""

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
ANCHOR = "\n"  # written before a text that is no beginning, so that no space is put before it; then taken away
ESCAPED_OR_REGEX = re.compile(rb'"Regex"|\\u00')  # of tokenizer.json: where it may hold a regular expression


class Tokenizer:
    """A vocabulary with its control tokens: of whole symbols, as our tiny models have it, or of a real checkpoint.

    A vocabulary of symbols writes a space before each symbol (" 3 + 4"), so that spans join into well-formed text.

    Attributes:
        begin: id that opens a text; None where the vocabulary has none.
        end: id that ends a reply, of several the one that the checkpoint names first.
        ends: all ids that end a reply.
        pad: id that fills a row.
        think, close: ids that spell "<think>" and "</think>"; one each where the vocabulary has them as tokens.
        spelled: ids whose text holds the last letter of "</think>", with their texts; none in a vocabulary of symbols.
        special: ids that only a template may write; text never becomes one of them.
        fingerprint: names the vocabulary; transcripts carry it.
        files: what was loaded, to be saved again; None for a vocabulary of symbols.
    """

    def __init__(self, inner: tokenizers.Tokenizer, files: TokenizerFiles | None = None) -> None:
        """Wraps a tokenizer of the `tokenizers` library; without files it must be one of symbols.

        Raises:
            ModelError: a control token is missing, or the files do not belong together.
        """
        self.inner, self.files = inner, files
        self._lock = Lock()  # the library has one switch for both ways to encode
        control = ControlTokens.of(files, inner) if files else _control_of_symbols(inner)
        self.begin, self.ends, self.pad = control.begin, frozenset(control.ends), control.pad
        self.end = control.ends[0]
        vocabulary = inner.get_vocab()
        self._length = max(vocabulary.values(), default=-1) + 1
        text = json.dumps(sorted(vocabulary.items()), ensure_ascii=False)
        self.fingerprint = blake2b(text.encode(), digest_size=8).hexdigest()
        self.special = frozenset(number for number, added in inner.get_added_tokens_decoder().items() if added.special)
        unknown = inner.token_to_id(files.names.get("unk_token", "")) if files else None
        self._kept = self.special - ({unknown} - self.ends)  # what text may become is unknown at worst
        inner.encode_special_tokens = True  # which means: as text
        inner.no_truncation()  # a file may ask for either, and a text must be read whole and as it stands
        inner.no_padding()
        self._anchor: list[int] = []
        if files and len(self._ids("a")) != len(self._ids(f"{ANCHOR}a")) - len(self._ids(ANCHOR)):
            self._anchor = self._ids(ANCHOR)
        self.think, self.close = (self._mark(text) for text in (THINK, CLOSE))
        self._lead = self._ids("a")[-1:] if files else []  # decoded before other ids, so that their space is kept
        self._led = len(inner.decode(self._lead, skip_special_tokens=False))
        last = [token for text, token in vocabulary.items() if CLOSE[-1] in text] if files else []
        self.spelled = {token: self.decode([token]) for token in last if token not in self.special}

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
        """Reads the tokenizer of a checkpoint's folder, ours or any with a `tokenizer.json`.

        Raises:
            ModelError: a file is missing or cannot be read, or the files do not belong together.
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
        """Writes `tokenizer.json` and what transformers expects beside it: the files that were loaded, as they were.

        What they state of the end of a reply agrees with `ends`, the first of which is `end`.
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
        """Returns this tokenizer with `end` as the end of a reply, before those that it knows."""
        other = copy.copy(self)
        other.end, other.ends = end, self.ends | {end}
        return other

    def unused(self, rows: int) -> list[int]:
        """Returns the ids below `rows` that are no token of this vocabulary."""
        return sorted({*range(rows)} - {*self.inner.get_vocab().values()})

    def __len__(self) -> int:
        """Size of the vocabulary: the largest id and one."""
        return self._length

    def encode(self, text: str) -> list[int]:
        """Returns the ids of what somebody wrote; the text of a control token becomes ordinary tokens.

        A checkpoint's text is taken as the middle of a longer one: no space is put before it.

        Raises:
            ModelError: a symbol is not in a vocabulary of symbols, or the text is none.
        """
        ids = self._inside(text)
        if self.files is None:
            self._demand_known(text, ids)
        elif not self._kept.isdisjoint(ids):  # a model that looks up whole pieces found it without being asked
            return self._broken(text, next(token for token in ids if token in self._kept))
        return ids

    def encode_template(self, text: str, *, opening: bool = False) -> list[int]:
        """Returns the ids of what a template wrote: the texts of control tokens are control tokens.

        Args:
            text: the template's words.
            opening: whether they begin the transcript.

        Raises:
            ModelError: as `encode`.
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
        """Returns the text of ids, as it reads in the middle of a longer one.

        Begin, ends and padding read as nothing, and so do ids beyond the vocabulary, for which a model may have room.
        Bytes that are no character, for one the first half of one, read as U+FFFD.
        """
        silent = {self.begin, self.pad, *self.ends}
        spoken = [token for token in ids if token not in silent and token < self._length]
        if not self.files:
            return "".join(f" {self.inner.id_to_token(token)}" for token in spoken)
        text: str = self.inner.decode(self._lead + spoken, skip_special_tokens=False)
        return text[self._led :]

    def _inside(self, text: str, *, opening: bool = False) -> list[int]:
        """Returns the ids of a text that is the middle of a longer one, unless it is `opening` one."""
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
        """Encodes a text with every occurrence of a control token's text cut in two."""
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
    """Whether a character can be part of a plain word: a letter, a mark on one, a digit, white space or its sign."""
    return category(character)[0] in "LMN" or character.isspace() or character in "▁Ġ'’-"


def _guarded(inner: tokenizers.Tokenizer, files: TokenizerFiles) -> tokenizers.Tokenizer:
    """Makes added tokens special, apart from words and white space: a text must not become them.

    Many checkpoints leave the flag out for marks of tools, of code to fill in or of a thought. What a template writes
    is a mark even where it is spelled as a word.
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

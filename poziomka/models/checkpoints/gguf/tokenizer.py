"""Conversion of the tokenizer in a GGUF file to `tokenizers`, and to the files of a checkpoint folder.

Two kinds are supported: "gpt2", byte-level BPE with a list of merges and a named pre-tokenizer, and "llama",
SentencePiece BPE, whose merges follow from the scores of the pieces. Key names and token types are those of the format
(github.com/ggml-org/ggml, docs/gguf.md); the named pre-tokenizers are those of the checkpoints.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from poziomka.core.errors import ModelError, nearest
from poziomka.models.text.tokenizer_files import CONFIG, GENERATION, TEMPLATE, TOKENIZER

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # token types; 6 is a byte
LONGEST = 512  # maximum characters of a token; the number of merges grows with the length of a piece

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Pre-tokenizers by the file's tokenizer.ggml.pre: "digits" (split off each digit, then apply GPT-2's regular
# expression), "gpt2" (that expression alone), or another regular expression.
RULES = (
    dict.fromkeys(("gpt-2", "gpt2", "default", "mpt", "olmo", "phi-2", "jais"), "gpt2")
    | dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), "digits")
    | dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "smaug-bpe", "dbrx"), LLAMA3)
    | dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), QWEN2)
    | {"tekken": TEKKEN}
)
WHOLE_WORDS = ("llama-bpe", "llama3", "llama-v3", "tekken")  # a word in the vocabulary is one token without merges
OPENED = WHOLE_WORDS  # texts begin with the BOS token unless the file turns it off
COMPOSED = ("qwen2", "deepseek-r1-qwen")  # text is normalised to NFC first


def tokenizer_of_gguf(fields: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Returns the tokenizer described by the metadata of a GGUF file.

    Args:
        fields: the file's metadata by key; keys that begin with "tokenizer.ggml." are used.

    Raises:
        ModelError: the file has no tokenizer, or one of an unsupported kind or damaged.
    """
    kind = _field(fields, "model")
    if kind not in ("gpt2", "llama"):
        message = (
            f"this GGUF file has a tokenizer of kind {kind!r}, and only gpt2 (byte-level BPE) and llama (SentencePiece "
            f"BPE) are read; give the checkpoint's folder with its tokenizer.json instead"
        )
        raise ModelError(message)
    tokens = _tokens(fields)
    typed = bool(fields.get("tokenizer.ggml.token_type"))
    types = _values(fields, "token_type", int, len(tokens)) if typed else [NORMAL] * len(tokens)
    vocabulary = {token: i for i, (token, type_) in enumerate(zip(tokens, types, strict=True)) if type_ != UNUSED}
    inner = _byte_level(fields, vocabulary) if kind == "gpt2" else _sentence_piece(fields, vocabulary, types)
    added = [
        AddedToken(token, special=types[i] != USER_DEFINED, normalized=False)
        for token, i in vocabulary.items()
        if types[i] in (CONTROL, USER_DEFINED, UNKNOWN)
    ]
    inner.add_tokens(added)
    begin = _id(fields, "bos")
    opened = kind == "llama" or fields.get("tokenizer.ggml.pre") in OPENED
    if begin is not None and fields.get("tokenizer.ggml.add_bos_token", opened):
        name = tokens[begin]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{name}:0 $A:0", pair=f"{name}:0 $A:0 {name}:1 $B:1", special_tokens=[(name, begin)]
        )
    return inner


def write_tokenizer_of_gguf(fields: Mapping[str, Any], folder: Path) -> None:
    """Writes a GGUF file's tokenizer, chat template and generation config as the files that transformers reads.

    Args:
        fields: the file's metadata by key.
        folder: an existing folder.

    Raises:
        ModelError: the file has no tokenizer, or one of an unsupported kind or damaged, or a special token's id is
            outside the vocabulary.
    """
    tokens = _tokens(fields)
    tokenizer_of_gguf(fields).save(str(folder / TOKENIZER))
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    named = {name: tokens[token] for name, key in names.items() if (token := _id(fields, key)) is not None}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    if "bos_token" not in named:
        config["bos_token"] = None
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    ends = list(dict.fromkeys(token for key in ("eos", "eot", "eom") if (token := _id(fields, key)) is not None))
    generation = {"bos_token_id": _id(fields, "bos"), "eos_token_id": ends, "pad_token_id": _id(fields, "padding")}
    generation = {name: value for name, value in generation.items() if value not in (None, [])}
    (folder / GENERATION).write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    template = fields.get("tokenizer.chat_template")
    if template:
        (folder / TEMPLATE).write_text(str(template), encoding="utf-8")


def _field(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(f"tokenizer.ggml.{name}")
    if value is None:
        message = f"this GGUF file has no tokenizer.ggml.{name}; give a file with its tokenizer, or the folder of one"
        raise ModelError(message)
    return value


def _tokens(fields: Mapping[str, Any]) -> list[str]:
    """Returns the vocabulary, the text of each token id.

    Raises:
        ModelError: the list is missing or damaged, or a token is longer than 512 characters.
    """
    tokens = _values(fields, "tokens", str)
    longest = max(tokens, key=len, default="")
    if len(longest) > LONGEST:
        message = f"this GGUF file is damaged: it has a token of {len(longest):,} characters, {longest[:40]!r}…"
        raise ModelError(message)
    return tokens


def _values(fields: Mapping[str, Any], name: str, kind: type, count: int | None = None) -> list[Any]:
    """Returns an array of the metadata.

    Args:
        fields: the file's metadata.
        name: key of the array, after "tokenizer.ggml.".
        kind: type of its values.
        count: required number of values; None for any number.

    Raises:
        ModelError: the array is missing, or has other types or another length.
    """
    values = _field(fields, name)
    listed = isinstance(values, list) and all(isinstance(value, kind) for value in values)
    if not listed or count not in (None, len(values)):
        wanted = f"a list of {'' if count is None else f'{count:,} '}values of type {kind.__name__}"
        found = f"{len(values):,} of them" if listed else str(values)[:40]
        message = f"this GGUF file is damaged: its tokenizer.ggml.{name} must be {wanted}: received {found}"
        raise ModelError(message)
    return list(values)


def _id(fields: Mapping[str, Any], key: str) -> int | None:
    token = fields.get(f"tokenizer.ggml.{key}_token_id")
    count = len(_field(fields, "tokens"))
    if token is not None and not (isinstance(token, int) and 0 <= token < count):
        message = f"this GGUF file is damaged: its {key} token is {token}, and it has {count} tokens"
        raise ModelError(message)
    return token


def _byte_level(fields: Mapping[str, Any], vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
    """Returns a byte-level BPE tokenizer, as in GPT-2, with the merges and the pre-tokenizer that the metadata name.

    Raises:
        ModelError: the pre-tokenizer is unknown, or the merges do not fit the vocabulary.
    """
    name = str(fields.get("tokenizer.ggml.pre", "default"))
    if name not in RULES:
        message = f"this GGUF file cuts text into words by the unknown rule {name!r}{nearest(name, RULES)}"
        raise ModelError(message)
    merges = [tuple(merge.split(" ", 1)) for merge in _values(fields, "merges", str)]
    try:
        model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in WHOLE_WORDS)
    except Exception as error:  # the library raises plain Exception
        message = f"this GGUF file's merges do not fit its vocabulary: {error}"
        raise ModelError(message) from error
    inner = tokenizers.Tokenizer(model)
    if name in COMPOSED:
        inner.normalizer = normalizers.NFC()
    rule = RULES[name]
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule in ("gpt2", "digits"))
    if rule == "gpt2":
        inner.pre_tokenizer = words
    elif rule == "digits":
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    else:
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(rule), "isolated"), words])
    inner.decoder = decoders.ByteLevel()
    return inner


def _sentence_piece(fields: Mapping[str, Any], vocabulary: dict[str, int], types: list[int]) -> tokenizers.Tokenizer:
    """Returns a SentencePiece BPE tokenizer over characters, with byte fallback.

    Args:
        fields: the file's metadata by key.
        vocabulary: token ids by text.
        types: type of each token id.
    """
    tokens, unknown = _tokens(fields), _id(fields, "unknown")
    if unknown is None:
        unknown = next((i for i, kind in enumerate(types) if kind == UNKNOWN), None)
    model = models.BPE(
        vocab=vocabulary,
        merges=_merges(vocabulary, types, _values(fields, "scores", float, len(tokens))),
        unk_token=None if unknown is None else tokens[unknown],
        fuse_unk=True,
        byte_fallback="<0x00>" in vocabulary,
    )
    inner = tokenizers.Tokenizer(model)
    replace = normalizers.Replace(" ", "▁")
    spaced = fields.get("tokenizer.ggml.add_space_prefix", True)
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if spaced else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if spaced else steps)
    return inner


def _merges(vocabulary: dict[str, int], types: list[int], scores: list[float]) -> list[tuple[str, str]]:
    """Returns the merges of a SentencePiece tokenizer, best first.

    These are all pairs of pieces that together form a piece, ordered by its score.

    Args:
        vocabulary: token ids by text.
        types: type of each token id.
        scores: score of each token id.
    """
    pieces = {token: i for token, i in vocabulary.items() if types[i] in (NORMAL, USER_DEFINED)}
    merges = [
        (scores[i], piece[:cut], piece[cut:])
        for piece, i in pieces.items()
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    merges.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [(left, right) for _, left, right in merges]

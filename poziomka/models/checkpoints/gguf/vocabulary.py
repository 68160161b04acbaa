"""Conversion of a checkpoint's tokenizer to GGUF metadata, the inverse of gguf/tokenizer.py."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.gguf.tokenizer import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, tokenizer_of_gguf
from poziomka.models.text.tokenizer import Tokenizer

BYTE = 6  # token type of a single byte
RULES = ("smollm", "gpt-2", "llama-bpe", "qwen2", "tekken")  # one name for each pre-tokenizer
PROBE = (
    "It's 12345 O'CLOCK, we'll see…  3.14 + 2 = x\n\n\tfoo_bar(baz)\r\n  née e\u0301t\u0301e\u0301 ÜBERgroß "
    "camelCaseWORD 你好,世界 １２ 🙂👍🏽 http://a.b/c?d=e&f   \n \n end "
)


def vocabulary_fields(folder: Path, vocabulary: int) -> dict[str, Any]:
    """Returns the GGUF metadata of a checkpoint's tokenizer, by key.

    Args:
        folder: the checkpoint folder.
        vocabulary: rows of the model's embedding; unused tokens fill the vocabulary up to this size.

    Raises:
        ModelError: llama.cpp does not support this tokenizer.
    """
    tokenizer = Tokenizer.load(folder)
    inner = tokenizer.inner
    described = json.loads(inner.to_str())
    model = described["model"]
    if model["type"] != "BPE":
        message = f"a GGUF file cannot hold the tokenizer in {folder}: it is of kind {model['type']}, and only BPE fits"
        raise ModelError(message)
    tokens = {number: text for text, number in inner.get_vocab().items()}
    types = dict.fromkeys(tokens, NORMAL)
    for number, added in inner.get_added_tokens_decoder().items():
        types[number] = CONTROL if added.special else USER_DEFINED
    fields: dict[str, Any] = {}
    if model.get("byte_fallback"):
        fields |= _sentence_piece(described, tokens, types, vocabulary)
    else:
        fields |= {"model": "gpt2", "pre": _rule(inner, folder), "merges": _merges(described)}
    fields["tokens"] = [tokens.get(number, f"[PAD{number}]") for number in range(vocabulary)]
    fields["token_type"] = [types.get(number, UNUSED) for number in range(vocabulary)]
    fields["add_bos_token"] = inner.encode("a").ids[:1] == [tokenizer.begin]
    fields |= {"eos_token_id": tokenizer.end, "padding_token_id": tokenizer.pad}
    fields |= {} if tokenizer.begin is None else {"bos_token_id": tokenizer.begin}
    others = sorted(tokenizer.ends - {tokenizer.end})
    fields |= dict(zip(("eot_token_id", "eom_token_id"), others, strict=False))  # end tokens of llama.cpp too
    found = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    template = tokenizer.files.template if tokenizer.files else None
    return found if template is None else {**found, "tokenizer.chat_template": template}


def _rule(inner: tokenizers.Tokenizer, folder: Path) -> str:
    """Returns llama.cpp's name of a tokenizer's pre-tokenizer: the one that splits a test text into the same words.

    Raises:
        ModelError: llama.cpp has no such pre-tokenizer.
    """
    if inner.pre_tokenizer is not None:
        words = _words(inner)
        for name in RULES:
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            facts = {"model": "gpt2", "pre": name, "tokens": alphabet, "merges": []}
            if _words(tokenizer_of_gguf({f"tokenizer.ggml.{key}": value for key, value in facts.items()})) == words:
                return name
    message = (
        f"a GGUF file cannot hold the tokenizer in {folder}: it cuts text into words by a rule of its own, "
        f"which is none of {', '.join(RULES)}"
    )
    raise ModelError(message)


def _words(inner: tokenizers.Tokenizer) -> list[str]:
    text = PROBE if inner.normalizer is None else inner.normalizer.normalize_str(PROBE)
    return [word for word, _ in inner.pre_tokenizer.pre_tokenize_str(text)]


def _sentence_piece(
    described: dict[str, Any], tokens: dict[int, str], types: dict[int, int], vocabulary: int
) -> dict[str, Any]:
    """Returns the GGUF metadata of a SentencePiece tokenizer, and sets the types of its unknown and byte tokens.

    The earlier a merge, the higher the score of the piece that it forms.

    Args:
        described: the parsed tokenizer.json.
        tokens: token texts by id.
        types: token types by id, updated in place.
        vocabulary: rows of the model's embedding.
    """
    merges = _merges(described)
    ranks = {merge.replace(" ", "", 1): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
    unknown = described["model"].get("unk_token")
    for number, text in tokens.items():
        if text == unknown:
            types[number] = UNKNOWN
        elif len(text) == 6 and text.startswith("<0x"):
            types[number] = BYTE
    lowest = -float(len(merges))
    spaced = '"Prepend"' in json.dumps(described.get("normalizer")) or '"prepend_scheme": "first"' in json.dumps(
        described.get("pre_tokenizer")
    )
    fields = {
        "model": "llama",
        "add_space_prefix": spaced,
        "scores": [ranks.get(tokens.get(number, ""), lowest) for number in range(vocabulary)],
    }
    found = [number for number, text in tokens.items() if text == unknown]
    return fields | ({"unknown_token_id": found[0]} if found else {})


def _merges(described: dict[str, Any]) -> list[str]:
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]

"""Added tokens that a checkpoint does not flag as special: what a person writes never becomes one, words apart."""

import json

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from poziomka.models.text.tokenizer import Tokenizer

MARKS = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "[TOOL_CALLS]",
    "<unused7>",
    "<｜tool▁calls▁begin｜>",
    "</h1>",
]
WORDS = ["Poziomka", "  ", "\n\n", "słoń", "well-known"]


@pytest.fixture
def tokenizer(tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["</s>"])
    inner.add_tokens([AddedToken(text, normalized=False) for text in (*MARKS, *WORDS)])
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return Tokenizer.load(tmp_path)


@pytest.mark.fault("B12")
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_a_person_writes_is_ordinary_text(mark, tokenizer):
    token = tokenizer.inner.token_to_id(mark)
    ids = tokenizer.encode(f"a {mark} b")
    assert token not in ids
    assert tokenizer.decode(ids) == f"a {mark} b"
    assert token in tokenizer.special


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_a_template_writes_is_one_token(mark, tokenizer):
    assert tokenizer.encode_template(f"{mark}x")[0] == tokenizer.inner.token_to_id(mark)


@pytest.mark.parametrize("word", WORDS)
def test_an_added_word_stays_one_token(word, tokenizer):
    assert tokenizer.inner.token_to_id(word) in tokenizer.encode(f"a{word}b")

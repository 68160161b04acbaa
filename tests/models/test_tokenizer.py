"""Text to ids and back; what is not in the vocabulary is refused in words."""

import json

import pytest
import tokenizers

from poziomka.core.errors import ModelError
from poziomka.models.text.tokenizer import Tokenizer


def test_special_tokens_come_first(tokenizer):
    assert (tokenizer.pad, tokenizer.begin, tokenizer.end) == (0, 1, 2)
    assert (tokenizer.think, tokenizer.close) == ((3,), (4,))
    assert len(tokenizer) == 15


def test_text_comes_back_with_a_space_before_each_symbol(tokenizer):
    assert tokenizer.encode("1  2 </think> 3") == [6, 7, 4, 8]
    assert tokenizer.decode([6, 7, 4, 8]) == " 1 2 </think> 3"


def test_special_tokens_read_as_nothing(tokenizer):
    assert tokenizer.decode([1, 6, 0, 2]) == " 1"


def test_ids_beyond_the_vocabulary_read_as_nothing(tokenizer):
    assert tokenizer.decode([6, 99, 7]) == " 1 2"


def test_empty_text_has_no_tokens(tokenizer):
    assert tokenizer.encode("") == []


@pytest.mark.parametrize("text", ["eleven", "1 eleven 2", "1,2"])
def test_an_unknown_symbol_is_named(tokenizer, text):
    word = next(word for word in text.split() if not word.isdigit())
    with pytest.raises(ModelError, match=word):
        tokenizer.encode(text)


def test_text_that_is_no_text_is_refused(tokenizer):
    with pytest.raises(ModelError, match=r"cannot write '1 \\ud800' in this vocabulary of 15 tokens"):
        tokenizer.encode("1 \ud800")


@pytest.mark.parametrize("symbols", [["a", "a"], ["a", "<think>"], ["<eos>"]])
def test_symbols_must_differ(symbols):
    with pytest.raises(ModelError, match="symbols must differ"):
        Tokenizer.of_symbols(symbols)


def test_the_fingerprint_names_the_vocabulary(tokenizer):
    again = Tokenizer.of_symbols([str(digit) for digit in range(10)])
    other = Tokenizer.of_symbols([str(digit) for digit in (1, 0, *range(2, 10))])
    assert tokenizer.fingerprint == again.fingerprint != other.fingerprint


def test_it_is_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("7 </think> 3") == tokenizer.encode("7 </think> 3")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<eos>"


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the tokenizer .*tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<bos>": 0, "a": 1}, unk_token=None))
    inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="has no <eos>, <pad>"):
        Tokenizer.load(tmp_path)

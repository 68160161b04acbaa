"""A tokenizer whose regular expression can take exponential time is refused; those of real checkpoints are not."""

import json

import pytest
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from poziomka.core.errors import ModelError
from poziomka.models.text.patterns import repeats_a_repetition
from poziomka.models.text.tokenizer import Tokenizer

REAL = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    ),
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}]+(?i:'s|'t|'re)?|\p{N}{1,3}| ?[^\s\p{L}]+[\r\n/]*|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|\s+(?!\S)",
    "lookahead": r"(?=a+)+b",
    "atomic": r"(?>a+)+b",
    "once": r"(a+)(b+)?",
    "superbpe": r"\p{N}+| (?=(\d{3})+(?!\d))|\s+(?!\S)",
    "chameleon": r"(<sentinel:[0-9]+>|(IMGIMG)((A|B|C|D){1,4})Z|[\p{L}]+)",
}


@pytest.mark.parametrize("name", REAL)
def test_patterns_of_real_tokenizers_are_taken(name):
    assert not repeats_a_repetition(REAL[name])


@pytest.mark.parametrize(
    "bad",
    [
        r"(a+)+$",
        r"(?:\s*\w)*x",
        r"((a+)b?)*c",
        r"(a{2,})+$",
        r"([(]a*)+",
        r"(?i:a+)*b",
        r"a{2,3}*$",
        r"(a|a)+$",
        r"(?:a|aa)*b",
        r"(a?a)+$",
        r"(a{1,2})*$",
        r"((?:\w|\d)x?)+$",
    ],
)
def test_a_repetition_of_a_repetition_is_found(bad):
    assert repeats_a_repetition(bad)


@pytest.mark.fault("E16")
@pytest.mark.parametrize("spelled", ['"Regex"', r'"\u0052egex"'])
def test_a_tokenizer_that_can_hang_is_refused_in_a_sentence(spelled, tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("(a+)+$"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["</s>"])
    (tmp_path / "tokenizer.json").write_text(inner.to_str().replace('"Regex"', spelled))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    with pytest.raises(ModelError, match="can take for ever on a long text"):
        Tokenizer.load(tmp_path)

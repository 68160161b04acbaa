"""A tokenizer goes through a GGUF file and comes out the same, for us and for llama.cpp."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from poziomka.core.errors import ModelError
from poziomka.models.checkpoints.gguf.tokenizer import RULES, tokenizer_of_gguf
from poziomka.models.checkpoints.gguf.vocabulary import vocabulary_fields
from poziomka.models.checkpoints.gguf.writer import export_gguf
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.tokenizer import Tokenizer

TEXT = Path(__file__).read_text(encoding="utf-8")
HARD = (
    "Hello world",
    "  two spaces, then\n\n\ttabs\r\n",
    "It's 12345 o'clock; WE'LL see 3.14 + 2",
    "naïve café 你好 🙂👍🏽 e\u0301",
    "camelCaseWORD foo_bar(baz) http://a.b/c?d=e&f",
    TEXT[:500],
)
SPECIAL = ["<unk>", "<s>", "</s>"]
TOKENIZE = """
import json, sys
from llama_cpp import Llama
path, texts = json.load(sys.stdin)
model = Llama(path, vocab_only=True, verbose=False)
print(json.dumps([model.tokenize(text.encode(), add_bos=False, special=False) for text in texts]))
"""


def byte_level(rule="smollm"):
    """Byte-level BPE that cuts text into words by a rule of ggml_tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    facts = {"model": "gpt2", "pre": rule, "tokens": alphabet, "merges": []}
    like = tokenizer_of_gguf({f"tokenizer.ggml.{name}": value for name, value in facts.items()})
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = like.pre_tokenizer, decoders.ByteLevel()
    if like.normalizer is not None:
        inner.normalizer = like.normalizer
    trainer = BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([TEXT], trainer)
    return json.loads(inner.to_str())


def sentence_piece():
    """SentencePiece's BPE with bytes for what no piece holds, as Llama 2 has it."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for training: pieces stay within words
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    inner.train_from_iterator(
        TEXT.split("\n"), BpeTrainer(vocab_size=700, special_tokens=[*SPECIAL, *bytes_], show_progress=False)
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    described = json.loads(inner.to_str()) | {"pre_tokenizer": None}
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] in SPECIAL]
    return described


@pytest.fixture
def save(tmp_path):
    """Saves a tiny checkpoint with a tokenizer; returns its folder and the tokenizer."""

    def save(described, **config):
        folder, saved = tmp_path / "tokenizer", tmp_path / "saved"
        folder.mkdir()
        saved.mkdir()
        (folder / "tokenizer.json").write_text(json.dumps(described))
        named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | config
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
        tokenizer = Tokenizer.load(folder)
        settings = TransformerSettings(width=32, heads=2, layers=1, qk_norm=False)
        save_model(saved, build_model("transformer", settings, len(tokenizer) + 3, 0), tokenizer)
        return saved, tokenizer

    return save


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POZIOMKA_CACHE", str(tmp_path / "cache"))


@pytest.mark.peers
@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_ids_are_the_same_here_and_in_llama_cpp(make, save, llama_cpp, tmp_path):
    folder, tokenizer = save(make())
    path = tmp_path / "model.gguf"
    export_gguf(folder, path)
    again = load_pretrained(str(path)).tokenizer
    assert [again.encode(text) for text in HARD] == [tokenizer.encode(text) for text in HARD]
    wanted = [tokenizer.inner.encode(text, add_special_tokens=False).ids for text in HARD]
    assert llama_cpp(TOKENIZE, [str(path), HARD]) == wanted


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_the_rule_for_words_is_known_by_what_it_does(rule, save):
    folder, _ = save(byte_level(rule))
    fields = vocabulary_fields(folder, 600)
    assert RULES[fields["tokenizer.ggml.pre"]] == RULES[rule]


def test_tokens_that_nobody_uses_fill_up_to_the_models_vocabulary(save):
    folder, tokenizer = save(byte_level())
    fields = vocabulary_fields(folder, len(tokenizer) + 2)
    assert fields["tokenizer.ggml.tokens"][-3:] == [
        tokenizer.inner.id_to_token(len(tokenizer) - 1),
        *(f"[PAD{len(tokenizer) + number}]" for number in range(2)),
    ]
    assert fields["tokenizer.ggml.token_type"][-2:] == [5, 5]
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]


def test_a_rule_of_its_own_is_refused(save):
    described = byte_level()
    described["pre_tokenizer"] = described["pre_tokenizer"]["pretokenizers"][1] | {"use_regex": False}
    folder, _ = save(described)
    with pytest.raises(ModelError, match="cuts text into words by a rule of its own, which is none of smollm, gpt-2"):
        vocabulary_fields(folder, 600)

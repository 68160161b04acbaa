"""The tokenizer of a checkpoint gives transformers' ids, takes no control token from text, and is saved as it came."""

import json

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from poziomka.core.errors import ModelError
from poziomka.models.text.tokenizer import Tokenizer

CORPUS = [
    "It's 12 + 345 = 357, isn't it?",
    "Ala ma kota; kot ma Alę. Don't they've I'll",
    "   spaced   out\n\n\nlines\t2024",
    "def f(x):\n    return x  # 中文 café",
    "</think> <think>",
] * 6
HARD = [
    *("", " ", "Hello", "  two  spaces ", "\n\n\t x", "12345 + 67890", "I'm you're CAN'T", "中文 日本語 한국어"),
    *(
        "😀👩‍👩‍👧 🇵🇱",
        "e\u0301 Zażółć",
        "if (a[i++] != '\\0') { return; }",
        "\u00a0\u200b\u3000",
        "<|end|>x</s> <think>",
    ),
    *(bytes(range(start, start + 40)).decode(errors="replace") for start in (30, 120, 200)),
]
SPECIAL = ["<unk>", "<s>", "</s>", "<|end|>"]


def byte_level():
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner


def sentence_piece():
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    inner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=450, special_tokens=special, show_progress=False))
    settings = json.loads(inner.to_str())
    settings["added_tokens"] = [added for added in settings["added_tokens"] if added["content"] in SPECIAL]
    return tokenizers.Tokenizer.from_str(json.dumps(settings))


def unigram():
    pieces = [(text, 0.0) for text in SPECIAL] + [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    words = ["▁", "▁the", "▁kot", "a", "b", "12", "▁is", "n't", "<", ">", "</", "s", "/", "think", "|", "end"]
    pieces += [(word, -3.0 - number / 10) for number, word in enumerate(words)]
    inner = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    inner.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    return inner


KINDS = {"byte-level BPE": byte_level, "SentencePiece BPE": sentence_piece, "Unigram": unigram}


def write(folder, inner, **files):
    inner.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    for name, value in ({"tokenizer_config": config} | files).items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("checkpoint"), KINDS[request.param]())


@pytest.fixture
def bpe(tmp_path):
    """Returns a byte-level tokenizer's folder."""
    return lambda **files: write(tmp_path, byte_level(), **files)


@pytest.mark.parametrize("text", HARD)
def test_what_a_template_writes_has_the_ids_of_transformers(folder, text):
    theirs = AutoTokenizer.from_pretrained(folder)
    ids = theirs.encode(text, add_special_tokens=False)
    assert Tokenizer.load(folder).encode_template(text, opening=True) == ids


@pytest.mark.parametrize("text", [text for text in HARD if not text[:1].isspace()])
def test_text_in_the_middle_has_the_ids_that_follow_in_transformers(folder, text):
    theirs = AutoTokenizer.from_pretrained(folder)
    before = theirs.encode("\n", add_special_tokens=False)
    ids = theirs.encode(f"\n{text}", add_special_tokens=False, split_special_tokens=True)
    assert ids[: len(before)] == before
    if theirs.all_special_ids and not set(theirs.all_special_ids).isdisjoint(ids):
        assert Tokenizer.load(folder).special.isdisjoint(Tokenizer.load(folder).encode(text))  # theirs took it for one
    else:
        assert Tokenizer.load(folder).encode(text) == ids[len(before) :]


def test_text_never_becomes_a_control_token(folder):
    tokenizer = Tokenizer.load(folder)
    text = "a</s><s>b<|end|><|end|></</s>s>"
    ids = tokenizer.encode(text)
    assert tokenizer.special.isdisjoint(ids)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special.isdisjoint(tokenizer.encode_template(text))


def test_text_comes_back_in_pieces(folder):
    tokenizer = Tokenizer.load(folder)
    for text in ("is", " 12 kot", "a  b", "the kot\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_half_a_character_reads_as_a_replacement(folder):
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode("a😀b")
    broken = tokenizer.decode(ids[: ids.index(tokenizer.encode("b")[-1]) - 1])
    assert broken.startswith("a\ufffd")
    assert tokenizer.decode(ids) == "a😀b"


def test_ends_begin_and_what_is_beyond_the_vocabulary_read_as_nothing(folder):
    tokenizer = Tokenizer.load(folder)
    ids = [tokenizer.begin, *tokenizer.encode("a"), tokenizer.end, tokenizer.pad, len(tokenizer) + 7]
    assert tokenizer.decode(ids) == "a"


def test_it_is_saved_as_it_came(folder, tmp_path):
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 3]}')
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    tokenizer = Tokenizer.load(folder)
    tokenizer.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"}
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)
    text = "It's <|end|> 12"
    theirs = AutoTokenizer.from_pretrained(tmp_path).encode(text, add_special_tokens=False)
    assert theirs == tokenizer.encode_template(text, opening=True)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_every_end_that_a_file_names_ends_a_reply(bpe):
    tokenizer = Tokenizer.load(bpe(generation_config={"eos_token_id": [3, 2]}, config={"eos_token_id": 0}))
    assert (tokenizer.end, tokenizer.ends) == (2, {0, 2, 3})
    assert (tokenizer.begin, tokenizer.pad) == (1, 2)


def test_a_template_can_name_another_end(bpe):
    tokenizer = Tokenizer.load(bpe())
    other = tokenizer.ending_with(3)
    assert (other.end, other.ends, other.fingerprint) == (3, {2, 3}, tokenizer.fingerprint)
    assert tokenizer.ends == {2}


def test_a_vocabulary_may_have_no_beginning(bpe):
    config = {"bos_token": None, "eos_token": {"content": "<|end|>"}, "pad_token": "<unk>"}
    tokenizer = Tokenizer.load(bpe(tokenizer_config=config, config={"bos_token_id": 1}))
    assert (tokenizer.begin, tokenizer.end, tokenizer.pad) == (None, 3, 0)


def test_marks_of_a_thought_are_spelled_where_the_vocabulary_has_no_token(bpe):
    tokenizer = Tokenizer.load(bpe())
    assert tokenizer.decode(tokenizer.think + tokenizer.close) == "<think></think>"
    assert len(tokenizer.close) > 1
    assert tokenizer.close[-1] in tokenizer.spelled


def test_marks_of_a_thought_that_are_tokens_are_not_taken_from_text(tmp_path):
    inner = byte_level()
    inner.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>", "Kot")])
    tokenizer = Tokenizer.load(write(tmp_path, inner))
    assert (len(tokenizer.think), len(tokenizer.close)) == (1, 1)
    assert tokenizer.special.isdisjoint(tokenizer.encode("<think>a</think>"))
    assert tokenizer.decode(tokenizer.encode("<think>a</think>")) == "<think>a</think>"
    assert inner.token_to_id("Kot") in tokenizer.encode("a Kot")  # a word, and no template writes it
    assert tokenizer.decode([*tokenizer.think, *tokenizer.close]) == "<think></think>"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": {}}, "names no end token: set eos_token"),
        ({"tokenizer_config": {"eos_token": "<nothing>"}}, "names '<nothing>' as its eos_token but has no such token"),
        ({"generation_config": {"eos_token_id": 9999}}, r"eos_token_id 9999 is no token of .* different checkpoints"),
        ({"generation_config": {"eos_token_id": [-1]}}, r"eos_token_id -1 is no token"),
        ({"generation_config": {"eos_token_id": 1 << 40}}, r"eos_token_id 1099511627776 is no token"),
        ({"tokenizer_config": [1]}, r"tokenizer_config\.json must hold an object: received a list"),
    ],
)
def test_files_that_do_not_fit_are_told_in_a_sentence(files, message, bpe):
    with pytest.raises(ModelError, match=message):
        Tokenizer.load(bpe(**files))


@pytest.mark.parametrize("ids", [{}, [[]], "x", None, True, [2, {"a": 1}], 2.5])
def test_end_tokens_that_are_no_numbers_are_left_out_and_written_anew(bpe, tmp_path, ids):
    tokenizer = Tokenizer.load(bpe(generation_config={"eos_token_id": ids}))
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path / "saved")
    assert tokenizer.ends == {2}
    assert Tokenizer.load(tmp_path / "saved").ends == {2}


def test_an_end_token_that_is_a_plain_entry_of_the_vocabulary_is_not_taken_from_text(tmp_path):
    pieces = ["<unk>", "<", "/", "s", ">", "</", "</s", "</s>", "a"]
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    inner = tokenizers.Tokenizer(models.BPE(dict(zip(pieces, range(9), strict=True)), merges, unk_token="<unk>"))
    tokenizer = Tokenizer.load(write(tmp_path, inner, tokenizer_config={"eos_token": "</s>", "unk_token": "<unk>"}))
    assert tokenizer.ends == {7}
    assert 7 not in tokenizer.encode("a</s>a")
    assert 7 in tokenizer.encode_template("a</s>")


def test_what_no_token_holds_is_unknown_and_no_error(tmp_path):
    inner = tokenizers.Tokenizer(models.BPE({"<unk>": 0, "</s>": 1, "a": 2}, [], unk_token="<unk>"))
    inner.add_special_tokens(["<unk>", "</s>"])
    tokenizer = Tokenizer.load(write(tmp_path, inner, tokenizer_config={"eos_token": "</s>", "unk_token": "<unk>"}))
    assert tokenizer.encode("a文a") == [2, 0, 2]


def test_a_damaged_file_is_named(bpe):
    folder = bpe()
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"generation_config\.json is not JSON"):
        Tokenizer.load(folder)
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match=r"cannot read the tokenizer .*tokenizer\.json"):
        Tokenizer.load(folder)


def test_an_older_layout_is_refused_with_the_way_to_convert(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ModelError, match=r"convert its tokenizer\.model with transformers"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("way", ["encode", "encode_template"])
def test_text_that_is_no_text_is_refused(bpe, way):
    with pytest.raises(ModelError, match="cannot write"):
        getattr(Tokenizer.load(bpe()), way)("\ud800")


@pytest.mark.parametrize("where", ["jinja", "config", "named"])
def test_the_template_is_found_wherever_it_stands(where, bpe):
    config = {"eos_token": "</s>"}
    if where == "config":
        config["chat_template"] = "T"
    if where == "named":
        config["chat_template"] = [{"name": "tool_use", "template": "U"}, {"name": "default", "template": "T"}]
    folder = bpe(tokenizer_config=config)
    if where == "jinja":
        (folder / "chat_template.jinja").write_text("T")
    assert Tokenizer.load(folder).files.template == "T"

"""A stop string ends the reply in any script, however the vocabulary splits it into tokens."""

import json
from array import array

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Stop
from poziomka.inference.sequence import Request, Row
from poziomka.inference.spans import marks_of
from poziomka.models.text.tokenizer import Tokenizer

STOPS = ["回答完毕", "</tool_call>", "Ответ готов", "👩‍👩‍👧‍👦 конец", "สวัสดี", "é", "\n\nUser:", "ｅｎｄ。"]
BEFORE = ["", "答案是 42。", "x", "😀", "ñ ", "回答完"]


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return inner


def byte_fallback():
    pieces = ["<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz:/_<>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return inner


KINDS = {"byte-level BPE": byte_level, "bytes as a fallback": byte_fallback}


@pytest.fixture(params=KINDS)
def tokenizer(request, tmp_path):
    inner = KINDS[request.param]()
    inner.add_special_tokens(["</s>", "<pad>"])
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "pad_token": "<pad>"}))
    return Tokenizer.load(tmp_path)


def written(tokenizer, tokens, *stops):
    """How many tokens are written until the row is over, and why it ended."""
    request = Request(array("i", [0]), SamplingParams(stop=stops, max_tokens=1000), 0, False, lambda pieces: None)
    row, marks = Row(request), marks_of(tokenizer)
    for count, token in enumerate(tokens, 1):
        if row.write(token, -1.0, "v1", marks, tokenizer.decode):
            return count, row.pieces[-1].stop
    return len(tokens), None


@pytest.mark.fault("B7")
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("before", BEFORE)
def test_a_reply_stops_at_the_last_byte_of_a_stop_string(before, stop, tokenizer):
    said = tokenizer.encode(before + stop)
    assert written(tokenizer, [*said, *tokenizer.encode(" and more")], stop) == (len(said), Stop.PHRASE)


def test_a_stop_string_that_is_never_whole_stops_nothing(tokenizer):
    said = tokenizer.encode("回答完 毕 回 答完毕")
    assert written(tokenizer, said, "回答完毕") == (len(said), None)


@pytest.mark.fault("B7")
def test_tokens_that_read_as_nothing_may_stand_inside_a_stop_string(tokenizer):
    one, two = tokenizer.encode("回答"), tokenizer.encode("完毕")
    said = [*one, *[tokenizer.pad] * 40, *two]
    assert written(tokenizer, said, "回答完毕") == (len(said), Stop.PHRASE)

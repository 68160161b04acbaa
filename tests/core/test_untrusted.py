"""Files from outside are read within bounds, and refused in one sentence."""

import json
import os
import socket

import pytest

from poziomka.core.errors import ModelError, RunError, SettingsError
from poziomka.core.safety.untrusted import DEPTH, open_regular, parse_json, parse_object, read_object, read_regular
from poziomka.core.settings import override, read_toml

DEEP = "[" * 100_000


def refused(call, *words):
    with pytest.raises(ModelError) as found:
        call()
    assert "\n" not in str(found.value)
    assert [word for word in words if word not in str(found.value)] == [], found.value


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, "é", "😀"]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json", ModelError) == {"a": [1, 2.5, None, "é", "😀"]}


def test_a_mark_of_byte_order_before_json_is_no_part_of_it():
    assert parse_json(b"\xef\xbb\xbf[1]", "it", ModelError) == [1]


def test_a_file_that_is_not_there_is_the_callers_to_name(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere", ModelError)


@pytest.mark.fault("E16")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read_regular(tmp_path / "pipe", ModelError), "is a pipe, and a regular file is needed")


@pytest.mark.fault("E13")
def test_a_device_is_refused_also_through_a_link(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(lambda: read_regular(tmp_path / "zero", ModelError), "is a device, and a regular file is needed")


def test_a_folder_and_a_socket_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        refused(lambda: read_regular(tmp_path / "socket", ModelError), "is a socket")
    refused(lambda: read_regular(tmp_path, ModelError), "is a folder")


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    refused(lambda: read_regular(tmp_path / "a\0b", ModelError), "cannot read")


def test_a_longer_file_than_is_read_is_refused_and_one_of_that_length_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert len(read_regular(tmp_path / "a", ModelError, 10)) == 10
    refused(lambda: read_regular(tmp_path / "a", ModelError, 9), "more than the 9 bytes that are read")


def test_an_error_while_reading_is_of_the_callers_class(tmp_path):
    (tmp_path / "a").write_bytes(b"x")

    def read():
        with open_regular(tmp_path / "a", ModelError):
            raise OSError(5, "Input/output error")

    refused(read, "input/output error")


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "[" * (DEPTH + 2) + "]" * (DEPTH + 2)])
def test_json_that_nests_too_deep_is_refused(text):
    refused(lambda: parse_json(text, "line 3 of it", ModelError), "line 3 of it nests", f"the {DEPTH} levels")


def test_json_that_nests_as_deep_as_is_read_is_read():
    parse_json("[" * DEPTH + "]" * DEPTH, "it", ModelError)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "it is not JSON"),
        (b"", "it is not JSON"),
        (b"[1" + b"0" * 5000 + b"]", "it is not JSON"),
        (b'["\xff"]', "it is no UTF-8 text: its byte 2"),
        (rb'["\ud83d"]', r"it holds half a character, \ud83d"),
        (rb'{"a": [{"\udc00": 1}]}', r"it holds half a character, \udc00"),
        (b"[1" + b"0" * 400 + b"]", "a number of more than 300 digits"),
    ],
)
def test_what_cannot_be_used_is_refused(content, words):
    refused(lambda: parse_json(content, "it", ModelError), words)


def test_whole_characters_beyond_the_basic_plane_are_read():
    assert parse_json(r'["\ud83d\ude00"]', "it", ModelError) == ["😀"]


def test_what_was_written_here_may_hold_what_python_holds():
    values = ["\ud83d", 10**400]
    assert parse_json(json.dumps(values), "it", ModelError, strict=False) == values


@pytest.mark.parametrize(("content", "kind"), [("[]", "list"), ("3", "int"), ("null", "NoneType")])
def test_an_object_is_demanded_where_one_belongs(content, kind):
    with pytest.raises(RunError, match=f"it must hold an object: received a {kind}"):
        parse_object(content, "it", RunError)


# ------------------------------------------------------------------------------------------------------------ recipes
@pytest.mark.fault("E16")
@pytest.mark.parametrize("text", [f"a = {DEEP}", f"seed = {'9' * 5000}", "a = 'é"])
def test_a_recipe_of_deep_lists_or_long_numbers_is_refused(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="is not valid TOML"):
        read_toml(path)


@pytest.mark.fault("E16")
def test_a_recipe_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "recipe.toml")
    with pytest.raises(SettingsError, match="is a pipe"):
        read_toml(tmp_path / "recipe.toml")


@pytest.mark.fault("E16")
@pytest.mark.parametrize("value", ["9" * 5000, DEEP])
def test_a_change_of_deep_lists_or_long_numbers_is_text(value):
    assert override({}, [f"seed={value}"]) == {"seed": value}

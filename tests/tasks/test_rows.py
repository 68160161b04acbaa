"""Files of problems, packed or not, are read line by line and within bounds."""

import gzip
import json

import pytest

from poziomka.core.errors import TaskError
from poziomka.core.safety.untrusted import SIZE
from poziomka.tasks.rows import UNPACKED, read_lines

HOW = "name a file"
MEBIBYTE = 1 << 20


@pytest.fixture
def file(tmp_path):
    def file(content, name="problems.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
        return path

    return file


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.jsonl.gz"])
def test_lines_are_read_with_where_they_stand(file, name):
    path = file(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n"x\xe2\x80\xa8y"\n[2]', name)
    assert read_lines(path, HOW) == [
        (f"line 1 of {path}", {"a": 1}),
        (f"line 4 of {path}", "x\u2028y"),
        (f"line 5 of {path}", [2]),
    ]


@pytest.mark.fault("E16")
def test_a_small_file_that_unpacks_to_much_is_refused_while_it_is_read(file):
    path = file((b" " * (MEBIBYTE - 1) + b"\n") * (SIZE // MEBIBYTE + 1))
    assert path.stat().st_size * UNPACKED < SIZE
    with pytest.raises(TaskError, match=f"unpacked, it has more than the {SIZE:,} bytes that are read; split it"):
        read_lines(path, HOW)


@pytest.mark.fault("E16")
def test_a_line_longer_than_a_value_may_be_is_refused(file):
    path = file(b"1\n" + b" " * (SIZE + 1), "problems.jsonl")
    with pytest.raises(TaskError, match=f"line 2 of .* has more than the {SIZE:,} bytes that a line may have"):
        read_lines(path, HOW)


def test_a_packed_file_of_usual_rows_is_read_whole(file):
    rows = [{"question": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(2000)]
    path = file("\n".join(map(json.dumps, rows)).encode())
    assert [row for _, row in read_lines(path, HOW)] == rows


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"[1]\n" * 1000)[:-20]], ids=["not packed", "cut short"])
def test_what_cannot_be_unpacked_is_refused(tmp_path, content):
    path = tmp_path / "problems.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"cannot read .*: name a file"):
        read_lines(path, HOW)

"""Reading problems: files of JSON lines, packed or not, and data sets on the hub."""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from poziomka.core.errors import TaskError
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION
from poziomka.core.untrusted import LARGE, SIZE, open_regular, parse_json

UNPACKED = 100  # times its own size that a packed file may unpack to, where that is more than SIZE bytes
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
OLD_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # the oldest data sets have no owner
Row = tuple[str, Mapping[str, object]]  # where it stands, for errors; what it holds


def read_lines(path: Path, how: str) -> list[tuple[str, object]]:
    """Returns what the lines of a file of JSON lines hold, ".gz" or not, each with where it stands.

    Args:
        path: the file; its empty lines are passed over.
        how: what to do where it is not there; ends an error.

    Raises:
        TaskError: no such file, no text, no JSON, nothing in it, or too much; the message names file and line.
    """
    rows: list[tuple[str, object]] = []
    for number, line in enumerate(_lines(path, how), 1):
        where = f"line {number} of {path}"
        if len(line) > SIZE:
            message = f"{where} has more than the {SIZE:,} bytes that a line may have"
            raise TaskError(message)
        if line.strip():
            rows.append((where, parse_json(line, where, TaskError)))
    if not rows:
        message = f"{path} holds no problem: it must have one a line"
        raise TaskError(message)
    return rows


def _lines(path: Path, how: str) -> Iterator[bytes]:
    """Yields the lines of a file, packed or not, as they are read; of a longer line its first SIZE + 1 bytes.

    Lines end with a line feed only: a question may hold other separators. At most one line is in memory.

    Raises:
        TaskError: no such file, it cannot be read or unpacked, or it has more bytes than are read.
    """
    try:
        with open_regular(path, TaskError) as file:
            packed = path.suffix == ".gz"
            content: gzip.GzipFile | BinaryIO = gzip.GzipFile(fileobj=file) if packed else file
            most = min(LARGE, max(SIZE, UNPACKED * os.fstat(file.fileno()).st_size)) if packed else LARGE
            left = most
            while line := content.readline(min(SIZE, left) + 1):
                left -= len(line)
                if left < 0:
                    break
                yield line.removesuffix(b"\n")
    except FileNotFoundError as error:
        message = f"there is no file {path}: {how}"
        raise TaskError(message) from error
    except TaskError as error:
        message = f"{error}: {how}"
        raise TaskError(message) from error
    except (EOFError, zlib.error) as error:  # gzip tells by these and by OSError that a file is none of its own
        message = f"cannot read {path}: {error}: {how}"
        raise TaskError(message) from error
    if left < 0:
        unpacked = "unpacked, " if packed else ""
        message = f"cannot read {path}: {unpacked}it has more than the {most:,} bytes that are read; split it"
        raise TaskError(message)


def read_rows(path: Path, how: str) -> list[Row]:
    """Returns the objects of a file as `read_lines` does; raises TaskError, too, where a line holds anything else."""
    return [(where, _object(row, where)) for where, row in read_lines(path, how)]


def splits_in(folder: Path) -> tuple[str, ...]:
    """Returns the splits that a folder keeps apart: validation too where it holds validation.jsonl."""
    return SPLITS if (folder / f"{VALIDATION}.jsonl").exists() else (TRAIN, TEST)


def read_hub_rows(name: str, file: str, how: str) -> list[Row]:
    """Returns the rows of a file of a data set on the hub, from its cache where it is there.

    Args:
        name: of the data set.
        file: a parquet file in it.
        how: what to do without the hub; ends an error.

    Raises:
        TaskError: the package huggingface_hub is not installed, or the hub does not give the file.
    """
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 an extra, needed for a name of the hub only
    except ImportError as error:
        message = f"reading {name} from the hub needs the package huggingface_hub: install it, or {how}"
        raise TaskError(message) from error
    import pyarrow.parquet as pq  # noqa: PLC0415 half a second, for a name of the hub only

    try:
        table = pq.read_table(hf_hub_download(name, file, repo_type="dataset"))
    except (OSError, ValueError) as error:  # no network, no such data set, not parquet
        message = f"the hub did not give {file} of {name} ({type(error).__name__}): download it yourself and {how}"
        raise TaskError(message) from error
    return [(f"row {i} of {name}/{file}", row) for i, row in enumerate(table.to_pylist())]


def _object(row: object, where: str) -> Mapping[str, object]:
    if not isinstance(row, dict):
        message = f"{where} must be an object: received a {type(row).__name__}"
        raise TaskError(message)
    return row


def text_of(row: Row, name: str, *, missing: str | None = None) -> str:
    """Returns a text of a row, its lines ended as Python ends them.

    Raises:
        TaskError: there is none, and `missing` does not stand for it.
    """
    where, held = row
    value = held.get(name, missing)
    if not isinstance(value, str):
        received = f"the keys {sorted(map(str, held))}" if value is None else f"a {type(value).__name__} there"
        message = f"{where} must have the text {name!r}: received {received}"
        raise TaskError(message)
    return value.replace("\r\n", "\n")


def texts_of(row: Row, name: str) -> list[str]:
    """Returns a list of texts of a row; an absent one is empty.

    Raises:
        TaskError: it is anything else.
    """
    where, held = row
    value = held.get(name) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        message = f"{name!r} of {where} must be a list of texts: received {str(value)[:60]!r}"
        raise TaskError(message)
    return [text.replace("\r\n", "\n") for text in value]

"""Readers of problem files: JSON Lines, gzipped or not, and Parquet files of data sets on the Hugging Face hub."""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from poziomka.core.errors import TaskError
from poziomka.core.safety.untrusted import LARGE, SIZE, open_regular, parse_json
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION

UNPACKED = 100  # largest ratio of unpacked to packed size of a file that unpacks to more than SIZE bytes
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
OLD_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # the oldest data sets have no owner
Row = tuple[str, Mapping[str, object]]  # location for error messages, and the parsed object


def read_lines(path: Path, how: str) -> list[tuple[str, object]]:
    """Returns the parsed JSON values of a JSON Lines file, each as (location for error messages, value).

    Args:
        path: the file; it is unpacked if its name ends in ".gz". Empty lines are skipped.
        how: instruction to the user that ends the message of an error.

    Raises:
        TaskError: the file is missing, empty, larger than 4 GiB, has a line of more than 64 MiB or one that is not
            valid JSON; the message names the file and the line.
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
    """Yields the lines of a file, without their line feeds; a line of more than SIZE bytes is cut to SIZE + 1.

    Lines end with a line feed only, because a question may contain other line separators. SIZE is 64 MiB.

    Args:
        path: the file; it is unpacked if its name ends in ".gz".
        how: instruction to the user that ends the message of an error.

    Raises:
        TaskError: the file is missing, too large, or cannot be read or unpacked.
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
    except (EOFError, zlib.error) as error:  # gzip raises these, or OSError, for files that are not gzip
        message = f"cannot read {path}: {error}: {how}"
        raise TaskError(message) from error
    if left < 0:
        unpacked = "unpacked, " if packed else ""
        message = f"cannot read {path}: {unpacked}it has more than the {most:,} bytes that are read; split it"
        raise TaskError(message)


def read_rows(path: Path, how: str) -> list[Row]:
    """Returns the JSON objects of a JSON Lines file, each as (location for error messages, object); see `read_lines`.

    Raises:
        TaskError: the file cannot be read, or a line is not a JSON object.
    """
    return [(where, _object(row, where)) for where, row in read_lines(path, how)]


def splits_in(folder: Path) -> tuple[str, ...]:
    """Returns the names of a folder's splits: train and test, and validation if it contains validation.jsonl."""
    return SPLITS if (folder / f"{VALIDATION}.jsonl").exists() else (TRAIN, TEST)


def read_hub_rows(name: str, file: str, how: str) -> list[Row]:
    """Returns the rows of a Parquet file of a data set on the Hugging Face hub, from the local cache if it is there.

    Args:
        name: name of the data set, OWNER/NAME.
        file: path of the Parquet file in the data set.
        how: instruction for work without the hub; ends the message of an error.

    Returns:
        Each row as (location for error messages, values by column name).

    Raises:
        TaskError: the package huggingface_hub is not installed, or the file cannot be downloaded or read.
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


def hub_splits(name: str, config: str | None, how: str) -> dict[str, list[Row]]:
    """Returns the rows of a data set on the Hugging Face hub by split, for those of train, validation and test it has.

    Args:
        name: name of the data set, OWNER/NAME.
        config: folder of the data set's Parquet files; `config=None` takes the only folder.
        how: instruction for work without the hub; ends the message of an error.

    Raises:
        TaskError: the package huggingface_hub is not installed, the data set has no folder `config`, or several if
            `config` is None, or its files cannot be downloaded or read.
    """
    try:
        from huggingface_hub import HfApi  # noqa: PLC0415 an extra, needed for a name of the hub only
    except ImportError as error:
        message = f"reading {name} from the hub needs the package huggingface_hub: install it, or {how}"
        raise TaskError(message) from error
    try:
        listed = HfApi().list_repo_files(name, repo_type="dataset")
    except (OSError, ValueError) as error:  # no network, no such data set
        message = f"the hub did not list the files of {name} ({type(error).__name__}): download it yourself and {how}"
        raise TaskError(message) from error
    files = [file for file in sorted(listed) if file.endswith(".parquet")]
    configs = sorted({file.rpartition("/")[0] for file in files})
    if config is None and len(configs) == 1:
        config = configs[0]
    if config not in configs:
        known = ", ".join(configs) or "no Parquet files"
        message = f"the data set {name} has the configs {known}: name one, hf:{name}?config=NAME"
        raise TaskError(message)
    found: dict[str, list[Row]] = {}
    for file in files:
        folder, _, base = file.rpartition("/")
        split = next((split for split in SPLITS if base.startswith(split)), None)
        if folder == config and split is not None:
            found.setdefault(split, []).extend(read_hub_rows(name, file, how))
    if not found:
        message = f"the data set {name} has no Parquet file of train, validation or test in {config!r}"
        raise TaskError(message)
    return found


def _object(row: object, where: str) -> Mapping[str, object]:
    if not isinstance(row, dict):
        message = f"{where} must be an object: received a {type(row).__name__}"
        raise TaskError(message)
    return row


def text_of(row: Row, name: str, *, missing: str | None = None) -> str:
    """Returns a string field of a row, with CRLF line ends converted to LF.

    Args:
        row: location for error messages, and values by field name.
        name: name of the field.
        missing: value for an absent field; `missing=None` requires the field.

    Raises:
        TaskError: the field is absent and required, or is not a string.
    """
    where, held = row
    value = held.get(name, missing)
    if not isinstance(value, str):
        received = f"the keys {sorted(map(str, held))}" if value is None else f"a {type(value).__name__} there"
        message = f"{where} must have the text {name!r}: received {received}"
        raise TaskError(message)
    return value.replace("\r\n", "\n")


def list_of(row: Row, name: str) -> list[object]:
    """Returns a list field of a row; [] if the field is absent or null.

    Raises:
        TaskError: the field is not a list.
    """
    where, held = row
    value = held.get(name)
    if value is not None and not isinstance(value, list):
        message = f"{name!r} of {where} must be a list: received {str(value)[:60]!r}"
        raise TaskError(message)
    return value or []


def texts_of(row: Row, name: str) -> list[str]:
    """Returns a field of a row that is a list of strings, with CRLF converted to LF; [] if the field is absent or null.

    Raises:
        TaskError: the field is not a list of strings.
    """
    where, held = row
    value = held.get(name) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        message = f"{name!r} of {where} must be a list of texts: received {str(value)[:60]!r}"
        raise TaskError(message)
    return [text.replace("\r\n", "\n") for text in value]

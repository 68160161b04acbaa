"""Reader of untrusted files: regular files of bounded size, and JSON of bounded depth with bounded numbers.

Run folders, model folders, scores and problems come from other machines. All code that reads such files uses this
module, so that a pipe, a device, a file of terabytes, `[[[[…`, a lone surrogate or a number of thousands of digits
raises an error of one sentence, of the class that the caller names.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from poziomka.core.errors import PoziomkaError

SIZE = 1 << 26  # largest size of a file with one JSON value, bytes
LARGE = 1 << 32  # largest size of a JSON Lines file, bytes
DEPTH = 100  # largest nesting depth of lists and objects
BITS = 1000  # largest bit length of an integer: 301 digits, which a float can still represent
SHOWN = 40  # characters of refused text that an error quotes
HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate, which neither UTF-8 nor a tokenizer can write

Kind = type[PoziomkaError]


@contextmanager
def open_regular(path: Path, error: Kind) -> Iterator[BinaryIO]:
    """Context manager that opens a regular file, or a symbolic link to one, for reading bytes.

    Args:
        path: the file.
        error: class of the exceptions that are raised.

    Raises:
        FileNotFoundError: there is no such file.
        PoziomkaError: of class `error`: the path is a folder, a pipe, a socket or a device, or cannot be read.
    """
    try:
        _demand_regular(path, path.stat().st_mode, error)  # before opening: opening a device can have side effects
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would block
    except (FileNotFoundError, PoziomkaError):
        raise
    except (OSError, ValueError) as fault:  # ValueError: a name with a zero byte
        raise error(_unreadable(path, fault)) from fault
    with os.fdopen(descriptor, "rb") as file:
        _demand_regular(path, os.fstat(descriptor).st_mode, error)
        try:
            yield file
        except OSError as fault:
            raise error(_unreadable(path, fault)) from fault


def read_regular(path: Path, error: Kind, size: int = SIZE) -> bytes:
    """Returns the bytes of a regular file of at most `size` bytes (default: 64 MiB).

    Raises:
        FileNotFoundError: there is no such file.
        PoziomkaError: of class `error`: the file is longer, is a folder, a pipe or a device, or cannot be read.
    """
    with open_regular(path, error) as file:
        content = file.read(size + 1) if os.fstat(file.fileno()).st_size <= size else b""
        if len(content) > size or os.fstat(file.fileno()).st_size > size:
            message = f"cannot read {path}: it has more than the {size:,} bytes that are read"
            raise error(message)
        return content


def parse_json(content: bytes | str, where: str, error: Kind, *, strict: bool = True) -> Any:
    """Returns the parsed value of JSON text.

    Args:
        content: UTF-8 bytes, or text.
        where: name of the text in errors: a path, or "line 3 of" one.
        error: class of the exceptions that are raised.
        strict: also refuse strings with a lone surrogate and integers of more than BITS (1000) bits; False is for text
            that this package wrote.

    Raises:
        PoziomkaError: of class `error`: the text is not JSON, its lists and objects are nested deeper than DEPTH (100)
            levels, or `strict` refuses it.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text)
    except UnicodeDecodeError as fault:
        message = f"{where} is no UTF-8 text: its byte {fault.start} cannot be read"
        raise error(message) from fault
    except RecursionError as fault:
        raise error(_too_deep(where)) from fault
    except ValueError as fault:  # not JSON, or a number with thousands of digits
        reason = str(fault).partition(";")[0]
        message = f"{where} is not JSON: {reason}; received {_start(content)!r}"
        raise error(message) from fault
    if wrong := _wrong(value, where, strict=strict):
        raise error(wrong)
    return value


def parse_object(content: bytes | str, where: str, error: Kind) -> dict[str, Any]:
    """Returns the object of JSON text as a dict.

    Args:
        content: UTF-8 bytes, or text.
        where: name of the text in errors.
        error: class of the exceptions that are raised.

    Raises:
        PoziomkaError: of class `error`: the text is not JSON, is not an object, or is refused by `parse_json`.
    """
    value = parse_json(content, where, error)
    if not isinstance(value, dict):
        message = f"{where} must hold an object: received a {type(value).__name__}"
        raise error(message)
    return value


def read_object(path: Path, error: Kind) -> dict[str, Any]:
    """Returns the object of a JSON file as a dict.

    Raises:
        FileNotFoundError: there is no such file.
        PoziomkaError: of class `error`: the file cannot be read, has more than 64 MiB, or does not contain a JSON
            object.
    """
    return parse_object(read_regular(path, error), str(path), error)


def expanded(path: str | Path, error: Kind) -> Path:
    """Returns a path with `~` expanded; raises PoziomkaError of class `error` if that home folder is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError as fault:
        message = f"the home folder of {str(path)!r} is not known here: write the path in full"
        raise error(message) from fault


def _wrong(value: Any, where: str, *, strict: bool) -> str:
    """Returns the fault of a parsed value as a sentence, "" if there is none; `parse_json` lists the faults."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        if depth > DEPTH:
            return _too_deep(where)
        if isinstance(each, dict):
            waiting += ((item, depth + 1) for item in each.values())
            waiting += ((name, depth + 1) for name in each)
        elif isinstance(each, list):
            waiting += ((item, depth + 1) for item in each)
        elif not strict:
            continue
        elif isinstance(each, str) and (half := HALF.search(each)):
            return f"{where} holds half a character, \\u{ord(half[0]):04x}: write the whole character instead"
        elif isinstance(each, int) and each.bit_length() > BITS:
            return f"{where} holds a number of more than 300 digits"
    return ""


def _too_deep(where: str) -> str:
    return f"{where} nests lists and objects deeper than the {DEPTH} levels that are read"


def _start(content: bytes | str) -> str:
    text = content if isinstance(content, str) else content[: 4 * SHOWN].decode("utf-8", "replace")
    return text.strip()[:SHOWN]


def _demand_regular(path: Path, mode: int, error: Kind) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((name for holds, name in kinds if holds(mode)), "a device")
    message = f"cannot read {path}: it is {kind}, and a regular file is needed"
    raise error(message)


def _unreadable(path: Path, fault: Exception) -> str:
    return f"cannot read {path}: {(getattr(fault, 'strerror', None) or str(fault)).lower()}"

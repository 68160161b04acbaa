"""An extension of griffe, which reads the docstrings: "<think>" in a docstring is text, not a tag of HTML."""

import re
from typing import Any

import griffe

CODE = re.compile(r"(`[^`]*`)")
TAG = re.compile(r"<(?=/?\w+>)")


class Escape(griffe.Extension):
    """Escapes tags in docstrings, code between backticks aside."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        """Changes the docstring of a module, a class, a function or an attribute."""
        if obj.docstring is not None:
            parts = CODE.split(obj.docstring.value)
            parts[::2] = [TAG.sub("&lt;", part) for part in parts[::2]]
            obj.docstring.value = "".join(parts)

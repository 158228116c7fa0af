"""Python values as JSON values: what a person has in a cell, as a server can take it.

numpy, pandas and torch are recognised by what their objects offer, never imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set, ValuesView
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

_MAX_DEPTH = 100


class NotJSONError(ValueError):
    """A value that has no natural place in JSON; its text says why, never the value."""


def to_json(value: Any, depth: int = 0) -> Any:
    """Returns the value made of JSON's own types: dict, list, str, int, float, bool and None.

    Dates and times become ISO 8601 text, paths text, enumeration members their value, arrays and
    sets lists; a missing value (NaN, ``pandas.NA``, ``NaT``) becomes ``None``.

    Raises:
        NotJSONError: Bytes, infinity, lone surrogates, cycles, and objects of other kinds.
    """
    if depth > _MAX_DEPTH:
        raise NotJSONError("is nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return to_json(value.value, depth + 1)
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, str | int | float | Decimal):
        return _scalar(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, PurePath | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise NotJSONError("is bytes; JSON has none: decode it, or send base64 text")
    return _container(value, depth)


def _scalar(value: str | float | Decimal) -> Any:
    # Subclasses such as numpy.str_ and numpy.float64 are made plain.
    if isinstance(value, str):
        text = str.__str__(value)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise NotJSONError("holds half a surrogate pair, which is not text")
        return text
    if isinstance(value, int):
        return int(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise NotJSONError("is infinite; JSON has no infinity")
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return float(value)


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence | Set | ValuesView):
        return [to_json(item, depth + 1) for item in value]
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in {"M", "m"} and not hasattr(value, "__len__"):
        return _numpy_time(value, kind)
    if kind == "M" and getattr(value, "ndim", 0) == 1:
        # An array's own `tolist` gives nanoseconds as integers.
        return [to_json(item, depth + 1) for item in value]
    if hasattr(value, "dtype") and callable(getattr(value, "tolist", None)):
        return to_json(value.tolist(), depth + 1)
    if hasattr(value, "columns") and callable(getattr(value, "to_dict", None)):
        raise NotJSONError(
            f"is of type {type(value).__name__}; send .to_dict('records'), or use .map()"
        )
    raise NotJSONError(f"is of type {type(value).__name__}, which JSON cannot hold")


def _numpy_time(value: Any, kind: str) -> str | None:
    if kind == "m":
        raise NotJSONError("is a duration; send a number or the text the server expects")
    text = str(value)
    return None if text == "NaT" else text


def _key(key: Any) -> str:
    plain = to_json(key)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    raise NotJSONError("has a key that is not text")

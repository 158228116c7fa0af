"""Python values as JSON values: what a person has in a cell, as a server can take it.

numpy, pandas and torch are recognised by what their objects offer, never imported.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Set, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

_MAX_DEPTH = 100
_BASE64 = frozenset({"byte", "base64"})
"""What schemas call base64 text: OpenAPI's format, and JSON Schema's contentEncoding (RFC 4648)."""

_DURATION = "is a duration; send a number or the text the server expects"


class NotJSONError(ValueError):
    """A value that has no natural place in JSON; its text says why, never the value."""


def to_json(value: Any, depth: int = 0) -> Any:
    """Returns the value made of JSON's own types: dict, list, str, int, float, bool and None.

    Dates and times become ISO 8601 text, paths text, enumeration members their value, arrays and
    sets lists, dataclasses and pydantic's models objects, another tool's answer its value; a
    missing value (NaN, ``pandas.NA``, ``NaT``) becomes ``None``.

    Raises:
        NotJSONError: Bytes, infinity, lone surrogates, decimals that a number cannot hold exactly,
            cycles, and objects of other kinds.
    """
    if depth > _MAX_DEPTH:
        raise NotJSONError("is nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return to_json(value.value, depth + 1)
    if _is_missing(value):
        return None
    if isinstance(value, str | int | float | Decimal):
        return _scalar(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, PurePath | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise NotJSONError("is bytes; JSON has none: decode it, or send base64 text")
    if isinstance(value, timedelta):
        raise NotJSONError(_DURATION)
    return _container(value, depth)


def meant(value: Any, types: Collection[str], written: str = "") -> Any:
    """Returns what a value stands for where a schema says what it takes.

    A decimal is exact as text, a DataFrame is a list of records, a Series or named tuple an object
    where no list will do; a duration is ISO 8601 text, bytes are base64 text, and midnight (which
    is how pandas has dates) is a date, where the schema says that its text is written so.

    Args:
        value: Any value; one that no rule is for is returned as it is.
        types: The JSON type names that fit; none where anything does.
        written: The schema's ``format`` or ``contentEncoding``, or ``""``.
    """
    if "string" in types and (text := _as_text(value, written)) is not None:
        return text
    is_table = hasattr(value, "columns")
    if "array" in types and is_table and (records := _method(value, "to_dict", "to_dicts")):
        return records("records") if hasattr(value, "iloc") else records()
    only_object = "object" in types and "array" not in types
    if only_object and not is_table and (members := _method(value, "_asdict", "to_dict")):
        return members()
    return value


def _as_text(value: Any, written: str) -> str | None:
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, timedelta) and written == "duration":
        return _duration(value)
    if isinstance(value, datetime) and written == "date" and not _is_missing(value):
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else None
    if isinstance(value, bytes | bytearray | memoryview) and written in _BASE64:
        return base64.b64encode(value).decode()
    return None


def _is_missing(value: Any) -> bool:
    # pandas.NaT is an instance of datetime, too.
    return type(value).__name__ in {"NAType", "NaTType"}


def _method(value: Any, *names: str) -> Any:
    # Where there are both, the later name is the better one: polars has `to_dict` for columns.
    found = (getattr(value, name, None) for name in reversed(names))
    return next((method for method in found if callable(method)), None)


def _duration(value: timedelta) -> str:
    """Returns a duration as ISO 8601 text (RFC 3339 appendix A), in seconds."""
    sign = "-" if value < timedelta(0) else ""
    micros = abs(value) // timedelta(microseconds=1)
    fraction = f".{micros % 1_000_000:06}".rstrip("0") if micros % 1_000_000 else ""
    return f"{sign}PT{micros // 1_000_000}{fraction}S"


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
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        if Decimal(repr(float(value))) != value:
            raise NotJSONError("has more digits than a number keeps on the way; send it as text")
    return float(value)


def _container(value: Any, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif callable(getattr(type(value), "model_dump", None)):  # pydantic
        # Not as JSON: that would turn a SecretStr into asterisks, and bytes into text.
        return to_json(value.model_dump(), depth + 1)
    elif hasattr(type(value), "__json_value__"):  # another tool's answer
        answered = value.__json_value__()
        if answered is None:
            raise NotJSONError("is an answer that has no value")
        return to_json(answered, depth + 1)
    if isinstance(value, Mapping):
        return {_key(key): to_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence | Set | ValuesView):
        return [to_json(item, depth + 1) for item in value]
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in {"M", "m"}:
        # An array's own `tolist` gives nanoseconds as integers.
        if getattr(value, "ndim", 0):
            return [to_json(item, depth + 1) for item in value]
        return _numpy_time(value, kind)
    if hasattr(value, "dtype") and callable(listed := _method(value, "to_list", "tolist")):
        return to_json(listed(), depth + 1)
    raise NotJSONError(_refusal(value))


def _refusal(value: Any) -> str:
    kind = f"is of type {type(value).__name__}"
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        records = ".to_dict('records')" if hasattr(value, "iloc") else ".to_dicts()"
        return f"{kind}; send {records}, or use .map()"
    if hasattr(value, "savefig") or (hasattr(value, "tobytes") and hasattr(value, "save")):
        return f"{kind}, a picture; save it to an io.BytesIO() and send that as base64 text"
    if isinstance(value, Iterator):
        return f"{kind}, which can be read only once; send list(…) of it"
    return f"{kind}, which JSON cannot hold"


def _numpy_time(value: Any, kind: str) -> str | None:
    if kind == "m":
        raise NotJSONError(_DURATION)
    text = str(value)
    return None if text == "NaT" else text


def _key(key: Any) -> str:
    plain = to_json(key)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    raise NotJSONError("has a key that is not text")

"""What a JSON Schema says, as far as a Python signature needs it.

The schema is a stranger's. Nothing is fetched (only ``#/…`` references are followed), no pattern is
run, and the work is bounded: what is too deep or too wide is read as "anything", and left to the
server to judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import GenericAlias
from typing import Any, Literal
from urllib.parse import unquote

_PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": None,
}
_MAX_SIZE = 256 * 1024  # bytes of JSON text; real tools stay below 30 KiB
_MAX_PROPERTIES = 500
_MAX_DEPTH = 12
_MAX_STEPS = 4_000
_MAX_LITERALS = 12
_MAX_LITERAL_LENGTH = 40


class MisfitError(ValueError):
    """A value that a schema cannot mean; its text says what would fit, never the value."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The values that fit one schema.

    Attributes:
        types: JSON type names in the schema's order; empty where anything fits.
        choices: All values that fit, or ``None`` where they are not listed.
        items: The shape of an array's items, where it is known.
        written: How a text is written (``format``, ``contentEncoding``), or ``""``.
    """

    types: tuple[str, ...] = ()
    choices: tuple[Any, ...] | None = None
    items: Shape | None = None
    written: str = ""

    @property
    def allows_null(self) -> bool:
        """Whether JSON ``null`` fits."""
        if self.choices is not None:
            return any(choice is None for choice in self.choices)
        return not self.types or "null" in self.types

    def or_null(self) -> Shape:
        """Returns this shape with ``null`` added."""
        if self.allows_null:
            return self
        choices = None if self.choices is None else (*self.choices, None)
        return replace(self, types=(*self.types, "null"), choices=choices)

    def annotation(self) -> Any:
        """Returns the Python type to show: ``str``, ``list[int]``, ``int | None``."""
        if self.choices and _can_be_literal(self.choices):
            return Literal[self.choices]
        names = [name for name in self.types if name != "integer" or "number" not in self.types]
        if not names:
            return Any
        merged: Any = self._annotation_of(names[0])
        for name in names[1:]:
            merged = merged | self._annotation_of(name)
        return merged

    def _annotation_of(self, name: str) -> Any:
        if name == "array" and self.items is not None:
            inner = self.items.annotation()
            return list if inner is Any else GenericAlias(list, (inner,))
        return _PYTHON_TYPES[name]

    def fit(self, value: Any) -> Any:
        """Returns the JSON value as it is to be sent.

        ``3.0`` becomes ``3`` for an integer: a DataFrame column with gaps holds only floats.

        Raises:
            MisfitError: The value is of another JSON type, or not among the choices.
        """
        if self.choices is not None:
            return self._choose(value)
        if not self.types:
            return value
        kind = json_type(value)
        if kind == "number" and "number" not in self.types and "integer" in self.types:
            if value.is_integer():
                return int(value)
            raise MisfitError(f"must be {self._wanted()}, not a fraction")
        if kind not in self.types and not (kind == "integer" and "number" in self.types):
            raise MisfitError(f"must be {self._wanted()}, not {type(value).__name__}")
        if kind == "array" and self.items is not None:
            return self._fit_items(self.items, value)
        return value

    def _wanted(self) -> str:
        return " or ".join(
            "None" if name == "null" else _PYTHON_TYPES[name].__name__ for name in self.types
        )

    @staticmethod
    def _fit_items(items: Shape, values: list[Any]) -> list[Any]:
        fitted = []
        for index, value in enumerate(values):
            try:
                fitted.append(items.fit(value))
            except MisfitError as misfit:
                raise MisfitError(f"item {index} {misfit}") from None
        return fitted

    def _choose(self, value: Any) -> Any:
        choices = self.choices or ()
        for choice in choices:
            # In JSON, true is not 1, though Python says they are equal.
            if isinstance(choice, bool) == isinstance(value, bool) and choice == value:
                return choice
        shown = ", ".join(repr(choice)[:_MAX_LITERAL_LENGTH] for choice in choices[:_MAX_LITERALS])
        more = f", … ({len(choices)} in all)" if len(choices) > _MAX_LITERALS else ""
        raise MisfitError(f"must be one of {shown}{more}")


@dataclass(slots=True)
class Properties:
    """The named values of an object schema.

    Attributes:
        schemas: Each property's schema, in the schema's order.
        required: The names that must be there.
        extra: Whether other names are invited (``additionalProperties`` and its like).
        closed: Whether other names are forbidden.
    """

    schemas: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    extra: bool = False
    closed: bool = False

    def add(self, other: Properties, how: Literal["anyOf", "allOf"]) -> None:
        """Takes in the properties of a part; one named twice is joined with `how`."""
        for name, schema in other.schemas.items():
            known = self.schemas.get(name, schema)
            self.schemas[name] = schema if known == schema else {how: [known, schema]}
        self.extra = self.extra or other.extra
        self.closed = self.closed or other.closed


class SchemaReader:
    """Reads one tool's schema, within one budget of steps."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def properties(self) -> Properties | None:
        """Returns the root object's properties, or ``None`` where they cannot be known."""
        if not isinstance(self._root, dict) or not _is_small(self._root):
            return None
        found = self._collect(self._root, 0)
        if found is None or len(found.schemas) > _MAX_PROPERTIES:
            return None
        return found

    def _collect(self, schema: Any, depth: int) -> Properties | None:
        if not self._may_go_on(depth) or not isinstance(schema, dict):
            return None
        found = Properties()
        named = schema.get("properties")
        if isinstance(named, dict):
            found.schemas.update(named)
        found.required.extend(_strings(schema.get("required")))
        rest = [schema.get(f"{which}Properties") for which in ("additional", "unevaluated")]
        found.closed = rest[0] is False
        found.extra = bool(schema.get("patternProperties")) or any(
            said is True or isinstance(said, dict) for said in rest
        )
        parts = _list(schema.get("allOf"))
        if "$ref" in schema:
            parts = [self.resolve(schema["$ref"]), *parts]
        for part in parts:
            inner = self._collect(part, depth + 1)
            if inner is None:
                return None
            found.add(inner, "allOf")
            found.required.extend(inner.required)
        self._collect_alternatives(schema, found, depth)
        self._collect_conditional(schema, found, depth)
        for name in found.required:
            found.schemas.setdefault(name, True)
        return found

    def _collect_alternatives(self, schema: dict[str, Any], found: Properties, depth: int) -> None:
        for keyword in ("anyOf", "oneOf"):
            read = [self._collect(part, depth + 1) for part in _list(schema.get(keyword))]
            branches = [branch for branch in read if branch is not None]
            if not branches:
                continue
            joined = Properties()
            for branch in branches:
                joined.add(branch, "anyOf")
            joined.closed = all(branch.closed for branch in branches)
            found.add(joined, "allOf")
            if len(branches) == len(read):
                everywhere = set.intersection(*(set(branch.required) for branch in branches))
                found.required.extend(name for name in branches[0].required if name in everywhere)

    def _collect_conditional(self, schema: dict[str, Any], found: Properties, depth: int) -> None:
        """Takes in names that may be given, but only together with others."""
        parts = [schema.get("then"), schema.get("else")]
        for keyword in ("dependentSchemas", "dependencies"):  # draft-07 has the latter
            depending = schema.get(keyword)
            parts += depending.values() if isinstance(depending, dict) else []
        joined = Properties()
        for part in parts:
            inner = self._collect(part, depth + 1) if isinstance(part, dict) else None
            if inner is not None:
                joined.add(inner, "anyOf")
        found.extra = found.extra or joined.extra
        for name, said in joined.schemas.items():
            found.schemas.setdefault(name, said)

    def shape(self, schema: Any, depth: int = 0) -> Shape:
        """Returns what fits the schema, as far as its plain keywords tell."""
        if not self._may_go_on(depth) or not isinstance(schema, dict):
            return Shape()
        shape = _own_shape(schema)
        # Behind prefixItems, items is for the rest only (2020-12, §10.3.1.2).
        alike = isinstance(schema.get("items"), dict) and "prefixItems" not in schema
        if "array" in shape.types and alike:
            shape = replace(shape, items=self.shape(schema["items"], depth + 1))
        if "$ref" in schema:
            shape = _both(shape, self.shape(self.resolve(schema["$ref"]), depth + 1))
        for part in _list(schema.get("allOf")):
            shape = _both(shape, self.shape(part, depth + 1))
        for keyword in ("anyOf", "oneOf"):
            parts = [self.shape(part, depth + 1) for part in _list(schema.get(keyword))]
            if parts:
                shape = _both(shape, _either(parts))
        # OpenAPI 3.0's word for it, which generated servers still send.
        return shape.or_null() if schema.get("nullable") is True else shape

    def said(self, schema: Any, keyword: str) -> Any:
        """Returns what the schema, or else what it refers to, says under `keyword`."""
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, dict):
                return None
            if keyword in schema:
                return schema[keyword]
            whole = _list(schema.get("allOf"))
            schema = self.resolve(schema["$ref"]) if "$ref" in schema else next(iter(whole), None)
        return None

    def resolve(self, reference: Any) -> Any:
        """Returns the part a local JSON pointer names (RFC 6901 §6), or ``None``."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        part = self._root
        for token in unquote(reference[1:]).split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if isinstance(part, dict):
                part = part.get(key)
            elif isinstance(part, list) and key.isdecimal() and int(key[:9]) < len(part):
                part = part[int(key[:9])]
            else:
                return None
        return part if reference == "#" or reference.startswith("#/") else None

    def _may_go_on(self, depth: int) -> bool:
        self._steps += 1
        return depth <= _MAX_DEPTH and self._steps <= _MAX_STEPS


def json_type(value: Any) -> str:
    """Returns the JSON type name of a JSON value; a whole number is an ``integer``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for name in ("string", "integer", "number", "array"):
        if isinstance(value, _PYTHON_TYPES[name]):
            return name
    return "object"


def _own_shape(schema: dict[str, Any]) -> Shape:
    declared = schema.get("type")
    names = [declared] if isinstance(declared, str) else _strings(declared)
    types = tuple(dict.fromkeys(name for name in names if name in _PYTHON_TYPES))
    if "const" in schema:
        choices: tuple[Any, ...] | None = (schema["const"],)
    elif isinstance(schema.get("enum"), list) and schema["enum"]:
        choices = tuple(schema["enum"])
    else:
        choices = (None,) if types == ("null",) else None
    said = next(iter(_strings([schema.get("contentEncoding"), schema.get("format")])), "")
    return Shape(types or _types_of(choices or ()), choices, written=said)


def _types_of(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(json_type(value) for value in values))


def _either(parts: list[Shape]) -> Shape:
    choices: list[Any] | None = []
    types: list[str] = []
    for part in parts:
        if not part.types:
            return Shape()
        types.extend(part.types)
        choices = None if choices is None or part.choices is None else [*choices, *part.choices]
    items = [part.items for part in parts if "array" in part.types]
    known = items[0] if len(items) == 1 else None
    written = {part.written for part in parts if "string" in part.types}
    return Shape(
        tuple(dict.fromkeys(types)),
        None if choices is None else tuple(choices),
        known,
        written.pop() if len(written) == 1 else "",
    )


def _both(one: Shape, other: Shape) -> Shape:
    if not one.types or not other.types:
        types = one.types or other.types
    else:
        narrow = [name for name in one.types if name in other.types]
        if "integer" in {*one.types} ^ {*other.types} and "number" in {*one.types} ^ {*other.types}:
            narrow.append("integer")
        types = tuple(narrow)
    choices = one.choices if one.choices is not None else other.choices
    if one.choices is not None and other.choices is not None:
        choices = tuple(choice for choice in one.choices if choice in other.choices) or None
    return Shape(types, choices, one.items or other.items, one.written or other.written)


def _can_be_literal(choices: tuple[Any, ...]) -> bool:
    return len(choices) <= _MAX_LITERALS and all(
        choice is None
        or isinstance(choice, bool | int)
        or (isinstance(choice, str) and len(choice) <= _MAX_LITERAL_LENGTH)
        for choice in choices
    )


def _is_small(schema: dict[str, Any]) -> bool:
    try:
        return len(json.dumps(schema)) <= _MAX_SIZE
    except (RecursionError, TypeError, ValueError):
        return False


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]

"""One field of a server's question: what it is called, what fits it, how typed text is read.

The schema is a stranger's (MCP 2025-11-25, elicitation, "Requested Schema": flat objects of
strings, numbers, booleans and choices). Everything that is shown is cleaned and cut here, bounds
and formats are checked with plain comparisons, and no pattern of the server is ever run.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mcp_notebook.redaction import printable
from mcp_notebook.schema.schemas import MisfitError, SchemaReader, Shape, json_type

MAX_TEXT = 20_000
"""Characters of an answer's text that are sent at most."""

_TITLE, _DESCRIPTION, _CHOICE = 80, 300, 80
_SECRET = re.compile(
    r"(?i)\b(pass[- ]?(words?|wd|phrase|code)|pwd|pin|secrets?|tokens?|(api|access|private)[- ]?key"
    r"|credentials?|cvv|cvc|iban|ssn|social security|otp|one[- ]?time (code|password)"
    r"|(credit|debit)?[- ]?card[- ]?(number|no)|credit[- ]?card)\b"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_YES = frozenset({"y", "yes", "true", "on", "1"})
_NO = frozenset({"n", "no", "false", "off", "0"})


class Missing:
    """Stands where there is no default: ``None`` could be one."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


class Kind(StrEnum):
    """How a field is asked for."""

    TEXT = "text"
    NUMBER = "a number"
    INTEGER = "a whole number"
    BOOLEAN = "yes or no"
    CHOICE = "one of the choices"
    CHOICES = "some of the choices"
    JSON = "a JSON value"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value that fits, and what the server calls it."""

    value: Any
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value a question asks for.

    Attributes:
        name: The property's name, as the answer must have it.
        title: What to call it, made harmless.
        description: What the server says about it, made harmless; may be empty.
        kind: How to ask for it.
        required: Whether an answer must have it.
        default: The schema's default, or `MISSING` where there is none that fits.
        choices: What can be chosen, for the two kinds of choice.
        secret: Whether its name, words or format smell of a password, a key or a card number.
        about: What else must hold, in a few words, such as ``at least 3 characters``.
    """

    name: str
    title: str
    description: str
    kind: Kind
    required: bool
    default: Any
    choices: tuple[Choice, ...]
    secret: bool
    about: str
    _shape: Shape
    _schema: dict[str, Any]

    @classmethod
    def of(cls, name: str, schema: Any, *, required: bool, reader: SchemaReader) -> Field:
        """Reads a property.

        Args:
            name: The property's name.
            schema: Its schema.
            required: Whether the object schema demands it.
            reader: The reader of the whole schema.
        """
        schema = schema if isinstance(schema, dict) else {}
        shape = reader.shape(schema)
        title, description = reader.said(schema, "title"), reader.said(schema, "description")
        kind = _kind(shape)
        words = " ".join(word for word in (name, title, description) if isinstance(word, str))
        bare = cls(
            name=name,
            title=_label(title) or _label(name) or "value",
            description=_text(description, _DESCRIPTION),
            kind=kind,
            required=required,
            default=MISSING,
            choices=_choices(schema, shape, kind),
            secret=kind is Kind.TEXT
            and (schema.get("format") == "password" or bool(_SECRET.search(_spaced(words[:2000])))),
            about=_about(schema, kind),
            _shape=shape,
            _schema=schema,
        )
        return _with_default(bare, schema.get("default", MISSING))

    def check(self, value: Any) -> Any:
        """Returns a value as it is to be sent.

        Raises:
            MisfitError: It does not fit; the text says what would, and never holds the value.
        """
        value = self._shape.fit(value)
        problem = _bounds_problem(self._schema, value)
        if problem:
            raise MisfitError(problem)
        return value

    def read(self, text: str) -> Any:
        """Reads what a person typed.

        Choices may be typed as their number, their value or their title, several with commas
        between; yes and no as words.

        Raises:
            MisfitError: It does not fit.
        """
        typed = text.strip()
        match self.kind:
            case Kind.BOOLEAN:
                if typed.lower() not in _YES | _NO:
                    raise MisfitError("must be yes or no")
                return self.check(typed.lower() in _YES)
            case Kind.NUMBER | Kind.INTEGER:
                return self.check(_number(typed, whole=self.kind is Kind.INTEGER))
            case Kind.CHOICE:
                return self.check(self._chosen(typed))
            case Kind.CHOICES:
                words = [word.strip() for word in typed.split(",")]
                return self.check([self._chosen(word) for word in words if word])
            case Kind.JSON:
                return self.check(_json(typed))
        return self.check(text if self.secret else typed)

    def shown(self, value: Any) -> str:
        """Returns a value in words: a choice by its title, true as yes."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if self.kind is Kind.CHOICES and isinstance(value, list):
            return ", ".join(self._title(item) for item in value)
        return self._title(value) if self.kind is Kind.CHOICE else printable(str(value), _CHOICE)

    def _title(self, value: Any) -> str:
        titles = (choice.title for choice in self.choices if choice.value == value)
        return next(titles, printable(str(value), _CHOICE))

    def _chosen(self, word: str) -> Any:
        for choice in self.choices:
            if word == str(choice.value):
                return choice.value
        if word.isdecimal() and 1 <= int(word[:7]) <= len(self.choices):
            return self.choices[int(word[:7]) - 1].value
        for choice in self.choices:
            if word.casefold() == choice.title.casefold():
                return choice.value
        raise MisfitError(f"must be {self.kind.value}, by number or by name")


def _with_default(field: Field, default: Any) -> Field:
    if default is MISSING:
        return field
    try:
        fitted = field.check(default)
    except MisfitError:  # a default that would be refused helps nobody
        return field
    return Field(**{name: getattr(field, name) for name in Field.__slots__} | {"default": fitted})


def _kind(shape: Shape) -> Kind:
    types = [name for name in shape.types if name != "null"]
    if types == ["boolean"]:
        return Kind.BOOLEAN
    if shape.choices:
        return Kind.CHOICE
    if types == ["array"] and shape.items is not None and shape.items.choices:
        return Kind.CHOICES
    if types and set(types) <= {"integer", "number"}:
        return Kind.NUMBER if "number" in types else Kind.INTEGER
    return Kind.TEXT if "string" in types or not types else Kind.JSON


def _choices(schema: dict[str, Any], shape: Shape, kind: Kind) -> tuple[Choice, ...]:
    if kind is Kind.CHOICE:
        values: Sequence[Any] = shape.choices or ()
        source = schema
    elif kind is Kind.CHOICES and shape.items is not None:
        values = shape.items.choices or ()
        source = schema.get("items", {})
    else:
        return ()
    titles = _titles(source)
    return tuple(
        Choice(value, _text(titles.get(_key(value)), _CHOICE) or printable(str(value), _CHOICE))
        for value in values
    )


def _titles(schema: dict[str, Any]) -> dict[str, Any]:
    """What choices are called: ``oneOf``/``anyOf`` with titles (SEP-1330), or ``enumNames``."""
    titles: dict[str, Any] = {}
    values, names = schema.get("enum"), schema.get("enumNames")
    if isinstance(values, list) and isinstance(names, list):
        titles.update(zip(map(_key, values), names, strict=False))
    for keyword in ("oneOf", "anyOf"):
        parts = schema.get(keyword)
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, dict) and "const" in part:
                titles[_key(part["const"])] = part.get("title")
    return titles


def _key(value: Any) -> str:
    return f"{json_type(value)} {value}"


def _text(said: Any, limit: int) -> str:
    return printable(said, limit) if isinstance(said, str) else ""


def _label(said: Any) -> str:
    return _text(said, _TITLE)


def _spaced(words: str) -> str:
    return _CAMEL.sub(" ", words).replace("_", " ")


# -- what else must hold ----------------------------------------------------------------------


def _about(schema: dict[str, Any], kind: Kind) -> str:
    noun = {Kind.TEXT: "characters", Kind.CHOICES: "choices"}.get(kind, "")
    low = _bound(schema, "minLength", "minItems", "minimum")
    high = _bound(schema, "maxLength", "maxItems", "maximum")
    parts = []
    if low is not None and high is not None:
        parts.append(f"{low:g} to {high:g} {noun}")
    elif low is not None and (low > 0 or not noun):
        parts.append(f"at least {low:g} {noun}")
    elif high is not None:
        parts.append(f"at most {high:g} {noun}")
    if kind is Kind.TEXT and schema.get("format") in _FORMATS:
        parts.append(_FORMATS[schema["format"]])
    return ", ".join(part.strip() for part in parts)


def _bounds_problem(schema: dict[str, Any], value: Any) -> str:
    """Returns what is wrong with a value of the right type, or ``""``."""
    if isinstance(value, str):
        return _size_problem(schema, len(value), "Length", "characters") or _text_problem(
            schema, value
        )
    if isinstance(value, list):
        return _size_problem(schema, len(value), "Items", "choices")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            return "must be a finite number"
        return _size_problem(schema, value, "imum", "")
    return ""


def _size_problem(schema: dict[str, Any], size: float, which: str, noun: str) -> str:
    low, high = _bound(schema, f"min{which}"), _bound(schema, f"max{which}")
    of = "have " if noun else "be "
    if low is not None and size < low:
        return f"must {of}at least {low:g} {noun}".strip()
    if high is not None and size > high:
        return f"must {of}at most {high:g} {noun}".strip()
    return ""


def _bound(schema: dict[str, Any], *keywords: str) -> float | None:
    for keyword in keywords:
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and not isinstance(bound, bool) and abs(bound) < 1e300:
            return bound
    return None


_FORMATS = {
    "email": "an email address",
    "uri": "an absolute address",
    "date": "a date like 2026-01-31",
    "date-time": "a time like 2026-01-31T12:00:00Z",
}
"""The formats of a question's strings (MCP 2025-11-25, "String Schema")."""


def _text_problem(schema: dict[str, Any], value: str) -> str:
    if len(value) > MAX_TEXT:
        return f"must have at most {MAX_TEXT:,} characters"
    wanted = str(schema.get("format", ""))
    fits = True
    if wanted == "email":
        fits = bool(_EMAIL.fullmatch(value))
    elif wanted == "uri":
        fits = bool(_URI.fullmatch(value))
    elif wanted == "date":
        fits = _is_time(datetime.date, value)
    elif wanted == "date-time":
        fits = "T" in value.upper() and _is_time(datetime.datetime, value)
    return "" if fits else f"must be {_FORMATS[wanted]}"


def _is_time(kind: type[datetime.date], value: str) -> bool:
    try:
        kind.fromisoformat(value)
    except ValueError:
        return False
    return True


def _number(text: str, *, whole: bool) -> int | float:
    try:
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        return int(text) if whole else number
    except (ValueError, OverflowError):
        raise MisfitError(f"must be {Kind.INTEGER if whole else Kind.NUMBER}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MisfitError("must be a JSON value") from None

"""A tool's JSON Schema as a Python signature, and a call's arguments as JSON.

JSON Schema -> `inspect.Signature` -> `Parameters.bind` -> the JSON object that is sent. What the
signature promises is checked before anything is sent: names, what is missing, JSON types and
listed values. Everything finer (patterns, bounds, nested objects) is left to the server, which
knows better. No text of the server's is compiled or run.
"""

from __future__ import annotations

import inspect
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mcp_notebook.errors import ToolArgumentError
from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.schema.names import identifier, identifiers, nearest
from mcp_notebook.schema.schemas import MisfitError, Properties, SchemaReader, Shape, json_type
from mcp_notebook.schema.values import NotJSONError, meant, to_json

_POSITIONAL = 3  # beyond three, a call by position cannot be read
_DESCRIPTION_LENGTH = 6_000
_ABOUT_LENGTH = 400
_DEFAULT_LENGTH = 60
_REST = "more"


class _TooLong:
    def __repr__(self) -> str:
        return "…"


_TOO_LONG = _TooLong()
_cache: OrderedDict[tuple[str, int], tuple[Any, Parameters]] = OrderedDict()
_CACHED = 512


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool.

    Attributes:
        name: As the server calls it.
        identifier: As Python calls it; ``None`` where it can only be given by its own name.
        required: Whether a call has to give it.
        shape: What fits.
        default: What the server says it takes when the argument is left out.
        has_default: Whether it says so.
        about: The server's description, one line.
    """

    name: str
    identifier: str | None
    required: bool
    shape: Shape
    default: Any = None
    has_default: bool = False
    about: str = ""


class Parameters:
    """All arguments of one tool.

    Args:
        tool: The tool's name, for messages.
        schema: Its ``inputSchema``, as the server sent it.
    """

    def __init__(self, tool: str, schema: Any) -> None:
        self._tool = identifier(tool) or "tool"
        reader = SchemaReader(schema)
        properties = reader.properties()
        self.known = properties is not None
        properties = properties or Properties(extra=True)
        self._open = _is_open(properties, schema)
        mapped = identifiers(properties.schemas)
        by_name = {name: own for own, name in mapped.items()}
        self.all = {
            name: _parameter(reader, name, by_name.get(name), part, name in properties.required)
            for name, part in properties.schemas.items()
        }
        self._by_identifier = mapped
        self._positional = self._choose_positional()
        self.signature = self._make_signature()

    @classmethod
    def of(cls, tool: str, schema: Any) -> Self:
        """Returns the parameters of a tool, read once per schema object."""
        key = (tool, id(schema))
        cached = _cache.get(key)
        # The entry holds its schema, so the identity cannot have passed to another object.
        if cached is not None and cached[0] is schema and isinstance(cached[1], cls):
            return cached[1]
        made = cls(tool, schema)
        _cache[key] = (schema, made)
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
        return made

    # -- a call's arguments -------------------------------------------------------------------

    def bind(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the JSON object to send for a call.

        Args:
            args: The values given by position.
            kwargs: Those given by name, a Python identifier or the server's own name.

        Raises:
            ToolArgumentError: Too many, unknown, missing or doubled arguments, or a value that
                does not fit; the value itself is not told.
        """
        given = self._by_position(args)
        for word, value in (kwargs or {}).items():
            name = self._resolve(word)
            if name in given:
                raise self._error(f"got {_shown(name)} twice")
            given[name] = value
        return self._finish(given)

    def from_text(self, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Returns the arguments that ``key=value`` words mean; the schema gives them their types.

        ``limit=5`` is a number where the schema wants one and text where it wants text. A name
        given several times is a list, where the schema wants a list. Nothing is required yet:
        `bind` the answer.

        Raises:
            ToolArgumentError: An unknown name, or a value that cannot be read as its type.
        """
        texts: dict[str, list[str]] = {}
        for word, text in pairs:
            texts.setdefault(self._resolve(word), []).append(text)
        return {name: self._value_of(name, given) for name, given in texts.items()}

    def _by_position(self, args: Sequence[Any]) -> dict[str, Any]:
        if len(args) == 1 and isinstance(args[0], dict) and not self._takes_object_first():
            raise self._error(
                f"takes its arguments one by one, not in a dict: {self._tool}(**arguments)"
            )
        if len(args) > len(self._positional):
            count = len(self._positional)
            takes = f"at most {count} by position" if count else "its arguments by name only"
            raise self._error(f"takes {takes}, and got {len(args)}")
        return dict(zip(self._positional, args, strict=False))

    def _takes_object_first(self) -> bool:
        if not self._positional:
            return False
        types = self.all[self._positional[0]].shape.types
        return not types or "object" in types

    def _resolve(self, word: str) -> str:
        if word in self._by_identifier:
            return self._by_identifier[word]
        if word in self.all or self._open:
            return word
        known = [parameter.identifier or name for name, parameter in self.all.items()]
        guess = nearest(word, known)
        ending = f"; did you mean {_shown(guess)}?" if guess else ""
        raise self._error(f"has no argument {_shown(word)}{ending}")

    def _finish(self, given: dict[str, Any]) -> dict[str, Any]:
        sent: dict[str, Any] = {}
        for name, value in given.items():
            parameter = self.all.get(name)
            plain = self._to_json(name, value, parameter)
            if parameter is None:
                sent[name] = plain
            elif plain is not None or parameter.required or parameter.shape.allows_null:
                # Otherwise None means "left out": many servers refuse an explicit null.
                sent[name] = self._fit(parameter, plain, value)
        missing = []
        for name, parameter in self.all.items():
            if not parameter.required or name in sent:
                continue
            if parameter.has_default:
                # zod's output schemas list what has a default as required.
                sent[name] = parameter.default
            else:
                missing.append(parameter.identifier or name)
        if missing:
            raise self._error(f"needs {' and '.join(_shown(name) for name in missing)}")
        return sent

    def _to_json(self, name: str, value: Any, parameter: Parameter | None) -> Any:
        try:
            if parameter is not None and not isinstance(value, str | int | float | None):
                value = meant(value, parameter.shape.types, parameter.shape.written)
            return to_json(value)
        except NotJSONError as error:
            raise self._error(f"cannot send {_shown(name)}: it {error}") from None

    def _fit(self, parameter: Parameter, plain: Any, given: Any) -> Any:
        try:
            return parameter.shape.fit(plain)
        except MisfitError as misfit:
            shown = _shown(parameter.identifier or parameter.name)
            said = printable(str(misfit), 700)
            it = "its" if said.startswith("item ") else "it"
            if plain is None and given is not None:
                it = "it is missing (NaN) and"
            raise self._error(f"cannot take {shown}: {it} {said}") from None

    def _value_of(self, name: str, texts: list[str]) -> Any:
        parameter = self.all.get(name)
        shape = parameter.shape if parameter else Shape()
        if len(texts) == 1:
            value = _read(texts[0], shape)
        elif "array" in shape.types or not shape.types:
            value = [_read(text, shape.items or Shape()) for text in texts]
        else:
            raise self._error(f"got {_shown(name)} twice")
        return self._fit(parameter, value, value) if parameter else value

    def _error(self, what: str) -> ToolArgumentError:
        hint = f"It is called as {printable(f'{self._tool}{self.signature}', 400)}"
        end = "" if what.endswith(("?", ".")) else "."
        return ToolArgumentError(f"{self._tool}() {what}{end}", hint=hint)

    # -- what a person sees of it -------------------------------------------------------------

    def docstring(self, description: str) -> str:
        """Returns the tool's description with its arguments, as Python's help shows it.

        Args:
            description: What the server says the tool does.
        """
        text = clean_lines(description[: _DESCRIPTION_LENGTH * 2]).strip()
        if len(text) > _DESCRIPTION_LENGTH:
            text = f"{text[: _DESCRIPTION_LENGTH - 1]}…"
        lines = [self._described(parameter) for parameter in self.all.values()]
        if lines:
            text += "\n\nArgs:\n" + "\n".join(lines)
        return text.strip()

    def name_of(self, word: str) -> str:
        """Returns the server's own name of an argument, or the word where there is none."""
        return self._by_identifier.get(word, word)

    def values(self, word: str) -> list[str]:
        """Returns the values to offer for an argument, as text: its choices, true and false."""
        return [_as_text(choice) for choice in self.choices(word)]

    def choices(self, word: str) -> list[Any]:
        """Returns the values to offer for an argument, as JSON values."""
        parameter = self.all.get(self.name_of(word))
        if parameter is None:
            return []
        shape = parameter.shape
        if "array" in shape.types and shape.items is not None:
            shape = shape.items
        if shape.choices is not None:
            return list(shape.choices)
        return [True, False] if "boolean" in shape.types else []

    def _described(self, parameter: Parameter) -> str:
        name = parameter.identifier or repr(printable(parameter.name, 60))
        told = [inspect.formatannotation(parameter.shape.annotation())]
        if parameter.identifier != parameter.name and parameter.identifier is not None:
            told.append(f"sent as {printable(parameter.name, 60)!r}")
        if parameter.has_default:
            told.append(f"default {_cut(repr(parameter.default), _DEFAULT_LENGTH)}")
        elif not parameter.required:
            told.append("optional")
        line = printable(f"{name} ({', '.join(told)})", 400)
        return f"    {line}: {parameter.about}" if parameter.about else f"    {line}"

    def _choose_positional(self) -> list[str]:
        named = [p for p in self.all.values() if p.identifier is not None]
        needed = [p.name for p in named if p.required and not p.has_default]
        if not needed and len(named) == 1:
            return [named[0].name]
        return needed[:_POSITIONAL]

    def _make_signature(self) -> inspect.Signature:
        rest = [name for name in self.all if name not in self._positional]
        # Those a call must give come first, as a person reads them.
        rest.sort(key=lambda name: not self.all[name].required or self.all[name].has_default)
        made = []
        for names, kind in (
            (self._positional, inspect.Parameter.POSITIONAL_OR_KEYWORD),
            (rest, inspect.Parameter.KEYWORD_ONLY),
        ):
            made += [_python(p, kind) for p in map(self.all.__getitem__, names) if p.identifier]
        hidden = any(parameter.identifier is None for parameter in self.all.values())
        if self._open or hidden:
            label = _REST
            while label in self._by_identifier:
                label += "_"
            made.append(inspect.Parameter(label, inspect.Parameter.VAR_KEYWORD))
        return inspect.Signature(made)


def _is_open(properties: Properties, schema: Any) -> bool:
    """Tells whether names the schema does not list may be sent."""
    if properties.extra:
        return True
    # {"type": "object"} alone says nothing about names; "properties": {} says there are none.
    unsaid = not isinstance(schema, dict) or "properties" not in schema
    return unsaid and not properties.schemas and not properties.closed


def _parameter(
    reader: SchemaReader,
    name: str,
    own: str | None,
    schema: Any,
    required: bool,  # noqa: FBT001
) -> Parameter:
    shape = reader.shape(schema)
    default = reader.said(schema, "default")
    has_default = default is not None
    if has_default:
        try:
            default = shape.fit(default)
        except MisfitError:
            default, has_default = None, False
    about = reader.said(schema, "description") or reader.said(schema, "title")
    told = printable(about, _ABOUT_LENGTH) if isinstance(about, str) else ""
    if _bare(told) == _bare(name):  # Pydantic makes titles of the names
        told = ""
    return Parameter(name, own, required, shape, default, has_default, told)


def _bare(words: str) -> str:
    return "".join(filter(str.isalnum, words)).casefold()


def _python(parameter: Parameter, kind: Any) -> inspect.Parameter:
    assert parameter.identifier is not None
    annotation = parameter.shape.annotation()
    default: Any = inspect.Parameter.empty
    if parameter.has_default:
        # A long default would push the rest of the signature off the screen.
        short = len(repr(parameter.default)) <= _DEFAULT_LENGTH
        default = parameter.default if short else _TOO_LONG
    elif not parameter.required:
        default = None
        annotation = parameter.shape.or_null().annotation()
    return inspect.Parameter(parameter.identifier, kind, default=default, annotation=annotation)


def _read(text: str, shape: Shape) -> Any:
    """Returns the JSON value a typed word means for a shape; at worst the text itself."""
    if shape.choices is not None:
        for choice in shape.choices:
            if _as_text(choice) == text:
                return choice
    parsed = _json_or_text(text)
    kind = json_type(parsed)
    if not shape.types:
        return parsed
    if "string" in shape.types:
        # Text it is, but for what cannot have been meant as text.
        meant = kind in {"array", "object"} or (kind == "null" and text == "null")
        return parsed if meant and kind in shape.types else text
    if kind == "string" and "boolean" in shape.types and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if "array" in shape.types and kind != "array" and kind not in shape.types:
        return [_read(text, shape.items or Shape())]
    return parsed


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(name: str) -> str:
    return repr(printable(name, 60))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

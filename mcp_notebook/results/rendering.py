"""Foreign values as plain text: cleaned, cut, laid out for a terminal.

Every function is bounded by what it shows, never by what the value holds: a huge or deep value is
cut while it is written, and whole numbers of a million digits are never turned into text.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from mcp_notebook.redaction import clean_lines, printable
from mcp_notebook.results.tables import Table, table_of

MAX_CHARACTERS = 10_000
MAX_LINES = 200
MAX_ROWS = 20
MAX_COLUMNS = 20
MAX_CELL = 200
MAX_DEPTH = 30
_LINE_WIDTH = 88
_TABLE_WIDTH = 110
_MIN_WIDTH = 8
_MAX_INTEGER_BITS = 1_000


def clean(text: str, limit: int) -> str:
    """Returns foreign text cut to `limit` characters, with nothing in it that moves or hides text.

    What is cut is cut before it is cleaned, so that the work is bounded.
    """
    return clean_lines(text[:limit]) if len(text) <= limit else clean_lines(text[:limit]) + "…"


def cut(text: str, *, rest: str) -> tuple[str, str]:
    """Returns the beginning of a text, cleaned, and a note about what is left out, or ``""``.

    Args:
        text: Foreign text of any length.
        rest: Where the whole of it is found, such as ``.text``.
    """
    head = clean_lines(text[:MAX_CHARACTERS])
    lines = head.split("\n")
    if len(text) <= MAX_CHARACTERS and len(lines) <= MAX_LINES:
        return head, ""
    head = "\n".join(lines[:MAX_LINES])
    return head, f"… cut here, of {len(text):,} characters: {rest} holds them all"


def scalar(value: Any, limit: int = MAX_CHARACTERS) -> str:
    """Returns a JSON scalar as JSON, with its text cleaned and cut."""
    if isinstance(value, str):
        text = json.dumps(clean(value, limit), ensure_ascii=False)
        return text if len(value) <= limit else f"{text} ({len(value):,} characters)"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
        return f"(an integer of about {int(value.bit_length() * 0.30103) + 1:,} digits)"
    if isinstance(value, int | float):
        return json.dumps(value)
    return clean(f"({type(value).__name__})", limit)


def one_line(value: Any, limit: int) -> str | None:
    """Returns a JSON value on one line, or ``None`` where that is longer than `limit`."""
    pieces: list[str] = []
    room = limit
    for piece in _pieces(value, limit):
        room -= len(piece)
        if room < 0:
            return None
        pieces.append(piece)
    return "".join(pieces)


def _pieces(value: Any, limit: int, depth: int = 0) -> Iterator[str]:
    if depth > MAX_DEPTH:
        yield "…" * (limit + 1)  # nobody reads so many levels on one line: it does not fit
    elif isinstance(value, dict):
        yield "{"
        for place, (key, item) in enumerate(value.items()):
            yield f"{', ' if place else ''}{scalar(str(key), limit)}: "
            yield from _pieces(item, limit, depth + 1)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            if place:
                yield ", "
            yield from _pieces(item, limit, depth + 1)
        yield "]"
    else:
        yield scalar(value, limit + 1)


def shortened(value: Any, limit: int = MAX_CELL) -> str:
    """Returns a value as it stands in a cell of a table: one line, text without quotes, cut."""
    if isinstance(value, str):
        return printable(value, limit)
    if value is None:
        return ""
    line = one_line(value, limit)
    if line is not None:
        return line
    return contents(value) if isinstance(value, dict | list) else clean(scalar(value), limit)


def contents(value: dict[Any, Any] | list[Any]) -> str:
    """Returns what a container holds in a word, such as ``{3 keys}`` or ``[1,200 items]``."""
    count, (opening, closing) = len(value), "{}" if isinstance(value, dict) else "[]"
    noun = "key" if isinstance(value, dict) else "item"
    return f"{opening}{count:,} {noun}{'' if count == 1 else 's'}{closing}"


def json_text(value: Any, *, rest: str) -> str:
    """Returns a JSON value over several lines; what fits on a line stays on one.

    Args:
        value: Any JSON value, of any size and depth.
        rest: Where the whole of it is found, for the note where it is cut.
    """
    lines: list[str] = []
    room = MAX_CHARACTERS
    for line in _json_lines(value):
        room -= len(line) + 1
        if room < 0 or len(lines) == MAX_LINES:
            return "\n".join([*lines, f"… cut here: {rest} holds it all"])
        lines.append(line)
    return "\n".join(lines)


def _json_lines(
    value: Any, indent: str = "", label: str = "", comma: str = "", depth: int = 0
) -> Iterator[str]:
    start = f"{indent}{label}"
    if not isinstance(value, dict | list):
        yield f"{start}{scalar(value, MAX_CHARACTERS // 2)}{comma}"
        return
    line = one_line(value, _LINE_WIDTH - min(len(start), _LINE_WIDTH // 2))
    if line is not None or depth > MAX_DEPTH:
        yield f"{start}{f'{contents(value)}…' if line is None else line}{comma}"
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield f"{start}{opening}"
    last = len(value) - 1
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = ((f"{scalar(str(key), MAX_CELL)}: ", item) for key, item in value.items())
    else:
        pairs = (("", item) for item in value)
    for place, (name, item) in enumerate(pairs):
        yield from _json_lines(item, f"{indent}  ", name, "," if place < last else "", depth + 1)
    yield f"{indent}{closing}{comma}"


def shown_table(value: Any) -> Table | None:
    """Returns the table to show a value as, or ``None`` where a tree tells more.

    Records that share few keys make a table of holes, and one record reads better as itself.
    """
    table = table_of(value)
    if table is None or not table.columns or len(table.rows) < 2:
        return None
    first = table.rows[:MAX_ROWS]
    filled = sum(len(row) for row in first)
    seen = len({name for row in first for name in row})
    return table if filled * 2 >= seen * len(first) else None


def left_out(table: Table, rest: str) -> str:
    """Returns the note under a table whose rows or columns are not all shown, or ``""``."""
    parts = []
    if len(table.rows) > MAX_ROWS:
        parts.append(f"{len(table.rows) - MAX_ROWS:,} rows")
    if len(table.columns) > MAX_COLUMNS:
        parts.append(f"{len(table.columns) - MAX_COLUMNS:,} columns")
    return f"… {' and '.join(parts)} more: {rest} has them all" if parts else ""


def beside(table: Table) -> str:
    """Returns on one line what stood beside a table's rows, or ``""``."""
    pairs = islice(table.rest.items(), MAX_COLUMNS)
    return " · ".join(f"{printable(str(key), 40)}: {shortened(item, 80)}" for key, item in pairs)


def value_text(value: Any, *, rest: str = ".data", frame: str = ".to_frame()") -> str:
    """Returns a JSON value as text for a terminal: a table where it is one, else JSON.

    Args:
        value: Any JSON value.
        rest: Where the whole value is found.
        frame: Where the whole table is found.
    """
    table = shown_table(value)
    if table is not None:
        columns = table.columns[:MAX_COLUMNS]
        rows = [[row.get(name) for name in columns] for row in table.rows[:MAX_ROWS]]
        lines = [text_table(columns, rows), left_out(table, frame), beside(table)]
        return "\n".join(line for line in lines if line)
    if isinstance(value, str):
        return "\n".join(filter(None, cut(value, rest=rest))) or '""'
    return json_text(value, rest=rest)


def text_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Returns a table for a terminal: aligned columns, numbers to the right.

    Cells are foreign: they are made one line, and the widest are cut so that a line has about 110
    columns.
    """
    body = [[shortened(cell) for cell in row] for row in rows]
    head = [printable(name, MAX_CELL) for name in headers]
    widths = [
        max(1, *(_width(line[place]) for line in [head, *body])) for place in range(len(head))
    ]
    cap = max(widths, default=0)
    while cap > _MIN_WIDTH and sum(min(width, cap) + 2 for width in widths) > _TABLE_WIDTH:
        cap -= 1
    widths = [min(width, cap) for width in widths]
    right = [
        any(is_number(row[place]) for row in rows)
        and all(row[place] is None or is_number(row[place]) for row in rows)
        for place in range(len(head))
    ]
    lines = [head, ["─" * width for width in widths], *body]
    return "\n".join(
        "  ".join(_fit(*cell) for cell in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


def is_number(value: Any) -> bool:
    """Tells whether a cell is set to the right: a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit(text: str, width: int, right: bool) -> str:  # noqa: FBT001
    if _width(text) > width:
        kept, room = [], width - 1
        for character in text:
            room -= _columns(character)
            if room < 0:
                break
            kept.append(character)
        text = "".join(kept) + "…"
    space = " " * (width - _width(text))
    return space + text if right else text + space

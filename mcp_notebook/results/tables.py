"""JSON values and texts as rows, and rows as a DataFrame. The only door to pandas.

Servers answer with tables in many shapes: records, columns and rows, lists side by side, CSV or
Markdown text. `table_of` sees those that are tables beyond doubt (they are shown as one);
`rows_of` and `to_frame` are asked by a person, and so also take what can be read as a table.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp_notebook.errors import MCPNotebookError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_MAX_CELLS = 50_000_000
_INT64 = range(-(2**63), 2**63)

_FENCE = re.compile(r"\A\s*```[^\n]*\n(.*?)\n\s*```\s*\Z", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")  # no others: U+2028 may stand in a cell
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")  # GFM, delimiter row
_BAR = re.compile(r"(?<!\\)\|")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,37})")
_FLOAT = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_BOOLEANS["FALSE"] = False
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?")


@dataclass(frozen=True)
class Table:
    """Rows, and what stood beside them.

    Attributes:
        columns: The names, in the order in which they first appear.
        rows: One dict per row; a key may be missing.
        rest: What the value held beside its rows, such as a total or a cursor.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    rest: dict[str, Any] = field(default_factory=dict)


def table_of(value: Any) -> Table | None:
    """Returns the table that a JSON value is, or ``None``.

    A list of objects; an object around one (``{"result": [...]}``, ``{"items": [...], "total":
    9}``); ``{"columns": [...], "rows": [...]}``; an object of lists of one length.
    """
    if isinstance(value, list):
        return _records(value)
    if isinstance(value, dict):
        return _split(value) or _wrapped(value) or _side_by_side(value)
    return None


def rows_of(value: Any) -> list[dict[str, Any]] | None:
    """Returns a value's rows, one dict each, or ``None`` where there is no table in it.

    Beyond `table_of`: a list of scalars has the one column ``value``, a list of lists of one
    length the columns ``0``, ``1``, …; an object is one row; a text is read as CSV (comma,
    semicolon, tab or bar, with a header) or as its first Markdown table, also where it is all that
    an object holds (there also as JSON), and a column of numbers or of true and false is read as
    such. Objects in cells stay objects.
    """
    table = _read(value)
    return None if table is None else table.rows


def needed(value: Any) -> Table:
    """Returns a value's rows and columns, as `rows_of` finds them.

    Raises:
        MCPNotebookError: The value is no table.
    """
    table = _read(value)
    if table is None:
        raise MCPNotebookError(
            "The answer is not a table.", hint="Its value is in .data, its text in .text."
        )
    if len(table.columns) * len(table.rows) > _MAX_CELLS:
        raise MCPNotebookError(
            f"The table would have {len(table.rows):,} × {len(table.columns):,} cells.",
            hint="The records share hardly any key: take what you need out of .data.",
        )
    return table


def to_frame(value: Any) -> DataFrame:
    """Returns a value's rows as a DataFrame.

    Whole numbers stay whole where some are missing (``Int64``), truth values likewise
    (``boolean``); a column in which every text is an ISO 8601 date or time is ``datetime64`` (in
    UTC where offsets are given). Objects and lists in cells stay as they are.

    Raises:
        MCPNotebookError: The value is no table, or pandas is not installed.
    """
    table = needed(value)
    try:
        import pandas as pd
    except ImportError:
        raise MCPNotebookError(
            "A DataFrame needs pandas, which is not installed.",
            hint='pip install "mcp-notebook[data]"',
        ) from None
    columns = {name: _series([row.get(name) for row in table.rows]) for name in table.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table.rows)))


def beside(frame: DataFrame, columns: dict[str, Any]) -> DataFrame:
    """Returns a new DataFrame with further columns behind its own; index and column levels stay.

    Args:
        frame: Any frame.
        columns: Values by name, as many as the frame has rows.
    """
    import pandas as pd

    # All at once: one by one, pandas warns from the hundredth on.
    added = pd.DataFrame(columns, index=frame.index)
    if frame.columns.nlevels > 1:
        below = [""] * (frame.columns.nlevels - 1)
        added.columns = pd.MultiIndex.from_tuples([(name, *below) for name in columns])
    added.columns.names = frame.columns.names
    return pd.concat([frame, added], axis=1)


def _read(value: Any) -> Table | None:
    if isinstance(value, str):
        return _text_table(value)
    table = table_of(value)
    if table is not None:
        return table
    if isinstance(value, dict):
        if value.keys() == {"result"} and isinstance(value["result"], list):
            return _read(value["result"])
        if len(value) == 1 and isinstance(text := next(iter(value.values())), str):
            table = _json_table(text) or _text_table(text)
            if table is not None:
                return table
        return Table(_names(value), [_with_names(value)]) if value else None
    if isinstance(value, list):
        width = _common_width(value)
        if width:
            columns = [str(number) for number in range(width)]
            return Table(columns, [dict(zip(columns, row, strict=True)) for row in value])
        return Table(["value"], [{"value": item} for item in value])
    return None


def _records(items: Sequence[Any]) -> Table | None:
    if not all(isinstance(item, dict) for item in items):
        return None
    rows = [_with_names(item) for item in items]
    return Table(list(dict.fromkeys(name for row in rows for name in row)), rows)


def _split(value: dict[str, Any]) -> Table | None:
    columns = value.get("columns")
    key = "rows" if "rows" in value else "data"
    rows = value.get(key)
    if not isinstance(columns, list) or not isinstance(rows, list) or not columns:
        return None
    # A column is named, or described by an object that holds its name.
    columns = [column.get("name") if isinstance(column, dict) else column for column in columns]
    if not all(isinstance(column, str | int) for column in columns):
        return None
    names = _distinct(str(column) for column in columns)
    rest = {name: item for name, item in value.items() if name not in {"columns", key}}
    if rows and all(isinstance(row, dict) for row in rows):
        records = _records(rows)
        assert records is not None
        return Table(list(dict.fromkeys(names + records.columns)), records.rows, rest)
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return Table(names, [dict(zip(names, row, strict=True)) for row in rows], rest)


def _wrapped(value: dict[str, Any]) -> Table | None:
    lists = [key for key, item in value.items() if isinstance(item, list) and item]
    if len(lists) != 1:
        return None
    table = _records(value[lists[0]])
    if table is None:
        return None
    rest = {key: item for key, item in value.items() if key != lists[0]}
    return Table(table.columns, table.rows, rest)


def _side_by_side(value: dict[str, Any]) -> Table | None:
    lists = list(value.values())
    if len(lists) < 2 or not all(isinstance(item, list) for item in lists):
        return None
    length = len(lists[0])
    if length < 2 or any(len(item) != length for item in lists):
        return None
    names = _names(value)
    return Table(names, [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)])


def _common_width(items: Sequence[Any]) -> int:
    widths = {len(item) if isinstance(item, list) else 0 for item in items}
    return widths.pop() if len(widths) == 1 else 0


def _names(record: dict[Any, Any]) -> list[str]:
    return [str(key) for key in record]


def _with_names(record: dict[Any, Any]) -> dict[str, Any]:
    if all(isinstance(key, str) for key in record):
        return record
    return {str(key): item for key, item in record.items()}


def _distinct(names: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for place, given in enumerate(names, 1):
        name = given.strip() or f"column_{place}"
        number = 2
        while name in found:
            name = f"{given.strip() or f'column_{place}'}_{number}"
            number += 1
        found[name] = None
    return list(found)


def _json_table(text: str) -> Table | None:
    if text.lstrip()[:1] not in {"[", "{"}:
        return None
    try:
        return table_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _text_table(text: str) -> Table | None:
    fenced = _FENCE.match(text)
    body = (fenced[1] if fenced else text).strip("\ufeff\r\n")
    cells = _markdown(_LINE_END.split(body)) or _csv(body)
    if cells is None:
        return None
    names = _distinct(cells[0])
    columns = [_typed([row[place] for row in cells[1:]]) for place in range(len(names))]
    return Table(names, [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])


def _markdown(lines: list[str]) -> list[list[str]] | None:
    for place in range(len(lines) - 1):
        head, rule = lines[place], lines[place + 1]
        # The cheap look first: the pattern is meant for short lines only.
        if "|" not in head or "-" not in rule or len(rule) > 10_000 or not _RULE.fullmatch(rule):
            continue
        names = _bars(head)
        if len(names) != len(_bars(rule)):
            continue
        rows = []
        for line in lines[place + 2 :]:
            if "|" not in line:
                break
            # GFM: missing cells are empty, cells beyond the header are dropped.
            rows.append((_bars(line) + [""] * len(names))[: len(names)])
        return [names, *rows]
    return None


def _bars(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(line)]


def _csv(text: str) -> list[list[str]] | None:
    """The delimiter is the one that gives every line as many cells as the header, at least two."""
    head = _LINE_END.split(text, maxsplit=1)[0]
    if head == text:
        return None
    for delimiter in sorted(",;\t|", key=head.count, reverse=True):
        if delimiter not in head:
            break
        # With its line ends: one that stands in quotation marks is a part of the cell (RFC 4180).
        lines = io.StringIO(text, newline="")
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if row]
        except csv.Error:
            continue
        if len(rows) > 1 and all(len(row) == len(rows[0]) for row in rows):
            return rows
    return None


def _typed(cells: list[str]) -> list[Any]:
    """Reads a column as whole numbers, numbers or truth values where every cell is one.

    Numbers with leading zeros (postal codes) and "NA" (Namibia) stay text; an empty cell is a
    missing value.
    """
    plain = [cell.strip() for cell in cells]
    present = [cell for cell in plain if cell]
    if not present:
        return [None] * len(plain)
    if all(_INTEGER.fullmatch(cell) for cell in present):
        return [int(cell) if cell else None for cell in plain]
    if all(len(cell) < 40 and _FLOAT.fullmatch(cell) for cell in present):
        return [float(cell) if cell else None for cell in plain]
    if all(cell in _BOOLEANS for cell in present):
        return [_BOOLEANS[cell] if cell else None for cell in plain]
    return [cell or None for cell in cells]


def _series(values: list[Any]) -> Series[Any]:
    import pandas as pd

    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    missing = len(present) < len(values)
    if kinds == {int}:
        if all(value in _INT64 for value in present):
            return pd.Series(values, dtype="Int64" if missing else "int64")
        return pd.Series(values, dtype=object)
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if missing else "bool")
    if kinds == {float} or (kinds == {int, float} and all(abs(v) < 2**53 for v in present)):
        return pd.Series(values, dtype="float64")
    if kinds == {str}:
        return _times(values, present)
    return pd.Series(values, dtype=object)


def _times(values: list[Any], present: list[str]) -> Series[Any]:
    import pandas as pd

    try:
        plain = pd.Series(values, dtype="str")
    except UnicodeEncodeError:  # half of a surrogate pair, where a server has cut a text
        return pd.Series(values, dtype=object)
    if all(_DATE.fullmatch(text) for text in present):
        zoned = False
    else:
        matches = [_TIMESTAMP.fullmatch(text) for text in present]
        zones = {bool(match[3]) if match else None for match in matches}
        if len(zones) != 1 or None in zones:
            return plain
        zoned = zones.pop() is True
    try:
        return pd.to_datetime(plain, format="ISO8601", utc=zoned)
    except ValueError:  # the thirtieth of February, the year 9999999
        return plain

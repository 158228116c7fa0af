"""Rows as Arrow tables and Parquet files. The only door to pyarrow.

A column has the type in which every one of its values fits: whole numbers beside fractions are
fractions, objects are structs with the members of all. Where there is no such type the column is
text, and each of its values is written as JSON. So no value is refused and none is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_notebook.errors import MCPNotebookError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_MEMBERS = 1_000
"""Members of a struct at the most; objects whose keys are data themselves are written as JSON."""

MAX_DEPTH = 50
"""Levels of a column at the most; what is deeper is written as JSON."""

Cells = Mapping[str, Any]
Types = dict[str, "pa.DataType | None"]


def need() -> None:
    """Checks that pyarrow is there.

    Raises:
        MCPNotebookError: It is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MCPNotebookError(
            "Arrow and Parquet need pyarrow, which is not installed.",
            hint='pip install "mcp-notebook[arrow]"',
        ) from None


def table(rows: Sequence[Cells], columns: Sequence[str]) -> pa.Table:
    """Returns rows as a table.

    Args:
        rows: The cells of each row by column; one may be missing.
        columns: The columns, in their order.

    Raises:
        MCPNotebookError: pyarrow is not installed.
    """
    need()
    import pyarrow as pa

    types = _common_types([rows], columns)
    return pa.table({name: _column(rows, name, types[name]) for name in columns})


def write_parquet(
    path: Path, read: Callable[[], Iterable[Sequence[Cells]]], columns: Sequence[str]
) -> None:
    """Writes rows to a Parquet file, which appears whole or not at all.

    They are read twice, so that the types are those of all rows, and no more than one part of
    them is in memory.

    Args:
        path: The file; one that is there is replaced.
        read: Returns the rows anew, in parts; each part becomes a row group.
        columns: The columns, in their order.

    Raises:
        OSError: It cannot be written.
    """
    types = _common_types(read(), columns)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        while (misfit := _write(unfinished, read(), types)) is not None:
            types[misfit] = None
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(path: Path, parts: Iterable[Sequence[Cells]], types: Types) -> str | None:
    """Writes a file; returns the column that does not fit its type, if there is one.

    That is one with whole numbers in one part and fractions in another, where the whole numbers
    are too large (above 2^53) to be fractions without being changed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([pa.field(name, kind or pa.string()) for name, kind in types.items()])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in parts:
            columns = []
            for name, kind in types.items():
                try:
                    columns.append(_column(rows, name, kind))
                except pa.ArrowException:
                    return name
            writer.write_table(pa.table(columns, schema=schema))
    return None


def _common_types(parts: Iterable[Sequence[Cells]], columns: Sequence[str]) -> Types:
    """Returns for each column the type in which all its values fit; None where there is none."""
    import pyarrow as pa

    types: Types = dict.fromkeys(columns, pa.null())
    for rows in parts:
        for name, known in types.items():
            if known is not None:
                types[name] = _joined(known, _type_of([row.get(name) for row in rows]))
    return {name: None if kind is None else _settled(kind) for name, kind in types.items()}


def _type_of(values: list[Any]) -> pa.DataType | None:
    import pyarrow as pa

    if any(_is_deep(value, MAX_DEPTH) for value in values):
        return None
    try:
        return pa.array(values, from_pandas=True).type
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None


def _is_deep(value: Any, levels: int) -> bool:
    """Tells whether a value has more levels; pyarrow would go down until the process ends."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_is_deep(inner, levels - 1) for inner in value)


def _joined(one: pa.DataType, other: pa.DataType | None) -> pa.DataType | None:
    import pyarrow as pa

    if other is None or one.equals(other):
        return other
    schemas = [pa.schema([pa.field("x", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowException:
        return None


def _settled(kind: pa.DataType) -> pa.DataType | None:
    """Returns a type as Parquet has it: text for what never has a value; None if it has none."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        inner = _settled(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(kind):
        if not 0 < kind.num_fields <= MAX_MEMBERS:
            return None
        members = [(field.name, _settled(field.type)) for field in kind]
        return None if any(member is None for _, member in members) else pa.struct(members)
    return kind


def _column(rows: Sequence[Cells], name: str, kind: pa.DataType | None) -> pa.Array:
    """Returns a column: of a type, in which NaN is a missing value as for pandas, or as JSON."""
    import pyarrow as pa

    values = [row.get(name) for row in rows]
    if kind is not None:
        return pa.array(values, kind, from_pandas=True)
    return pa.array([None if value is None else _json(value) for value in values], pa.string())


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # a row's own object: odd keys, a circle
        return json.dumps(str(value))
    except RecursionError:
        return json.dumps("(nested too deeply)")

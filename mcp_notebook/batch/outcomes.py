"""The outcomes of a batch as the cells of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_notebook.results import tables

if TYPE_CHECKING:
    from mcp_notebook.batch.work import Row


class Outcome(NamedTuple):
    """What became of one row."""

    number: int
    given: Any
    has_answer: bool
    data: Any
    error: str | None

    @classmethod
    def of(cls, row: Row) -> Outcome:
        """Returns what became of a row so far."""
        error = row.error.message if row.error is not None else None
        data = row.result.data if row.result is not None else None
        return cls(row.number, row.given, row.result is not None, data, error)


def outputs(outcome: Outcome, *, explode: bool = False) -> Iterator[dict[str, Any]]:
    """Returns the answer as what stands beside its row: one dict, or several if it is a table."""
    several = tables.rows_of(outcome.data) if explode and outcome.has_answer else None
    if not outcome.has_answer:
        yield {}
    elif several:
        yield from several
    elif isinstance(outcome.data, dict):
        yield {str(name): value for name, value in outcome.data.items()}
    else:
        yield {"result": outcome.data}


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the names that occur, in the order in which they first do."""
    return list(dict.fromkeys(name for row in rows for name in row))


def free_name(name: str, taken: Any) -> str:
    """Returns a column's name that is not taken yet."""
    while name in taken:
        name = f"{name}_result"
    return name

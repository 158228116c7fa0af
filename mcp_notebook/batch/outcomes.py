"""The outcomes of a batch as the cells of a table.

An answer that is an object has a column for each of its members, any other is in the column
``result``; what it holds beside texts, such as pictures, is in ``content`` where it came from a
file. A column of the rows keeps its name, one of the answers that is called the same gets
``_result`` behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_notebook.results import tables

if TYPE_CHECKING:
    from mcp_notebook.batch.sink import Record
    from mcp_notebook.batch.work import Row

MAX_MEMBERS = 1_000
"""Columns the answers have at the most; where their keys are data, an answer is one value."""


class Outcome(NamedTuple):
    """What became of one row."""

    number: int
    given: Any
    has_answer: bool
    data: Any
    error: str | None
    content: list[Any] | None = None

    @classmethod
    def of(cls, row: Row) -> Outcome:
        """Returns what became of a row so far."""
        error = row.error.message if row.error is not None else None
        data = row.result.data if row.result is not None else None
        return cls(row.number, row.given, row.result is not None, data, error)

    @classmethod
    def read(cls, record: Record) -> Outcome:
        """Returns what became of a row, from the file it was written to."""
        given, answered = record.arguments or {}, record.error is None
        return cls(record.row, given, answered, record.result, record.error, record.content)


def named(given: Any, target: str) -> dict[str, Any]:
    """Returns what a row was given by names; a value without one has that of its argument."""
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    return {target: given}


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


def free_name(name: str, taken: Any, *, behind: str = "_result") -> str:
    """Returns a column's name that is not taken yet."""
    while name in taken:
        name += behind
    return name


Inputs = Mapping[str, Any]
Answer = Mapping[str, Any]


class Columns:
    """The columns of a table of outcomes.

    Attributes:
        names: In their order: the row's number where it is wanted, the inputs, the answers, the
            content where there is any, and the error.
    """

    def __init__(
        self, rows: Iterable[tuple[Inputs, Outcome, Answer]], *, numbered: bool = False
    ) -> None:
        """Goes through all rows once.

        Args:
            rows: What each was given, what became of it, and its answer as `outputs` has it.
            numbered: Whether the number of the row is a column.
        """
        inputs: dict[str, None] = {}
        answers: dict[str, None] = {}
        has_content = False
        for given, outcome, answer in rows:
            inputs.update(dict.fromkeys(given))
            answers.update(dict.fromkeys(answer))
            has_content = has_content or outcome.content is not None
        self._is_whole = len(answers) > MAX_MEMBERS
        self._number = free_name("row", inputs, behind="_number") if numbered else None
        self.names = [name for name in [self._number, *inputs] if name is not None]
        self._answers = {n: self._add(n) for n in (["result"] if self._is_whole else answers)}
        self._content = self._add("content") if has_content else None
        self._error = self._add("error")

    def _add(self, name: str) -> str:
        self.names.append(free_name(name, self.names))
        return self.names[-1]

    def cells(self, given: Inputs, outcome: Outcome, answer: Answer) -> dict[str, Any]:
        """Returns one row of the table, by the names of the columns."""
        row = dict(given)
        if self._is_whole and outcome.has_answer:
            answer = {"result": outcome.data}
        row.update((self._answers[name], value) for name, value in answer.items())
        if self._number is not None:
            row[self._number] = outcome.number
        if self._content is not None:
            row[self._content] = outcome.content
        row[self._error] = outcome.error
        return row

"""The rows of a batch, and what each of them means as a tool's arguments.

Rows are read lazily and a few at a time, always in the thread of the person whose they are: a
generator may do anything. A table's columns are matched to the tool's arguments by name; what has
no argument is carried along and not sent. A row that is an object is taken at its word instead:
a name the tool does not know is an error.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any, TypeVar

from mcp_notebook.errors import ToolArgumentError, ToolError
from mcp_notebook.redaction import printable
from mcp_notebook.results import tables
from mcp_notebook.results.likeness import ValueLike
from mcp_notebook.schema.names import nearest
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.waiting.stopping import stop_put_off

T = TypeVar("T")

CHUNK = 512
"""Rows of a table that are turned into objects at a time."""

_FORMS = (
    "a DataFrame, an Arrow table, a tool's answer, a list of dicts, or the values of one argument: "
    "a list, a Series, a generator"
)


class Rows:
    """Where the rows come from.

    Attributes:
        total: How many there are, or None where that cannot be known.
        frame: The pandas DataFrame they are, or None.
        is_table: Whether they have columns, some of which may be no argument.
        exhausted: Whether the last has been read.
    """

    def __init__(self, given: Any) -> None:
        """Looks at the rows; none is read yet.

        Raises:
            ToolError: They are nothing that has rows.
        """
        self.total: int | None = None
        self.frame: Any = None
        self.is_table = False
        self.exhausted = False
        self._broken = False
        self._taken = 0
        # Read and not yet taken: what cannot be taken now is what the next run begins with.
        self._unread: deque[Any] = deque()
        self._iterator: Iterator[Any] = iter(())
        self._piece: Callable[[int], list[Any]] | None = None
        self._open(given)

    def _open(self, given: Any) -> None:
        if isinstance(given, ValueLike):
            self._open_answer(given.data)
            return
        if hasattr(given, "iloc") and hasattr(given, "columns"):
            # What the person does to theirs later changes neither rows to come nor `to_frame`.
            given = self.frame = given.copy(deep=False)
        self._piece = _pieces(given)
        if self._piece is None:
            self._iterator = _iterator(given)
        if isinstance(given, Sized):
            self.total = len(given)
        self.is_table = _has_columns(given)

    def _open_answer(self, value: Any) -> None:
        """What another tool answered: its table, else its list."""
        table = tables.table_of(value)
        if table is None:
            self._open(value)
            return
        self.total, self.is_table = len(table.rows), True
        self._iterator = iter(table.rows)

    def take(
        self, limit: int, seconds: float, look: Callable[[Any], T], keep: Callable[[T], None]
    ) -> None:
        """Reads the next rows: as many as there are, up to a number and for a time.

        No row is lost or kept twice when this is interrupted, or when `look` raises: what was read
        and not kept is what the next call begins with.

        Args:
            limit: How many at the most.
            seconds: After this time no further one is begun; a generator may be slow.
            look: Gets each of them at once, and may raise.
            keep: Gets what `look` returned; must neither raise nor block, and is done whole.

        Raises:
            ToolError: The generator was interrupted earlier and has nothing more to give.
        """
        if self._broken:
            raise ToolError(
                "The rows come from a generator that was interrupted, and there are no more.",
                hint="What was done is kept. Map the rest of the rows anew.",
            )
        end = time.monotonic() + seconds
        for _ in range(limit):
            if not self._unread:
                self._read()
            if not self._unread:
                self.exhausted = True
                return
            found = look(self._unread[0])
            with stop_put_off():
                keep(found)
                self._unread.popleft()
                self._taken += 1
            if time.monotonic() > end:
                return

    def _read(self) -> None:
        if self._piece is not None:
            # A table is read from where it was taken up to, so that Stop in the middle of it
            # costs nothing.
            self._unread = deque(self._piece(self._taken))
            return
        try:
            # In one go of the interpreter's own: between `next` and a name for it, Stop may come.
            self._unread.extend(islice(self._iterator, 1))
        except BaseException:
            self._broken = inspect.isgenerator(self._iterator)  # one that has raised is over
            raise


def _iterator(given: Any) -> Iterator[Any]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        found = "an async iterator" if isinstance(given, AsyncIterable) else type(given).__name__
        hint = f"Rows are {_FORMS}."
        if isinstance(given, Mapping):
            hint += " For columns: map(pd.DataFrame(columns)); for one call: TOOL(**arguments)"
        raise ToolError(f"map() takes rows, not {found}.", hint=hint)
    if _has_columns(given):  # a loop over such a thing may give the names of its columns
        raise ToolError(f"A {type(given).__name__} is not read here.", hint=f"Rows are {_FORMS}.")
    return iter(given)


def _has_columns(given: Any) -> bool:
    return hasattr(given, "columns") or hasattr(given, "column_names")


def _pieces(given: Any) -> Callable[[int], list[Any]] | None:
    """Returns what reads the next rows of a table from a number on, or None where it is none."""
    if hasattr(given, "iloc") and hasattr(given, "columns"):  # pandas
        return lambda start: _records(given, start)
    if hasattr(given, "iter_rows") and hasattr(given, "slice"):  # polars
        return lambda start: list(given.slice(start, CHUNK).iter_rows(named=True))
    if hasattr(given, "to_pylist") and hasattr(given, "slice"):  # Arrow, tables and arrays
        return lambda start: list(given.slice(start, CHUNK).to_pylist())
    return None


def _records(frame: Any, start: int) -> list[dict[Any, Any]]:
    if not frame.columns.is_unique:
        raise ToolError(
            "The DataFrame has two columns of one name.", hint="Rename one, or choose: df[[...]]"
        )
    records: list[dict[Any, Any]] = frame.iloc[start : start + CHUNK].to_dict("records")
    return records


class Binder:
    """Turns rows into the arguments of one tool."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        is_table: bool,
        columns: Mapping[str, str] | None,
        fixed: Mapping[str, Any],
    ) -> None:
        """Prepares it.

        Args:
            parameters: What the tool takes.
            is_table: Whether rows may hold what is no argument.
            columns: Which column is which argument, where their names differ.
            fixed: Arguments that are the same for every row; they go before the row's own.

        Raises:
            ToolArgumentError: `columns` or `fixed` names an argument the tool does not have.
        """
        self._parameters = parameters
        self._chosen = is_table or columns is not None
        self._columns = dict(columns or {})
        self._fixed = dict(fixed)
        self._names = {p.name: p.name for p in parameters.all.values()}
        self._names |= {p.identifier: p.name for p in parameters.all.values() if p.identifier}
        kinds = {p.kind for p in parameters.signature.parameters.values()}
        self._takes_any = inspect.Parameter.VAR_KEYWORD in kinds
        for word in [*self._columns.values(), *self._fixed]:
            self._check(word)
        taken = {self._names.get(word, word) for word in self._fixed}
        required = [p.name for p in parameters.all.values() if p.required and not p.has_default]
        self._needed = [name for name in required if name not in taken]
        free = [name for name in parameters.all if name not in taken]
        self._target = next(iter(self._needed or free), None)

    @property
    def target(self) -> str:
        """The argument that a row is which has no names."""
        return self._target or "value"

    def _check(self, word: str) -> None:
        if word in self._names or self._takes_any:
            return
        guess = nearest(word, list(self._names))
        hint = f"Did you mean {printable(guess, 60)!r}?" if guess else self._takes()
        if word in self._columns.values() and self._columns.keys() & self._names.keys():
            hint = 'columns says which column is which argument: columns={"column": "argument"}'
        raise ToolArgumentError(f"There is no argument {printable(word, 60)!r}.", hint=hint)

    def _takes(self) -> str:
        return f"The tool takes {printable(str(self._parameters.signature), 400)}"

    def check_first(self, given: Any) -> None:
        """Checks that rows such as the first one can be arguments at all.

        Raises:
            ToolArgumentError: No column is an argument, or one that is needed is not there.
        """
        if not isinstance(given, Mapping):
            if self._target is None:
                raise ToolArgumentError("The tool takes no argument for a row.", hint=self._takes())
            rest = [name for name in self._needed if name != self._target]
            if rest:
                raise ToolArgumentError(
                    f"Each row is {self._target!r}, and {_listed(rest)} is missing.",
                    hint=f"Give it for all rows, map(rows, {rest[0]}=…), or make the rows dicts.",
                )
            return
        named = {self._names.get(word, word) for word in self._named(given)}
        missing = [name for name in self._needed if name not in named]
        if missing or (self._chosen and not named and not self._fixed):
            what = _listed(missing) if missing else "an argument"
            raise ToolArgumentError(
                f"No column is {what}; the columns are {_listed([str(key) for key in given])}.",
                hint='Say which is which, columns={"column": "argument"}. ' + self._takes(),
            )

    def arguments(self, given: Any) -> dict[str, Any]:
        """Returns the JSON object to send for a row.

        Raises:
            ToolArgumentError: The row does not fit the tool's schema.
        """
        if isinstance(given, Mapping):
            return self._parameters.bind((), self._named(given) | self._fixed)
        return self._parameters.bind((), {self.target: given} | self._fixed)

    def _named(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        fixed = {self._names.get(word, word) for word in self._fixed}
        named: dict[str, Any] = {}
        for column, value in given.items():
            word = self._columns.get(column, str(column))
            known = word in self._names or (self._takes_any and not self._names)
            if self._names.get(word, word) not in fixed and (known or not self._chosen):
                named[word] = value
        return named


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(printable(name, 40)) for name in names[:12])
    return f"{shown}, …" if len(names) > 12 else shown

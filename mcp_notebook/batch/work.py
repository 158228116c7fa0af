"""The rows of one batch and what has become of them.

A `Work` outlives the runs over it. The thread that waits reads rows into it and writes to files
what has come (`pull`, `write`); the loop notes outcomes (`finish`, `fail`). Neither touches what
the other counts. With a sink nothing is kept here but what failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook.batch.cache import AnswerCache, Answers
from mcp_notebook.batch.pacing import Rate
from mcp_notebook.batch.rows import Binder, Rows
from mcp_notebook.batch.sink import record_of
from mcp_notebook.batch.sinks import sink_of
from mcp_notebook.errors import MCPNotebookError, ToolArgumentError, ToolError
from mcp_notebook.results.tool_result import ToolResult
from mcp_notebook.waiting.stopping import stop_put_off

if TYPE_CHECKING:
    import mcp_types

PULL_SECONDS = 0.05
"""How long rows are read in one go; a generator may take its time for each."""


@dataclass(slots=True, eq=False)
class Row:
    """One row: what was given, what is sent, and the outcome once there is one."""

    number: int
    given: Any
    arguments: dict[str, Any] | None = None
    result: ToolResult | None = None
    error: MCPNotebookError | None = None
    known: bool = False
    """Whether the answer was kept from earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a batch is to be done; see `Tool.map`."""

    concurrency: int = 8
    rate: str | float | None = None
    columns: Mapping[str, str] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    on_error: Literal["keep", "stop"] = "keep"
    confirm: bool = True
    cache: bool | str | Path | AnswerCache | None = None
    sink: str | Path | Callable[[dict[str, Any]], object] | None = None
    executor: Any = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ToolError(
                f"concurrency is not {self.concurrency!r}.",
                hint="It is the number of calls under way at once: 1 or more.",
            )
        if self.rate is not None:
            Rate.of(self.rate)  # raises
        if self.on_error not in {"keep", "stop"}:
            raise ToolError(
                f"on_error is not {self.on_error!r}.",
                hint='"keep" goes on with the other rows, "stop" ends at the first failure.',
            )


class Work:
    """The rows of one batch and what has become of them.

    Attributes:
        rows: Where they come from.
        read: How many have been read.
        answered: How many the server has answered.
        known: How many had their answer already, in the cache or the sink.
        todo: Those read and not yet done.
        failures: Those that failed, by number.
        kept: All that have been read, in order; empty with a sink.
        confirmed: Whether a person has agreed.
        doubtful: Whether rows are to be sent again whose first call may have run.
        target: The argument that rows without names are.
        cache: Where answers are kept, or None.
        sink: Where they are written, or None.
        found: Told the arguments and the answer of what was in the cache.
    """

    def __init__(self, rows: Rows, terms: Terms) -> None:
        """Prepares it; nothing is read or opened yet.

        Raises:
            ToolError: The sink is none.
        """
        self.rows = rows
        self.read = self.answered = self.known = 0
        self.todo: deque[Row] = deque()
        self.failures: dict[int, Row] = {}
        self.kept: list[Row] = []
        self.confirmed = self.doubtful = False
        self.target = "value"
        self.cache = AnswerCache.of(terms.cache)
        self.sink = sink_of(terms.sink) if terms.sink is not None else None
        self.found: Callable[[dict[str, Any], mcp_types.CallToolResult], None] = lambda *_: None
        self._answers: Answers | None = None
        self._outbox: deque[Row] = deque()
        self._binder: Binder
        self._wrap: Callable[[Any], ToolResult]

    @property
    def total(self) -> int | None:
        """How many rows there are, where that is known."""
        return self.read if self.rows.exhausted else self.rows.total

    @property
    def done(self) -> int:
        """How many rows have an answer."""
        return self.answered + self.known

    @property
    def settled(self) -> int:
        """How many rows have an outcome."""
        return self.done + len(self.failures)

    @property
    def over(self) -> bool:
        """Whether every row has an outcome."""
        return self.rows.exhausted and self.settled == self.read

    # -- in the thread that waits -------------------------------------------------------------

    def prepare(
        self, binder: Binder, tool: mcp_types.Tool, server: str, url: str, version: str
    ) -> None:
        """Takes the tool as it is now.

        Raises:
            ToolError: The cache holds answers of another schema.
        """
        self._binder, self.target = binder, binder.target
        self._wrap = lambda raw: ToolResult(
            raw, tool=tool.name, server=server, output_schema=tool.output_schema
        )
        if self.cache is not None:
            self._answers = self.cache.answers(server, url, tool, version)

    def pull(self, limit: int, tell: Callable[[], None]) -> None:
        """Reads the next rows, and finds those whose answers are known.

        Args:
            limit: How many at the most.
            tell: Called when there is something to do again.
        """

        def keep(row: Row) -> None:
            self._keep(row)
            if len(self.todo) == 1:
                tell()

        self.rows.take(limit, PULL_SECONDS, self._look, keep)

    def _look(self, given: Any) -> Row:
        """Returns a row with its arguments, or why it has none, and its answer if that is known."""
        row = Row(self.read, given)
        if row.number == 0:
            self._binder.check_first(given)
        try:
            row.arguments = self._binder.arguments(given)
        except ToolArgumentError as error:
            row.error = error.with_traceback(None)
        else:
            row.known = self._find(row, row.arguments)
        return row

    def _find(self, row: Row, arguments: dict[str, Any]) -> bool:
        if self.sink is not None and self.sink.knows(row.number, arguments):
            return True
        raw = self._answers.get(arguments) if self._answers is not None else None
        if raw is None:
            return False
        self.found(arguments, raw)
        row.result = self._wrap(raw)
        return True

    def _keep(self, row: Row) -> None:
        self.read += 1
        if self.sink is None:
            self.kept.append(row)
        elif row.result is not None:
            self._outbox.append(row)
        if row.known:
            self.known += 1
        elif row.error is not None:
            self.fail(row, row.error)
        else:
            self.todo.append(row)

    def write(self) -> None:
        """Writes what has come to the sink and the cache."""
        rows = [self._outbox[place] for place in range(len(self._outbox))]
        if not rows:
            return
        if self._answers is not None:
            fresh = [row for row in rows if not row.known]
            self._answers.put(
                (r.arguments or {}, r.result.raw) for r in fresh if r.result is not None
            )
        if self.sink is not None:
            self.sink.write(
                record_of(r.number, r.arguments, r.result, r.error.message if r.error else None)
                for r in rows
            )
        # Taken out last: what could not be written is written by the next run.
        with stop_put_off():
            for _ in rows:
                self._outbox.popleft()

    def close(self) -> None:
        """Writes the rest and closes the files; a later run opens them again."""
        try:
            self.write()
        finally:
            if self.cache is not None:
                self.cache.close()
            if self.sink is not None:
                self.sink.close()

    def retry(self) -> None:
        """Puts the rows that were sent and failed back among those to be done."""
        for row in [row for row in self.failures.values() if row.arguments is not None]:
            self.doubtful = self.doubtful or bool(getattr(row.error, "may_have_run", False))
            del self.failures[row.number]
            row.error = None
            self.todo.append(row)

    # -- on the loop --------------------------------------------------------------------------

    def finish(self, row: Row, result: ToolResult) -> None:
        """Notes a row's answer."""
        row.result = result
        self.answered += 1
        if self.sink is not None or self._answers is not None:
            self._outbox.append(row)

    def fail(self, row: Row, error: MCPNotebookError) -> None:
        """Notes that a row has failed."""
        row.error = error
        self.failures[row.number] = row
        if self.sink is not None:
            self._outbox.append(row)

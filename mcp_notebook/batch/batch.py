"""What a person holds of one tool over many rows: progress, outcomes, the way to go on.

A `Batch` is never lost. Stop, a refusal that does not pass or an error in the rows end a run over
it, and the answers that came are kept; `resume` goes over the rest, `retry_failed` over what went
wrong. It keeps its rows in order, shows itself as a table with the failures on top, and becomes a
DataFrame of the rows, their answers and their errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, overload

from mcp_notebook.batch import showing
from mcp_notebook.batch.mapping import Run
from mcp_notebook.batch.outcomes import Columns, Outcome, free_name, named, outputs
from mcp_notebook.batch.parquet import Parquet
from mcp_notebook.batch.rows import Rows
from mcp_notebook.batch.sink import JSONLines
from mcp_notebook.batch.spreading import pool_for, run_of
from mcp_notebook.batch.work import Row, Terms, Work
from mcp_notebook.errors import AnswerUseError, MCPNotebookError, ToolError
from mcp_notebook.redaction import printable
from mcp_notebook.results import arrow, html, rendering, tables
from mcp_notebook.schema import names
from mcp_notebook.schema.digests import schema_digest
from mcp_notebook.waiting.wait import Wait

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tool import Tool

ENDING_SECONDS = 2.0
"""How long Stop waits for calls under way to be told; they are cancelled, also on the server."""


class BatchStopped(KeyboardInterrupt):
    """Stop was pressed in the middle of a batch. What was done is kept.

    Attributes:
        batch: The batch; `Tool.last_batch` is the same.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch._standing())
        self.batch = batch

    def _render_traceback_(self) -> list[str]:
        return [f"Stopped: {self.batch._standing()}", f"  → {self.batch._way_on()}"]


class Batch:
    """One tool over many rows. Made by `Tool.map`.

    ``await batch`` goes over what is not done yet, like `resume`, while other tasks go on; a
    batch that is done is done at once.

    Attributes:
        tool: The tool.
    """

    def __init__(self, session: Session, tool: Tool, rows: Any, terms: Terms) -> None:
        """Looks at the rows; nothing is read and nothing called yet.

        Raises:
            ToolError: They are nothing that has rows.
        """
        self._session = session
        self.tool = tool
        if session.replayed is not None:  # nothing is called, so nothing need be kept or spared
            terms = replace(terms, cache=None, rate=None, confirm=False)
        self._terms = terms
        self._work = Work(Rows(rows), terms)
        self._work.found = partial(session.record_answer, tool.name)
        self._pool = pool_for(session, terms.executor)
        self._run: Run | None = None
        self._seconds = 0.0
        self._made = time.time()

    # -- going on -----------------------------------------------------------------------------

    def resume(self, *, executor: Any = None) -> Self:
        """Goes over the rows that have no outcome yet, and waits.

        Args:
            executor: Another one than before, from now on: its workers may be gone.

        Raises:
            BatchStopped: Stop was pressed; what was done is kept.
            MCPNotebookError: What ended it; what was done is kept.
        """
        if executor is not None:
            self._check_idle()
            self._pool = pool_for(self._session, executor)
        if self.is_done:
            self._work.close()  # what could not be written the last time
            return self
        run, wait, began = self._begin()
        try:
            wait.result()
        except KeyboardInterrupt:
            run.over.wait(ENDING_SECONDS)
            raise BatchStopped(self) from None
        except BaseException as error:
            run.over.wait(ENDING_SECONDS)
            self._tell_way_on(error)
            raise
        finally:
            self._end(began)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._resumed().__await__()

    async def _resumed(self) -> Self:
        if self.is_done:
            self._work.close()  # what could not be written the last time
            return self
        run, wait, began = self._begin()
        try:
            await wait
        except BaseException as error:
            await asyncio.to_thread(run.over.wait, ENDING_SECONDS)
            self._tell_way_on(error)
            raise
        finally:
            self._end(began)
        return self

    def retry_failed(self) -> Self:
        """Calls the tool again for the rows that failed, and goes over those without outcome.

        Rows that do not fit the tool's schema stay as they are. Where a failed call may have run
        and the tool does not say that running twice does no harm, you are asked first.

        Raises:
            BatchStopped: Stop was pressed; what was done is kept.
            MCPNotebookError: What ended it; what was done is kept.
        """
        self._check_idle()
        self._work.retry()
        return self.resume()

    def _begin(self) -> tuple[Run, Wait[None], float]:
        self._check_idle()
        run = self._run = run_of(self._session, self.tool, self._work, self._terms, self._pool)
        began, before = time.monotonic(), self._work.settled

        def tend() -> None:
            self._work.write()
            done, seconds = self._work.settled, time.monotonic() - began
            pace = showing.pace(self._work, done - before, seconds, run.note())
            run.call.progress.report(done, self.total, pace)

        return run, self._session.wait_for_call(run.run(), run.call, tend=tend), began

    def _check_idle(self) -> None:
        if self._run is not None and not self._run.over.is_set():
            raise ToolError("The batch is under way already.", hint="Wait for it, or stop it.")

    def _end(self, began: float) -> None:
        self._seconds += time.monotonic() - began
        self._run = None
        self._work.close()

    # -- outcomes -----------------------------------------------------------------------------

    @property
    def total(self) -> int | None:
        """How many rows there are; None for a generator that has not come to its end."""
        return self._work.total

    @property
    def done(self) -> int:
        """How many rows have an answer."""
        return self._work.done

    @property
    def failed(self) -> int:
        """How many rows have failed."""
        return len(self._work.failures)

    @property
    def is_done(self) -> bool:
        """Whether every row has an outcome, failures included."""
        return self._work.over

    @property
    def results(self) -> list[ToolResult | None]:
        """The answers in the order of the rows; None where a row failed or was not reached."""
        return [row.result for row in self._kept()]

    @property
    def errors(self) -> dict[int, MCPNotebookError]:
        """What went wrong, by the number of the row, from 0."""
        failures = self._work.failures
        return {number: row.error for number, row in sorted(failures.items()) if row.error}

    def __len__(self) -> int:
        return self._work.read

    def __iter__(self) -> Iterator[ToolResult]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, number: int) -> ToolResult: ...

    @overload
    def __getitem__(self, number: slice) -> list[ToolResult]: ...

    def __getitem__(self, number: int | slice) -> ToolResult | list[ToolResult]:
        """Returns a row's answer, or those of several, and raises its error if it failed."""
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if isinstance(number, str):
            raise AnswerUseError(
                "The answers of a batch have numbers, and no names.",
                hint=f"As a table: .to_frame()[{printable(number, 60)!r}]",
            )
        row = self._kept()[number]
        if row.error is not None:
            raise row.error.with_traceback(None)
        if row.result is None:
            raise ToolError(f"Row {number} was not reached.", hint=self._way_on())
        return row.result

    def to_frame(self, *, explode: bool = False) -> DataFrame:
        """Returns the rows with their answers beside them, and a column ``error``.

        An answer that is an object has a column for each of its members, any other value is in
        the column ``result``. A column of the rows keeps its name; one of the answers that is
        called the same gets ``_result`` behind it. A DataFrame's own columns and index are kept.

        Args:
            explode: Answers that are tables become as many rows; the row's own columns repeat.

        Raises:
            MCPNotebookError: pandas is not installed.
        """
        outcomes = self._outcomes()
        places: list[int] = []
        answers: list[dict[str, Any]] = []
        for place, outcome in enumerate(outcomes):
            for output in outputs(outcome, explode=explode):
                places.append(place)
                answers.append(output)
        frame = self._inputs(outcomes).iloc[places]
        answered = tables.to_frame(answers)
        columns: dict[str, Any] = {}
        taken = set(frame.columns.get_level_values(0))

        def add(name: str, values: Any) -> None:
            columns[free := free_name(name, taken)] = values
            taken.add(free)

        for name in answered.columns:
            add(name, answered[name].array)
        add("error", [outcomes[place].error for place in places])
        return tables.beside(frame, columns)

    def to_arrow(self, *, explode: bool = False) -> pa.Table:
        """Returns what `to_frame` does as an Arrow table, for polars, DuckDB and others.

        They also take the batch itself, ``polars.DataFrame(batch)``. Texts stay texts, dates too.
        A column of values that share no type holds each of them as JSON.

        Args:
            explode: As for `to_frame`.

        Raises:
            MCPNotebookError: pyarrow is not installed.
        """
        outcomes = self._outcomes()
        found = [
            (given, outcome, answer)
            for given, outcome in zip(self._given(outcomes), outcomes, strict=True)
            for answer in outputs(outcome, explode=explode)
        ]
        columns = Columns(found)
        return arrow.table([columns.cells(*row) for row in found], columns.names)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Returns the table for whoever speaks Arrow's PyCapsule interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _given(self, outcomes: list[Outcome]) -> list[dict[str, Any]]:
        if self._work.rows.frame is not None:
            records = self._inputs(outcomes).to_dict("records")
            return [named(record, self._work.target) for record in records]
        return [named(outcome.given, self._work.target) for outcome in outcomes]

    def _inputs(self, outcomes: list[Outcome]) -> DataFrame:
        given = self._work.rows.frame
        if given is not None:
            return given.iloc[[outcome.number for outcome in outcomes]]  # type: ignore[no-any-return]
        return tables.to_frame([named(outcome.given, self._work.target) for outcome in outcomes])

    def _kept(self) -> list[Row]:
        if self._work.sink is not None:
            raise ToolError(
                "The answers were written to the sink and are not kept here.",
                hint="Read them there, or to_frame() if it is a file.",
            )
        return self._work.kept

    def _outcomes(self) -> list[Outcome]:
        sink = self._work.sink
        if not isinstance(sink, JSONLines | Parquet):
            return [Outcome.of(row) for row in self._kept()]
        return [Outcome.read(record) for record in sink.at(sink.places())]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the answers are from: server, tool, schema, versions, time, and what was known."""
        connection = self._session.connection
        info = connection.client.server_info if connection.client is not None else None
        tool = self._session.tools._find(self.tool.name)
        return {
            "server": self._session.name,
            "url": self._session.url,
            "version": info.version if info is not None else None,
            "tool": self.tool.name,
            "schema": schema_digest(tool) if tool is not None else None,
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._made)),
            "seconds": round(self._seconds, 3),
            "answered": self._work.answered,
            "known": self._work.known,
            "failed": self.failed,
        }

    # -- being shown --------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Batch of {self._source}: {self._standing()}>"

    def _repr_mimebundle_(
        self,
        include: Any = None,  # noqa: ARG002 -- IPython gives both
        exclude: Any = None,  # noqa: ARG002
    ) -> dict[str, str]:
        columns, cells, note = showing.table(self._work)
        head = f"{self._source}: {self._standing()}"
        plain = rendering.text_table(columns, cells) if cells else ""
        return {
            "text/plain": "\n".join(line for line in (head, plain, note) if line),
            "text/html": html.output(
                html.tag("div", self._standing()),
                html.table(columns, cells, note=note) if cells else html.remark(note),
                source=self._source,
            ),
        }

    @property
    def _source(self) -> str:
        return f"{printable(self._session.name, 64)} · {printable(self.tool.name, 80)}"

    def _standing(self) -> str:
        return showing.standing(self._work, self._seconds)

    def _way_on(self) -> str:
        session = self._session.name
        own = names.identifier(self.tool.name)
        tool = f"{session}.tools.{own}" if own else f"{session}.tools[{self.tool.name!r}]"
        return f"What was done is kept. Go on with: {tool}.last_batch.resume()"

    def _tell_way_on(self, error: BaseException) -> None:
        if (
            isinstance(error, MCPNotebookError)
            and self._work.read
            and self._way_on() not in error.hint
        ):
            error.hint = f"{error.hint} {self._standing()}. {self._way_on()}".strip()

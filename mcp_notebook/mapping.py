"""One tool over many rows, on the background loop: workers, refusals, and when to give up.

A `Work` is the rows and what has become of them; it outlives the runs over it. A `Run` goes over
what is not done yet with a few workers. Rows are read and bound in the thread that waits, calls
are made here. What may pass in a moment is waited out for all calls together (`pacing.Throttle`);
what cannot pass ends the run, with every answer kept and the other rows as they were.

A call is made again only if the first surely did not run, or the tool says that running twice
does no harm. One that was cut off in the middle otherwise counts as failed, and says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook import faults
from mcp_notebook.background import background
from mcp_notebook.calls import Call
from mcp_notebook.errors import (
    ConnectionFailedError,
    MCPNotebookError,
    ServerError,
    SignInError,
    TokenStoreError,
    ToolArgumentError,
    ToolError,
    ToolFailedError,
    UnknownToolError,
)
from mcp_notebook.guard import allow
from mcp_notebook.hints import is_harmless, may_be_repeated
from mcp_notebook.pacing import Rate
from mcp_notebook.rows import Binder, Rows
from mcp_notebook.signature import Parameters
from mcp_notebook.status import Status
from mcp_notebook.waiting import current_wait

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.results import ToolResult
    from mcp_notebook.session import Session
    from mcp_notebook.tools import Tool

ATTEMPTS = 8
"""Times one row is sent while the server is busy or gone; with the pauses between, a minute."""

LONGEST_WAIT = 900.0
"""Seconds a server may ask a batch to wait; beyond, the run ends and can be resumed."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a batch is to be done; see `Tool.map`."""

    concurrency: int = 8
    rate: str | float | None = None
    columns: Mapping[str, str] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    on_error: Literal["keep", "stop"] = "keep"
    confirm: bool = True

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ToolError("concurrency is the number of calls under way at once: 1 or more.")
        if self.rate is not None:
            Rate.of(self.rate)  # raises
        if self.on_error not in {"keep", "stop"}:
            raise ToolError(
                f"on_error is not {self.on_error!r}.",
                hint='"keep" goes on with the other rows, "stop" ends at the first failure.',
            )


class Work:
    """The rows of one batch and what has become of them.

    Written by the loop while a run is under way and by nobody else; any thread may look.

    Attributes:
        rows: Where they come from.
        read: How many have been read.
        done: How many have a result.
        todo: Those read and not yet done.
        failures: Those that failed, by number.
        kept: All that have been read, in order.
        confirmed: Whether a person has agreed.
        doubtful: Whether rows are to be sent again whose first call may have run.
        target: The argument that rows without names are.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.read = 0
        self.done = 0
        self.todo: deque[Row] = deque()
        self.failures: dict[int, Row] = {}
        self.kept: list[Row] = []
        self.confirmed = False
        self.doubtful = False
        self.target = "value"

    @property
    def total(self) -> int | None:
        """How many rows there are, where that is known."""
        return self.read if self.rows.exhausted else self.rows.total

    @property
    def over(self) -> bool:
        """Whether every row has an outcome."""
        return self.rows.exhausted and self.done + len(self.failures) == self.read

    def pull(self, limit: int, binder: Binder, tell: Callable[[], None]) -> None:
        """Reads the next rows and binds them; in the thread whose rows they are.

        Args:
            limit: How many at the most.
            binder: What they mean.
            tell: Called when there is something to do again.
        """

        def put(given: Any) -> None:
            row = Row(self.read, given)
            if row.number == 0:
                binder.check_first(given)
            try:
                row.arguments = binder.arguments(given)
            except ToolArgumentError as error:
                row.error = error.with_traceback(None)
                self.failures[row.number] = row
            self.kept.append(row)
            self.read += 1
            if row.error is None:
                self.todo.append(row)
                if len(self.todo) == 1:
                    tell()

        self.rows.take(limit, PULL_SECONDS, put)

    def retry(self) -> None:
        """Puts the rows that were sent and failed back among those to be done."""
        for row in [row for row in self.failures.values() if row.arguments is not None]:
            self.doubtful = self.doubtful or bool(getattr(row.error, "may_have_run", False))
            del self.failures[row.number]
            row.error = None
            self.todo.append(row)

    def finish(self, row: Row, result: ToolResult) -> None:
        """Notes a row's answer."""
        row.result = result
        self.done += 1

    def fail(self, row: Row, error: MCPNotebookError) -> None:
        """Notes that a row has failed."""
        row.error = error
        self.failures[row.number] = row


class Run:
    """One go over the rows that are not done yet.

    Attributes:
        call: What the server speaks in, and how far it is.
        over: Set when nothing of it is under way any more; for other threads.
    """

    def __init__(self, session: Session, tool: Tool, work: Work, terms: Terms) -> None:
        self.call = Call(session.name, tool.name)
        self.over = threading.Event()
        self._session = session
        self._tool = tool
        self._work = work
        self._terms = terms
        self._throttle = session.throttle
        self._connection = session.connection
        self._rate = Rate.of(terms.rate) if terms.rate is not None else None
        self._reading: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._calling: set[asyncio.Task[Any] | None] = set()
        self._done_before = work.done
        self._ending = False
        self._repeatable = False
        self._definition: mcp_types.Tool
        self._binder: Binder

    async def run(self) -> None:
        """Makes the calls.

        Raises:
            ToolError: The rows do not fit the tool, or the person said no.
            MCPNotebookError: What ended the run before its end.
        """
        try:
            with self._session.calls.under_way(self.call):
                await self._connection.ready()
                self._definition = definition = self._tool.needed()
                self._repeatable = may_be_repeated(definition)
                self._binder = Binder(
                    Parameters.of(definition.name, definition.input_schema),
                    is_table=self._work.rows.is_table,
                    columns=self._terms.columns,
                    fixed=self._terms.fixed,
                )
                self._work.target = self._binder.target
                if await self._more():
                    await self._guard()
                    await self._work_off()
        finally:
            if self._reading is not None:
                self._reading.cancel()
            self.over.set()

    async def _guard(self) -> None:
        work, tool = self._work, self._definition
        again = work.doubtful and not self._repeatable
        agreed = work.confirmed or work.total == 1 or is_harmless(tool)
        if self._terms.confirm and (again or not agreed):
            wait = current_wait()
            assert wait is not None
            await allow(
                tool,
                work.todo[0].arguments or {},
                rows=None if work.total is None else work.total - work.done - len(work.failures),
                again=again,
                front_end=self._session.front_end,
                wait=wait,
            )
        work.confirmed, work.doubtful = True, False

    async def _more(self) -> bool:
        """Waits for something to do; tells whether there is.

        The first that needs more rows has some read. All go on with the first that arrives: the
        next may be long in coming.
        """
        work = self._work
        while not work.todo:
            if self._reading is None:
                if work.rows.exhausted:
                    return False
                self._reading = asyncio.create_task(self._read())
            elif self._reading.done():
                done, self._reading = self._reading, None
                done.result()
                continue
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _read(self) -> None:
        wait = current_wait()
        assert wait is not None
        limit = max(64, 2 * self._terms.concurrency)
        try:
            await wait.in_waiting_thread(
                lambda: self._work.pull(
                    limit,
                    self._binder,
                    lambda: background().post(self._arrived.set),
                )
            )
        finally:
            self._arrived.set()

    # -- workers ------------------------------------------------------------------------------

    async def _work_off(self) -> None:
        total = self._work.total
        number = self._terms.concurrency
        if total is not None:
            number = min(number, max(1, total))
        workers = [asyncio.create_task(self._worker()) for _ in range(number)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            # If one has met what ends the run, calls that are under way still get their answer.
            self._ending = True
            for worker in workers:
                if worker not in self._calling:
                    worker.cancel()
            await asyncio.wait(workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        for worker in workers:
            error = None if worker.cancelled() else worker.exception()
            if error is not None:
                raise error

    async def _worker(self) -> None:
        work = self._work
        while not self._ending and await self._more():
            row = work.todo.popleft()
            try:
                await self._see_to(row)
            finally:
                if row.result is None and row.error is None:
                    work.todo.appendleft(row)

    async def _see_to(self, row: Row) -> None:
        """Calls the tool for one row, until there is an outcome or the run ends."""
        task = asyncio.current_task()
        for attempt in count(1):
            began = await self._throttle.enter()
            try:
                if self._rate is not None:
                    await self._rate.turn()
                if self._ending:
                    return
                self._calling.add(task)
                result = await self._answer(row)
            except MCPNotebookError as error:
                failure = error
            except asyncio.CancelledError:
                if task in self._calling and not self._repeatable:
                    self._work.fail(row, self._cut_off())
                raise
            else:
                self._throttle.passed(began)
                self._work.finish(row, result)
                return
            finally:
                self._throttle.leave()
                self._calling.discard(task)
            if not self._goes_on(row, failure, began, attempt):
                return

    async def _answer(self, row: Row) -> ToolResult:
        assert row.arguments is not None
        return await self._tool.answer(self._definition, row.arguments, self.call, patient=False)

    def _cut_off(self) -> MCPNotebookError:
        return ConnectionFailedError(
            "The call was stopped while it was under way.",
            hint="It may have run on the server. retry_failed() makes it again.",
            may_have_run=True,
        )

    # -- failures -----------------------------------------------------------------------------

    def _goes_on(self, row: Row, error: MCPNotebookError, began: float, attempt: int) -> bool:
        """Tells whether a failed call is to be made again; else the row has its outcome.

        Raises:
            MCPNotebookError: It ends the run.
        """
        if isinstance(error, SignInError | UnknownToolError | TokenStoreError):
            raise error
        if isinstance(error, ConnectionFailedError) and faults.passes(error):
            if self._connection.status is Status.DISCONNECTED:
                raise error
            self._throttle.set_back(began, error.retry_after)
            if self._repeatable or not error.may_have_run:
                if (error.retry_after or 0) > LONGEST_WAIT:
                    raise error
                if attempt < ATTEMPTS:
                    return True
                if self._work.done == self._done_before:
                    raise error  # nothing has worked for a minute: the server is gone
                self._done_before = self._work.done
        elif isinstance(error, ToolFailedError | ServerError):
            self._throttle.passed(began)
        self._work.fail(row, error)
        if self._terms.on_error == "stop":
            raise error
        return False

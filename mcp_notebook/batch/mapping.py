"""One tool over many rows, on the background loop: workers, refusals, and when to give up.

A `Run` goes over what is not done yet of a `Work`, with a few workers. Rows are read in the thread
that waits, calls are made here. What may pass in a moment is waited out for all calls together
(`pacing.Throttle`); what cannot pass ends the run, with every answer kept and the other rows as
they were.

A call is made again only if the first surely did not run, or the tool says that running twice
does no harm. One that was cut off in the middle otherwise counts as failed, and says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from mcp_notebook.background import background
from mcp_notebook.batch.guard import allow
from mcp_notebook.batch.pacing import Rate
from mcp_notebook.batch.rows import Binder
from mcp_notebook.batch.work import Row, Terms, Work
from mcp_notebook.client import faults
from mcp_notebook.client.status import Status
from mcp_notebook.errors import (
    ConnectionFailedError,
    MCPNotebookError,
    ServerError,
    SignInError,
    TokenStoreError,
    ToolFailedError,
    UnknownToolError,
)
from mcp_notebook.schema.hints import is_harmless, may_be_repeated
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.waiting.calls import Call
from mcp_notebook.waiting.wait import current_wait

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tool import Tool

T = TypeVar("T")

ATTEMPTS = 8
"""Times one row is sent while the server is busy or gone; with the pauses between, a minute."""

LONGEST_WAIT = 900.0
"""Seconds a server may ask a batch to wait; beyond, the run ends and can be resumed."""


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
        self._done_before = work.answered
        self._ending = False
        self._repeatable = False
        self._definition: mcp_types.Tool

    def note(self) -> str:
        """Returns in a few words what holds calls back, or ``""``."""
        return self._throttle.note()

    async def run(self) -> None:
        """Makes the calls.

        Raises:
            ToolError: The rows do not fit the tool, or the person said no.
            MCPNotebookError: What ended the run before its end.
        """
        try:
            with self._session.calls.under_way(self.call):
                remembered = await self._remembered()
                await self._prepare(remembered or await self._listed())
                if await self._more():
                    if remembered is not None:  # not everything is known: the server is needed
                        await self._prepare(await self._listed())
                    await self._guard()
                    await self._work_off()
        finally:
            if self._reading is not None:
                self._reading.cancel()
            self.over.set()

    async def _remembered(self) -> mcp_types.Tool | None:
        """Returns the tool as the cache has it, where the server cannot be asked at once."""
        cache = self._work.cache
        if cache is None or self._connection.status is Status.CONNECTED:
            return None
        session = self._session
        return await self._in_thread(
            lambda: cache.remembered(session.name, session.url, self._tool.name)
        )

    async def _listed(self) -> mcp_types.Tool:
        await self._connection.ready()
        return self._tool.needed()

    async def _prepare(self, tool: mcp_types.Tool) -> None:
        self._definition = tool
        self._repeatable = may_be_repeated(tool)
        binder = Binder(
            Parameters.of(tool.name, tool.input_schema),
            is_table=self._work.rows.is_table,
            columns=self._terms.columns,
            fixed=self._terms.fixed,
        )
        client = self._connection.client
        info = client.server_info if client is not None else None
        session, version = self._session, info.version if info is not None else ""
        await self._in_thread(
            lambda: self._work.prepare(binder, tool, session.name, session.url, version)
        )

    @staticmethod
    async def _in_thread(job: Callable[[], T]) -> T:
        """Does what reads rows and files, in the thread of whoever waits for the batch."""
        wait = current_wait()
        assert wait is not None
        return await wait.in_waiting_thread(job)

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
                rows=None if work.total is None else work.total - work.settled,
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

    @property
    def _ahead(self) -> int:
        """How many rows are read in one go."""
        return max(64, 2 * self._terms.concurrency)

    async def _read(self) -> None:
        limit, tell = self._ahead, partial(background().post, self._arrived.set)
        try:
            await self._in_thread(lambda: self._work.pull(limit, tell))
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

    def _cut_off(
        self, what: str = "The call was stopped while it was under way."
    ) -> MCPNotebookError:
        return ConnectionFailedError(
            what,
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
                if self._work.answered == self._done_before:
                    raise error  # nothing has worked for a minute: the server is gone
                self._done_before = self._work.answered
        elif isinstance(error, ToolFailedError | ServerError):
            self._throttle.passed(began)
        self._work.fail(row, error)
        if self._terms.on_error == "stop":
            raise error
        return False

"""One tool over many rows, in other processes: how chunks of rows go out and come back.

All that a batch promises is decided here, as in `mapping`: which rows go next, whether one goes
again, how fast, and when to give up. Workers only make calls. A chunk lasts for a moment, so that
its token is fresh, a pause that the server wants reaches everybody, a worker that dies takes little
along, and Stop does not wait. What it has not begun comes back and goes out again.

A call that needs a person, because it was refused for want of a sign-in, is made here instead.
After that there is a token that the other rows go out with.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_notebook.batch.chunks import Chunk, Reply
from mcp_notebook.batch.executors import pool_of, trouble
from mcp_notebook.batch.flights import Flight, Pool
from mcp_notebook.batch.mapping import Run
from mcp_notebook.batch.pacing import Throttle
from mcp_notebook.batch.work import Row, Terms, Work
from mcp_notebook.client import faults
from mcp_notebook.client.lending import Access, lend
from mcp_notebook.client.tasks import runs_as_task
from mcp_notebook.errors import (
    ExecutorError,
    MCPNotebookError,
    ServerError,
    SignInNeededError,
)

if TYPE_CHECKING:
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tool import Tool

CHUNK_SECONDS = 0.8
"""How long a chunk begins calls."""

GRACE = 1.5
"""Seconds in which chunks that are out when Stop is pressed may still bring answers."""

ROUNDS = 64
"""Calls of a chunk at the most, for each that it makes at a time."""

REFUSALS = 2
"""Times in a row that a token may be refused to workers and accepted here."""

LOSSES = 3
"""Times a row may be in a chunk that is lost."""

_STOPPED = "The call was stopped while it may have been under way."
_LOST = "The worker was lost while the call may have been under way."

SIZE_SECONDS = 2.0
"""How long the size of the pool is taken to be the same."""

ROWS_SECONDS = 0.05
"""How long a chunk that is not full waits for the rows that are just being read."""


def pool_for(session: Session, executor: Any) -> Pool | None:
    """Returns the workers that are to call a session's server, or None for this process.

    Raises:
        ExecutorError: The server is a program on this machine.
        ToolError: These are no workers.
    """
    if executor is None or session.replayed is not None:  # a recording answers here
        return None
    if session.connection.server.transport == "stdio":
        raise ExecutorError(
            f"{session.name} is a program on this machine, which workers cannot share.",
            hint="Map without executor=; its concurrency is what the program makes of it.",
        )
    return pool_of(executor)


def run_of(session: Session, tool: Tool, work: Work, terms: Terms, pool: Pool | None) -> Run:
    """Returns a run over what is not done yet, here or in the workers."""
    if pool is None:
        return Run(session, tool, work, terms)
    return Spread(session, tool, work, terms, pool)


class _Here(NamedTuple):
    """A row that is to be called here: how it failed in a worker, and with which token."""

    row: Row
    error: MCPNotebookError
    token: str | None = None


class Spread(Run):
    """One go over the rows that are not done yet, in the workers of an executor."""

    def __init__(self, session: Session, tool: Tool, work: Work, terms: Terms, pool: Pool) -> None:
        super().__init__(session, tool, work, terms)
        self._pool = pool
        self._places = Throttle(terms.concurrency)
        self._size, self._size_at = 1, -math.inf
        self._rounds = 1
        self._attempts: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._refused = 0
        self._waiting = self._heard = False

    def note(self) -> str:
        """Returns in a few words what holds calls back, or ``""``."""
        if self._waiting and not self._heard:
            return "waiting for the first worker"
        return super().note()

    async def _lend(self) -> Access:
        return await lend(self._connection, self._session.key)

    async def _guard(self) -> None:
        await lend(
            self._connection, self._session.key
        )  # what cannot be lent is told before anybody is asked
        await super()._guard()

    # -- what goes out ------------------------------------------------------------------------

    async def _work_off(self) -> None:
        await self._slots()
        await super()._work_off()

    @property
    def _full(self) -> int:
        """How many rounds of calls a chunk has: only one where a lost chunk is not sent again."""
        return self._rounds if self._repeatable else 1

    @property
    def _ahead(self) -> int:
        return max(super()._ahead, 2 * self._full * self._terms.concurrency)

    async def _worker(self) -> None:
        while not self._ending and await self._more():
            lanes, began = await self._turn()
            try:
                rows = await self._rows(lanes)
                here = await self._send(rows, lanes, began) if rows else None
            finally:
                for _ in range(lanes):
                    self._throttle.leave()
                    self._places.leave()
            if here is not None:
                await self._see_to_here(here)

    async def _turn(self) -> tuple[int, float]:
        """Waits until calls may be made; returns how many at a time, and since when."""
        wanted = math.ceil(self._terms.concurrency / await self._slots())
        await self._places.enter()
        lanes = 1 + self._places.take(wanted - 1)
        allowed = 0
        try:
            began = await self._throttle.enter()
            allowed = 1 + self._throttle.take(lanes - 1)
        finally:
            for _ in range(lanes - allowed):
                self._places.leave()
        return allowed, began

    async def _slots(self) -> int:
        if time.monotonic() - self._size_at > SIZE_SECONDS:
            self._size_at = time.monotonic()
            try:
                self._size = max(1, await self._pool.size())
            except Exception as error:
                raise trouble(error) from None
        return self._size

    async def _send(self, rows: list[Row], lanes: int, began: float) -> _Here | None:
        """Sends a chunk and sees to what comes back."""
        task, here = asyncio.current_task(), None
        try:
            if self._rate is not None:
                await self._rate.turn(len(rows))
            if self._ending:
                return None
            access = await self._lend()
            self._calling.add(task)
            chunk = self._chunk(access, rows, min(lanes, len(rows)))
            here = await self._taken(rows, await self._sent(chunk, rows, began), began)
            return here and here._replace(token=access.token)
        finally:
            self._calling.discard(task)
            mine = here.row if here is not None else None
            back = [r for r in rows if r.result is None and r.error is None and r is not mine]
            self._work.todo.extendleft(reversed(back))

    async def _rows(self, lanes: int) -> list[Row]:
        """Takes the rows of a chunk, so that all workers get some."""
        todo, full = self._work.todo, lanes * self._full
        if self._reading is not None and len(todo) < full:
            await asyncio.wait([self._reading], timeout=ROWS_SECONDS)
        if self._rate is not None:
            full = min(full, max(1, int(CHUNK_SECONDS / self._rate.interval)))
        number = min(full, max(lanes, math.ceil(len(todo) / self._size)), len(todo))
        return [todo.popleft() for _ in range(number)]

    def _chunk(self, access: Access, rows: list[Row], lanes: int) -> Chunk:
        return Chunk(
            access=access,
            tool=self._definition.name,
            as_task=runs_as_task(self._definition),
            once=not self._repeatable,
            calls=tuple(row.arguments or {} for row in rows),
            lanes=lanes,
            seconds=CHUNK_SECONDS,
            interval=self._rate.interval if self._rate is not None else 0.0,
            until_failure=self._terms.on_error == "stop",
        )

    async def _sent(self, chunk: Chunk, rows: list[Row], began: float) -> Reply:
        try:
            flight = self._pool.send(chunk)
        except Exception as error:
            raise trouble(error) from None
        self._waiting = True
        try:
            await flight.landed()
            self._heard = True
            return await flight.reply()
        except asyncio.CancelledError:
            if not flight.withdraw():
                await self._last_words(flight, rows, began)
            raise
        except Exception as error:
            if not isinstance(error, ImportError):  # else nothing ran
                self._doubt(rows, _LOST)
            raise trouble(error) from None

    async def _record(self, rows: list[Row], reply: Reply) -> None:
        """Records answers, as the connection does with those that come over it."""
        recorder, server = self._connection.recorder, self._connection.server.name
        if recorder is None:
            return
        from mcp_types import CallToolResult

        for number, outcome in reply.outcomes.items():
            if isinstance(outcome, str):
                asked = {"name": self._definition.name, "arguments": rows[number].arguments}
                raw = CallToolResult.model_validate_json(outcome, by_name=False)
                await asyncio.to_thread(recorder.keep, server, "tools/call", asked, raw)

    async def _last_words(self, flight: Flight, rows: list[Row], began: float) -> None:
        """Takes the answers of a chunk that is out when Stop is pressed, if they come soon."""
        try:
            async with asyncio.timeout(GRACE):
                await flight.landed()
                reply = await flight.reply()
        except Exception:
            self._doubt(rows, _STOPPED)
        else:
            with contextlib.suppress(MCPNotebookError):
                await self._taken(rows, reply, began)

    def _doubt(self, rows: list[Row], what: str) -> None:
        """Notes rows that may have been called as failed, where calling again may do harm."""
        if not self._repeatable:
            for row in rows:
                self._work.fail(row, self._cut_off(what))

    # -- what comes back ----------------------------------------------------------------------

    async def _taken(self, rows: list[Row], reply: Reply, began: float) -> _Here | None:
        """Notes what became of a chunk, and records it.

        Raises:
            MCPNotebookError: It ends the run.
        """
        try:
            if reply.lost:
                self._take_loss(rows)
                return None
            if reply.trouble is not None:
                return self._take_trouble(rows[0], reply.trouble, began)
            self._learn(rows, reply)
            return self._take_in(rows, reply, began)
        finally:
            await self._record(rows, reply)

    def _take_in(self, rows: list[Row], reply: Reply, began: float) -> _Here | None:
        ending: MCPNotebookError | None = None
        here: _Here | None = None
        for number, outcome in sorted(reply.outcomes.items()):
            row = rows[number]
            error = self._outcome(row, outcome, began)
            if error is not None and self._needs_a_person(error):
                here = _Here(row, error)
            elif error is not None:
                try:
                    self._fault(row, error, began)
                except MCPNotebookError as end:
                    ending = ending or end
        if ending is not None:
            raise ending
        return here

    def _outcome(
        self, row: Row, outcome: str | MCPNotebookError, began: float
    ) -> MCPNotebookError | None:
        """Notes a row's answer, or returns its error."""
        if isinstance(outcome, MCPNotebookError):
            return outcome
        from mcp_types import CallToolResult

        raw = CallToolResult.model_validate_json(outcome, by_name=False)
        try:
            result = self._tool.read(self._definition, raw, self.call)
        except MCPNotebookError as error:
            return error.with_traceback(None)
        self._throttle.passed(began)
        self._work.finish(row, result)
        self._refused = 0
        self._attempts.pop(row.number, None)
        return None

    def _fault(self, row: Row, error: MCPNotebookError, began: float) -> None:
        self._attempts[row.number] += 1
        self._goes_on(row, error, began, self._attempts[row.number])

    def _take_loss(self, rows: list[Row]) -> None:
        self._lost.update(row.number for row in rows)
        failed = [row for row in rows if not self._repeatable or self._lost[row.number] == LOSSES]
        for row in failed:
            self._work.fail(row, self._cut_off(_LOST))
        if failed and self._terms.on_error == "stop":
            raise self._cut_off(_LOST)

    def _take_trouble(self, row: Row, error: MCPNotebookError, began: float) -> _Here | None:
        """Sees to a worker that could not reach the server."""
        if self._needs_a_person(error):
            return _Here(row, error)
        if not faults.passes(error):
            raise error
        self._fault(row, error, began)
        return None

    def _learn(self, rows: list[Row], reply: Reply) -> None:
        """Finds how many calls fill a chunk's time."""
        whole = len(reply.outcomes) == len(rows)
        if whole and reply.seconds < CHUNK_SECONDS / 2:
            self._rounds = min(ROUNDS, 2 * self._rounds)
        elif not whole and reply.seconds >= CHUNK_SECONDS:
            self._rounds = max(1, self._rounds // 2)

    # -- what is called here ------------------------------------------------------------------

    async def _see_to_here(self, here: _Here) -> None:
        """Calls the tool from this process.

        Raises:
            ExecutorError: The same token is good here: workers are refused for another reason.
        """
        row, error, token = here
        try:
            await self._see_to(row)
        finally:
            if row.result is None and row.error is None:
                self._work.todo.appendleft(row)
        if row.result is None or not isinstance(error, SignInNeededError):
            return
        if token is None or (await self._lend()).token != token:
            return
        self._refused += 1
        if self._refused == REFUSALS:
            raise ExecutorError(
                f"{self._session.name} accepts the sign-in from here, but not from the workers.",
                hint="Does it look at the address one comes from? Map without executor=.",
            )

    @staticmethod
    def _needs_a_person(error: MCPNotebookError) -> bool:
        from mcp_types import URL_ELICITATION_REQUIRED

        wants_page = isinstance(error, ServerError) and error.code == URL_ELICITATION_REQUIRED
        return isinstance(error, SignInNeededError) or wants_page

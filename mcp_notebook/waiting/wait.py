"""How a thread waits for the background loop: interruptible, with an eye on what needs a person.

A `Wait` is one piece of work on the background loop and the thread (or coroutine) that waits for
it. Three things happen in the waiting thread and nowhere else: it *looks* (a sign-in that has to
be shown appears below the cell that needs it), it runs *jobs* the loop posts to it (a server's
question, asked with `input()`: only the waiting thread may do that, or the next cell's input
would be stolen), and it ends on Stop by cancelling the work.

Stop needs care. In a cell that contains `await`, IPython replaces the SIGINT handler by one that
cannot interrupt a blocking wait, so the default handler is installed for the time of the wait;
and ipykernel's own handler does not wake a sleeping asyncio loop, so an `await` ticks by itself.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from mcp_notebook.background import Background, background
from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.frames import bare
from mcp_notebook.waiting.stopping import stop_reaches_us

T = TypeVar("T")
R = TypeVar("R")

TICK = 0.2
"""Seconds between two looks; also how late an `await` notices Stop."""

_current: ContextVar[Wait[Any] | None] = ContextVar("mcp_notebook_wait", default=None)


def current_wait() -> Wait[Any] | None:
    """Returns the wait on whose behalf the running background task works, if there is one."""
    return _current.get()


class WaitOverError(Exception):
    """Nobody waits any more: the work is done, or Stop was pressed."""


class Wait(Generic[T]):
    """Work under way on the background loop, waited for by `result()` or by ``await``."""

    nested: Callable[[concurrent.futures.Future[Any], Callable[[], None]], None] | None = None
    """Set by a front end that can keep the kernel's own loop turning meanwhile (opt-in)."""

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        *,
        look: Callable[[], None] | None = None,
        at_end: Callable[[], None] | None = None,
        on: Background | None = None,
        what: str = "",
    ) -> None:
        """Starts the work.

        Args:
            work: What to run on the background loop.
            look: Called in the waiting thread at every tick; may show things, must not block.
            at_end: Called in the waiting thread once the wait is over, however it ended.
            on: The loop to use; the process's own by default.
            what: What is waited for, in words, for a wait that is stopped.
        """
        self._what = what
        self.asks_forms = False
        """Whether the waiter is a coroutine, so that widgets can be used while it waits."""
        self.waited = False
        """Whether somebody waits or has waited for it: nobody does after a mere start."""
        self._look = look
        self._at_end = at_end or (lambda: None)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken = threading.Event()
        self._on = on or background()
        # Made first: the work may have begun, and need it, before `submit` returns.
        self._over: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._future = self._on.submit(self._run(work))
        self._future.add_done_callback(lambda _: self._end())

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        _current.set(self)
        try:
            return await work
        except MCPNotebookError as error:
            raise bare(error) from None

    def _end(self) -> None:
        self._over.set_result(None)
        self._woken.set()

    async def in_waiting_thread(self, job: Callable[[], R]) -> R:
        """Runs a function in the waiting thread and returns what it returns.

        To be awaited on the background loop. What the function raises is raised here.

        Raises:
            WaitOverError: The thread stopped waiting before or while it ran.
        """
        answer: concurrent.futures.Future[R] = concurrent.futures.Future()

        def run() -> None:
            if answer.done():
                return
            try:
                outcome = job()
            except Exception as error:
                _settle(answer, error=error)
            except BaseException:  # Stop: a KeyboardInterrupt would end the background loop
                _settle(answer, error=WaitOverError())
                raise
            else:
                _settle(answer, outcome)

        self._jobs.put(run)
        self._woken.set()
        self._over.add_done_callback(lambda _: _settle(answer, error=WaitOverError()))
        return await asyncio.wrap_future(answer)

    def result(self) -> T:
        """Waits in the calling thread and returns the work's result.

        Raises:
            KeyboardInterrupt: Stop was pressed; the work is cancelled.
            RuntimeError: The calling thread is the one that would have to do the work.
            Exception: Whatever the work raised.
        """
        self._refuse_inside()
        self.waited = True
        try:
            with stop_reaches_us() as check_stop:
                if (
                    Wait.nested is not None
                    and threading.current_thread() is threading.main_thread()
                ):
                    Wait.nested(self._future, self._attend)
                while not self._future.done():
                    self._woken.wait(TICK)
                    self._woken.clear()
                    check_stop()
                    self._attend()
        except BaseException as error:
            self._future.cancel()
            self._shorten(error)
            raise
        finally:
            self._at_end()
        return self._future.result()

    def within(self, seconds: float) -> bool:
        """Waits like `result`, but for so many seconds at the most; the work goes on afterwards.

        Returns:
            Whether the work is done.

        Raises:
            KeyboardInterrupt: Stop was pressed; the work is cancelled.
            RuntimeError: The calling thread is the one that would have to do the work.
        """
        self._refuse_inside()
        self.waited = True
        end = time.monotonic() + seconds
        try:
            with stop_reaches_us() as check_stop:
                while not self._future.done() and (left := end - time.monotonic()) > 0:
                    self._woken.wait(min(TICK, left))
                    self._woken.clear()
                    check_stop()
                    self._attend()
        except BaseException as error:
            self._future.cancel()
            self._shorten(error)
            raise
        return self._future.done()

    def done(self) -> bool:
        """Tells whether the work has ended, however it did."""
        return self._future.done()

    def cancelled(self) -> bool:
        """Tells whether the work was cancelled."""
        return self._future.cancelled()

    def failure(self) -> BaseException | None:
        """Returns what work that has ended raised, or None."""
        return self._future.exception(0)

    def cancel(self) -> bool:
        """Cancels the work; returns whether there was any left."""
        return self._future.cancel()

    def _refuse_inside(self) -> None:
        if self._on.inside():
            self._future.cancel()
            raise RuntimeError("a callback of mcp_notebook cannot wait for a call: await it")

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        self.asks_forms = self.waited = True
        ours = asyncio.wrap_future(self._future)
        try:
            while not ours.done():
                await asyncio.wait([ours], timeout=TICK)
                self._attend()
        except BaseException as error:
            self._future.cancel()
            self._shorten(error)
            raise
        finally:
            self._at_end()
        return ours.result()

    def _shorten(self, error: BaseException) -> None:
        """Has IPython show Stop as one line: where our own code was waiting tells nobody a thing.

        It stays the very exception it was, for whoever catches it.
        """
        if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
            what = f"while waiting for {self._what}" if self._what else "while waiting"
            line = f"{type(error).__name__}: stopped {what}"
            error._render_traceback_ = lambda: [line]  # type: ignore[union-attr]

    def _attend(self) -> None:
        if self._look is not None and not self._future.done():
            self._look()
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()()


def _settle(
    answer: concurrent.futures.Future[R],
    outcome: R | None = None,
    error: Exception | None = None,
) -> None:
    """Ends a future, unless it has ended: the asker may have given up, or the wait be over."""
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(outcome)  # type: ignore[arg-type]

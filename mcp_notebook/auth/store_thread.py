"""The one thread on which a store may block, and how long it may.

A locked keyring blocks without end while it waits for a password nobody sees. On a daemon thread
of its own it delays neither the loop nor the end of the process, as a worker of an executor would.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from mcp_notebook.errors import TokenStoreError

T = TypeVar("T")

FIRST_SECONDS = 60.0
"""How long the first answer may take: a person may have to unlock the keyring."""

LATER_SECONDS = 10.0


class SilentStoreError(TokenStoreError):
    """The store has not answered in time, and may still be at it."""


class StoreThread:
    """Runs jobs one after the other, each with its own clock."""

    def __init__(self, *, first: float = FIRST_SECONDS, later: float = LATER_SECONDS) -> None:
        self._first, self._later = first, later
        self._answered = False
        self._began: float | None = None
        self._pid = 0
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def run(self, job: Callable[[], T]) -> T:
        """Returns what the job returns.

        A job that has begun cannot be taken back; one that has not is dropped when its caller is
        cancelled or gives up.

        Raises:
            SilentStoreError: This job, or the one that holds up the thread, took too long.
        """
        self._start()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._jobs.put((future, job))
        waiting = asyncio.wrap_future(future)
        try:
            # The clock is that of the job at work: many short ones in a row are no silence.
            while not waiting.done():
                left = self._seconds_left()
                if left <= 0:
                    raise self._silence()
                await asyncio.wait({waiting}, timeout=left)
            return waiting.result()
        finally:
            waiting.cancel()

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        # First use, or a fork: the parent's thread and queue do not exist here.
        self._pid, self._began, self._jobs = os.getpid(), None, queue.SimpleQueue()
        threading.Thread(
            target=self._work, args=(self._jobs,), name="mcp-notebook-store", daemon=True
        ).start()

    def _work(self, jobs: queue.SimpleQueue[Any]) -> None:
        while True:
            self._do(*jobs.get())

    def _do(self, future: concurrent.futures.Future[Any], job: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._began = time.monotonic()
        result, failure = None, None
        try:
            result = job()
        except BaseException as error:
            failure = error
        self._began, self._answered = None, True
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)

    @property
    def _deadline(self) -> float:
        return self._later if self._answered else self._first

    def _seconds_left(self) -> float:
        began = self._began
        return self._deadline if began is None else self._deadline - (time.monotonic() - began)

    def _silence(self) -> SilentStoreError:
        return SilentStoreError(
            f"The keyring or file system has not answered for {self._deadline:.0f} seconds.",
            hint="Unlock the keyring (a window may be asking for its password) and try again, or "
            "keep sign-ins elsewhere: %mcp store file, %mcp store memory.",
        )

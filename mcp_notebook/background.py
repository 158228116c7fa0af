"""One asyncio loop on one daemon thread: every session, sign-in and refresh lives here.

The kernel's own loop is never used, so a cell that computes for a minute leaves the connections
alive. The thread is a daemon and `atexit` closes what is open within a deadline: a kernel never
lingers because a server does. A forked child gets a loop of its own on first use, because
sockets and threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLOSING_SECONDS = 1.6
"""For saying goodbye to the servers when the process ends."""

LAST_SECONDS = 0.3
"""For whatever is then left on the loop to see that it is cancelled."""


class Background:
    """The loop, its thread, and what has to be closed when the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._thread = threading.Thread(target=self._run, name="mcp-notebook", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=LAST_SECONDS))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Starts a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def in_thread(self, job: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Runs a blocking function beside the loop, from any thread."""
        return self.submit(asyncio.to_thread(job))

    def post(self, callback: Callable[..., object], *arguments: object) -> None:
        """Calls a function on the loop soon, from any thread; does nothing once it is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *arguments)

    def inside(self) -> bool:
        """Tells whether the caller runs on the loop's own thread."""
        return threading.current_thread() is self._thread

    def at_exit(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Names something to be awaited before the process ends."""
        self._closers.append(closer)

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Closes everything that was opened, for at most so many seconds, and stops the loop."""
        if not self.loop.is_running():
            return
        closing = self.submit(self._close_all())
        with contextlib.suppress(Exception):
            closing.result(seconds)
        self.post(self.loop.stop)
        self._thread.join(LAST_SECONDS + 0.1)

    async def _close_all(self) -> None:
        await asyncio.gather(*(closer() for closer in self._closers), return_exceptions=True)


_lock = threading.Lock()
_current: tuple[int, Background] | None = None


def background() -> Background:
    """Returns the process's own background loop, started on first use."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            _current = (os.getpid(), Background())
        return _current[1]


@atexit.register
def _close_at_exit() -> None:
    if _current is not None and _current[0] == os.getpid():
        _current[1].close()


def _forget_after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

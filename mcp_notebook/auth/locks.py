"""Who may renew a server's tokens, or write them: one at a time, whatever kernel it is in.

Both locks are the operating system's own (``filelock``), so a process that is killed lets go, and
a file that is left behind holds nobody up. The files are empty, named by a hash, and stay: a lock
file that is deleted while somebody waits for it locks nothing.

The renewing lock is held over one token request and waited for on the loop; the writing lock is
held over one read-compare-write and waited for on the store's thread. The writing lock is only
ever taken inside, never around, the renewing one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from mcp_notebook.config.places import private_directory
from mcp_notebook.errors import TokenStoreError

RENEWING_SECONDS = 15.0
"""How long to wait for another kernel's renewal.

An ordinary renewal takes one token request, at most 10 s. Only who repeats its request to an
authorization server in trouble holds the lock for longer; whoever waits is then told so, and need
not share that fate for minutes: nothing was spent, and the next call looks again.
"""

WRITING_SECONDS = 5.0
_POLL_SECONDS = 0.05


_Loop = asyncio.AbstractEventLoop
_here: weakref.WeakKeyDictionary[_Loop, dict[Path, asyncio.Lock]] = weakref.WeakKeyDictionary()


class Locks:
    """The locks of one home."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextlib.asynccontextmanager
    async def renewing(
        self, key: str, *, shared: bool, seconds: float = RENEWING_SECONDS
    ) -> AsyncIterator[None]:
        """Holds a key's renewing lock; never blocks the loop.

        Args:
            key: The hash of the server's name.
            shared: Whether other processes see the same tokens.
            seconds: How long to wait for it.

        Raises:
            TokenStoreError: It could not be had. Nobody may renew while that is unsure.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        locks = _here.setdefault(loop, {})
        here = locks.setdefault(self._directory / key, asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline):
                await here.acquire()
        except TimeoutError:
            raise _busy(seconds) from None
        try:
            lock = await self._poll(key, deadline, seconds) if shared else None
            try:
                yield
            finally:
                if lock is not None:
                    lock.release()
        finally:
            here.release()

    async def _poll(self, key: str, deadline: float, seconds: float) -> BaseFileLock:
        loop = asyncio.get_running_loop()
        lock = self._lock(f"{key}.lock", timeout=0)
        while True:
            try:
                lock.acquire()
            except Timeout:
                if loop.time() >= deadline:
                    raise _busy(seconds) from None
            except (OSError, NotImplementedError) as error:
                raise self._unavailable(error) from None
            else:
                return lock
            # Jitter: many kernels wake up at once when a laptop is opened.
            await asyncio.sleep(_POLL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the home's writing lock; blocks for at most `WRITING_SECONDS`.

        Raises:
            TokenStoreError: It could not be had.
        """
        lock = self._lock("writing.lock", timeout=WRITING_SECONDS)
        try:
            lock.acquire(poll_interval=_POLL_SECONDS / 2)
        except Timeout:
            raise TokenStoreError(
                f"Another kernel has been writing a sign-in for {WRITING_SECONDS:.0f} seconds.",
                hint="It may be waiting for the keyring to be unlocked. Try again.",
            ) from None
        except (OSError, NotImplementedError) as error:
            raise self._unavailable(error) from None
        try:
            yield
        finally:
            lock.release()

    def _lock(self, name: str, *, timeout: float) -> BaseFileLock:
        try:
            private_directory(self._directory)
        except OSError as error:
            raise self._unavailable(error) from None
        # A new object each time: nothing of it is inherited by a forked child.
        return FileLock(self._directory / name, timeout=timeout, mode=0o600, thread_local=False)

    def _unavailable(self, error: Exception) -> TokenStoreError:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return TokenStoreError(
            f"No lock between kernels can be had in {self._directory} ({reason}).",
            hint="Set MCP_NOTEBOOK_HOME to a directory you can write to, or keep sign-ins in this "
            "kernel alone: %mcp store memory.",
        )


def _busy(seconds: float) -> TokenStoreError:
    return TokenStoreError(
        f"Another kernel has been renewing this sign-in for {seconds:.0f} seconds.",
        hint="Its authorization server may be slow. Try again; nothing was lost.",
    )

"""What carries chunks to workers: an executor of the person's own, as one small thing.

Whatever it is, a chunk goes out, and its reply comes back, or that it was lost. A worker that dies
takes its chunk along; a pool of processes is then broken for good, a cluster goes on.
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

from mcp_notebook.batch import dask_pool
from mcp_notebook.batch.chunks import Chunk, Reply
from mcp_notebook.batch.flights import Flight, Landing, Pool
from mcp_notebook.batch.worker import work_off
from mcp_notebook.errors import ExecutorError, ToolError
from mcp_notebook.redaction import printable


def pool_of(given: Any) -> Pool:
    """Returns the workers that ``executor=`` names.

    Raises:
        ToolError: It is no executor that can be used.
    """
    if dask_pool.is_client(given):
        return dask_pool.DaskPool(given)
    if not isinstance(given, concurrent.futures.Executor) or dask_pool.is_executor(given):
        raise ToolError(
            f"A {type(given).__name__} is not used as an executor here.",
            hint="executor is a concurrent.futures.Executor, or a dask.distributed.Client itself.",
        )
    return _FuturesPool(given)


def trouble(error: BaseException) -> ExecutorError:
    """Returns our error for what an executor raised.

    Its text is left out: it may hold what was sent.
    """
    if isinstance(error, ExecutorError):
        return error
    name = type(error).__name__
    if isinstance(error, ImportError):
        missing = f" ({printable(error.name, 60)})" if error.name else ""
        return ExecutorError(
            f"The workers cannot import mcp_notebook or what it needs{missing}.",
            hint="Install the same version of it where the workers are.",
        )
    if isinstance(error, concurrent.futures.BrokenExecutor):
        return ExecutorError(
            f"A worker has ended, and the pool with it ({name}).",
            hint="Make a new one (in a script, below if __name__ == '__main__'), and name it when "
            "you go on: resume(executor=…).",
        )
    return ExecutorError(
        f"The executor does not work any more ({name}).",
        hint="Name another one when you go on: resume(executor=…).",
    )


class _FuturesPool:
    """A `concurrent.futures.Executor`."""

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = executor

    async def size(self) -> int:
        # What the standard library's executors and their likes call it; no method tells.
        return int(getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    def send(self, chunk: Chunk) -> Flight:
        return _FuturesFlight(self._executor.submit(work_off, chunk))


class _FuturesFlight(Landing):
    _future: concurrent.futures.Future[Reply]

    def withdraw(self) -> bool:
        return self._future.cancel()

    async def reply(self) -> Reply:
        # A future that was cancelled was shut down with its executor. KeyboardInterrupt: Stop
        # reached the worker as well, in the middle of a call.
        if self._future.cancelled():
            raise concurrent.futures.CancelledError
        error = self._future.exception()
        if isinstance(error, KeyboardInterrupt):
            return Reply(lost=True)
        if error is not None:
            raise error
        return self._future.result()

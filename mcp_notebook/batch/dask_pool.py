"""A dask cluster as workers: the only door to `distributed`.

A scheduler runs a task again when its worker has died, and does so by itself. Where running a
call twice may do harm, the task notes at the scheduler that it has begun, and one that finds the
note makes no call. The note is kept under the task's own key, and is forgotten with it.

Stop would end the workers of a `LocalCluster`, which is a notebook's own child, so they are made to
ignore it; see `worker.leave_stop_to_the_parent`.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import Any

from mcp_notebook.batch.chunks import Chunk, Reply
from mcp_notebook.batch.flights import Landing
from mcp_notebook.batch.worker import leave_stop_to_the_parent, work_off
from mcp_notebook.errors import ToolError

REPLY_SECONDS = 60.0
"""How long a reply is fetched: it never comes where the last worker has died with it."""


def is_client(given: Any) -> bool:
    """Tells whether this is a `distributed.Client`; imports nothing to find out."""
    module = sys.modules.get("distributed")
    return module is not None and isinstance(given, module.Client)


def is_executor(given: Any) -> bool:
    """Tells whether this is what `Client.get_executor` returns.

    It says of every task that it was called back before it began, also where it had begun.
    """
    module = sys.modules.get("distributed.cfexecutor")
    return module is not None and isinstance(given, module.ClientExecutor)


class DaskPool:
    """The workers of a cluster."""

    def __init__(self, client: Any) -> None:
        """Takes a client.

        Raises:
            ToolError: It belongs to another event loop.
        """
        if client.asynchronous:
            raise ToolError(
                "A Client with asynchronous=True works in its own event loop only.",
                hint="Give an ordinary one: Client(address).",
            )
        self._client = client

    async def size(self) -> int:
        """Returns how many threads the workers have now, each of which takes a chunk."""
        return sum((await asyncio.to_thread(self._client.nthreads)).values())

    def send(self, chunk: Chunk) -> DaskFlight:
        """Submits a chunk as a task of its own."""
        # The key is all that dashboards show; it is made here so that it tells nothing.
        key = f"mcp_notebook-{uuid.uuid4().hex}"
        return DaskFlight(self._client.submit(_work_off, chunk, key=key, pure=False))


class DaskFlight(Landing):
    """A chunk that is a task of a cluster."""

    def withdraw(self) -> bool:
        """Tells nothing: a task that was called back might have begun, and its reply be lost.

        One that is waited for no more is dropped with this object.
        """
        return False

    async def reply(self) -> Reply:
        """Fetches the reply from the worker."""
        return await asyncio.to_thread(self._fetched)

    def _fetched(self) -> Reply:
        from distributed import CancelledError, KilledWorker

        try:
            reply: Reply = self._future.result(REPLY_SECONDS)
        except (CancelledError, KilledWorker, TimeoutError):
            return Reply(lost=True)
        return reply


def _work_off(chunk: Chunk) -> Reply:
    """Makes the calls of a chunk, unless it may be begun only once and another worker has."""
    from distributed import get_client, get_worker

    worker = get_worker()
    worker.loop.add_callback(leave_stop_to_the_parent)  # tasks run beside the main thread
    if chunk.once:
        client: Any = get_client()
        task = worker.get_current_task()
        if client.get_metadata(task, default=None) is not None:
            return Reply(lost=True)
        client.set_metadata(task, "begun")
    return work_off(chunk)

"""Tools that run as tasks only: the call starts one, which is followed and then fetched.

MCP 2025-11-25, basic/utilities/tasks; the later revision has left them out of the core. What the
server asks in the middle of a task comes while its result is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from mcp_notebook.recording.recorder import kept

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Task, Tool

    from mcp_notebook.client.connection import Connection

GOODBYE = 1.0
"""Seconds that a call which is stopped waits for the server to have heard of it."""

_PAUSE = 1.0
_PAUSES = (0.2, 10.0)

Report = Callable[[float, float | None, str | None], Awaitable[None]]


def runs_as_task(tool: Tool) -> bool:
    """Tells whether a tool can be called in no other way."""
    return tool.execution is not None and tool.execution.task_support == "required"


async def send_call(
    connection: Connection,
    name: str,
    arguments: dict[str, Any],
    *,
    as_task: bool,
    progress_callback: Report | None = None,
    **options: Any,
) -> CallToolResult:
    """Calls a tool in the way in which it can be called.

    Args:
        connection: To its server.
        name: The tool.
        arguments: A JSON object.
        as_task: Whether it runs as a task only.
        progress_callback: Told how far it is.
        options: For `Connection.ask`.

    Raises:
        MCPNotebookError: What became of the call.
    """
    if as_task and connection.player is None:
        return await connection.ask(
            lambda client: kept(
                client,
                "tools/call",
                {"name": name, "arguments": arguments},
                call_as_task(client, name, arguments, progress_callback),
            ),
            operation=name,
            **options,
        )
    if progress_callback is not None:
        options["progress_callback"] = progress_callback
    return await connection.call_tool(name, arguments, **options)


async def call_as_task(
    client: Client, name: str, arguments: dict[str, Any], report: Report | None
) -> CallToolResult:
    """Calls a tool as a task and waits for its answer; stopped, it cancels the task.

    Args:
        client: An open client.
        name: The tool.
        arguments: A JSON object.
        report: Told what the server says of the task's state, as of progress.

    Raises:
        Exception: What the SDK raises for any request.
    """
    import mcp_types as types

    started = await client.session.send_request(
        types.CallToolRequest(
            params=types.CallToolRequestParams(
                name=name, arguments=arguments, task=types.TaskMetadata()
            )
        ),
        types.CreateTaskResult,
    )
    task = started.task
    follower = asyncio.ensure_future(_follow(client, task, report)) if report else None
    try:
        return await client.session.send_request(
            types.GetTaskPayloadRequest(
                params=types.GetTaskPayloadRequestParams(task_id=task.task_id)
            ),
            types.CallToolResult,
        )
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(GOODBYE):
                await client.session.send_request(
                    types.CancelTaskRequest(
                        params=types.CancelTaskRequestParams(task_id=task.task_id)
                    ),
                    types.CancelTaskResult,
                )
        raise
    finally:
        if follower is not None:
            follower.cancel()


async def _follow(client: Client, task: Task, report: Report) -> None:
    """Reports a task's state until cancelled, as often as the server wants to be asked."""
    import mcp_types as types

    shortest, longest = _PAUSES
    wanted = task.poll_interval / 1000 if task.poll_interval else _PAUSE
    request = types.GetTaskRequest(params=types.GetTaskRequestParams(task_id=task.task_id))
    with contextlib.suppress(Exception):  # the call itself is told what is wrong
        while True:
            state = await client.session.send_request(request, types.GetTaskResult)
            await report(0, None, state.status_message or state.status.replace("_", " "))
            await asyncio.sleep(min(max(wanted, shortest), longest))

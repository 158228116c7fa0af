"""MCP servers in a notebook: sign in without blocking, call tools from cells, get DataFrames.

In IPython and Jupyter, ``%load_ext mcp_notebook`` and then ``%mcp``; in a script, `connect`.
Importing this package, or loading the extension, imports nothing heavy: every room is opened on
first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcp_notebook._version import VERSION as __version__  # noqa: N811
from mcp_notebook.errors import (
    AnswerError,
    AnswerUseError,
    AuthorizationServerError,
    CommandError,
    ConnectionFailedError,
    ExecutorError,
    MCPNotebookError,
    NotRecordedError,
    RequestTimeoutError,
    ServerConfigError,
    ServerError,
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
    SignInNeededError,
    TokenStoreError,
    ToolArgumentError,
    ToolError,
    ToolFailedError,
    UnknownNameError,
    UnknownToolError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_notebook.batch.batch import Batch, BatchStopped
    from mcp_notebook.batch.cache import AnswerCache
    from mcp_notebook.client.status import Status
    from mcp_notebook.recording.held import Recording
    from mcp_notebook.results.contents import ResourceResult
    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.pending import Pending
    from mcp_notebook.session.prompts import Prompt, PromptResult, Prompts
    from mcp_notebook.session.resources import Resource, Resources
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tool import Tool
    from mcp_notebook.session.tools import Tools
    from mcp_notebook.waiting.questions import Question, accept_defaults

__all__ = [
    "AnswerCache",
    "AnswerError",
    "AnswerUseError",
    "AuthorizationServerError",
    "Batch",
    "BatchStopped",
    "CommandError",
    "ConnectionFailedError",
    "ExecutorError",
    "MCPNotebookError",
    "NotRecordedError",
    "Pending",
    "Prompt",
    "PromptResult",
    "Prompts",
    "Question",
    "Recording",
    "RequestTimeoutError",
    "Resource",
    "ResourceResult",
    "Resources",
    "ServerConfigError",
    "ServerError",
    "Session",
    "SignInDeniedError",
    "SignInError",
    "SignInExpiredError",
    "SignInNeededError",
    "Status",
    "TokenStoreError",
    "Tool",
    "ToolArgumentError",
    "ToolError",
    "ToolFailedError",
    "ToolResult",
    "Tools",
    "UnknownNameError",
    "UnknownToolError",
    "__version__",
    "accept_defaults",
    "connect",
    "load_ipython_extension",
    "record",
    "replay",
    "unload_ipython_extension",
]

_ROOMS = {
    "AnswerCache": "batch.cache",
    "Batch": "batch.batch",
    "BatchStopped": "batch.batch",
    "Pending": "session.pending",
    "Prompt": "session.prompts",
    "PromptResult": "session.prompts",
    "Prompts": "session.prompts",
    "Question": "waiting.questions",
    "Recording": "recording.held",
    "Resource": "session.resources",
    "ResourceResult": "results.contents",
    "Resources": "session.resources",
    "Session": "session.session",
    "Status": "client.status",
    "Tool": "session.tool",
    "ToolResult": "results.tool_result",
    "Tools": "session.tools",
    "accept_defaults": "waiting.questions",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f"mcp_notebook.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'mcp_notebook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def connect(name: str, url: str | None = None, *, account: str | None = None) -> Session:
    """Opens a server of the user's book, as ``%mcp connect`` does; waits for nobody.

    Args:
        name: The server's name, as ``%mcp add`` remembered it, or a well-known one.
        url: Its address, which is remembered by that name, as ``%mcp add NAME URL`` does.
        account: A sign-in of its own beside the usual one.

    Returns:
        The session, at once. It may still be connecting or waiting for a person to sign in: a
        call, or `Session.wait`, waits for that.

    Raises:
        ServerConfigError: There is no such server, the name is that of a server at another
            address, or its program is not trusted.
    """
    from mcp_notebook.workspace import workspace

    shell = _shell()
    if shell is not None:
        from mcp_notebook.ipython.magics import attend

        attend(shell)
    if url is not None:
        workspace().know(name, url)
    return workspace().connect(name, account=account)


def record(path: str | Path, *, replace: bool = False) -> Recording:
    """Keeps every answer of every server in a file from now on, as ``%mcp record`` does.

    The file holds arguments and answers as they are, and nothing of a sign-in; only you can read
    it. `replay` answers from it.

    Args:
        path: The file; one that is there is gone on with, and what is recorded anew counts.
        replace: Whether what it holds is dropped first.

    Returns:
        The recording: ``with`` ends it with the block, `Recording.stop` at once.

    Raises:
        MCPNotebookError: It cannot be written, or is no recording.
    """
    from mcp_notebook.recording.held import Recording
    from mcp_notebook.workspace import workspace

    space = workspace()
    recorder = space.record(path, replace=replace)
    assert recorder is not None
    return Recording(recorder, lambda: space.record(None))


def replay(path: str | Path) -> Recording:
    """Has a recording answer in place of all servers from now on, as ``%mcp replay`` does.

    `connect` then gives sessions that need no network and no sign-in; what was not recorded
    raises `NotRecordedError`.

    Args:
        path: What `record` has written.

    Returns:
        The recording: ``with`` ends the replay with the block, `Recording.stop` at once.

    Raises:
        MCPNotebookError: There is no such recording.
    """
    from mcp_notebook.recording.held import Recording
    from mcp_notebook.workspace import workspace

    space = workspace()
    player = space.replay(path)
    assert player is not None
    return Recording(player, lambda: space.replay(None))


def _shell() -> Any:
    """Returns the running IPython, or None; a script is not made to import it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def load_ipython_extension(shell: Any) -> None:
    """Registers ``%mcp`` and ``%%mcp``; called by ``%load_ext mcp_notebook``."""
    from mcp_notebook.ipython.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Takes ``%mcp`` away again; sessions that are held stay alive."""
    from mcp_notebook.ipython.magics import unload

    unload(shell)

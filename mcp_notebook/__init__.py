"""MCP servers in a notebook: sign in without blocking, call tools from cells, get DataFrames.

In IPython and Jupyter, ``%load_ext mcp_notebook`` and then ``%mcp``; in a script, `connect`.
Importing this package, or loading the extension, imports nothing heavy: every room is opened on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcp_notebook._version import VERSION as __version__  # noqa: N811
from mcp_notebook.errors import (
    AnswerError,
    AnswerUseError,
    AuthorizationServerError,
    CommandError,
    ConnectionFailedError,
    MCPNotebookError,
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
    from mcp_notebook.batch.batch import Batch, BatchStopped
    from mcp_notebook.batch.cache import AnswerCache
    from mcp_notebook.client.status import Status
    from mcp_notebook.results.contents import ResourceResult
    from mcp_notebook.results.tool_result import ToolResult
    from mcp_notebook.session.pending import Pending
    from mcp_notebook.session.prompts import Prompt, PromptResult, Prompts
    from mcp_notebook.session.resources import Resource, Resources
    from mcp_notebook.session.session import Session
    from mcp_notebook.session.tools import Tool, Tools
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
    "MCPNotebookError",
    "Pending",
    "Prompt",
    "PromptResult",
    "Prompts",
    "Question",
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
    "Resource": "session.resources",
    "ResourceResult": "results.contents",
    "Resources": "session.resources",
    "Session": "session.session",
    "Status": "client.status",
    "Tool": "session.tools",
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


def connect(name: str, *, account: str | None = None) -> Session:
    """Opens a server of the user's book, as ``%mcp connect`` does; waits for nobody.

    Args:
        name: The server's name, as ``%mcp add`` remembered it, or a well-known one.
        account: A sign-in of its own beside the usual one.

    Returns:
        The session, at once. It may still be connecting or waiting for a person to sign in: a
        call, or `Session.wait`, waits for that.

    Raises:
        ServerConfigError: There is no such server, or its program is not trusted.
    """
    from mcp_notebook.workspace import workspace

    return workspace().connect(name, account=account)


def load_ipython_extension(shell: Any) -> None:
    """Registers ``%mcp`` and ``%%mcp``; called by ``%load_ext mcp_notebook``."""
    from mcp_notebook.ipython.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Takes ``%mcp`` away again; sessions that are held stay alive."""
    from mcp_notebook.ipython.magics import unload

    unload(shell)

"""Foreign errors become ours here, and nowhere else.

The SDK wraps what goes wrong in exception groups and in `MCPError`. The one exception that says
what happened is picked, and the chain is cut: it may hold a token, and a group anywhere in it
makes IPython show a traceback of its own.
"""

from __future__ import annotations

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
    URL_ELICITATION_REQUIRED,
)
from pydantic import ValidationError

from mcp_notebook.client import faults
from mcp_notebook.client.transport import GuardedClient, Limits
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    ConnectionFailedError,
    MCPNotebookError,
    RequestTimeoutError,
    ServerError,
)
from mcp_notebook.redaction import printable, redact

_MAY_RUN = "The call may have run on the server."


def translated(
    error: BaseException,
    server: Server,
    http: GuardedClient | None,
    limits: Limits,
    *,
    opening: bool = False,
) -> MCPNotebookError:
    """Returns our error for whatever the SDK or the HTTP client raised.

    Args:
        error: What was raised.
        server: Whom it came from.
        http: The client of the request, which knows the causes of its own answers.
        limits: The bounds, to be named where they were met.
        opening: Whether the server has not even greeted yet: it may be none.
    """
    error = faults.leaf(error)
    unfit = isinstance(error, ValidationError) or (
        isinstance(error, MCPError) and error.code == PARSE_ERROR
    )
    if unfit and opening:
        return _no_server(server.name)
    if isinstance(error, MCPError):
        return (http.cause(error) if http is not None else None) or _of_rpc(error, server, limits)
    if isinstance(error, MCPNotebookError):
        return error.with_traceback(None)
    if isinstance(error, ValidationError):
        return _unfit(server.name)
    if isinstance(error, httpx2.HTTPError):
        return faults.of_exception(error, server.name, limits.call_seconds)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(
            f"{server.name} did not answer within {limits.open_seconds:g} s.",
            hint="Is it running, and busy?",
        )
    if isinstance(error, OSError) and server.transport == "stdio":
        return faults.ProgramError(
            f"The program of {server.name} cannot be started: {printable(server.command[0], 80)} "
            f"({error.strerror or type(error).__name__}).",
            hint="Is it installed, and on the PATH of this kernel?",
        )
    return ConnectionFailedError(
        f"The connection to {server.name} broke: {type(error).__name__}.",
        hint=f"Look into it with: %mcp doctor {server.name}",
        may_have_run=True,
    )


def is_answer(error: MCPError, *, http: GuardedClient | None) -> bool:
    """Tells whether an error is what the server says of the request: the same again later."""
    passing = {REQUEST_TIMEOUT, CONNECTION_CLOSED, PARSE_ERROR, URL_ELICITATION_REQUIRED}
    return error.code not in passing and not (http is not None and http.knows(error))


def hung_up(error: BaseException) -> bool:
    """Tells whether the SDK's client has been closed below the request."""
    # The SDK gives the same code to a single stream that ended; the text is what differs.
    error = faults.leaf(error)
    return (
        isinstance(error, MCPError)
        and error.code == CONNECTION_CLOSED
        and error.message == "Connection closed"
    )


_MEANS = {
    INVALID_PARAMS: "The server takes the name or the arguments for wrong.",
    METHOD_NOT_FOUND: "The server does not offer this.",
    URL_ELICITATION_REQUIRED: "It wants a page to be opened first, and that was not done.",
}


def _of_rpc(error: MCPError, server: Server, limits: Limits) -> MCPNotebookError:
    name, text = server.name, printable(redact(error.message))
    if error.code == REQUEST_TIMEOUT:
        return RequestTimeoutError(
            f"{name} did not answer within {limits.call_seconds:g} s.",
            hint="The call may still run on the server.",
            may_have_run=True,
        )
    if error.code == CONNECTION_CLOSED and "byte limit" in text:
        return faults.TooLargeError(name, limits.event_bytes)
    if error.code == CONNECTION_CLOSED:
        return ConnectionFailedError(
            f"The connection to {name} broke off before the answer came.",
            hint=_MAY_RUN,
            may_have_run=True,
        )
    if error.code == PARSE_ERROR:
        return _unfit(name)
    return ServerError(
        f"{name} answered with an error: {text}",
        hint=_MEANS.get(error.code, "These words are the server's; the session goes on."),
        code=error.code,
        data=error.error.data,
    )


def _no_server(name: str) -> ConnectionFailedError:
    return ConnectionFailedError(
        f"{name} does not answer as an MCP server does.",
        hint="Is this the address of its MCP endpoint? It often ends in /mcp. What is there is "
        f"told by: %mcp doctor {name}",
    )


def _unfit(name: str) -> ConnectionFailedError:
    return ConnectionFailedError(
        f"{name} sent an answer that does not follow the protocol.",
        hint=f"Tell whoever runs the server; the session goes on. {_MAY_RUN}",
        may_have_run=True,
    )

"""What to do about an error, once it is known whose server it is about.

Whoever talks to a token endpoint knows neither the server's name nor its provider, so the hints of
`auth.refusals` say ``%mcp sign-in NAME``. Here the name is filled in, and where the provider is
known its own way out (`catalog`) takes the place of the general hint.
"""

from __future__ import annotations

import re

from mcp_notebook.config import catalog
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import MCPNotebookError, SignInError

_NAMELESS = re.compile(r"(%mcp [a-z-]+) NAME\b")


def helped(error: MCPNotebookError, server: Server) -> None:
    """Makes the hint of an error one that can be followed as it stands.

    Args:
        error: What went wrong with the server's sign-in; trouble that passes keeps its hint.
        server: The server.
    """
    passing = getattr(error, "passing", False)
    known = "" if passing or not isinstance(error, SignInError) else catalog.advice(server, error)
    hint = _NAMELESS.sub(rf"\1 {server.name}", error.hint)
    error.hint = known or hint.replace("%mcp add …", f"%mcp add {server.added_as} {server.url}")

"""What a worker process is let in with: an access token that was handed to it, and nothing else.

It can neither be renewed nor kept there. The refresh token, the client's secret and the key that
a token may be bound to stay with the person; a request that the token is refused for fails, and
goes back to where there is another.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.config.servers import Server


class Handed:
    """The newest access token that a worker was handed for one server; a `bearer.TokenSource`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._at = -math.inf
        self._record = TokenRecord(
            server=server.name, resource=server.url, issuer="", token_endpoint="", client_id=""
        )

    def take(self, token: str | None, at: float) -> None:
        """Takes a token, unless a newer one is known.

        Args:
            token: The token; None where the server wants none.
            at: When it was handed out, by the clock of whoever does.
        """
        if at > self._at:
            self._at, self._record = at, replace(self._record, access_token=token)

    async def current(self) -> TokenRecord:
        """Returns a record that holds the token and no more."""
        return self._record

    async def renew(self, used: str) -> TokenRecord | None:
        """Returns the record if a newer token than the one used has come meanwhile."""
        return self._record if self._record.access_token not in {None, used} else None

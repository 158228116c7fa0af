"""What a connection lends to a worker in another process, and the connection made of it there.

It lends an access token and the variables that the server's address and headers name, no more; see
`auth.handed`. A connection that was made of them is one like any other, except that nobody can
sign in or be asked anything where it is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from mcp_notebook.auth.handed import Handed
from mcp_notebook.client.connection import Connection
from mcp_notebook.client.status import Status
from mcp_notebook.client.transport import Limits
from mcp_notebook.config.servers import OAuthSettings, Server, variables_of
from mcp_notebook.errors import ExecutorError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Access:
    """Where a server is, and what lets a worker in. Pickled, and nothing of it is in its repr.

    Attributes:
        key: Of the sign-in; a process makes one connection for what is lent under the same.
        server: The server, without how one signs in to it.
        variables: What its address and headers name.
        token: The access token, or None.
        at: When it was lent, by the lender's clock.
        limits: Bounds of size and time.
    """

    key: str
    server: Server
    variables: dict[str, str]
    token: str | None
    at: float
    limits: Limits

    def __repr__(self) -> str:
        return f"<Access to {self.server.name}>"


async def lend(connection: Connection, key: str) -> Access:
    """Returns what lets a worker in now, for a moment.

    Args:
        connection: The person's own.
        key: Of the session it is of. Another sign-in may be another account's, and gets another.

    Raises:
        ExecutorError: The token is of no use elsewhere.
        SignInError: There is none at present.
    """
    server, credentials = connection.server, connection.credentials
    record = await credentials.current() if credentials is not None else None
    if record is not None and record.dpop_key is not None:
        raise ExecutorError(
            f"The tokens of {server.name} are bound to a key that does not leave this process "
            "(DPoP, RFC 9449): a worker could not use them.",
            hint="Map without executor=.",
        )
    variables = {name: os.environ.get(name) for name in variables_of(server)}
    return Access(
        key=f"{key}-{connection._signing.times}",
        server=replace(server, oauth=OAuthSettings()),
        variables={name: value for name, value in variables.items() if value is not None},
        token=record.access_token if record is not None else None,
        at=time.monotonic(),
        limits=connection.limits,
    )


class Borrowed(Connection):
    """A connection in a worker, with what it was lent last. Lives on the loop."""

    def __init__(self, access: Access) -> None:
        super().__init__(access.server, None, limits=access.limits)
        self._tokens = self._handed = Handed(access.server)
        self._environ = self._variables = dict(access.variables)

    def take(self, access: Access) -> None:
        """Goes on with what was lent now; opens the connection if it is not open."""
        self._handed.take(access.token, access.at)
        self._variables |= access.variables
        if self.status in {Status.DISCONNECTED, Status.FAILED}:
            self.open()

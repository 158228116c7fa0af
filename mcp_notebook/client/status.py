"""How a session stands."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The states of a session, as `Session.status` tells them.

    ``connecting`` → ``signing_in`` → ``connected`` is the usual way; ``signing_in`` comes again
    when a token can no longer be renewed or more permissions are asked for.
    """

    CONNECTING = "connecting"
    SIGNING_IN = "signing_in"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"

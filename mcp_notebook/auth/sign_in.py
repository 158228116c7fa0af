"""One attempt of one person to sign in to one server.

A `SignIn` runs as a task on the background loop and is looked at from anywhere: `standing()` is an
immutable value, replaced as a whole, so a card, a terminal and a waiting cell read it without a
lock. It finds the authorization server, binds the callback before it registers (so that nobody
else can hold the port), shows the link, waits for the browser with a clock of its own, exchanges
the code and writes the record. Cancelling it harms nobody else.

Two kernels may ask for the same sign-in. While one waits it looks at the store now and then: when
another kernel's person was quicker, their sign-in is adopted and this one ends well.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from mcp_notebook.auth import flows
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.background import background
from mcp_notebook.errors import (
    MCPNotebookError,
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
    SignInNeededError,
)

DEADLINE = 600.0
"""Seconds a person has (RFC 8252 leaves it open; authorization servers give about as much)."""

LOOK_AT_STORE = 2.0
"""Seconds between two looks at whether another kernel has signed in meanwhile."""


class SignInState(StrEnum):
    """Where a sign-in stands; the last five are ends."""

    PREPARING = "preparing"
    WAITING = "waiting"
    FINISHING = "finishing"
    DONE = "done"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in {SignInState.PREPARING, SignInState.WAITING, SignInState.FINISHING}

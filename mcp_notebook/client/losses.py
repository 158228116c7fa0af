"""How often a connection may be lost before no more clients are opened."""

from __future__ import annotations

from mcp_notebook.client import faults
from mcp_notebook.errors import ConnectionFailedError

STEADY = 60.0
"""Seconds after which the loss of a client does not count; nor does it once a call was answered."""

MOST = 5
"""Losses that count, one after another."""


class Losses:
    """The losses of one connection in a row."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def add(self, *, lived: float, served: bool) -> float:
        """Counts a loss, and returns how many seconds to wait before the next client.

        Args:
            lived: How many seconds the client was open.
            served: Whether it has answered a call.

        Raises:
            ConnectionFailedError: There is no hope.
        """
        self._count = 1 if served or lived >= STEADY else self._count + 1
        if self._count > MOST:
            raise ConnectionFailedError(
                f"{self._name} breaks off every time.",
                hint=f"Look into it with: %mcp doctor {self._name}",
            )
        return faults.PAUSE * 2.0 ** (self._count - 2) if self._count > 1 else 0.0

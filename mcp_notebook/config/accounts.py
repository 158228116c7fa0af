"""Which further accounts a person has on a server: names, no tokens.

``%mcp connect jira --as work`` is a sign-in of its own, kept under the name ``work``. It is
remembered here which server that name stands for, so that ``%mcp sign-out work`` finds it after a
restart and removing the server signs all its accounts out.
"""

from __future__ import annotations

from pathlib import Path

from mcp_notebook.config.places import home
from mcp_notebook.config.statefile import StateFile


class AccountBook:
    """The file of accounts.

    Args:
        path: The file; ``accounts.json`` in `home` unless told.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = StateFile(path or home() / "accounts.json", "the list of accounts")

    def server_of(self, account: str) -> str | None:
        """Returns the name of the server an account is on, or None where it is no account."""
        server = self._file.read().get(account)
        return server if isinstance(server, str) else None

    def of(self, server: str) -> list[str]:
        """Returns the further accounts on a server."""
        return [account for account, name in self._file.read().items() if name == server]

    def add(self, account: str, server: str) -> None:
        """Remembers an account."""
        if self.server_of(account) != server:
            with self._file.changing() as document:
                document[account] = server

    def remove(self, account: str) -> None:
        """Forgets an account."""
        with self._file.changing() as document:
            document.pop(account, None)

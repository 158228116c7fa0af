"""A small JSON object on disk that several kernels read and write. It never holds a token.

Reading takes no lock: a write replaces the file in one step, so a reader sees the old or the new
one. Writing is read-change-replace under a lock file, so two kernels that write at once lose
nothing. A damaged file reads as empty and is kept beside the new one when the next write comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp_notebook.config.places import private_directory, write_private
from mcp_notebook.errors import ServerConfigError

_MAX_BYTES = 4 * 1024 * 1024
_LOCK_SECONDS = 10


class StateFile:
    """One JSON object in one file of mode 0600.

    Args:
        path: Where it is; the folder is made on the first write, with mode 0700.
        what: What the file holds, for messages, such as ``the list of servers``.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what

    @property
    def aside(self) -> Path:
        """Where a damaged file is kept when a new one is written."""
        return self.path.with_name(f"{self.path.name}.bad")

    def read(self) -> dict[str, Any]:
        """Returns the object; an empty one where there is no file, or a damaged one.

        Raises:
            ServerConfigError: The file is there and may not be read.
        """
        return self._load() or {}

    def problem(self) -> str:
        """Returns what a person should know about the file, or nothing."""
        if self._load() is None:
            return f"{self._capital()} is damaged and reads as empty: {self.path}"
        if self.aside.exists():
            return (
                f"{self._capital()} was damaged, and what it held is kept in {self.aside}. "
                "Take from it what you need and delete it."
            )
        return ""

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Gives the object to change, and writes it at the end unless it is as it was.

        Raises:
            ServerConfigError: The file cannot be locked or written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS, mode=0o600)
        try:
            private_directory(self.path.parent)
            lock.acquire()
        except Timeout:
            raise ServerConfigError(
                f"Another kernel has been writing {self._what} for {_LOCK_SECONDS} seconds.",
                hint=f"Try again; if it stays so, delete {self.path}.lock",
            ) from None
        except OSError as error:
            raise self._refused("written", error) from None
        try:
            loaded = self._load()
            if loaded is None:
                self._put_aside()
            document = loaded or {}
            before = json.dumps(document)
            yield document
            if json.dumps(document) != before:
                self._replace(document)
        finally:
            lock.release()

    def _load(self) -> dict[str, Any] | None:
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._refused("read", error) from None
        try:
            document = json.loads(content) if len(content) <= _MAX_BYTES else None
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def _put_aside(self) -> None:
        # An earlier damaged file is not overwritten: it may be the one worth repairing.
        target, count = self.aside, 1
        while target.exists():
            count += 1
            target = self.path.with_name(f"{self.path.name}.bad-{count}")
        try:
            self.path.replace(target)
        except OSError as error:
            raise self._refused("put aside", error) from None

    def _replace(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        try:
            write_private(self.path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._refused("written", error) from None

    def _refused(self, done: str, error: OSError) -> ServerConfigError:
        return ServerConfigError(
            f"{self._capital()} could not be {done} ({error.strerror or 'input/output error'}): "
            f"{self.path}",
            hint="Make it accessible, or set MCP_NOTEBOOK_HOME to a folder of your own.",
        )

    def _capital(self) -> str:
        return self._what[:1].upper() + self._what[1:]

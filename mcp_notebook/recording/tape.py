"""The file of a recording: JSON lines that a person can read, search and put beside a notebook.

The first line of every run says who wrote it. A line with ``serverInfo`` is a server as it was
met; one with ``request`` is a call, with its arguments and its answer, or the error the server
answered with. Nothing of a sign-in is in it, and no header. A file that is there is gone on with,
and what a later run has recorded takes the place of what earlier ones have of the same call.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcp_notebook.errors import MCPNotebookError

FORMAT = 1
KIND = "mcp_notebook recording"

Line = dict[str, Any]


def call_key(server: str, method: str, params: dict[str, Any]) -> bytes:
    """Returns what two calls have in common that are the same."""
    text = json.dumps([server, method, params], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def lists(method: str) -> bool:
    """Tells whether a request asks what a server has, rather than for something of it."""
    return method.endswith("/list")


def now() -> str:
    """Returns the time as it stands in a recording (ISO 8601)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read(path: Path) -> Iterator[tuple[int, Line]]:
    """Reads a recording: where each line begins, and what it holds.

    A last line that was not written to its end is left out.

    Raises:
        MCPNotebookError: There is no such file, or it is no recording.
    """
    try:
        with path.open("rb") as file:
            place = 0
            for line in file:
                if line.endswith(b"\n"):
                    yield place, _parsed(path, line, first=place == 0)
                    place += len(line)
            if not place:
                raise _foreign(path)
    except OSError as error:
        raise MCPNotebookError(
            f"{path.name} cannot be read ({error.strerror or type(error).__name__}).",
            hint=f"Record it with: %mcp record {path}",
        ) from None


def _parsed(path: Path, line: bytes, *, first: bool) -> Line:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise _foreign(path) from None
    if not isinstance(found, dict) or (first and found.get("kind") != KIND):
        raise _foreign(path)
    if found.get("kind") == KIND and found.get("format") != FORMAT:
        raise MCPNotebookError(
            f"{path.name} was recorded by another version of mcp_notebook.",
            hint="Record it again, or replay it with that version.",
        )
    return found


def _foreign(path: Path) -> MCPNotebookError:
    return MCPNotebookError(f"{path.name} is no recording.", hint="Give another file.")

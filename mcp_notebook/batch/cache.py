"""Answers kept on disk, so that the same call is not paid for twice and works offline.

One SQLite file of the user's own (0600). An answer is found by the session's name, the server's
address, the tool, its schema and the arguments; of the arguments only a hash is kept, and nothing
of the sign-in. With the answers stands where they are from: the server's version, and when. Only
answers are kept, no failures. A sign-out drops them: who signs in next would get another's.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mcp_notebook.config.places import home, private_directory
from mcp_notebook.errors import MCPNotebookError, ToolError
from mcp_notebook.redaction import printable
from mcp_notebook.schema.digests import digest, schema_digest

if TYPE_CHECKING:
    import mcp_types

LOCK_SECONDS = 10.0
"""How long another kernel's writing is waited for."""

_TABLES = """
create table if not exists tools (
    id integer primary key, server text, url text, name text, schema text,
    definition text, version text, at real, unique (server, url, name, schema));
create table if not exists answers (
    tool integer, arguments blob, answer text, at real, primary key (tool, arguments)
) without rowid;
"""


class AnswerCache:
    """The file. Its methods block and may be called from any thread.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Names the file; it is opened on first use.

        Args:
            path: The file; by default one of the user's own, for all notebooks.
        """
        self.path = Path(path) if path is not None else home() / "answers.sqlite"
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        self._close: Callable[[], object] = lambda: None

    @classmethod
    def of(cls, given: bool | str | Path | Self | None) -> Self | None:  # noqa: FBT001
        """Returns what ``cache=`` means: True for the usual file, a path, or a cache."""
        if given is None or given is False:
            return None
        if given is True:
            return cls()
        return given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = self._open()
            except (OSError, sqlite3.Error) as error:
                raise MCPNotebookError(
                    f"The answers in {self.path.name} cannot be read ({type(error).__name__}).",
                    hint="Give another file, cache='answers.sqlite', or go without.",
                ) from None
        return self._opened

    def _open(self) -> sqlite3.Connection:
        private_directory(self.path.parent)
        # Private from the moment it exists, whatever the umask.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self.path, timeout=LOCK_SECONDS, check_same_thread=False)
        # Python 3.13 warns of one that is left to the garbage collector.
        self._close = weakref.finalize(self, database.close)
        database.executescript(_TABLES)
        return database

    def remembered(self, server: str, url: str, tool: str) -> mcp_types.Tool | None:
        """Returns a tool as it was when its newest answers came, or None."""
        with self._lock:
            found = self._database.execute(
                "select definition from tools where server = ? and url = ? and name = ? "
                "order by at desc limit 1",
                (server, url, tool),
            ).fetchone()
        if found is None:
            return None
        from mcp_types import Tool

        return Tool.model_validate_json(found[0], by_name=False)

    def answers(self, server: str, url: str, tool: mcp_types.Tool, version: str = "") -> Answers:
        """Returns the answers of one tool.

        Args:
            server: The session's name: accounts on one server have different answers.
            url: The server's address.
            tool: As the server lists it.
            version: The server's own, for provenance.

        Raises:
            ToolError: There are answers of the same tool with another schema.
        """
        schema = schema_digest(tool)
        with self._lock:
            old = self._database.execute(
                "select count(*), max(t.at) from tools t join answers a on a.tool = t.id "
                "where server = ? and url = ? and name = ? and schema != ?",
                (server, url, tool.name, schema),
            ).fetchone()
            if old[0]:
                day = time.strftime("%Y-%m-%d", time.localtime(old[1]))
                raise ToolError(
                    f"{printable(tool.name, 60)} of {server} has changed its schema since {day}; "
                    f"{old[0]:,} answers are kept of the older one.",
                    hint=f"Drop them, AnswerCache({str(self.path)!r}).forget({server!r}, "
                    f"{printable(tool.name, 60)!r}), or give another file.",
                )
            definition = tool.model_dump_json(by_alias=True, exclude_none=True)
            self._database.execute(
                "insert into tools (server, url, name, schema, definition, version, at) "
                "values (?, ?, ?, ?, ?, ?, ?) on conflict do update set "
                "definition = excluded.definition, version = excluded.version, at = excluded.at",
                (server, url, tool.name, schema, definition, version, time.time()),
            )
            self._database.commit()
            (identity,) = self._database.execute(
                "select id from tools where server = ? and url = ? and name = ? and schema = ?",
                (server, url, tool.name, schema),
            ).fetchone()
        return Answers(self, identity)

    def forget(self, server: str | None = None, tool: str | None = None) -> int:
        """Drops answers: all, those of one server, or those of one tool of it.

        Returns:
            How many they were.
        """
        where = "(server = ? or ? is null) and (name = ? or ? is null)"
        values = (server, server, tool, tool)
        with self._lock:
            dropped = self._database.execute(
                f"delete from answers where tool in (select id from tools where {where})",  # noqa: S608
                values,
            ).rowcount
            self._database.execute(f"delete from tools where {where}", values)  # noqa: S608
            self._database.commit()
            self._database.execute("vacuum")
        return dropped

    def tools(self) -> list[dict[str, Any]]:
        """Returns what answers are kept: server, url, tool, version, when (ISO 8601), how many."""
        with self._lock:
            rows = self._database.execute(
                "select server, url, name, version, max(a.at), count(*) from tools t "
                "join answers a on a.tool = t.id group by t.id order by 1, 3"
            ).fetchall()
        names = ("server", "url", "tool", "version", "at", "answers")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        for row in found:
            row["at"] = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(row["at"]))
        return found

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def __len__(self) -> int:
        with self._lock:
            return int(self._database.execute("select count(*) from answers").fetchone()[0])

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        with self._lock:
            self._close()
            self._opened = None

    def __repr__(self) -> str:
        return f"<AnswerCache {self.path}: {len(self):,} answers, {self.size / 1e6:.1f} MB>"


def drop_answers(server: str) -> list[str]:
    """Drops what the usual file holds of a session; raises nothing.

    Returns:
        A sentence about it, or nothing where there was nothing to drop.
    """
    cache = AnswerCache()
    if not cache.path.exists():
        return []
    try:
        dropped = cache.forget(server)
    except (MCPNotebookError, sqlite3.Error) as error:
        return [f"What cache=True kept of it is still in {cache.path} ({type(error).__name__})."]
    finally:
        cache.close()
    return [f"{dropped:,} of its answers kept by cache=True are dropped."] if dropped else []


class Answers:
    """The answers of one tool."""

    def __init__(self, cache: AnswerCache, tool: int) -> None:
        self._cache = cache
        self._tool = tool

    def get(self, arguments: dict[str, Any]) -> mcp_types.CallToolResult | None:
        """Returns the answer to these arguments, or None."""
        with self._cache._lock:
            found = self._cache._database.execute(
                "select answer from answers where tool = ? and arguments = ?",
                (self._tool, digest(arguments)),
            ).fetchone()
        if found is None:
            return None
        from mcp_types import CallToolResult

        return CallToolResult.model_validate_json(found[0], by_name=False)

    def put(self, answers: Iterable[tuple[dict[str, Any], mcp_types.CallToolResult]]) -> None:
        """Keeps answers; they are on the disk when it returns."""
        now = time.time()
        rows = [
            (
                self._tool,
                digest(arguments),
                raw.model_dump_json(by_alias=True, exclude_none=True),
                now,
            )
            for arguments, raw in answers
        ]
        if not rows:
            return
        with self._cache._lock:
            database = self._cache._database
            database.executemany("insert or replace into answers values (?, ?, ?, ?)", rows)
            database.commit()

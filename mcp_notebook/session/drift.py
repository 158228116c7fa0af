"""What has changed in a server's tools since a person last saw them.

A server may change what a tool does between two runs of a notebook, or in the middle of one; the
words a person once read no longer hold then. For every server a small file keeps what was said of
each tool. Whenever the tools have been listed they are compared with it in the background; what
differs is said once, where the person looks, and counts as known from then on. A run that nobody
watches leaves the file as it is. Nothing is ever refused.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_notebook.background import background
from mcp_notebook.config.places import home
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.session.changes import Change, Changes, differences
from mcp_notebook.session.seen import Seen

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.config.servers import Server

__all__ = ["Change", "Changes", "Drift"]

logger = logging.getLogger(__name__)

MAX_TOOLS = 1_000
"""Tools of one server that are kept."""

GLANCE = 1.0
"""Seconds that looking waits for a comparison that is under way."""

_MAX_CHARACTERS = 1_500_000
"""Of one file; of the tools beyond, no more than the fingerprints are kept."""


class Drift:
    """What one server's tools were when a person last saw them, and are now.

    Attributes:
        untold: Whether there is something to `take`.
    """

    def __init__(self, server: Server, folder: Path | None = None) -> None:
        """Prepares the comparison; nothing is read yet.

        Args:
            server: Whose tools.
            folder: Where the files are; ``seen`` in `home` unless told.
        """
        name = hashlib.sha256(server.name.encode()).hexdigest()[:16]
        path = (folder or home() / "seen") / f"{name}.json"
        self._server = server
        self._file = StateFile(path, f"what was known of the tools of {server.name}")
        self._first: Mapping[str, Seen] | None = None
        self._known: Mapping[str, Seen] | None = None
        self._now: Mapping[str, Seen] = {}
        self.untold = False
        self._lock = threading.Lock()
        self._work: concurrent.futures.Future[None] | None = None

    def saw(self, tools: list[mcp_types.Tool]) -> None:
        """Compares a new listing in the background."""
        self._work = background().in_thread(lambda: self._compare(tools))

    @property
    def under_way(self) -> bool:
        """Whether a comparison is."""
        return self._work is not None and not self._work.done()

    def take(self, *, seen: bool) -> Changes:
        """Returns what has not been told in this process yet; waits for nobody.

        Args:
            seen: Whether a person sees it, so that no later process tells it again.
        """
        if not self.untold:
            return self._between(None, {})
        with self._lock:
            known, now = self._known, self._now
            told = self._between(known, now)
            self._known, self.untold = _merged(known or {}, now), False
        if seen:
            self._work = background().in_thread(lambda: self._write(now))
        return told

    def changes(self) -> Changes:
        """Returns what differs from before this process; waits for a moment.

        Who calls it has seen it: no later process tells it again.
        """
        self._settle()
        self.take(seen=True)
        self._settle()
        return self._between(self._first, self._now)

    def forget(self) -> None:
        """Deletes what is kept."""
        with contextlib.suppress(OSError):
            self._file.path.unlink()

    def _settle(self) -> None:
        if self._work is not None:
            with contextlib.suppress(concurrent.futures.TimeoutError):
                self._work.result(GLANCE)

    def _between(self, before: Mapping[str, Seen] | None, now: Mapping[str, Seen]) -> Changes:
        found = differences(before, now) if before is not None else ()
        return Changes(found, source=self._server.name)

    def _compare(self, tools: list[mcp_types.Tool]) -> None:
        now: dict[str, Seen] = {}
        for tool in tools[:MAX_TOOLS]:
            now.setdefault(tool.name, Seen.of(tool))  # of two by one name the first is used
        kept = self._read()
        with self._lock:
            self._known = known = self._before(kept, now)
            self._first = known if self._first is None else self._first
            self._now = now
            self.untold = any(differences(known, now))
        if not self.untold:
            self._write(now)

    def _before(
        self, kept: Mapping[str, Seen] | None, now: Mapping[str, Seen]
    ) -> Mapping[str, Seen]:
        """Returns what the tools are compared with; without any before, themselves."""
        if self._known is None or kept is None:
            return next(one for one in (self._known, kept, now) if one is not None)
        told_elsewhere = {
            name: was
            for name, was in kept.items()
            if was.gone or (name in now and was.fingerprint == now[name].fingerprint)
        }
        return {**self._known, **told_elsewhere}

    def _read(self) -> dict[str, Seen] | None:
        try:
            return self._tools(self._file.read())
        except MCPNotebookError as error:
            logger.info("%s", error.message)
            return None

    def _tools(self, document: Mapping[str, Any]) -> dict[str, Seen] | None:
        tools = document.get("tools")
        if document.get("place") != self._place() or not isinstance(tools, dict):
            return None
        read = {name: Seen.read(kept) for name, kept in tools.items()}
        return {name: kept for name, kept in read.items() if kept is not None}

    def _place(self) -> str:
        place = json.dumps([self._server.url, list(self._server.command)])
        return hashlib.sha256(place.encode()).hexdigest()

    def _write(self, now: Mapping[str, Seen]) -> None:
        try:
            with self._file.changing() as document:
                tools = _merged(self._tools(document) or {}, now)
                document.clear()
                document |= {"server": self._server.name, "place": self._place()}
                document["tools"] = _written(tools)
        except MCPNotebookError as error:
            logger.info("%s", error.message)


def _merged(known: Mapping[str, Seen], now: Mapping[str, Seen]) -> dict[str, Seen]:
    """Returns what is to be kept: a tool that comes back is compared with what it was."""
    merged = {}
    for name, tool in now.items():
        was = known.get(name)
        back = was is not None and (was.gone or was.returns)
        merged[name] = replace(tool, returns=True) if back else tool
    for name, was in known.items():
        if name not in now:
            merged[name] = replace(was, gone=True)
    return dict(list(merged.items())[:MAX_TOOLS])


def _written(tools: Mapping[str, Seen]) -> dict[str, Any]:
    written, room = {}, _MAX_CHARACTERS
    for name, tool in tools.items():
        kept = tool.kept()
        room -= len(json.dumps(kept, indent=2))
        written[name] = kept if room > 0 else tool.kept(short=True)
    return written

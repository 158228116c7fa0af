"""What has changed in a server's tools since they were used last.

A server may change what a tool does between two runs of a notebook, or in the middle of one; the
words a person once read no longer hold then. For every server a small file keeps what was said of
each tool: a fingerprint, and short texts to tell the difference by. It is compared and written
in the background whenever the tools have been listed; what differs is only said, never refused.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcp_notebook.background import background
from mcp_notebook.config.places import home
from mcp_notebook.config.statefile import StateFile
from mcp_notebook.errors import MCPNotebookError
from mcp_notebook.redaction import printable
from mcp_notebook.schema.signature import Parameters
from mcp_notebook.session.toolbox import effects

if TYPE_CHECKING:
    import mcp_types

    from mcp_notebook.config.servers import Server

logger = logging.getLogger(__name__)

MAX_TOOLS = 1_000
"""Tools of one server that are kept; with their short texts far below what a file may hold."""

GLANCE = 1.0
"""Seconds that looking waits for a comparison that is under way."""

_ABOUT = 300
_ARGUMENT = 120
_ARGUMENTS = 60
_AROUND = 30

Kind = Literal["new", "gone", "changed"]


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """One tool that is not as it was.

    Attributes:
        tool: Its name.
        kind: What has become of it.
        details: What is different, as phrases made harmless.
    """

    tool: str
    kind: Kind
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = printable(self.tool, 60)
        if self.kind != "changed":
            return f"{name} is {self.kind}"
        return f"{name} has changed: {'; '.join(self.details)}"

    def __repr__(self) -> str:
        return f"<Change: {self}>"


class Drift:
    """What one server's tools were when this process first saw them, and are now."""

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
        self._before: dict[str, Any] | None = None
        self._now: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._work: concurrent.futures.Future[None] | None = None

    def saw(self, tools: list[mcp_types.Tool]) -> None:
        """Compares a new listing in the background."""
        self._work = background().in_thread(lambda: self._compare(tools))

    def changes(self) -> list[Change]:
        """Returns what differs from when this process first saw the tools; waits for a moment."""
        if self._work is not None:
            with contextlib.suppress(concurrent.futures.TimeoutError):
                self._work.result(GLANCE)
        before, now = self._before, self._now
        return list(_differences(before, now)) if before else []

    def forget(self) -> None:
        """Deletes what is kept."""
        with contextlib.suppress(OSError):
            self._file.path.unlink()

    def _compare(self, tools: list[mcp_types.Tool]) -> None:
        now = {tool.name: _seen(tool) for tool in tools[:MAX_TOOLS]}
        with self._lock:
            try:
                kept = self._replace(now)
            except MCPNotebookError as error:
                logger.info("%s", error.message)
                kept = {}
            if self._before is None:
                self._before = kept or now  # the first time there is no before
            self._now = now

    def _replace(self, now: dict[str, Any]) -> dict[str, Any]:
        """Writes what is now and returns what was kept."""
        place = _fingerprint([self._server.url, list(self._server.command)])
        with self._file.changing() as document:
            kept = document.get("tools") if document.get("place") == place else {}
            kept = kept if isinstance(kept, dict) else {}
            # A tool that comes back is compared with what it was before it went.
            gone = {
                name: {**known, "gone": True}
                for name, known in kept.items()
                if name not in now and isinstance(known, dict)
            }
            tools = dict(list((now | gone).items())[:MAX_TOOLS])
            document.clear()
            document |= {"server": self._server.name, "place": place, "tools": tools}
        return kept


def _seen(tool: mcp_types.Tool) -> dict[str, Any]:
    parameters = Parameters.of(tool.name, tool.input_schema).signature.parameters
    arguments = list(parameters.values())[:_ARGUMENTS]
    said = tool.annotations.model_dump(exclude_none=True) if tool.annotations is not None else None
    return {
        "fingerprint": _fingerprint(
            [tool.title, tool.description, tool.input_schema, tool.output_schema, said]
        ),
        "about": printable(tool.description or tool.title or "", _ABOUT),
        "arguments": {one.name: printable(str(one), _ARGUMENT) for one in arguments},
        "effects": effects(tool),
    }


def _fingerprint(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True)
    except (RecursionError, ValueError):
        text = ""
    return hashlib.sha256(text.encode()).hexdigest()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    for name, known in now.items():
        was = before.get(name)
        if not isinstance(was, dict):
            yield Change(name, "new")
        elif was.get("fingerprint") != known["fingerprint"]:
            yield Change(name, "changed", tuple(_details(was, known)))
    for name, was in before.items():
        if name not in now and not (isinstance(was, dict) and was.get("gone")):
            yield Change(name, "gone")


def _details(was: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    found = False
    about = str(was.get("about", ""))
    if about != known["about"]:
        found = True
        yield f"its description: {_difference(about, known['about'])}"
    arguments = was.get("arguments")
    arguments = arguments if isinstance(arguments, dict) else {}
    for name, text in known["arguments"].items():
        old = arguments.get(name)
        if old != text:
            found = True
            yield f"new argument {text}" if old is None else f"{printable(str(old), 120)} → {text}"
    for name in arguments:
        if name not in known["arguments"]:
            found = True
            yield f"no argument {printable(name, 60)} any more"
    if was.get("effects") != known["effects"]:
        found = True
        yield f"effects: {printable(str(was.get('effects', '')), 60)} → {known['effects']}"
    if not found:
        yield "its description or schema, in a detail"


def _difference(old: str, new: str) -> str:
    """Returns two texts from where they differ on, with a little around it."""
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    start = min(len(old), len(new)) if start is None else start
    same = 0
    longest = min(len(old), len(new)) - start
    while same < longest and old[-1 - same] == new[-1 - same]:
        same += 1
    return f"{_window(old, start, same)} → {_window(new, start, same)}"


def _window(text: str, start: int, same: int) -> str:
    left, right = max(0, start - _AROUND), len(text) - same + _AROUND
    head = "…" if left else ""
    tail = "…" if right < len(text) else ""
    return repr(f"{head}{text[left:right]}{tail}")

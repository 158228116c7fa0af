"""What goes out to a worker, and what comes back: rows of a batch, and how each of them ended.

Both are pickled, by whatever carries them, and nothing of them is in their repr: an executor shows
its tasks' arguments and results in dashboards, logs and errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp_notebook._version import VERSION

if TYPE_CHECKING:
    from mcp_notebook.client.lending import Access
    from mcp_notebook.errors import MCPNotebookError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Chunk:
    """Calls of one tool.

    Attributes:
        access: To its server.
        tool: The tool's name.
        as_task: Whether it runs as a task only.
        once: Whether running a call twice may do harm, so that the chunk is begun only once.
        calls: The arguments of each.
        lanes: How many are made at a time.
        seconds: After this time no further one is begun.
        interval: Seconds between two of them at the least.
        until_failure: Whether none is begun any more once one has failed.
        version: Of the package it was made by.
    """

    access: Access
    tool: str
    as_task: bool
    once: bool
    calls: tuple[dict[str, Any], ...]
    lanes: int
    seconds: float
    interval: float
    until_failure: bool
    version: str = VERSION

    def __repr__(self) -> str:
        return f"<Chunk of {len(self.calls)} calls>"


@dataclass(slots=True, kw_only=True, repr=False)
class Reply:
    """What became of a chunk.

    Attributes:
        outcomes: By the number of the call: the answer (a ``CallToolResult`` as JSON), or the
            error. A call that is not here was not begun.
        seconds: How long it took, opening the connection not counted.
        trouble: Why no call was begun.
        lost: Whether nothing is known of it: any of its calls may have been made.
    """

    outcomes: dict[int, str | MCPNotebookError] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: MCPNotebookError | None = None
    lost: bool = False

    def __repr__(self) -> str:
        return f"<Reply to {len(self.outcomes)} calls>"

"""What a script holds while it records or replays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp_notebook.recording.player import Player
from mcp_notebook.recording.recorder import Recorder


class Recording:
    """A recording that is being made or replayed. As a context manager it ends on leaving."""

    def __init__(self, tape: Recorder | Player, end: Callable[[], object]) -> None:
        self._tape = tape
        self._end = end

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._tape.path

    def stop(self) -> None:
        """Ends it.

        Raises:
            MCPNotebookError: Not everything could be recorded.
        """
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Recording: {self._tape.summary}>"

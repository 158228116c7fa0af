"""What ``sink=`` means: a file of JSON lines or Parquet, or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from mcp_notebook.batch.parquet import Parquet
from mcp_notebook.batch.sink import JSONLines, Record, Sink
from mcp_notebook.errors import ToolError


def sink_of(given: str | Path | Callable[[dict[str, Any]], object]) -> Sink:
    """Returns the sink for a path, or for a function that is given every record.

    Raises:
        ToolError: It is neither.
        MCPNotebookError: It is a Parquet file, and pyarrow is not installed.
    """
    if isinstance(given, str | Path):
        path = Path(given)
        return Parquet(path) if path.suffix == ".parquet" else JSONLines(path)
    if callable(given):
        return _Function(given)
    raise ToolError(
        f"A {type(given).__name__} is no sink.",
        hint="sink is the path of a .jsonl or .parquet file, or a function that takes a dict.",
    )


class _Function:
    def __init__(self, function: Callable[[dict[str, Any]], object]) -> None:
        self._function = function
        self._taken = 0

    def knows(self, row: int, arguments: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def write(self, records: Iterable[Record]) -> None:
        # When the function has raised, the next run writes the same records again.
        for record in islice(records, self._taken, None):
            self._function(record.to_json())
            self._taken += 1
        self._taken = 0

    def close(self) -> None:
        return

"""Answers written to a Parquet file, by way of JSON lines beside it.

A Parquet file that is not written to its end cannot be read, and its columns must be known at its
beginning. So answers go to ``answers.parquet.jsonl`` as they come, exactly as for a sink of JSON
lines, and nothing is lost when the kernel dies. At the end of every run, also of one that was
stopped, all that is there becomes ``answers.parquet``: a row for each row of the batch, in their
order, and the columns of `Batch.to_arrow` behind the row's number. The file beside it stays; it is
what a later run goes on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mcp_notebook.batch.outcomes import Answer, Columns, Inputs, Outcome, outputs
from mcp_notebook.batch.sink import JSONLines, Record
from mcp_notebook.errors import ToolError
from mcp_notebook.results import arrow

PART_ROWS = 20_000
"""Rows that are in memory at a time; a row group of the file."""


class Parquet:
    """A Parquet file, and the JSON lines it is made of.

    Attributes:
        path: The Parquet file.
        journal: The file beside it.
    """

    def __init__(self, path: Path) -> None:
        """Names the file.

        Raises:
            MCPNotebookError: pyarrow is not installed.
        """
        arrow.need()
        self.path = path
        self.journal = JSONLines(path.with_name(f"{path.name}.jsonl"))
        self._is_ours = self._is_behind = False

    def knows(self, row: int, arguments: dict[str, Any]) -> bool:
        """Tells whether the row's answer is there already.

        Raises:
            ToolError: What is there is of another batch, or was not made here.
        """
        self._check()
        return self.journal.knows(row, arguments)

    def write(self, records: Iterable[Record]) -> None:
        """Takes records; they are in the file beside when it returns."""
        self._check()
        self._is_behind = True
        self.journal.write(records)

    def _check(self) -> None:
        if not self._is_ours and self.path.exists() and not self.journal.path.exists():
            raise ToolError(
                f"{self.path.name} is there already, and {self.journal.path.name}, from which it "
                "could be gone on with, is not.",
                hint="Give another file, or delete this one.",
            )
        self._is_ours = True

    def close(self) -> None:
        """Makes the Parquet file of all that is there, if there is anything new."""
        self._is_ours = False
        self.journal.close()
        if self.journal.path.exists() and (self._is_behind or self._was_left_behind()):
            self._make()
            self._is_behind = False

    def _was_left_behind(self) -> bool:
        """Tells whether an earlier run ended before the Parquet file was made."""
        if not self.path.exists():
            return True
        return self.path.stat().st_mtime_ns < self.journal.path.stat().st_mtime_ns

    def places(self) -> Iterable[int]:
        """Returns where the rows stand in the file beside.

        Raises:
            ToolError: It is not there any more.
        """
        if self.path.exists() and not self.journal.path.exists():
            raise ToolError(
                f"{self.journal.path.name} is not there any more.",
                hint=f"Read {self.path.name} itself: pandas.read_parquet({str(self.path)!r})",
            )
        return self.journal.places()

    def at(self, places: Iterable[int]) -> Iterator[Record]:
        """Reads rows from the file beside."""
        return self.journal.at(places)

    def _make(self) -> None:
        columns = Columns(map(_row, self.journal.read()), numbered=True)
        places = self.journal.places()

        def parts() -> Iterator[list[dict[str, Any]]]:
            rows = map(_row, self.journal.at(places))
            while part := list(islice(rows, PART_ROWS)):
                yield [columns.cells(*row) for row in part]

        arrow.write_parquet(self.path, parts, columns.names)


def _row(record: Record) -> tuple[Inputs, Outcome, Answer]:
    outcome = Outcome.read(record)
    return outcome.given, outcome, next(outputs(outcome))

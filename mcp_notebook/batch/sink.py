"""Answers written to a file as they come, one JSON object a line, so that memory stays flat.

A line is ``{"row": 17, "arguments": {…}, "result": …, "error": null}``; lines are in the order in
which the answers came. A row that failed and was called again has two lines, and the last counts.
A file that is there already is gone on with: a row whose answer it holds is not called again,
also after the kernel has died. pandas, polars and DuckDB read such files as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mcp_notebook.config.places import end_of_lines
from mcp_notebook.errors import ToolError

if TYPE_CHECKING:
    from mcp_notebook.results.tool_result import ToolResult

_BEGINNING = b'{"row": '


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one row, as it is written."""

    row: int
    arguments: dict[str, Any] | None
    result: Any = None
    error: str | None = None
    content: list[Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the object a line holds; pictures and the like are in ``content``."""
        document = {
            "row": self.row,
            "arguments": self.arguments,
            "result": self.result,
            "error": self.error,
        }
        return document if self.content is None else {**document, "content": self.content}


class Sink(Protocol):
    """Where records go."""

    def knows(self, row: int, arguments: dict[str, Any]) -> bool:
        """Tells whether the row's answer is there already."""

    def write(self, records: Iterable[Record]) -> None:
        """Takes records; they are safe from the death of this process when it returns."""

    def close(self) -> None:
        """Ends a run; a later one may write again."""


def record_of(
    row: int, arguments: dict[str, Any] | None, result: ToolResult | None, error: str | None
) -> Record:
    """Returns the record of a row's outcome."""
    if result is None:
        return Record(row, arguments, error=error)
    content = None
    if any(block.type != "text" for block in result.raw.content):
        content = result.raw.model_dump(mode="json", by_alias=True, exclude_none=True)["content"]
    return Record(row, arguments, result.data, content=content)


class JSONLines:
    """A file of records."""

    def __init__(self, path: Path) -> None:
        """Names the file; it is read and made when the first row is looked up or written.

        Raises:
            ToolError: The name ends on something else than ``.jsonl`` or ``.ndjson``.
        """
        if path.suffix not in {".jsonl", ".ndjson"}:
            raise ToolError(
                f"A sink is written as JSON lines or Parquet, and {path.name!r} says something "
                "else.",
                hint="Name it .jsonl or .parquet. For other formats give a function, sink=f, and "
                "write there.",
            )
        self.path = path
        self._known: dict[int, bytes] | None = None
        self._file: Any = None

    def knows(self, row: int, arguments: dict[str, Any]) -> bool:
        """Tells whether the file holds the row's answer.

        Raises:
            ToolError: It holds the answer to other arguments: it is another batch's file.
        """
        if self._known is None:
            self._known = self._read_known()
        kept = self._known.get(row)
        if kept is None:
            return False
        if kept != _digest(arguments):
            raise ToolError(
                f"{self.path.name} holds answers to other rows: row {row} has other arguments.",
                hint="Give another file, or delete this one.",
            )
        return True

    def write(self, records: Iterable[Record]) -> None:
        """Appends records."""
        if self._file is None:
            self._known = self._read_known() if self._known is None else self._known
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
        for record in records:
            self._file.write(_line(record))
        self._file.flush()

    def close(self) -> None:
        """Closes the file; the next run looks at it anew."""
        # In any case: a disk that is full is told once, and the next run mends the file.
        file, self._file, self._known = self._file, None, None
        if file is not None:
            file.close()

    def read(self) -> Iterator[Record]:
        """Reads the records, in the order in which they were written."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            yield from map(_record, _whole(file))

    def places(self) -> array[int]:
        """Returns where the line of each row stands that counts, in the order of the rows."""
        found: dict[int, int] = {}
        place = 0
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in _whole(file):
                    found[_record(line).row] = place
                    place += len(line)
        return array("q", (found[row] for row in sorted(found)))

    def at(self, places: Iterable[int]) -> Iterator[Record]:
        """Reads the records of `places`."""
        with contextlib.ExitStack() as stack:
            file = None
            for place in places:
                file = file or stack.enter_context(self.path.open("rb"))
                file.seek(place)
                yield _record(file.readline())

    def _read_known(self) -> dict[int, bytes]:
        known: dict[int, bytes] = {}
        try:
            for record in self.read():
                if record.error is None and record.arguments is not None:
                    known[record.row] = _digest(record.arguments)
        except (ValueError, KeyError, TypeError):
            raise self._foreign() from None
        self._mend()
        return known

    def _mend(self) -> None:
        """Drops a last line that was not written to its end, if it is one of a batch."""
        if not self.path.exists():
            return
        with self.path.open("rb+") as file:
            end = end_of_lines(file)
            file.seek(end)
            begun = file.read(len(_BEGINNING))
            if begun != _BEGINNING[: len(begun)]:
                raise self._foreign()
            if begun:  # else it keeps its time
                file.truncate(end)

    def _foreign(self) -> ToolError:
        return ToolError(f"{self.path.name} is not a file of a batch.", hint="Give another file.")


def _whole(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.endswith(b"\n"))


def _line(record: Record) -> str:
    document = record.to_json()
    line = json.dumps(document, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and UTF-8 cannot
        line = json.dumps(document)
    return line + "\n"


def _record(line: bytes) -> Record:
    members = json.loads(line.decode())
    return Record(
        members["row"],
        members["arguments"],
        members["result"],
        members["error"],
        members.get("content"),
    )


def _digest(arguments: dict[str, Any]) -> bytes:
    text = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()

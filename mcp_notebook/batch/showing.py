"""A batch as something to read: how far it is, and a table with the failures on top."""

from __future__ import annotations

from typing import Any

from mcp_notebook.batch.outcomes import Outcome, columns_of, named, outputs
from mcp_notebook.batch.work import Work
from mcp_notebook.results import rendering

FAILURES = 10
ROWS = 10


def standing(work: Work, seconds: float) -> str:
    """Returns how a batch stands, in a line.

    Args:
        work: Its rows.
        seconds: How long it has taken.
    """
    failed = len(work.failures)
    of = f" of {work.total:,}" if work.total is not None else ""
    parts = [f"{work.done:,}{of} rows done"]
    if work.known:
        parts.append(f"{work.known:,} of them known")
    if failed:
        parts.append(f"{failed:,} failed")
    if not work.over and work.total is not None:
        parts.append(f"{work.total - work.done - failed:,} not reached")
    return f"{', '.join(parts)} ({_clock(seconds)})"


def pace(work: Work, settled: int, seconds: float, note: str) -> str:
    """Returns what stands beside the bar: failures, calls a second, the time left.

    Args:
        work: The rows of the batch.
        settled: How many got their outcome in this run.
        seconds: How long this run has taken.
        note: What holds calls back.
    """
    failed = len(work.failures)
    per_second = settled / max(0.001, seconds)
    parts = [f"{failed:,} failed" if failed else ""]
    if settled:
        parts.append(f"{per_second:,.3g} a second")
    if settled and work.total is not None:
        parts.append(f"{_clock((work.total - work.done - failed) / per_second)} left")
    return " · ".join(part for part in [*parts, note] if part)


def table(work: Work) -> tuple[list[str], list[list[Any]], str]:
    """Returns columns, cells and a note: failures first, then the first answers."""
    failures = [row for _, row in sorted(work.failures.items())[:FAILURES]]
    first = (row for row in work.kept if row.result is not None)
    done = [row for row, _ in zip(first, range(ROWS), strict=False)]
    inputs = columns_of([named(row.given, work.target) for row in failures + done])
    members = columns_of([next(outputs(Outcome.of(row))) for row in done])
    room = rendering.MAX_COLUMNS - 2
    inputs = inputs[: room // 2]
    members = members[: room - len(inputs)]
    middle = ["error"] if failures else []
    cells = []
    for row in failures + done:
        given, answer = named(row.given, work.target), next(outputs(Outcome.of(row)))
        told = [row.error.message if row.error else None] if failures else []
        cells.append([row.number, *map(given.get, inputs), *told, *map(answer.get, members)])
    more = len(work.failures) - len(failures), work.done - len(done)
    words = [f"{n:,} more {what}" for n, what in zip(more, ("failed", "done"), strict=True) if n]
    note = f"… {' and '.join(words)}: .to_frame() has them all" if words else ""
    return ["row", *inputs, *middle, *members], cells, note


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"

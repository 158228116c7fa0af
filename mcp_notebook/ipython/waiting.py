"""Opt-in: while a cell waits for a server, the person's own asyncio tasks go on.

A call holds the kernel's main thread, so what the person has running on the kernel's loop pauses
until it answers. With ``%config MCPMagics.keep_loop_running = True`` the wait becomes a nested
run of that loop. `asyncio` has to be patched for it, in the whole process and until its end: so
nothing is patched before the first such wait, and it is nest_asyncio2 that does it. On ipykernel 6
a nested wait was seen to hang, and the older nest_asyncio loses the cells that wait their turn.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import signal
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

from mcp_notebook.waiting.wait import TICK, Wait

OLDEST_IPYKERNEL = 7


def hindrance(shell: Any) -> str:
    """Returns why the loop of this shell cannot be kept running; empty where it can."""
    if getattr(shell, "kernel", None) is None:
        return "only a notebook's kernel has a loop that could be kept running"
    try:
        installed = version("ipykernel")
    except PackageNotFoundError:
        return "this kernel is not ipykernel"
    if int(installed.partition(".")[0]) < OLDEST_IPYKERNEL:
        return (
            f"a nested wait can hang ipykernel {installed}; update it to {OLDEST_IPYKERNEL} or "
            "later, or write `await tool.aio(...)`, which needs no such setting"
        )
    if _patched_by_another():
        return (
            "nest_asyncio is at work here, which loses the cells that wait their turn; restart "
            "the kernel and leave it out"
        )
    return ""


def keep_loop_running(*, on: bool) -> None:
    """Has every wait in the main thread keep the loop running, or be a plain one again."""
    Wait.nested = staticmethod(_turn) if on else None


def _turn(future: concurrent.futures.Future[Any], attend: Callable[[], None]) -> None:
    """Runs the loop of this thread until the future is done; attends to the wait at every tick.

    Returns at once where no loop can be run: whoever waits then waits as ever.

    Raises:
        KeyboardInterrupt: Stop was pressed.
    """
    loop = _patched_loop()
    if loop is None:
        return
    woken = asyncio.Event()

    def wake(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(woken.set)

    future.add_done_callback(wake)
    while not future.done():
        with _stop_wakes(wake) as stopped:
            loop.run_until_complete(_set_or_tick(woken))
        if stopped:
            raise KeyboardInterrupt
        attend()


async def _set_or_tick(woken: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TICK):
            await woken.wait()


@contextlib.contextmanager
def _stop_wakes(wake: Callable[[], None]) -> Iterator[list[int]]:
    """Notes Stop for the block, so that it ends the wait and not whichever task is running.

    A second one is raised where it strikes: that task may never give the loop back.
    """
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped:
            signal.default_int_handler(number, frame)
        stopped.append(number)
        wake()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _patched_loop() -> asyncio.AbstractEventLoop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if not isinstance(loop, asyncio.BaseEventLoop) or _patched_by_another():
        return None  # uvloop cannot be patched
    import nest_asyncio2

    nest_asyncio2.apply(loop)
    return loop


def _patched_by_another() -> bool:
    return hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")

"""Stop (SIGINT) and the thread it interrupts: let through where we wait, put off where we write.

Python raises `KeyboardInterrupt` in the main thread between any two instructions, unless the
handler says otherwise. Whoever waits wants it at once; whoever has taken a row out of a generator
and not yet noted it does not.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def stop_reaches_us() -> Iterator[Callable[[], None]]:
    """Has Stop raise `KeyboardInterrupt` in the block, if it runs in the main thread.

    In a cell that contains ``await``, IPython's own handler cannot interrupt a blocking wait.

    Yields:
        A function to be called now and then, which raises the `KeyboardInterrupt` of a Stop that
        was lost: where it comes in a finalizer or a weak reference's callback, Python prints it
        and goes on.
    """
    pressed: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    with _handled_by(interrupt):
        yield check


@contextlib.contextmanager
def stop_put_off() -> Iterator[None]:
    """Has Stop wait until the block is over, which so is done whole. It must not block."""
    pressed: list[int] = []
    with _handled_by(lambda number, _: pressed.append(number)):
        yield
    if pressed:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _handled_by(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is None:  # installed from C: cannot be put back, so is left alone
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

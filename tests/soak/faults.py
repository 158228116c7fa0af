"""Faults, one after another, for as long as a soak lasts."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.peers.fault_proxy import Delay, Fault, FaultProxy, Hole, Lost, Reset, Status

SERVER: tuple[Fault, ...] = (
    Reset("before"),
    Reset("body"),
    Lost(),
    Delay(0.5),
    Hole(),
    Status(429, retry_after=0.2),
    Status(502),
    Status(503, retry_after=0.2),
)
# A token answer that is lost takes the refresh token with it: that has to cost a sign-in.
TOKENS: tuple[Fault, ...] = (
    Reset("before"),
    Delay(0.5),
    Status(429, retry_after=0.2),
    Status(503, retry_after=0.2),
)


class Trouble:
    """What happens now and then: to a request, to all connections, to a whole server.

    Attributes:
        made: How often what has struck.
    """

    def __init__(self, seed: int) -> None:
        self.made: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def strike(self, proxy: FaultProxy, faults: tuple[Fault, ...], every: float) -> None:
        """Lets a fault strike one request behind the proxy, about every so many seconds.

        The next one is made only when the last has struck: a call is tried three times, and three
        faults in a row are one too many for anybody.
        """

        def one() -> None:
            fault = self._random.choice(faults)
            proxy.seen.clear()
            proxy.next(fault)
            while not any(request.fault for request in list(proxy.seen)):
                if self._over.wait(0.05):
                    return
            self.made[str(fault)] += 1
            if isinstance(fault, Hole):  # it would last for five minutes
                self._over.wait(0.5)
                proxy.drop()

        self._go_on(one, every)

    def happen(self, what: Callable[[], object], every: float, name: str) -> None:
        """Does something to a server about every so many seconds."""

        def one() -> None:
            what()
            self.made[name] += 1

        self._go_on(one, every)

    def _go_on(self, one: Callable[[], None], every: float) -> None:
        def run() -> None:
            while not self._over.wait(every * self._random.uniform(0.5, 1.5)):
                one()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


@contextmanager
def trouble(seed: int) -> Iterator[Trouble]:
    """Makes trouble for the block."""
    made = Trouble(seed)
    try:
        yield made
    finally:
        made.stop()


def totals(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds up what the kernels report."""
    return {
        "right": sum(report["right"] for report in reports),
        "written": sum(len(report["written"]) for report in reports),
        "lost": sum(len(report["lost"]) for report in reports),
        "refused": sum(len(report["refused"]) for report in reports),
        "wrong": [line for report in reports for line in report["wrong"]],
        "failed": sum((Counter(report["failed"]) for report in reports), Counter()),
    }

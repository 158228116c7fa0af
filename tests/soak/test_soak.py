"""Four kernels, two servers, tokens of three seconds, and trouble all the time.

    pytest -m soak -s                                   # twenty minutes
    MCP_NOTEBOOK_SOAK_SECONDS=60 pytest -m soak -s

Not a session may be lost, nobody may have to sign in again, every answer must be the right one,
what must not be repeated is carried out once at most, and memory stays flat.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.driving.kernel import Notebook
from tests.kernel.conftest import environment, kernels
from tests.peers.apart import Apart, peers_apart
from tests.peers.fault_proxy import FaultProxy, serve_faults
from tests.soak import load
from tests.soak.faults import SERVER, TOKENS, Trouble, totals, trouble

SECONDS = float(os.environ.get("MCP_NOTEBOOK_SOAK_SECONDS", 20 * 60))
KERNELS = 4
TOKEN_SECONDS = 3
MIB = 1024 * 1024
GROWTH = 6 * MIB
"""What a kernel may grow by between the first quarter and the end: noise of the allocator."""


class Servers:
    """An MCP server and its authorization server, each behind a proxy that makes trouble."""

    def __init__(self, stack: ExitStack, trouble: Trouble, *, legacy: bool) -> None:
        lifetime = {"token_lifetime": TOKEN_SECONDS}
        tools = {"legacy": legacy, "challenge_metadata": False}
        self.peers: Apart = stack.enter_context(peers_apart(authority=lifetime, tools=tools))
        self.proxy: FaultProxy = stack.enter_context(serve_faults(_port(self.peers.url)))
        self.tokens: FaultProxy = stack.enter_context(serve_faults(_port(self.peers.issuer)))
        self.peers.turn("tools", resource=self.proxy.url)
        endpoint = {"token_endpoint": f"{self.tokens.origin}/token"}
        self.peers.turn("authority", metadata_overrides=endpoint)
        self._trouble = trouble

    def begin(self) -> None:
        self._trouble.strike(self.proxy, SERVER, every=0.7)
        self._trouble.strike(self.tokens, TOKENS, every=7)
        self._trouble.happen(self.proxy.drop, 11, "all connections dropped")
        self._trouble.happen(lambda: self.peers.ask("tools", "restart"), 23, "restart")

    def carried_out(self) -> Counter[str]:
        """How often each write was carried out."""
        ran = self.peers.read("tools", "ran")
        return Counter(arguments["text"] for tool, arguments in ran if tool == "write")


def _port(url: str) -> int:
    return int(url.split(":")[2].partition("/")[0])


def begin(nb: Notebook, number: int, servers: dict[str, Servers]) -> None:
    for name, server in servers.items():
        nb.run(f"%mcp add {name} {server.proxy.url}")
        nb.run(f"%mcp connect {name}")
        assert nb.value(f"{name}.wait(30).status") == "connected"
    assert not nb.run(Path(load.__file__).read_text()).error
    assert not nb.run(f"load = Load('kernel {number}', [{', '.join(servers)}])").error


def memory(books: list[Notebook]) -> list[int]:
    return [psutil.Process(nb.process.pid).memory_info().rss for nb in books]


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 180)
def test_trouble_all_the_time_costs_nothing(tmp_path, capsys):
    with ExitStack() as stack:
        making = stack.enter_context(trouble(seed=1))
        servers = {
            "modern": Servers(stack, making, legacy=False),
            "older": Servers(stack, making, legacy=True),
        }
        start = stack.enter_context(kernels(environment(tmp_path)))
        books = [start() for _ in range(KERNELS)]
        for number, nb in enumerate(books):
            begin(nb, number, servers)
        for server in servers.values():
            server.begin()

        cells = [nb.start(f"await load.run({SECONDS})") for nb in books]
        held = []
        for _ in range(3):
            time.sleep(SECONDS / 4)
            held.append(memory(books))
        for cell in cells:
            assert not cell.wait(SECONDS + 60).error
        held.append(memory(books))
        making.stop()

        reports = [nb.value("load.report()") for nb in books]
        total = totals(reports)
        with capsys.disabled():
            print(f"\n{SECONDS:.0f} s: {total}")
            for quarter in held:
                print("MiB:", *(round(size / MIB, 1) for size in quarter))
            print("\n".join(f"  {n} × {what}" for what, n in sorted(making.made.items())))

        assert_all_is_well(books, reports, total, servers)
        assert max(late - early for early, late in zip(held[0], held[-1], strict=True)) <= GROWTH


def assert_all_is_well(
    books: list[Notebook],
    reports: list[dict[str, Any]],
    total: dict[str, Any],
    servers: dict[str, Servers],
) -> None:
    for nb in books:
        for name in servers:
            assert nb.value(f"{name}.status") == "connected"
            assert nb.value(f"{name}.tools.add(a=2, b=3).data") == 5
    assert sum(len(nb.links) for nb in books) == len(servers)
    for server in servers.values():
        grants = Counter(server.peers.read("authority", "grants_made"))
        assert grants["authorization_code"] == 1
        assert grants["refresh_token"] >= SECONDS / TOKEN_SECONDS / 4
        assert server.peers.read("authority", "reuses") == 0
    assert not total["wrong"]
    assert total["right"] > SECONDS
    # A call is tried three times, and now and then three faults strike it. It fails for each alone.
    assert sum(total["failed"].values()) <= total["right"] / 1000
    assert all(why.startswith("ConnectionFailedError") for why in total["failed"])
    assert not any("every time" in why for why in total["failed"])

    carried_out = sum((server.carried_out() for server in servers.values()), Counter())
    assert max(carried_out.values()) == 1
    for report in reports:
        assert all(carried_out[text] == 1 for text in report["written"])
        assert not any(carried_out[text] for text in report["refused"])

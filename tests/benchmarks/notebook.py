"""What a person waits for in a notebook: loading, connecting, and one call after another.

    python -m tests.benchmarks.notebook [--rounds 7] [--calls 200]

Every round starts a kernel of its own with a sign-in that is kept in a file, and a second one for
the SDK's client with the token as a fixed header. The cells measure themselves, so what the kernel
and its front end need is not counted. Told are medians over the rounds:

``%load_ext mcp_notebook``; ``%mcp connect`` until the tools are known, both in the very next cell
("Run All") and once the imports behind it are done, and the requests it makes; for the SDK the
same from its import on. Then ``tool(x)`` in a loop beside ``await client.call_tool`` in the same
kernel, in turns: the ratio is of the medians of one round.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from mcp_notebook.config.book import ServerBook
from mcp_notebook.config.places import HOME_VARIABLE
from mcp_notebook.config.servers import Server
from tests.benchmarks.serving import kept, seen, server
from tests.driving.kernel import Notebook

CLOCK = "from time import perf_counter as clock; began = clock()"
TAKEN = "(clock() - began) * 1000"

LOAD = f"{CLOCK}\n%load_ext mcp_notebook\nloaded = {TAKEN}"
CONNECT = f"{CLOCK}\n%mcp connect guarded\nguarded.wait()\nconnected = {TAKEN}"
WARM = """
import threading
[thread.join() for thread in threading.enumerate() if thread.name == "mcp-notebook imports"]
"""

OPEN_SDK = """
from time import perf_counter as clock
began = clock()
import contextlib, httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
http = httpx2.AsyncClient(headers={{"Authorization": "Bearer {token}"}})
client = await contextlib.AsyncExitStack().enter_async_context(
    Client(streamable_http_client("{url}", http_client=http)))
await client.list_tools()
connected = (clock() - began) * 1000
"""

OURS = """
ours = []
for _ in range({calls}):
    began = clock()
    guarded.tools.nap(ms=0)
    ours.append((clock() - began) * 1000)
"""
THEIRS = """
theirs = []
for _ in range({calls}):
    began = clock()
    await client.call_tool("nap", {{"ms": 0}})
    theirs.append((clock() - began) * 1000)
"""


def run(kernel: Notebook, code: str) -> None:
    cell = kernel.run(code)
    assert not cell.error, cell.error


def measure(env: dict[str, str], url: str, token: str, calls: int) -> dict[str, float]:
    """Returns what one round took, in milliseconds and requests."""
    found: dict[str, float] = {}
    seen(url, token)
    for what in ("at once", "a moment later"):
        kernel = Notebook(env=env)
        try:
            run(kernel, LOAD)
            if what == "a moment later":
                run(kernel, WARM)
            run(kernel, CONNECT)
            found["%load_ext mcp_notebook, ms"] = kernel.value("loaded")
            found[f"%mcp connect {what}, ms"] = kernel.value("connected")
            found["%mcp connect, requests"] = len(seen(url, token))
            if what == "at once":
                continue
            run(kernel, OPEN_SDK.format(url=url, token=token))
            for code in (OURS, THEIRS) * 2:  # the first of each warms up
                run(kernel, code.format(calls=calls))
            ours = statistics.median(kernel.value("ours"))
            theirs = statistics.median(kernel.value("theirs"))
            found |= {"tool(x), ms": ours, "await client.call_tool, ms": theirs}
            found["tool(x) / call_tool"] = ours / theirs
        finally:
            kernel.close()
    kernel = Notebook(env=env)
    try:
        seen(url, token)
        run(kernel, OPEN_SDK.format(url=url, token=token))
        found["SDK, import and open, ms"] = kernel.value("connected")
        found["SDK, open, requests"] = len(seen(url, token))
    finally:
        kernel.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    token = secrets.token_urlsafe(32)
    rounds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as directory, server(token) as url:
        env = {
            HOME_VARIABLE: str(Path(directory) / "home"),
            "MCP_NOTEBOOK_TOKEN_STORE": "file",
            "IPYTHONDIR": str(Path(directory) / "ipython"),
        }
        os.environ |= env
        ServerBook().add(Server(name="guarded", url=url))
        kept("guarded", url, token)
        for _ in range(options.rounds):
            for name, value in measure(env, url, token, options.calls).items():
                rounds[name].append(value)
    for name, values in rounds.items():
        told = " ".join(f"{value:.3g}" for value in values)
        print(f"{name:<32} {statistics.median(values):>8.3g}   {told}")


if __name__ == "__main__":
    main()

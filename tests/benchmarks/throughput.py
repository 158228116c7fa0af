"""Calls a second through `Tool.map`, beside other clients on the same guarded server.

    python -m tests.benchmarks.throughput [--calls 2000] [--rounds 3] [--flight 1 8 32 128]

A tool that takes 20 ms is called many times with 1, 8, 32 and 128 calls in flight. The server is
a process of its own and demands a token. The clients take turns within every round, in an order
that changes, each in this one process; told is the median of the rounds, and how much of the
ideal (calls in flight / 20 ms) that is.

``map``: a `Session` whose sign-in is kept, as after ``%mcp connect``. ``sdk``: the SDK's client
with the token as a fixed header, no OAuth at all. ``sdk-oauth``: the SDK's client with its own
OAuth provider, signed in. ``fastmcp``: FastMCP's client with the token, if it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import random
import secrets
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.background import background
from tests.mapping import session_with

MILLISECONDS = 20
SLOWEST = 10.0
"""Seconds one measurement may take; a client that is slower makes fewer calls."""

Call = Callable[[], Awaitable[Any]]


@contextlib.contextmanager
def server(token: str) -> Iterator[str]:
    """The server for the block; gives its address."""
    command = [sys.executable, "-m", "tests.benchmarks.guarded", token]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


def through_map(url: str, token: str, calls: int, flight: int) -> float:
    """Seconds that `Tool.map` takes; the sign-in is in the store."""
    record = TokenRecord(
        server="peer",
        resource=url,
        issuer="http://127.0.0.1:1",
        token_endpoint="http://127.0.0.1:1/token",
        client_id="benchmark",
        access_token=token,
        refresh_token="unused",
        expires_at=time.time() + 3600,
    )
    keeper = TokenKeeper(MemoryStore())
    background().submit(keeper.save(record)).result(5)
    with session_with(url, keeper=keeper) as session:
        session.wait()
        session.tools.nap(ms=1)
        began = time.perf_counter()
        batch = session.tools.nap.map([MILLISECONDS] * calls, concurrency=flight)
        seconds = time.perf_counter() - began
        assert batch.done == calls
        return seconds


def with_client(opened: Callable[[str, str], Any]) -> Callable[[str, str, int, int], float]:
    """Seconds that a client takes whose calls are made by `flight` tasks on its own loop."""

    def measure(url: str, token: str, calls: int, flight: int) -> float:
        return asyncio.run(run(url, token, calls, flight))

    async def run(url: str, token: str, calls: int, flight: int) -> float:
        left = iter(range(calls))
        async with opened(url, token) as call:

            async def worker() -> None:
                for _ in left:
                    await call()

            await call()
            began = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(flight)))
            return time.perf_counter() - began

    return measure


@contextlib.asynccontextmanager
async def sdk(url: str, token: str, auth: Any = None) -> AsyncIterator[Call]:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = {} if auth else {"Authorization": f"Bearer {token}"}
    limits = httpx2.Limits(max_connections=256, max_keepalive_connections=256)
    async with (
        httpx2.AsyncClient(headers=headers, auth=auth, timeout=300, limits=limits) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield lambda: client.call_tool("nap", {"ms": MILLISECONDS})


@contextlib.asynccontextmanager
async def sdk_oauth(url: str, token: str) -> AsyncIterator[Call]:
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

    class Kept:
        async def get_tokens(self) -> OAuthToken:
            return OAuthToken(access_token=token, expires_in=3600)

        async def get_client_info(self) -> OAuthClientInformationFull:
            return OAuthClientInformationFull(client_id="benchmark", redirect_uris=[redirect])

        async def set_tokens(self, tokens: OAuthToken) -> None: ...

        async def set_client_info(self, info: OAuthClientInformationFull) -> None: ...

    redirect = "http://127.0.0.1:1/callback"
    provider = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(redirect_uris=[redirect]),
        storage=Kept(),
    )
    async with sdk(url, token, provider) as call:
        yield call


@contextlib.asynccontextmanager
async def fastmcp(url: str, token: str) -> AsyncIterator[Call]:
    from fastmcp import Client

    async with Client(url, auth=token) as client:
        yield lambda: client.call_tool("nap", {"ms": MILLISECONDS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flight", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--only", nargs="+", help="these clients alone")
    options = parser.parse_args()
    clients = {"map": through_map, "sdk": with_client(sdk), "sdk-oauth": with_client(sdk_oauth)}
    if importlib.util.find_spec("fastmcp"):
        clients["fastmcp"] = with_client(fastmcp)
    clients = {name: clients[name] for name in options.only or clients}
    token = secrets.token_urlsafe(32)
    print(f"{'in flight':>9}  {'client':<10} {'calls/s':>8} {'of ideal':>8}   rounds")
    with server(token) as url, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for flight in options.flight:
            rates: dict[str, list[float]] = {name: [] for name in clients}
            for _ in range(options.rounds):
                for name in random.sample(list(clients), len(clients)):
                    ideal = flight if name != "sdk-oauth" else 1
                    calls = min(options.calls, int(SLOWEST / 0.025 * ideal))
                    rates[name].append(calls / clients[name](url, token, calls, flight))
            for name, measured in rates.items():
                rate = statistics.median(measured)
                share = rate * MILLISECONDS / 1000 / flight
                rounds = " ".join(f"{one:.0f}" for one in measured)
                print(f"{flight:>9}  {name:<10} {rate:>8.0f} {share:>8.0%}   {rounds}", flush=True)


if __name__ == "__main__":
    main()

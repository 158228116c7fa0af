"""Calls a second through `Tool.map`, beside other clients on the same guarded server.

    python -m tests.benchmarks.throughput [--calls 2000] [--rounds 5] [--flight 1 8 32 128]

A tool that takes 20 ms is called many times with 1, 8, 32 and 128 calls in flight. The server is
a process of its own and demands a token. The clients take turns within every round, in an order
that changes, each in this one process. Told are medians over the rounds: calls a second; how many
times those of ``sdk`` in the same round that is, which tells more than the calls on a machine with
other work; how much of the ideal (calls in flight / 20 ms); and what a call costs in this process.

``map``: a `Session` whose sign-in is kept in a file, as after ``%mcp connect``. ``sdk``: the SDK's
client with the token as a fixed header, no OAuth at all. ``sdk-oauth``: the SDK's client with its
own OAuth provider, signed in. ``fastmcp`` and ``fastmcp-oauth``: the same two of FastMCP, where it
is installed. ``bare``: requests as `map` sends them, written to sockets and not looked at: what
the server and the machine can do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import random
import secrets
import statistics
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mcp_notebook.config.places import HOME_VARIABLE
from tests.benchmarks.serving import kept, server
from tests.mapping import session_with

MILLISECONDS = 20
SLOWEST = 4.0
"""Seconds one measurement takes about, at the most: with few in flight it makes fewer calls."""

Call = Callable[[], Awaitable[Any]]


@dataclass
class Spent:
    """What something took: seconds, and seconds of this process's CPU."""

    seconds: float = 0.0
    cpu: float = 0.0


Measure = Callable[[str, str, int, int], Spent]


@contextlib.contextmanager
def spent() -> Iterator[Spent]:
    """Measures the block."""
    spending = Spent(time.perf_counter(), time.process_time())
    yield spending
    spending.seconds = time.perf_counter() - spending.seconds
    spending.cpu = time.process_time() - spending.cpu


def through_map(url: str, token: str, calls: int, flight: int) -> Spent:
    """What `Tool.map` takes; the sign-in is in the store."""
    with session_with(url, keeper=kept("peer", url, token)) as session:
        session.wait()
        session.tools.nap(ms=1)
        with spent() as spending:
            batch = session.tools.nap.map([MILLISECONDS] * calls, concurrency=flight)
        assert batch.done == calls
        return spending


def with_client(opened: Callable[[str, str], Any]) -> Measure:
    """What a client takes whose calls are made by `flight` tasks on its own loop."""

    def measure(url: str, token: str, calls: int, flight: int) -> Spent:
        return asyncio.run(run(url, token, calls, flight))

    async def run(url: str, token: str, calls: int, flight: int) -> Spent:
        left = iter(range(calls))
        async with opened(url, token) as call:

            async def worker() -> None:
                for _ in left:
                    await call()

            await call()
            with spent() as spending:
                await asyncio.gather(*(worker() for _ in range(flight)))
            return spending

    return measure


def bare(url: str, token: str, calls: int, flight: int) -> Spent:
    """What sockets take, without a client."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "nap", "arguments": {"ms": MILLISECONDS}},
    }
    body = json.dumps(message).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    left = iter(range(calls))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        for _ in left:
            writer.write(head.encode() + body)
            lines = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(lines.lower().partition(b"length:")[2].split()[0]))
        writer.close()
        await writer.wait_closed()

    async def run() -> Spent:
        with spent() as spending:
            await asyncio.gather(*(worker() for _ in range(flight)))
        return spending

    return asyncio.run(run())


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


@contextlib.asynccontextmanager
async def fastmcp_oauth(url: str, token: str) -> AsyncIterator[Call]:
    from fastmcp import Client
    from fastmcp.client.auth import OAuth
    from key_value.aio.stores.memory import MemoryStore
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    provider = OAuth(url, token_storage=MemoryStore())
    storage = provider.token_storage_adapter
    redirects = ["http://127.0.0.1:1/callback"]
    await storage.set_client_info(
        OAuthClientInformationFull(client_id="benchmark", redirect_uris=redirects)
    )
    await storage.set_tokens(OAuthToken(access_token=token, expires_in=3600))
    async with Client(url, auth=provider) as client:
        yield lambda: client.call_tool("nap", {"ms": MILLISECONDS})


ONE_BY_ONE = {"sdk-oauth", "fastmcp-oauth"}
"""Their providers hold a lock over the whole request, so they make fewer calls."""


def clients_here() -> dict[str, Measure]:
    """Returns the clients that are installed."""
    clients: dict[str, Measure] = {
        "map": through_map,
        "sdk": with_client(sdk),
        "sdk-oauth": with_client(sdk_oauth),
    }
    if importlib.util.find_spec("fastmcp"):
        clients |= {
            "fastmcp": with_client(fastmcp),
            "fastmcp-oauth": with_client(fastmcp_oauth),
        }
    else:
        print("FastMCP is not installed here, and is left out.")
    return clients | {"bare": bare}


def compare(
    clients: dict[str, Measure], flight: int, options: argparse.Namespace, url: str, token: str
) -> None:
    """Measures the clients with so many calls in flight, and prints a line for each."""
    rates: dict[str, list[float]] = {name: [] for name in clients}
    costs: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(options.rounds):
        for name in random.sample(list(clients), len(clients)):
            together = 1 if name in ONE_BY_ONE else flight
            calls = min(options.calls, int(SLOWEST / 0.025 * together))
            spending = clients[name](url, token, calls, flight)
            rates[name].append(calls / spending.seconds)
            costs[name].append(spending.cpu / calls * 1000)
    for name, measured in rates.items():
        rate = statistics.median(measured)
        ratios = [one / other for one, other in zip(measured, rates.get("sdk", []), strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        ideal = rate * MILLISECONDS / 1000 / flight
        cost = statistics.median(costs[name])
        told = f"{flight:>9}  {name:<13} {rate:>7.0f} {ratio:>7} {ideal:>8.0%} {cost:>7.2f}   "
        print(told + " ".join(f"{one:.0f}" for one in measured), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flight", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--only", nargs="+", help="these clients alone")
    options = parser.parse_args()
    clients = clients_here()
    clients = {name: clients[name] for name in options.only or clients}
    token = secrets.token_urlsafe(32)
    print("in flight  client        calls/s   x sdk of ideal  CPU ms   rounds")
    with (
        tempfile.TemporaryDirectory() as directory,
        server(token) as url,
        warnings.catch_warnings(),
    ):
        os.environ[HOME_VARIABLE] = directory
        warnings.simplefilter("ignore")
        for flight in options.flight:
            compare(clients, flight, options, url, token)


if __name__ == "__main__":
    main()

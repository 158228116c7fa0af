"""How many HTTP requests it costs to get to the first result: every one of them is counted.

What is followed in the background from then on (news of the server) is left out: nobody waits for
it. The browser's own are counted by the link it opens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from tests.connecting import connection_to, person
from tests.peers import Authority, Seen, ToolServer, serve_authority, serve_tools

pytestmark = pytest.mark.anyio

RESOURCE = "GET /.well-known/oauth-protected-resource/mcp"
ISSUER = "GET /.well-known/oauth-authorization-server"
BACKGROUND = {"subscriptions/listen", "GET /mcp"}


def sent(*servers: Authority | ToolServer) -> list[str]:
    """What was sent, in order: the JSON-RPC method, or else the HTTP method and path."""
    seen: list[Seen] = [one for server in servers for one in list(server.seen)]
    names = [one.rpc or f"{one.method} {one.path}" for one in sorted(seen, key=lambda one: one.at)]
    # The consent page is a form: that it is sent is the person's doing.
    return [name for name in names if name not in {*BACKGROUND, "POST /authorize"}]


@contextlib.asynccontextmanager
async def first_result(
    tools: ToolServer, store: MemoryStore, *, sign_in: bool = False
) -> AsyncIterator[None]:
    """Connects and calls one tool, as a kernel does that has just been started."""
    async with connection_to(tools.url, store=store) as connection:
        if sign_in:
            await person(connection)
        result = await connection.call_tool("add", {"a": 2, "b": 3})
        assert not result.is_error
        yield


async def test_a_cold_sign_in_costs_nine_requests_with_the_browsers(authority, tools):
    async with first_result(tools, MemoryStore(), sign_in=True):
        assert sent(authority, tools) == [
            "server/discover",
            RESOURCE,
            ISSUER,
            "POST /register",
            "GET /authorize",
            "POST /token",
            "server/discover",
            "tools/list",
            "tools/call",
        ]


async def test_a_cold_sign_in_to_an_older_server_costs_two_more():
    with serve_authority() as authority, serve_tools(authority, legacy=True) as tools:
        async with first_result(tools, MemoryStore(), sign_in=True):
            assert sent(authority, tools) == [
                "server/discover",
                RESOURCE,
                ISSUER,
                "POST /register",
                "GET /authorize",
                "POST /token",
                "server/discover",
                "initialize",
                "notifications/initialized",
                "tools/list",
                "tools/call",
            ]


async def test_a_second_sign_in_registers_nothing(authority, tools):
    store = MemoryStore()
    async with first_result(tools, store, sign_in=True):
        pass
    authority.revoke_grants()
    authority.forget_seen()
    tools.forget_seen()
    async with first_result(tools, store, sign_in=True):
        assert sent(authority, tools) == [
            "server/discover",
            "POST /token",
            RESOURCE,
            ISSUER,
            "GET /authorize",
            "POST /token",
            "server/discover",
            "tools/list",
            "tools/call",
        ]


async def test_a_warm_connect_costs_three_and_none_of_them_for_the_sign_in(authority, tools):
    store = MemoryStore()
    async with first_result(tools, store, sign_in=True):
        pass
    authority.forget_seen()
    tools.forget_seen()
    async with first_result(tools, store):
        assert sent(authority, tools) == ["server/discover", "tools/list", "tools/call"]


async def test_an_expired_token_costs_one_more(authority, tools):
    store = MemoryStore()
    async with first_result(tools, store, sign_in=True):
        pass
    keeper = TokenKeeper(store)
    record = await keeper.load("peer", resource=tools.url)
    await keeper.save(replace(record, expires_at=time.time() - 1))
    authority.expire_access()
    authority.forget_seen()
    tools.forget_seen()
    async with first_result(tools, store):
        assert sent(authority, tools) == [
            "POST /token",
            "server/discover",
            "tools/list",
            "tools/call",
        ]


async def test_a_server_that_needs_no_sign_in_costs_no_request_for_one(authority):
    with serve_tools() as tools:
        async with first_result(tools, MemoryStore()):
            assert sent(tools) == ["server/discover", "tools/list", "tools/call"]
            assert {seen.path for seen in tools.seen} == {"/mcp"}
        assert authority.seen == []

"""A server that refuses the sign-in it was just given: once more where that helps, not for ever."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mcp_notebook.errors import SignInError
from tests.connecting import connection_to, person
from tests.peers import serve_authority, serve_tools

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def guarded(times):
    """Peers whose tokens so far become void at each of the first listings."""
    with serve_authority(no_refresh_token=True) as authority, serve_tools(authority) as tools:
        refuse, left = tools._refuse_token, list(range(times))

        def refuse_token(seen):
            if left and seen.headers.get("mcp-method") == "tools/list":
                left.pop()
                authority.revoke_grants()
            return refuse(seen)

        tools._refuse_token = refuse_token
        yield authority, tools


async def test_a_token_that_is_void_after_the_greeting_is_asked_for_once_more():
    with guarded(times=1) as (authority, tools):
        async with connection_to(tools.url) as connection:
            await person(connection)
            await _next_link(connection)
            await person(connection)
            await connection.ready()
            assert [tool.name for tool in connection.tools]
        assert authority.count("/token") == 2


async def test_a_server_that_goes_on_refusing_asks_nobody_a_third_time():
    with guarded(times=99) as (authority, tools):
        async with connection_to(tools.url) as connection:
            await person(connection)
            await _next_link(connection)
            await person(connection)
            with pytest.raises(SignInError, match="does not accept the sign-in"):
                await connection.ready()
        assert authority.count("/token") == 2


async def test_a_connection_for_which_no_permission_is_enough_says_so():
    with serve_authority() as authority, serve_tools(authority, scope="tools") as tools:
        refuse = tools._refuse_token

        def refuse_token(seen):
            if seen.headers.get("mcp-method") == "tools/list":
                return tools._challenge(403, error="insufficient_scope", scope="listing")
            return refuse(seen)

        tools._refuse_token = refuse_token
        async with connection_to(tools.url) as connection:
            await person(connection)
            await _next_link(connection)
            assert connection.sign_in.need.step_up
            await person(connection)
            with pytest.raises(SignInError, match=r"want of permissions \(listing\)"):
                await connection.ready()
        assert authority.count("/token") == 2


async def _next_link(connection):
    """Waits until the sign-in under way is another one."""
    first = connection.sign_in
    async with asyncio.timeout(10):
        while connection.sign_in is first:
            await connection.changed()

"""What the tests of signing in share: a server, its credentials, a person in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn, SignInState
from mcp_notebook.auth.stores import MemoryStore, TokenStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.config.servers import OAuthSettings, Server
from tests.peers import ToolServer, callback_url, visit


def server_of(tools: ToolServer, name: str = "notes", **oauth: Any) -> Server:
    return Server(name=name, url=tools.url, oauth=OAuthSettings(**oauth))


def credentials_of(
    tools: ToolServer, store: TokenStore | None = None, name: str = "notes", **oauth: Any
) -> Credentials:
    """A kernel's credentials; two with one store are two kernels."""
    return Credentials(server_of(tools, name, **oauth), TokenKeeper(store or MemoryStore()))


async def until(sign_in: SignIn, state: SignInState) -> None:
    async with asyncio.timeout(10):
        while sign_in.standing().state is not state:
            assert not sign_in.standing().state.ended, sign_in.standing()
            await asyncio.sleep(0.005)


async def link(sign_in: SignIn) -> str:
    await until(sign_in, SignInState.WAITING)
    assert sign_in.url is not None
    return sign_in.url


@contextlib.asynccontextmanager
async def running(sign_in: SignIn) -> AsyncIterator[asyncio.Task[Any]]:
    """The attempt as a task, ended with the block."""
    task = asyncio.create_task(sign_in.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def signed_in(credentials: Credentials, decision: Any = "approve", **options: Any) -> Any:
    """A whole sign-in; returns the record and the last page's text."""
    sign_in = SignIn(credentials, **options)
    async with running(sign_in) as task:
        page = await asyncio.to_thread(visit, await link(sign_in), decision)
        return await task, page


async def final_address(url: str) -> str:
    return await asyncio.to_thread(callback_url, url)

"""No secret is in the frames of an error, where debuggers and verbose tracebacks show locals."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.config import importing
from mcp_notebook.errors import MCPNotebookError, ServerConfigError, SignInError
from mcp_notebook.frames import sealed
from mcp_notebook.waiting.wait import Wait
from tests.auth.signing import credentials_of, link, running, signed_in
from tests.peers import serve_authority, serve_tools

SECRET = "pl4nted-" + "s3cr3t" * 4


def told(error: BaseException) -> str:
    """Returns what a traceback with locals could show of an error and what it is chained to."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.append(at)
            waiting += [one for one in (at.__cause__, at.__context__) if one is not None]
            waiting += getattr(at, "exceptions", ())
    lines = []
    for one in seen:
        lines += [repr(one), repr(vars(one)), repr(one.args)]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if "mcp_notebook" in frame.f_globals.get("__name__", "").split("."):
                lines.append(f"{frame.f_code.co_qualname}: {frame.f_locals!r}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def authority() -> Iterator[Any]:
    with serve_authority() as server:
        yield server


@pytest.fixture(scope="module")
def tools(authority) -> Iterator[Any]:
    with serve_tools(authority) as server:
        yield server


def failed(work) -> MCPNotebookError:
    with pytest.raises(MCPNotebookError) as caught:
        Wait(work).result()
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize(
    "form", ["{uri}?code={secret}&state=wrong", "{uri}?code={secret}", "{secret}"]
)
async def test_an_address_that_is_refused_is_in_no_frame(tools, form):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in):
        await link(sign_in)
        with pytest.raises(SignInError) as caught:
            sign_in.answer(form.format(uri="http://127.0.0.1:1/callback", secret=SECRET))
    assert SECRET not in told(caught.value)


def test_what_a_failing_renewal_had_in_hand_is_in_no_frame(authority, tools):
    credentials = credentials_of(tools)
    record = asyncio.run(_sign_in(credentials))
    authority.fail_next(9, 400, path="/token", body=b'{"error": "invalid_request"}')
    try:
        text = told(failed(credentials.renew(record.access_token)))
    finally:
        authority.heal()
    assert "invalid_request" in text
    assert record.refresh_token not in text
    assert record.access_token not in text


async def _sign_in(credentials):
    record, _ = await signed_in(credentials)
    return record


def test_the_file_of_another_client_is_in_no_frame(tmp_path):
    file = tmp_path / "servers.json"
    entry = {"url": "https://a.example", "oauth": {"clientSecret": SECRET}}
    file.write_text(json.dumps({"mcpServers": {"odd": entry}}))
    (found,) = importing.find(str(file))
    with pytest.raises(ServerConfigError, match="in plain text") as caught:
        found.use()
    assert SECRET not in told(caught.value)


def test_a_sealed_function_leaves_its_arguments_and_the_chain_behind():
    @sealed
    def refuse(secret: str, *, key: str) -> None:
        try:
            raise ValueError(secret + key)
        except ValueError:
            raise SignInError("It is refused.", hint="Try again.") from None

    with pytest.raises(SignInError, match="It is refused") as caught:
        refuse(SECRET, key=SECRET)
    assert SECRET not in told(caught.value)
    assert caught.value.__context__ is None

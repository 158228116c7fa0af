"""A call that was started: it runs by itself, and is looked at, waited for or cancelled."""

from __future__ import annotations

import asyncio
import time

import pytest

from mcp_notebook.background import background
from mcp_notebook.errors import (
    MCPNotebookError,
    RequestTimeoutError,
    ToolArgumentError,
    ToolError,
    ToolFailedError,
)
from tests.asking import Noting, asking
from tests.mapping import session_with
from tests.peers import serve_tools


def until(condition, seconds=10):
    """Waits until something holds that nobody tells of."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def shop():
    with asking(Noting(confirmed=True)) as (session, tools):
        yield session, tools


def test_a_call_that_was_started_runs_without_being_waited_for(shop):
    session, tools = shop
    pending = session.tools.echo.submit("unseen")
    tools.wait_for_tool("echo")
    assert pending.result(30).data == "unseen"
    assert pending.done()
    assert "answered after 0 s" in repr(pending)
    assert pending.result().data == "unseen"  # as often as one likes


@pytest.mark.anyio
async def test_a_call_that_was_started_can_be_awaited(shop):
    session, _ = shop
    assert (await session.tools.add.submit(2, 3)).data == 5


def test_what_was_submitted_may_be_changed_afterwards():
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with serve_tools(unguarded=True) as server:
        server.mcp.add_tool(total)
        with session_with(server.url) as session:
            tool, numbers = session.wait().tools.total, [1, 2]
            background().post(time.sleep, 0.3)  # the loop has something else to do
            pending = tool.submit(numbers)
            numbers.clear()
            assert pending.result(30).data == 3


def test_a_limit_ends_the_waiting_and_not_the_call(shop):
    session, _ = shop
    pending = session.tools.slow.submit(seconds=0.6)
    with pytest.raises(RequestTimeoutError, match=r"slow of shop has not answered after 0\.1 s"):
        pending.result(0.1)
    assert not pending.done()
    assert "slow of shop: running" in repr(pending)
    assert pending.result(30).data == "done"


@pytest.mark.anyio
async def test_what_was_cancelled_says_so_and_the_server_hears_of_it(shop):
    session, tools = shop
    before = tools.calls("slow")
    pending = session.tools.slow.submit(seconds=30)
    tools.wait_for_tool("slow", before + 1)
    assert pending.cancel()
    tools.wait_until(lambda: "slow" in tools.cancelled)
    assert pending.done()
    assert pending.cancelled()
    assert "cancelled" in repr(pending)
    with pytest.raises(ToolError, match="slow of shop was cancelled"):
        pending.result()
    with pytest.raises(ToolError, match="slow of shop was cancelled"):
        await pending
    assert not pending.cancel()


@pytest.mark.anyio
async def test_cancelling_the_call_does_not_cancel_who_awaits_it(shop):
    session, tools = shop
    pending = session.tools.slow.submit(seconds=30)
    waiting = asyncio.ensure_future(asyncio.wait_for(pending, 20))
    await asyncio.to_thread(tools.wait_for_tool, "slow")
    pending.cancel()
    with pytest.raises(ToolError, match="slow of shop was cancelled"):
        await waiting


@pytest.mark.anyio
async def test_cancelling_who_awaits_it_cancels_the_call(shop):
    session, tools = shop
    pending = session.tools.slow.submit(seconds=30)
    waiting = asyncio.ensure_future(asyncio.wait_for(pending, 20))
    await asyncio.to_thread(tools.wait_for_tool, "slow")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(tools.wait_until, lambda: tools.cancelled == ["slow"])
    assert pending.cancelled()


def test_a_failure_is_told_whenever_it_is_looked_for(shop):
    session, _ = shop
    pending = session.tools.fail.submit(message="out of paper")
    for _ in range(2):
        with pytest.raises(ToolFailedError, match="out of paper"):
            pending.result(30)
    assert "out of paper" in pending._repr_mimebundle_()["text/html"]


def test_a_wrong_argument_is_told_at_once(shop):
    session, tools = shop
    before = tools.calls("add")
    with pytest.raises(ToolArgumentError):
        session.tools.add.submit(1)
    assert tools.calls("add") == before


def test_a_question_waits_until_somebody_waits(shop):
    session, _ = shop
    pending = session.tools.order.submit()
    assert until(lambda: "asks something" in repr(pending))
    assert session.front_end.asked == []
    assert '"confirmed":true' in pending.result(30).text


def test_what_was_started_is_lost_with_its_session():
    with asking() as (session, tools):
        pending = session.tools.slow.submit(seconds=30)
        tools.wait_for_tool("slow")
    with pytest.raises(MCPNotebookError):
        pending.result(30)

"""Tools that run as tasks only, with a server of the revision that has tasks."""

from __future__ import annotations

import asyncio

import pytest

from mcp_notebook.client.tasks import call_as_task, runs_as_task
from tests.connecting import connected, handshake, http, result, toy

pytestmark = pytest.mark.anyio

TASK = {
    "taskId": "t-1",
    "createdAt": "2025-11-25T00:00:00Z",
    "lastUpdatedAt": "2025-11-25T00:00:00Z",
    "ttl": None,
    "pollInterval": 1,  # ms
}
DONE = {"content": [{"type": "text", "text": "done"}]}


class Desk:
    """A server with one tool that runs as a task, which ends when `end` is set."""

    def __init__(self, *, support: str = "required") -> None:
        self.support = support
        self.end = asyncio.Event()
        self.answer: dict = DONE
        self.asked: list[dict] = []
        self.reads = 0
        self.states_break = False
        self.cancelled = asyncio.Event()

    async def __call__(self, method, message, writer) -> None:
        self.asked.append(message)
        match message.get("method"):
            case "tools/list":
                tool = {"name": "t", "inputSchema": {"type": "object"}}
                execution = {"taskSupport": self.support}
                answer = http(result(message, tools=[tool | {"execution": execution}]))
            case "tools/call":
                answer = http(result(message, task=TASK | {"status": "working"}))
            case "tasks/get" if self.states_break:
                answer = http(result(message, nonsense=True))
            case "tasks/get":
                self.reads += 1
                state = {"status": "working", "statusMessage": f"step {self.reads}"}
                answer = http(result(message, **TASK, **state))
            case "tasks/result":
                await self.end.wait()
                answer = http(result(message, **self.answer))
            case "tasks/cancel":
                self.cancelled.set()
                answer = http(result(message, **TASK, status="cancelled"))
            case _:
                answer = handshake(message) or b""
        writer.write(answer)

    def params(self, method: str) -> dict:
        [params] = [m["params"] for m in self.asked if m.get("method") == method]
        return params


async def test_a_task_is_started_followed_and_fetched():
    desk = Desk()
    said: list[str] = []

    async def report(done, total, message):
        said.append(message)
        if len(said) == 2:
            desk.end.set()

    async with toy(desk) as url, connected(url) as connection:
        assert runs_as_task(connection.tools[0])
        answer = await connection.ask(
            lambda client: call_as_task(client, "t", {"a": 1}, report), operation="t"
        )
    assert answer.content[0].text == "done"
    assert said[:2] == ["step 1", "step 2"]
    assert desk.params("tools/call")["task"] == {}
    assert desk.params("tools/call")["arguments"] == {"a": 1}
    assert desk.params("tasks/result")["taskId"] == "t-1"


async def test_a_call_that_is_stopped_cancels_its_task():
    desk = Desk()
    followed = asyncio.Event()

    async def report(done, total, message):
        followed.set()

    async with toy(desk) as url, connected(url) as connection:
        call = asyncio.create_task(call_as_task(connection.client, "t", {}, report))
        await asyncio.wait_for(followed.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert desk.cancelled.is_set()


async def test_a_state_that_cannot_be_read_does_not_harm_the_call():
    desk = Desk()
    desk.states_break = True
    desk.end.set()
    said: list[str] = []

    async def report(done, total, message):
        said.append(message)

    async with toy(desk) as url, connected(url) as connection:
        answer = await call_as_task(connection.client, "t", {}, report)
    assert answer.content[0].text == "done"
    assert said == []


async def test_an_answer_that_is_no_task_is_an_error_of_ours():
    class Forgetful(Desk):
        async def __call__(self, method, message, writer) -> None:
            if message.get("method") == "tools/call":
                writer.write(http(result(message, **DONE)))
            else:
                await super().__call__(method, message, writer)

    async with toy(Forgetful()) as url, connected(url) as connection:
        with pytest.raises(ConnectionError, match="does not follow the protocol"):
            await connection.ask(
                lambda client: call_as_task(client, "t", {}, None), operation="t", repeatable=False
            )


@pytest.mark.parametrize("support", ["optional", "forbidden"])
async def test_a_tool_that_need_not_run_as_a_task_does_not(support):
    async with toy(Desk(support=support)) as url, connected(url) as connection:
        assert not runs_as_task(connection.tools[0])

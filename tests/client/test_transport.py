"""Faults of the network and of servers: each ends one call, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from types import SimpleNamespace

import pytest
from mcp.shared.exceptions import MCPError

from mcp_notebook._version import USER_AGENT
from mcp_notebook.client import listening, transport
from mcp_notebook.client.dialing import dial
from mcp_notebook.client.transport import GuardedClient, Limits
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    ConnectionFailedError,
    RequestTimeoutError,
    ServerConfigError,
    ServerError,
)
from tests.connecting import (
    connected,
    connection_to,
    handshake,
    http,
    listened_to,
    result,
    toy,
    until,
)
from tests.peers import serve_tools
from tests.peers.fault_proxy import Delay, Hole, Lost, Reset, Status, serve_faults

pytestmark = pytest.mark.anyio


def calls(tool: str):
    """Fits the requests of the proxy that call a tool."""
    return lambda request: request.rpc == "tools/call" and f'"{tool}"'.encode() in request.body


@pytest.fixture(params=["modern", "modern-json", "legacy", "legacy-json"])
def tools(request):
    era, _, form = request.param.partition("-")
    with serve_tools(legacy=era == "legacy", json_response=bool(form), unguarded=True) as tools:
        yield tools


@pytest.fixture
def proxy(tools):
    with serve_faults(tools.port) as proxy:
        yield proxy


# -- one fault, one call ----------------------------------------------------------------------

FAULTS = {
    "reset before a byte": (Reset("before"), None, True),
    "reset in the body": (Reset("body"), None, True),
    "lost answer": (Lost(), None, True),
    "500": (Status(500), 500, True),
    "503": (Status(503, body=b"busy"), 503, True),
    "403": (Status(403), 403, False),
    "413": (Status(413), 413, False),
    "login page": (Status(200), 200, True),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_ends_one_call_and_tells_whether_it_may_have_run(name, tools, proxy):
    fault, status, may_have_run = FAULTS[name]
    async with connected(proxy.url) as connection:
        beside = asyncio.create_task(connection.call_tool("slow", {"seconds": 0.3}))
        await asyncio.to_thread(tools.wait_for_tool, "slow")
        proxy.next(fault, when=calls("write"))
        with pytest.raises(ConnectionFailedError) as caught:
            await connection.call_tool("write", {"text": "x"})
        assert caught.value.status == status
        assert caught.value.may_have_run is may_have_run
        assert (await beside).content[0].text == "done"
        after = await connection.call_tool("write", {"text": "y"})
        assert after.content[0].text == "y"
        assert connection.sign_in is None


async def test_a_silent_server_ends_one_call_within_its_time(tools, proxy):
    async with connected(proxy.url, limits=Limits(call_seconds=0.5)) as connection:
        proxy.next(Hole(), when=calls("write"))
        with pytest.raises(RequestTimeoutError) as caught:
            await connection.call_tool("write", {"text": "x"})
        assert caught.value.may_have_run
        assert (await connection.call_tool("write", {"text": "y"})).content[0].text == "y"


async def test_an_answer_that_never_comes_to_its_end_is_given_up():
    given_up = asyncio.Event()

    async def handle(method, message, writer):
        if (greeting := handshake(message)) is not None:
            writer.write(greeting)
            return
        writer.write(http(b"{", Content_Length="1000000"))
        try:
            while True:  # no read takes long
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            given_up.set()

    async with toy(handle) as url, connected(url, limits=Limits(call_seconds=0.5)) as connection:
        with pytest.raises(RequestTimeoutError):
            await connection.call_tool("t", {})
        await asyncio.wait_for(given_up.wait(), 5)


async def test_an_error_page_is_told_by_its_title(tools, proxy):
    async with connected(proxy.url) as connection:
        page = b"<html><title>Down <b>for</b>\x1b[31m lunch</title><script>x</script></html>"
        proxy.next(Status(500, body=page), when=calls("write"))
        with pytest.raises(ConnectionFailedError, match="HTTP 500") as caught:
            await connection.call_tool("write", {"text": "x"})
        assert caught.value.message.endswith(": Down <b>for</b> lunch")


async def test_what_is_too_often_is_sent_again_when_the_server_says_so(tools, proxy):
    async with connected(proxy.url) as connection:
        proxy.next(Status(429, retry_after=0), Status(429, retry_after="0"), when=calls("write"))
        assert (await connection.call_tool("write", {"text": "x"})).content[0].text == "x"
        assert tools.calls("write") == 1


async def test_too_long_a_wait_is_told_rather_than_waited(tools, proxy):
    async with connected(proxy.url) as connection:
        proxy.next(Status(429, retry_after=900), when=calls("write"))
        with pytest.raises(ConnectionFailedError) as caught:
            await connection.call_tool("write", {"text": "x"})
        assert caught.value.retry_after == 900
        assert "900 s" in caught.value.hint


async def test_a_call_that_may_have_run_is_sent_again_only_if_that_does_no_harm(tools, proxy):
    async with connected(proxy.url) as connection:
        proxy.next(Lost(), when=calls("write"))
        with pytest.raises(ConnectionFailedError):
            await connection.call_tool("write", {"text": "x"})
        proxy.next(Lost(), when=calls("echo"))
        answer = await connection.call_tool("echo", {"text": "x"}, repeatable=True)
        assert answer.content[0].text == "x"
        assert tools.calls("write") == 1
        assert tools.calls("echo") == 2


async def test_a_refusal_is_not_repeated(tools, proxy):
    async with connected(proxy.url) as connection:
        proxy.next(Status(403), Status(403), when=calls("echo"))
        with pytest.raises(ConnectionFailedError, match="HTTP 403"):
            await connection.call_tool("echo", {"text": "x"}, repeatable=True)
        assert sum(map(calls("echo"), proxy.seen)) == 1


async def test_a_connection_that_was_closed_while_idle_costs_nothing(tools, proxy):
    async with connected(proxy.url) as connection:
        await connection.call_tool("write", {"text": "x"})
        proxy.drop()
        assert (await connection.call_tool("write", {"text": "y"})).content[0].text == "y"
        assert tools.calls("write") == 2


async def test_an_error_of_the_protocol_is_not_an_error_of_the_connection(tools):
    async with connected(tools.url) as connection:
        with pytest.raises(ServerError):
            await connection.ask(
                lambda client: client.read_resource("peers://nowhere"), operation="read"
            )


async def test_a_notification_that_fails_harms_nobody(tools, proxy):
    async with connected(proxy.url) as connection:
        cancelled = lambda request: request.rpc == "notifications/cancelled"  # noqa: E731
        proxy.next(Reset("before"), Status(500), when=cancelled)
        for _ in range(2):
            task = asyncio.create_task(connection.call_tool("slow", {"seconds": 30}))
            await asyncio.to_thread(tools.wait_for_tool, "slow", tools.calls("slow") + 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content


async def test_a_notification_that_nobody_takes_holds_no_call_up(tools, proxy, monkeypatch):
    monkeypatch.setattr(transport, "NOTICE_SECONDS", 0.2)
    async with connected(proxy.url, limits=Limits(call_seconds=60)) as connection:
        proxy.next(Hole(), when=lambda request: request.rpc == "notifications/cancelled")
        task = asyncio.create_task(connection.call_tool("slow", {"seconds": 30}))
        await asyncio.to_thread(tools.wait_for_tool, "slow")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(20):
            assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content


# -- size -------------------------------------------------------------------------------------


async def test_an_answer_above_the_limit_ends_one_call(tools):
    limits = Limits(call_seconds=10, result_bytes=100_000, event_bytes=100_000)
    async with connected(tools.url, limits=limits) as connection:
        with pytest.raises(ConnectionFailedError, match="larger than") as caught:
            await connection.call_tool("big", {"n": 200_000}, repeatable=True)
        assert caught.value.may_have_run
        assert tools.calls("big") == 1
        answer = await connection.call_tool("big", {"n": 50_000})
        assert len(answer.content[0].text) == 50_000


async def test_an_answer_above_the_sdk_own_limit_arrives(tools):
    async with connected(tools.url) as connection:
        answer = await connection.call_tool("big", {"n": 3_000_000})
        assert len(answer.content[0].text) == 3_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "told"),
    [
        ("identity", b" " * 5_000_000, "larger than"),  # of a length that is not told beforehand
        ("gzip", gzip.compress(b" " * 5_000_000), "larger than"),
        ("deflate", zlib.compress(b" " * 5_000_000), "larger than"),
        ("br", b"whatever", "encoding it was not asked for"),
        ("gzip", b"no gzip at all", "cannot be decoded"),
    ],
)
async def test_an_answer_that_turns_out_too_large_is_not_read_to_its_end(encoding, body, told):
    async def handle(method, message, writer):
        writer.write(handshake(message) or http(body, Content_Encoding=encoding))

    async with toy(handle) as url:
        limits = Limits(call_seconds=10, result_bytes=1_000_000)
        async with connected(url, limits=limits) as connection:
            with pytest.raises(ConnectionFailedError, match=told) as caught:
                await connection.call_tool("t", {})
            assert caught.value.may_have_run
            assert connection.client is not None


# -- opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Status(401), Status(403), Status(503), Status(429, retry_after=99), Reset("before")]
)
async def test_a_fault_of_the_first_request_does_not_pass_for_an_older_server(fault):
    with serve_tools(unguarded=True) as tools, serve_faults(tools.port) as proxy:
        proxy.next(fault)
        server = Server(name="peer", url=proxy.url)
        with pytest.raises(ConnectionFailedError) as caught:
            async with dial(server, None, limits=Limits(call_seconds=5)):
                pass
        assert caught.value.status == getattr(fault, "code", None)
        assert [request.rpc for request in proxy.seen] == ["server/discover"]


async def test_a_server_that_is_away_for_a_moment_is_waited_for():
    with serve_tools(unguarded=True) as tools, serve_faults(tools.port) as proxy:
        proxy.next(Status(503, retry_after=0), Reset("before"))
        async with connected(proxy.url) as connection:
            assert connection.client.protocol_version == "2026-07-28"


async def test_a_server_that_wakes_up_slowly_is_not_taken_for_an_older_one(monkeypatch):
    monkeypatch.setattr("mcp.client.session.DISCOVER_TIMEOUT_SECONDS", 0.1)
    with serve_tools(unguarded=True) as tools, serve_faults(tools.port) as proxy:
        proxy.next(Delay(0.5))
        async with connected(proxy.url) as connection:
            assert connection.client.protocol_version == "2026-07-28"
            assert "initialize" not in [request.rpc for request in proxy.seen]


async def test_a_server_that_never_answers_the_probe_is_an_older_one(monkeypatch):
    monkeypatch.setattr("mcp.client.session.DISCOVER_TIMEOUT_SECONDS", 0.1)
    with serve_tools(unguarded=True, legacy=True) as tools, serve_faults(tools.port) as proxy:
        proxy.next(Hole())
        limits = Limits(call_seconds=10, open_seconds=2)
        async with connected(proxy.url, limits=limits) as connection:
            assert connection.client.protocol_version == "2025-11-25"


async def test_opening_has_an_end():
    async def handle(method, message, writer):
        await asyncio.sleep(30)

    async with toy(handle) as url:
        server = Server(name="peer", url=url)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with dial(server, None, limits=Limits(open_seconds=0.3)):
                pass
        assert time.monotonic() - began < 3


async def test_a_server_that_is_not_there_is_told_so(unused_port):
    async with connection_to(f"http://127.0.0.1:{unused_port}/mcp") as connection:
        with pytest.raises(ConnectionFailedError, match="peer cannot be reached") as caught:
            await connection.ready()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def test_a_proxy_is_named_where_one_is_set(monkeypatch, unused_port):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port}")
    async with connection_to("https://mcp.example.com/mcp") as connection:
        with pytest.raises(ConnectionFailedError, match="peer cannot be reached") as caught:
            await connection.ready()
    assert "HTTPS_PROXY" in caught.value.hint


@pytest.mark.parametrize(("status", "way"), [(404, "--transport sse"), (418, "%mcp doctor peer")])
async def test_a_refusal_at_the_door_tells_the_way_on(status, way):
    async def handle(method, message, writer):
        writer.write(http(b"nothing here", "text/plain", status=status))

    async with toy(handle) as url, connection_to(url) as connection:
        with pytest.raises(ConnectionFailedError) as caught:
            await connection.ready()
    assert caught.value.status == status
    assert way in caught.value.hint


# -- the client itself ------------------------------------------------------------------------


async def test_requests_name_us_and_bypass_a_proxy_on_this_machine(monkeypatch, unused_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    with serve_tools(unguarded=True) as tools:
        async with connected(tools.url):
            agents = {seen.headers["user-agent"] for seen in tools.seen}
    assert agents == {USER_AGENT}


def test_plain_http_to_another_machine_is_refused():
    with pytest.raises(ServerConfigError):
        GuardedClient("http://mcp.example.com/mcp")
    GuardedClient("http://mcp.example.com/mcp", insecure=True)


def test_clients_share_their_tls_settings():
    began = time.perf_counter()
    for _ in range(50):
        GuardedClient("https://mcp.example.com/mcp")
    assert time.perf_counter() - began < 0.5


async def test_a_cause_is_given_once_and_a_server_cannot_forge_one():
    async with GuardedClient("http://127.0.0.1:9/mcp") as client:
        response = await client.post("http://127.0.0.1:9/mcp", json={"id": 1, "method": "x"})
        error = response.json()["error"]
        raised = MCPError(error["code"], error["message"], error["data"])
        assert isinstance(client.cause(raised), ConnectionFailedError)
        assert client.cause(raised) is None
        assert client.cause(MCPError(1, "x", {next(iter(error["data"])): "0" * 16})) is None
        assert client.cause(MCPError(1, "x", ["0"])) is None


async def test_causes_nobody_asks_for_are_forgotten(monkeypatch):
    monkeypatch.setattr("mcp_notebook.client.transport.CAUSES", 5)
    async with GuardedClient("http://127.0.0.1:9/mcp") as client:
        for _ in range(9):
            await client.post("http://127.0.0.1:9/mcp", json={"id": 1, "method": "x"})
        assert len(client._causes) == 5


async def test_a_token_in_an_error_page_is_not_repeated():
    async def handle(method, message, writer):
        said = json.dumps({"detail": "bad", "access_token": "s3cr3t"}).encode()
        writer.write(handshake(message) or http(said, status=500))

    async with toy(handle) as url, connected(url) as connection:
        with pytest.raises(ConnectionFailedError) as caught:
            await connection.call_tool("t", {})
        assert "s3cr3t" not in str(caught.value)
        assert "bad" in str(caught.value)


# -- streams that are opened again ------------------------------------------------------------


async def test_a_server_that_breaks_off_at_once_for_ever_is_not_asked_in_a_loop():
    opened = []
    stream = http(b"id: 1\nretry: 0\ndata:\n\n", "text/event-stream")

    async def handle(method, message, writer):
        if method == "GET":
            opened.append(time.monotonic())
        writer.write((None if method == "GET" else handshake(message)) or stream)

    async with toy(handle) as url:
        async with connected(url, limits=Limits(call_seconds=1.5)) as connection:
            with pytest.raises(RequestTimeoutError):
                await connection.call_tool("t", {})
        assert 2 <= len(opened) <= 6  # some hundred without a pause


async def test_the_answer_of_one_request_is_resumed_so_many_times_only(monkeypatch):
    monkeypatch.setattr(listening, "RESUMES", 3)
    monkeypatch.setattr(listening, "FIRST_GAP", 0.01)
    opened = []
    stream = http(b"id: 1\nretry: 0\ndata:\n\n", "text/event-stream")

    async def handle(method, message, writer):
        if method == "GET":
            opened.append(message)
        writer.write((None if method == "GET" else handshake(message)) or stream)

    async with toy(handle) as url, connected(url) as connection:
        with pytest.raises(ConnectionFailedError):
            await connection.call_tool("t", {})
        assert len(opened) == 3


async def test_an_answer_that_broke_off_is_resumed_where_the_server_can():
    async def handle(method, message, writer):
        if method == "GET":
            said = result({"id": 99}, content=[{"type": "text", "text": "resumed"}])
            writer.write(http(b"data: " + said + b"\n\n", "text/event-stream"))
        else:
            begun = http(b"id: 1\nretry: 1\ndata:\n\n", "text/event-stream")
            writer.write(handshake(message) or begun)

    async with toy(handle) as url, connected(url) as connection:
        assert (await connection.call_tool("t", {})).content[0].text == "resumed"


async def test_the_gap_between_streams_grows_and_a_steady_one_resets_it(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    now = iter([0, 0, 1, 1, 2, 2, 100, 100, 101, 101])
    monkeypatch.setattr(listening, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(listening, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(listening, "random", SimpleNamespace(uniform=lambda low, high: 1))
    monkeypatch.setattr(listening, "FIRST_GAP", 4)
    pace = listening.Pace()
    for _ in range(5):
        assert await pace.wait()
    assert slept == [3, 7, 3]


async def test_news_come_again_after_the_stream_broke_off():
    with serve_tools(unguarded=True, legacy=True) as tools, serve_faults(tools.port) as proxy:
        async with connected(proxy.url) as connection:
            await asyncio.to_thread(tools.wait_until, lambda: tools.count("/mcp", "GET") == 1)
            proxy.drop()
            await asyncio.to_thread(tools.wait_until, lambda: tools.count("/mcp", "GET") == 2)
            await asyncio.to_thread(tools.add_tool)
            await until(connection, lambda: "newcomer" in [tool.name for tool in connection.tools])


# -- HTTP with SSE (2024-11-05) ---------------------------------------------------------------


async def test_the_oldest_transport_carries_large_answers_and_lives_through_faults(sse_server):
    with serve_faults(sse_server.port) as proxy:
        url = proxy.origin + "/sse"
        async with connected(url, transport="sse") as connection:
            answer = await connection.call_tool("big", {"n": 3_000_000})
            assert len(answer.content[0].text) == 3_000_000
            proxy.next(Status(500), Reset("before"), when=calls("write"))
            for _ in range(2):
                with pytest.raises(ConnectionFailedError):
                    await connection.call_tool("write", {"text": "x"})
            proxy.drop()
            answer = await connection.call_tool("write", {"text": "y"}, repeatable=True)
            assert answer.content[0].text == "y"


async def test_an_address_without_a_stream_of_events_is_told_so(sse_server):
    async with connection_to(sse_server.origin + "/nowhere", transport="sse") as connection:
        with pytest.raises(ConnectionFailedError, match="HTTP 404"):
            await connection.ready()


async def test_an_endpoint_on_another_origin_gets_no_message():
    async def handle(method, message, writer):
        body = b"event: endpoint\ndata: http://127.0.0.1:1/messages\n\n"
        writer.write(http(body, "text/event-stream"))

    async with toy(handle) as url, connection_to(url, transport="sse") as connection:
        with pytest.raises(ConnectionFailedError, match="endpoint"):
            await connection.ready()


@pytest.fixture
def sse_server():
    from tests.peers.tool_server import ToolKnobs, ToolServer

    class SseServer(ToolServer):
        def app(self):
            super().app()
            return self.mcp.sse_app()

        async def serve(self, scope, receive, send):
            await self._inner(scope, receive, send)

    server = SseServer(None, ToolKnobs(unguarded=True))
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def test_a_proxy_of_the_environment_is_used_for_other_machines(monkeypatch):
    asked = []

    async def proxy(reader, writer):
        asked.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    async with server, GuardedClient("https://mcp.example.com/mcp") as client:
        await client.post("https://mcp.example.com/mcp", json={"id": 1, "method": "x"})
    assert asked == ["CONNECT mcp.example.com:443 HTTP/1.1\r\n"]


async def test_one_call_at_a_time_keeps_to_one_connection():
    with (
        serve_tools(unguarded=True, json_response=True) as tools,
        serve_faults(tools.port) as proxy,
    ):
        async with connected(proxy.url) as connection:
            await listened_to(proxy)
            await connection.call_tool("add", {"a": 1, "b": 1})
            before = proxy.connections
            for _ in range(10):
                await connection.call_tool("add", {"a": 1, "b": 1})
            assert proxy.connections == before


async def test_a_redirect_is_followed_on_the_same_origin():
    async def handle(method, message, writer):
        writer.write(handshake(message) or http(result(message, content=[])))

    async with toy(handle) as url, connected(url + "?moved=1") as connection:
        assert (await connection.call_tool("t", {})).content == []


async def test_a_redirect_to_another_origin_is_not_followed():
    async def handle(method, message, writer):
        writer.write(http(b"", status=307, Location="http://127.0.0.1:1/mcp"))

    async with toy(handle) as url, connection_to(url) as connection:
        with pytest.raises(ServerError, match="not followed"):
            await connection.ready()


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_no_redirect_takes_a_persons_header_elsewhere(transport):
    elsewhere = []

    async def listen(method, message, writer):
        elsewhere.append(method)
        writer.write(http(b"", status=404))

    async with toy(listen) as other:

        async def handle(method, message, writer):
            writer.write(http(b"", status=307, Location=other))

        async with toy(handle) as url:
            options = {"transport": transport, "headers": {"X-Api-Key": "k3y"}}
            async with connection_to(url, **options) as connection:
                with pytest.raises((ServerError, ConnectionFailedError)):
                    await connection.ready()
    assert elsewhere == []


async def test_more_calls_than_connections_wait_for_their_turn(monkeypatch):
    monkeypatch.setattr("mcp_notebook.client.pools.CONNECTIONS", 4)
    with serve_tools(unguarded=True, legacy=True, json_response=True) as tools:
        async with connected(tools.url) as connection:
            calls = [connection.call_tool("slow", {"seconds": 0.05}) for _ in range(20)]
            answers = await asyncio.gather(*calls)
            assert {answer.content[0].text for answer in answers} == {"done"}

"""One client on the loop: opened, kept, lost, reopened, signed in for, closed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.auth.sign_in import SignInState
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.client.signing import Signing
from mcp_notebook.client.status import Status
from mcp_notebook.client.transport import Limits
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    ConnectionFailedError,
    SignInDeniedError,
    SignInError,
    SignInNeededError,
)
from tests.connecting import (
    connected,
    connection_to,
    handshake,
    http,
    link,
    person,
    result,
    toy,
    until,
)
from tests.peers import Seen, serve_authority, serve_tools, visit
from tests.peers.fault_proxy import Hole, serve_faults
from tests.peers.fault_proxy import Status as Answer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["modern", "legacy"])
def tools(request):
    with serve_tools(legacy=request.param == "legacy", unguarded=True) as tools:
        yield tools


@pytest.fixture
def authority():
    with serve_authority() as authority:
        yield authority


@pytest.fixture
def guarded(authority):
    with serve_tools(authority) as tools:
        yield tools


def initializations(tools) -> int:
    return sum(seen.rpc == "initialize" for seen in list(tools.seen))


# -- keeping and losing a client --------------------------------------------------------------


async def test_a_restart_of_a_modern_server_is_not_noticed():
    with serve_tools(unguarded=True) as tools:
        async with connected(tools.url) as connection:
            client = connection.client
            await asyncio.to_thread(tools.restart)
            assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content
            assert connection.client is client


async def test_a_lost_session_is_opened_again_once_for_all_who_lost_it():
    with serve_tools(unguarded=True, legacy=True) as tools:
        async with connected(tools.url) as connection:
            await asyncio.to_thread(tools.restart)
            calls = [connection.call_tool("write", {"text": str(n)}) for n in range(20)]
            answers = await asyncio.gather(*calls)
            assert [answer.content[0].text for answer in answers] == [str(n) for n in range(20)]
            assert initializations(tools) == 2
            assert tools.calls("write") == 20


async def test_a_session_that_is_lost_costs_no_attempt():
    """A server that restarts is not there at first, and then does not know the session."""
    with serve_tools(unguarded=True, legacy=True) as tools, serve_faults(tools.port) as proxy:
        async with connected(proxy.url) as connection:
            await asyncio.to_thread(tools.restart)
            away = Answer(503, retry_after=0)
            proxy.next(away, away, when=lambda request: request.rpc == "tools/call")
            answer = await connection.call_tool("add", {"a": 2, "b": 3}, repeatable=True)
            assert answer.structured_content == {"result": 5}


async def test_a_session_that_is_lost_again_and_again_is_opened_as_often_while_it_is_used():
    with serve_tools(unguarded=True, legacy=True) as tools:
        async with connected(tools.url) as connection:
            for text in "abcdefgh":
                await asyncio.to_thread(tools.restart)
                answer = await connection.call_tool("write", {"text": text})
                assert answer.content[0].text == text


async def test_a_server_that_comes_back_is_found_by_the_next_call():
    with serve_tools(unguarded=True) as tools:
        await asyncio.to_thread(tools.stop)
        async with connection_to(tools.url) as connection:
            with pytest.raises(ConnectionFailedError):
                await connection.ready()
            assert connection.status is Status.FAILED
            await asyncio.to_thread(tools.start)
            assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content
            assert connection.status is Status.CONNECTED


async def test_many_who_wait_for_a_server_that_is_away_fail_together():
    with serve_tools(unguarded=True) as tools:
        await asyncio.to_thread(tools.stop)
        async with connection_to(tools.url) as connection:
            calls = [connection.call_tool("add", {"a": 1, "b": 2}) for _ in range(20)]
            began = time.monotonic()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(answer) for answer in answers} == {ConnectionFailedError}
            assert time.monotonic() - began < 5


async def test_new_tools_are_listed_when_the_server_says_so(tools):
    async with connected(tools.url) as connection:
        before = {tool.name for tool in connection.tools}
        # The subscription of the modern era, the stream of the older one.
        await asyncio.to_thread(tools.wait_until, lambda: _listens(tools.seen))
        await asyncio.to_thread(tools.add_tool)
        await until(connection, lambda: len(connection.tools) > len(before))
        assert {tool.name for tool in connection.tools} - before == {"newcomer"}
        await asyncio.to_thread(tools.remove_tool, "newcomer")
        await until(connection, lambda: {tool.name for tool in connection.tools} == before)


def _listens(seen: list[Seen]) -> bool:
    return any(
        one.status == 200 and (one.method == "GET" or one.rpc == "subscriptions/listen")
        for one in list(seen)
    )


async def test_a_listing_without_an_end_is_cut_off(monkeypatch):
    monkeypatch.setattr("mcp_notebook.client.pages.PAGES", 5)
    pages = []

    async def handle(method, message, writer):
        if message.get("method") != "tools/list":
            writer.write(handshake(message) or http(b"{}"))
            return
        pages.append(message.get("params", {}).get("cursor"))
        tool = {"name": f"t{len(pages)}", "inputSchema": {"type": "object"}}
        writer.write(http(result(message, tools=[tool], nextCursor=f"c{len(pages)}")))

    async with toy(handle) as url, connected(url) as connection:
        assert [tool.name for tool in connection.tools] == ["t1", "t2", "t3", "t4", "t5"]
    assert pages == [None, "c1", "c2", "c3", "c4"]


async def test_a_listing_that_goes_round_in_circles_ends():
    async def handle(method, message, writer):
        if message.get("method") != "tools/list":
            writer.write(handshake(message) or http(b"{}"))
            return
        asked.append(message)
        tool = {"name": f"t{len(asked)}", "inputSchema": {"type": "object"}}
        writer.write(http(result(message, tools=[tool], nextCursor="again")))

    asked: list[object] = []
    async with toy(handle) as url, connected(url) as connection:
        assert [tool.name for tool in connection.tools] == ["t1", "t2"]


# -- calls ------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_on_the_server_and_harms_no_other(tools):
    async with connected(tools.url) as connection:
        beside = asyncio.create_task(connection.call_tool("slow", {"seconds": 1}))
        doomed = asyncio.create_task(connection.call_tool("slow", {"seconds": 60}))
        await asyncio.to_thread(tools.wait_for_tool, "slow", 2)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        await asyncio.to_thread(tools.wait_until, lambda: tools.cancelled == ["slow"])
        assert (await beside).content[0].text == "done"


async def test_progress_arrives_and_a_callback_that_fails_harms_nobody(tools):
    seen = []

    async def progress(done, total, message):
        seen.append((done, total))
        raise ValueError("a bug of the caller's")

    async with connected(tools.url) as connection:
        answer = await connection.call_tool(
            "slow", {"seconds": 0.1, "steps": 2}, progress_callback=progress
        )
        assert answer.content[0].text == "done"
        assert seen == [(0, 2), (1, 2)]


async def test_no_server_is_offered_a_model_or_the_persons_folders(tools):
    """Sampling and roots (MCP, client features): a server asks for what the client declares."""
    async with connected(tools.url) as connection:
        await connection.call_tool("add", {"a": 2, "b": 3})
    sent = [seen.json for seen in tools.seen if seen.method == "POST"]
    assert any("clientInfo" in json.dumps(message) for message in sent)
    for message in sent:
        assert not {"sampling", "roots"} & set(_keys(message))


def _keys(value):
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _keys(item)


async def test_calls_run_side_by_side(tools):
    async with connected(tools.url) as connection:
        began = time.monotonic()
        calls = [connection.call_tool("slow", {"seconds": 0.5}) for _ in range(32)]
        await asyncio.gather(*calls)
        assert time.monotonic() - began < 8  # 16 one after the other


async def test_an_output_schema_is_not_run_on_the_loop(tmp_path):
    # `^(a+)+$` on 40 letters takes longer than anybody lives.
    schema = {"type": "object", "properties": {"x": {"pattern": "^(a+)+$"}}}

    async def handle(method, message, writer):
        if message.get("method") == "tools/list":
            tool = {"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema}
            writer.write(http(result(message, tools=[tool])))
        else:
            evil = {"content": [], "structuredContent": {"x": "a" * 40 + "!"}}
            writer.write(handshake(message) or http(result(message, **evil)))

    async with toy(handle) as url, connected(url) as connection:
        answer = await connection.call_tool("t", {})
        assert answer.structured_content == {"x": "a" * 40 + "!"}


async def test_an_answer_that_is_no_answer_ends_one_call():
    async def handle(method, message, writer):
        broken = [b"{", b"[]", b"\xff\xfe", result(message, content="no list"), b"[" * 100_000]
        if message.get("method") == "tools/call":
            writer.write(http(broken[message["params"]["arguments"]["n"]]))
        else:
            writer.write(handshake(message) or b"")

    async with toy(handle) as url, connected(url) as connection:
        client = connection.client
        for number in range(5):
            with pytest.raises(ConnectionFailedError, match="does not follow the protocol"):
                await connection.call_tool("t", {"n": number})
        assert connection.client is client


@pytest.mark.parametrize("body", [b'{"message": "hello"}', b'"fine"', b"[]"])
async def test_a_web_service_that_is_no_server_is_told_as_such(body):
    async def handle(method, message, writer):
        writer.write(http(body))

    async with toy(handle) as url, connection_to(url) as connection:
        with pytest.raises(ConnectionFailedError, match="not answer as an MCP server") as caught:
            await connection.ready()
    assert "Is this the address of its MCP endpoint?" in caught.value.hint


# -- closing ----------------------------------------------------------------------------------


async def test_closing_says_goodbye_to_a_session_and_ends_what_waits():
    with serve_tools(unguarded=True, legacy=True) as tools:
        async with connected(tools.url) as connection:
            call = asyncio.create_task(connection.call_tool("slow", {"seconds": 60}))
            await asyncio.to_thread(tools.wait_for_tool, "slow")
            await connection.close()
            with pytest.raises(ConnectionFailedError):
                await call
            assert connection.status is Status.DISCONNECTED
            assert tools.count("/mcp", "DELETE") == 1
            with pytest.raises(ConnectionFailedError, match="is disconnected"):
                await connection.call_tool("add", {"a": 1, "b": 2})


async def test_closing_waits_two_seconds_for_a_silent_server_at_the_most():
    with serve_tools(unguarded=True, legacy=True) as tools, serve_faults(tools.port) as proxy:
        async with connected(proxy.url) as connection:
            proxy.next(Hole(), Hole(), when=lambda request: request.method != "GET")
            began = time.monotonic()
            await connection.close()
            assert time.monotonic() - began < 2.2
        async with connection_to(proxy.url) as connection:
            await asyncio.to_thread(proxy.wait_until, lambda: proxy.seen[-1].rpc != "")
            began = time.monotonic()
            await connection.close()
            assert time.monotonic() - began < 2.2


async def test_a_closed_connection_can_be_opened_again(tools):
    async with connected(tools.url) as connection:
        await connection.close()
        connection.open()
        assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content


OPEN_AT_EXIT = """
import atexit, sys, time
atexit.register(lambda: print(time.monotonic() - ended))  # the last to run: it was the first
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.background import background
from mcp_notebook.client.connection import Connection
from mcp_notebook.config.servers import Server

async def begin():
    connection = Connection(Server(name="peer", url=sys.argv[1]), TokenKeeper(MemoryStore()))
    background().at_exit(connection.close)
    connection.open()
    await connection.ready()

background().submit(begin()).result(20)
ended = time.monotonic()
"""


@pytest.mark.parametrize("silent", [False, True])
def test_a_process_with_an_open_session_ends_in_two_seconds(silent):
    with serve_tools(unguarded=True, legacy=True) as tools, serve_faults(tools.port) as proxy:
        if silent:
            proxy.next(Hole(), when=lambda request: request.method == "DELETE")
        command = [sys.executable, "-W", "error", "-c", OPEN_AT_EXIT, proxy.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert float(ended.stdout) < 2.5  # two, and the noise of a busy machine
        assert ended.returncode == 0
        assert ended.stderr == ""
        assert "DELETE" in [request.method for request in proxy.seen]


# -- signing in -------------------------------------------------------------------------------


async def test_a_call_waits_for_the_sign_in_and_goes_on(guarded):
    async with connection_to(guarded.url) as connection:
        call = asyncio.create_task(connection.call_tool("add", {"a": 2, "b": 3}))
        await person(connection)
        assert (await call).structured_content == {"result": 5}
        assert connection.status is Status.CONNECTED
        assert connection.client.protocol_version == "2026-07-28"


async def test_the_next_process_needs_no_person(authority, guarded):
    store = MemoryStore()
    async with connection_to(guarded.url, store=store) as connection:
        await person(connection)
        await connection.ready()
    async with connected(guarded.url, store=store) as connection:
        assert connection.sign_in is None
        assert authority.count("/authorize", "GET") == 1


async def test_a_declined_sign_in_is_told_and_can_be_begun_again(guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection, "deny")
        with pytest.raises(SignInDeniedError):
            await connection.ready()
        assert connection.status is Status.FAILED
        connection.start_sign_in()
        await person(connection)
        await until(connection, lambda: connection.status is Status.CONNECTED)
        assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content


async def test_a_declined_step_up_ends_its_call_and_no_other(guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        beside = asyncio.create_task(connection.call_tool("slow", {"seconds": 0.5}))
        await asyncio.to_thread(guarded.wait_for_tool, "slow")
        call = asyncio.create_task(connection.call_tool("secret_tool", {}))
        await person(connection, "deny")
        with pytest.raises(SignInDeniedError):
            await call
        assert (await beside).content[0].text == "done"
        assert connection.status is Status.CONNECTED


async def test_more_permissions_are_asked_for_and_the_call_goes_on(guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        call = asyncio.create_task(connection.call_tool("secret_tool", {}))
        await person(connection)
        assert "42" in (await call).content[0].text


async def test_permissions_that_do_not_help_are_asked_for_once(authority, guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        guarded.knobs.always_403 = True
        call = asyncio.create_task(connection.call_tool("secret_tool", {}))
        await person(connection)
        for attempt in (call, connection.call_tool("secret_tool", {})):
            with pytest.raises(SignInError, match="still refuses"):
                await attempt
        assert authority.count("/authorize", "GET") == 2


async def test_calls_that_lack_the_same_permissions_share_one_question(authority, guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        calls = [asyncio.create_task(connection.call_tool("secret_tool", {})) for _ in range(8)]
        await person(connection)
        for result_of in await asyncio.gather(*calls):
            assert "42" in result_of.content[0].text
        assert authority.count("/authorize", "GET") == 2


async def test_permissions_that_were_declined_are_asked_for_again_when_the_person_says_so(
    authority, guarded
):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        call = asyncio.create_task(connection.call_tool("secret_tool", {}))
        await person(connection, "deny")
        with pytest.raises(SignInDeniedError):
            await call
        with pytest.raises(SignInError, match="still refuses") as braked:
            await connection.call_tool("secret_tool", {})
        assert "%mcp sign-in peer" in braked.value.hint
        connection.start_sign_in()
        await link(connection)
        assert connection.sign_in.standing().added == ("admin",)
        await person(connection)
        await until(connection, lambda: connection.status is Status.CONNECTED)
        assert "42" in (await connection.call_tool("secret_tool", {})).content[0].text
        assert authority.count("/authorize", "GET") == 3


def test_the_brake_is_for_one_operation_its_permissions_and_ten_minutes(monkeypatch):
    now = 0.0
    monkeypatch.setattr("mcp_notebook.client.signing.time.monotonic", lambda: now)
    signing = Signing(Server(name="peer", url="https://peer.example/mcp"), None, lambda: None)

    def refused(operation: str, scope: str) -> bool:
        challenge = Challenge(error="insufficient_scope", scope=scope)
        need = SignInNeededError("more", challenge=challenge, step_up=True)
        try:
            signing.step_up(need, operation, signing.times)
        except SignInError:
            return True
        return False

    assert not refused("write", "a b")
    assert refused("write", "b a")
    assert not refused("write", "a b c")
    assert not refused("read", "a b")
    now = 601.0
    assert not refused("write", "a b")


async def test_a_request_refused_before_a_sign_in_ended_asks_nobody_again():
    signing = Signing(Server(name="peer", url="https://peer.example/mcp"), None, lambda: None)
    need = SignInNeededError("none yet")
    signing.times = 1
    await signing.done(need, seen=0)
    with pytest.raises(SignInNeededError):  # it would start one, and has no credentials to
        await signing.done(need, seen=1)


async def test_a_server_that_never_accepts_the_sign_in_is_not_signed_in_to_for_ever(
    authority, guarded
):
    guarded.knobs.always_401 = True
    async with connection_to(guarded.url) as connection:
        await person(connection)
        with pytest.raises(SignInError, match="does not accept"):
            await connection.ready()
        assert authority.count("/authorize", "GET") == 1


async def test_a_hundred_calls_with_an_expired_token_cost_one_refresh(authority, guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        before = authority.count("/token")
        authority.expire_access()
        calls = [connection.call_tool("add", {"a": n, "b": 1}) for n in range(100)]
        answers = await asyncio.gather(*calls)
        assert [answer.structured_content["result"] for answer in answers] == list(range(1, 101))
        assert authority.count("/token") == before + 1
        assert authority.count("/authorize", "GET") == 1


async def test_many_calls_whose_sign_in_is_over_share_one_new_one(authority, guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        authority.revoke_grants()
        calls = [connection.call_tool("add", {"a": n, "b": 1}) for n in range(10)]
        work = asyncio.gather(*calls)
        await person(connection)
        assert len(await work) == 10
        assert authority.count("/authorize", "GET") == 2


async def test_a_dead_authorization_server_keeps_the_sign_in(authority, guarded):
    async with connection_to(guarded.url) as connection:
        await person(connection)
        await connection.ready()
        await asyncio.to_thread(authority.stop)
        authority.expire_access()
        with pytest.raises(SignInError):
            await connection.call_tool("add", {"a": 1, "b": 2})
        assert connection.sign_in.standing().state is SignInState.DONE
        await asyncio.to_thread(authority.start)
        assert (await connection.call_tool("add", {"a": 1, "b": 2})).structured_content
        assert authority.count("/authorize", "GET") == 1


async def test_stop_while_waiting_leaves_the_sign_in_alive(guarded):
    async with connection_to(guarded.url) as connection:
        call = asyncio.create_task(connection.call_tool("add", {"a": 2, "b": 3}))
        url = await link(connection)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.to_thread(visit, url)
        assert (await connection.call_tool("add", {"a": 2, "b": 3})).structured_content


async def test_signing_out_closes_and_forgets(authority, guarded):
    store = MemoryStore()
    async with connection_to(guarded.url, store=store) as connection:
        await person(connection)
        await connection.ready()
        assert await connection.sign_out()
        assert connection.status is Status.DISCONNECTED
        assert authority.count("/revoke") >= 1
        connection.open()
        await link(connection)


# -- programs on this machine -----------------------------------------------------------------

PROGRAM = Path(__file__).parents[1] / "peers" / "program.py"


def program(*arguments: str, **options):
    command = (sys.executable, str(PROGRAM), *arguments)
    return connected(transport="stdio", command=command, **options)


async def test_a_program_is_started_called_and_ended(tmp_path):
    note = tmp_path / "pid"
    async with program("--note", str(note)) as connection:
        answer = await connection.call_tool("echo", {"text": "hi"})
        assert answer.content[0].text == "hi"
        assert connection.credentials is None
        began = time.monotonic()
    assert time.monotonic() - began < 2.5
    pid = json.loads(note.read_text())["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_program_that_ends_at_once_is_told_with_its_last_words():
    with pytest.raises(ConnectionFailedError) as caught:
        async with program("--die", "\x1b[31mno such\x1b[0m file"):
            pass
    assert "Its last words: no such file" in caught.value.hint


async def test_a_program_that_is_not_there_is_told_so():
    with pytest.raises(ConnectionFailedError, match="cannot be started: no-such-program"):
        async with connected(transport="stdio", command=("no-such-program",)):
            pass


async def test_a_program_that_crashes_is_started_again():
    async with program() as connection:
        client = connection.client
        with pytest.raises(ConnectionFailedError) as caught:
            await connection.call_tool("crash", {})
        assert caught.value.may_have_run
        assert (await connection.call_tool("echo", {"text": "hi"})).content[0].text == "hi"
        assert connection.client is not client


async def test_a_program_that_always_crashes_is_not_started_for_ever(monkeypatch):
    monkeypatch.setattr("mcp_notebook.client.faults.PAUSE", 0.001)
    async with program("--die-after-list") as connection:
        await until(connection, lambda: connection.status is Status.FAILED)
        assert "every time" in str(connection.failure)


async def test_a_program_that_is_busy_is_ended_in_time_all_the_same(tmp_path):
    note = tmp_path / "pid"
    limits = Limits(call_seconds=0.3)
    async with program("--note", str(note), limits=limits) as connection:
        with pytest.raises(TimeoutError):
            await connection.call_tool("sleep", {})
        began = time.monotonic()
    assert time.monotonic() - began < 2
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(note.read_text())["pid"], 0)


async def test_a_program_that_does_not_want_to_end_is_killed(tmp_path):
    note = tmp_path / "first"
    async with program("--stubborn", str(note)):
        began = time.monotonic()
    assert time.monotonic() - began < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


async def test_a_connection_opens_again_while_its_old_program_still_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("mcp.client.stdio.FORCE_KILL_TIMEOUT", 60)
    async with program("--stubborn", str(tmp_path / "first")) as connection:
        old = connection._owner
        await connection.close()  # the first of the two ignores the end of its input, and SIGTERM
        assert not old.done()
        connection.open()
        assert (await connection.call_tool("echo", {"text": "hi"})).content[0].text == "hi"
        await asyncio.wait([old])
        assert connection.status is Status.CONNECTED

"""Faults that a session survives, in a real kernel; one kernel for nearly all of them.

Where each fault is tested, besides here (AS: authorization server):

==========================================  ======================================================
AS down at connect, while signing in        here; `auth.test_credentials`, `test_flows`
AS busy (429, Retry-After)                  `auth.test_grants`, `test_fetch`
server busy or broken (429, 5xx, pages)     here; `client.test_transport`
resets, lost and cut answers, silence       here; `client.test_transport`
server restarts in either era               here; `client.test_connection`
idle connections that were closed           `client.test_transport`
the machine sleeps, clocks jump             here; `test_sleep`, `client.test_sleep`,
                                            `auth.test_sign_in` (the sign-in's clocks)
kernel dies in a sign-in                    `auth.test_flows`
Stop, time limits, cancelled awaits         here; `test_main_street`, `waiting.test_waiting`
many kernels, one rotating token            `test_many_kernels`, `auth.test_locks`
the renewal's answer is lost                here; `test_many_kernels`
stores that fail, lock, are slow or full    `auth.test_stores`, `test_silent_store`,
                                            `test_store_choice`, `test_keeper`
torn writes, Windows' limits                `auth.test_stores`, `test_keeper`
two sign-ins at once, sign-out elsewhere    `test_many_kernels`, `auth.test_sign_in`,
                                            `test_locks`, `test_keeper`
names as paths, copies, pickles             `auth.test_keeper`, `session.test_looking`
what a program of the machine inherits      `test_programs`
no front end, no person, another machine    `test_main_street`, `test_terminal`, `test_grants`
`%load_ext` twice, reload                   `test_main_street`
shutdown with all that may be open          here; `client.test_connection`, `test_background`
a cell that computes                        here
huge answers                                `client.test_transport`, `results.test_results`
proxies, certificates                       `client.test_transport`, `auth.test_fetch`
the network is gone (no DNS)                here; `auth.test_fetch`
token endpoint moves                        `auth.test_credentials`
a server begins to want sign-ins            here
fork                                        here; `auth.test_locks`, `test_background`
callbacks of the person that raise          `client.test_connection`, `waiting.test_questions`
endless 401 and 403                         here; `client.test_refusals`
hostile schemas                             here; `schema.test_schemas`
==========================================  ======================================================
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.connecting import handshake, http, result, toy
from tests.driving.kernel import Cell, Notebook
from tests.peers import ToolServer, serve_authority, serve_tools, visit
from tests.peers.fault_proxy import Hole, Lost, Request, Reset, Status, serve_faults

numbers = count()


@pytest.fixture(scope="module")
def authority():
    with serve_authority() as server:
        yield server


@pytest.fixture(scope="module")
def notes(authority):
    """A server that wants a sign-in."""
    with serve_tools(authority) as server:
        yield server


@pytest.fixture(scope="module")
def plain():
    """A server that wants none."""
    with serve_tools() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(plain):
    """What stands before it."""
    with serve_faults(plain.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def kernel(start_shared) -> Notebook:
    return start_shared()


@pytest.fixture
def nb(kernel, authority, plain) -> Iterator[Notebook]:
    """The kernel, with a person who clicks."""
    kernel.person = visit
    kernel.links.clear()
    plain.ran.clear()
    plain.cancelled.clear()
    authority.forget_seen()
    authority.grants_made.clear()
    yield kernel
    kernel.run("s.disconnect()")


def sign_in(nb: Notebook, notes: ToolServer) -> None:
    """Connects to the guarded server until it is listened to, which is a request of its own."""
    notes.forget_seen()
    connect(nb, notes.url)
    notes.wait_until(
        lambda: any(s.rpc == "subscriptions/listen" and s.status == 200 for s in list(notes.seen))
    )


def connect(nb: Notebook, url: str) -> None:
    """Connects to a server that the kernel has not known before, as ``s``."""
    name = f"s{next(numbers)}"
    nb.run(f"%mcp add {name} {url}")
    assert not nb.run(f"%mcp connect {name}\ns = {name}").error
    assert nb.value("s.wait(30).status") == "connected"


def add(nb: Notebook) -> int:
    return nb.value("s.tools.add(a=2, b=3).data")


def stopped(nb: Notebook, cell: Cell) -> str:
    """Presses Stop; returns the error of the cell, which ends within about a second."""
    nb.interrupt()
    return cell.wait(2).error


# -- the server ---------------------------------------------------------------------------------


def calls(request: Request) -> bool:
    return request.rpc == "tools/call"


@pytest.mark.parametrize(
    ("fault", "said", "ran"),
    [
        (Reset("before"), "may have run", 0),
        (Reset("body"), "may have run", 1),
        (Lost(), "may have run", 1),
        (Status(500), "HTTP 500", 0),
        (Status(503, retry_after=0), "HTTP 503", 0),
        (Status(200), "captive portal", 0),
    ],
    ids=lambda value: str(value) if not isinstance(value, str) else "",
)
def test_a_fault_ends_one_call_and_the_session_goes_on(nb, plain, proxy, fault, said, ran):
    connect(nb, proxy.url)
    client = nb.value("id(s.connection.client)")
    proxy.next(fault, when=calls)
    failed = nb.run("s.tools.write(text='x')").error
    assert "ConnectionFailedError" in failed
    assert said in failed
    assert plain.calls("write") == ran  # never sent a second time

    if fault not in {Status(500), Status(200)}:
        proxy.next(fault, when=calls)  # what may be repeated is, and nobody notices
        assert add(nb) == 5
    assert nb.value("s.tools.write(text='y').data") == "y"
    assert nb.value("id(s.connection.client)") == client


def test_a_busy_server_is_asked_again_when_it_says_so(nb, plain, proxy):
    connect(nb, proxy.url)
    proxy.next(Status(429, retry_after=1), when=calls)
    began = time.monotonic()
    assert nb.value("s.tools.write(text='x').data") == "x"  # refused, so it cannot have run
    assert time.monotonic() - began >= 1
    assert plain.calls("write") == 1

    proxy.next(Status(429, retry_after=3600), when=calls)
    failed = nb.run("s.tools.add(a=2, b=3)", 5).error
    assert "It asks to wait 3600 s." in failed


def test_stop_ends_the_wait_for_a_silent_server(nb, proxy):
    connect(nb, proxy.url)
    for call in ("s.tools.add(a=2, b=3)", "await s.tools.add.aio(a=2, b=3)"):
        seen = len(proxy.seen)
        proxy.next(Hole(), when=calls)
        cell = nb.start(call)
        proxy.wait_until(lambda seen=seen: any(map(calls, proxy.seen[seen:])))
        assert stopped(nb, cell)
        assert add(nb) == 5


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "with a session"])
def test_a_restart_of_the_server_is_not_noticed(nb, legacy):
    with serve_tools(legacy=legacy) as server:
        connect(nb, server.url)
        server.restart()
        server.forget_seen()
        assert nb.value("s.tools.write(text='x').data") == "x"
        assert server.calls("write") == 1
        assert sum(seen.rpc == "initialize" for seen in server.seen) == legacy


def test_a_server_that_begins_to_want_a_sign_in_gets_one(nb, notes):
    notes.knobs.unguarded = True
    connect(nb, notes.url)
    assert add(nb) == 5
    notes.knobs.unguarded = False
    assert add(nb) == 5
    assert len(nb.links) == 1


def test_a_network_that_is_gone_is_told_at_once(nb):
    nb.run("%mcp add nowhere https://nowhere.invalid/mcp")
    nb.run("%mcp connect nowhere\ns = nowhere")
    failed = nb.run("s.tools.add(a=2, b=3)", 10).error
    assert "its host is not known" in failed
    assert not nb.links


def test_a_schema_cannot_freeze_the_kernel(nb):
    # `^(a+)+$` on 40 letters takes longer than anybody lives.
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    tool = {"name": "t", "inputSchema": schema, "outputSchema": schema}
    evil = {"x": "a" * 40 + "!"}

    async def handle(method: str, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if message.get("method") == "tools/list":
            writer.write(http(result(message, tools=[tool])))
        else:
            answer = http(result(message, content=[], structuredContent=evil))
            writer.write(handshake(message) or answer)

    with in_a_thread(handle) as url:
        connect(nb, url)
        assert nb.run(f"r = s.tools.t(x={evil['x']!r}); r", 10).outputs
        assert nb.value("r.data", 10) == evil
        assert "x" in nb.inspect("s.tools.t")


class in_a_thread:  # noqa: N801 - used like a function
    """A `toy` server on a loop of its own."""

    def __init__(self, handle: Any) -> None:
        self._toy = toy(handle)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return self._do(self._toy.__aenter__())

    def __exit__(self, *raised: object) -> None:
        self._do(self._toy.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


# -- the authorization server -------------------------------------------------------------------


def test_a_good_token_needs_no_authorization_server(nb, notes, authority):
    sign_in(nb, notes)
    authority.stop()
    try:
        nb.run("s.disconnect(); s = __import__('mcp_notebook').connect(s.name)")
        assert add(nb) == 5
    finally:
        authority.start()


@pytest.mark.parametrize("down", ["refuses connections", "answers 503"])
def test_an_authorization_server_that_is_down_is_not_taken_for_a_lost_sign_in(
    nb, notes, authority, down
):
    sign_in(nb, notes)
    if down == "answers 503":
        authority.knobs.statuses = {"/token": 503}
    else:
        authority.stop()
    authority.expire_access()
    try:
        nb.run("s.disconnect(); s = __import__('mcp_notebook').connect(s.name)")
        failed = nb.run("s.tools.add(a=2, b=3)", 30).error
    finally:
        authority.knobs.statuses = {}
        if down != "answers 503":
            authority.start()
    assert "AuthorizationServerError" in failed
    assert add(nb) == 5  # the tokens were kept, and the next call finds that it is back
    assert len(nb.links) == 1
    assert authority.grants_made == ["authorization_code", "refresh_token"]


def test_an_authorization_server_that_fails_at_the_last_step_costs_one_more_click(
    nb, notes, authority
):
    authority.cut_next(1, "before", path="/token")
    name = f"s{next(numbers)}"
    nb.run(f"%mcp add {name} {notes.url}")
    nb.run(f"%mcp connect {name}\ns = {name}")
    assert "AuthorizationServerError" in nb.run("s.tools.add(a=2, b=3)", 20).error
    assert authority.count("/token") == 1  # a code is never sent twice
    nb.run(f"%mcp connect {name}")
    assert add(nb) == 5
    assert len(nb.links) == 2


def test_a_renewal_whose_answer_is_lost_costs_one_sign_in(nb, notes, authority):
    sign_in(nb, notes)
    authority.knobs.lose_next_token_answer = 1
    authority.expire_access()
    assert add(nb) == 5
    assert len(nb.links) == 2
    assert add(nb) == 5
    assert len(nb.links) == 2


def test_an_endless_401_ends_after_one_renewal_and_one_sign_in(nb, notes, authority):
    sign_in(nb, notes)
    authority.grants_made.clear()
    notes.knobs.always_401 = True
    try:
        failed = nb.run("s.tools.add(a=2, b=3)", 30).error
    finally:
        notes.knobs.always_401 = False
    assert "SignInError" in failed
    assert "does not accept the sign-in it was just given" in failed
    assert len(nb.links) == 2
    # Either sign-in's token was renewed once, in case it was only too old.
    assert authority.grants_made == ["refresh_token", "authorization_code", "refresh_token"]
    assert add(nb) == 5
    assert len(nb.links) == 2


def test_an_endless_403_asks_for_permissions_once(nb, notes, authority):
    sign_in(nb, notes)
    notes.knobs.always_403 = True
    try:
        for _ in range(2):
            failed = nb.run("s.tools.secret_tool()", 30).error
            assert "for want of permissions" in failed
            assert len(nb.links) == 2
    finally:
        notes.knobs.always_403 = False
    assert add(nb) == 5


# -- the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, -1], ids=["forward", "back"])
def test_a_clock_that_jumps_costs_no_sign_in(nb, notes, authority, days):
    sign_in(nb, notes)
    nb.run(f"import time; real = time.time; time.time = lambda: real() + {days * 86400}")
    try:
        assert add(nb) == 5  # too early: a renewal that was not due
        authority.expire_access()
        assert add(nb) == 5  # too late: the 401 tells
        assert authority.grants_made.count("refresh_token") == (2 if days > 0 else 1)
    finally:
        nb.run("time.time = real")
    assert add(nb) == 5
    assert len(nb.links) == 1


def test_a_machine_that_slept_goes_on(nb, plain, proxy):
    connect(nb, proxy.url)
    cell = nb.start("s.tools.slow(seconds=30)")
    plain.wait_for_tool("slow")
    nb.process.send_signal(signal.SIGSTOP)
    try:
        proxy.drop()  # meanwhile every connection has timed out somewhere
    finally:
        nb.process.send_signal(signal.SIGCONT)
    plain.wait_for_tool("slow", 2)  # it may be repeated, and is
    assert "KeyboardInterrupt" in stopped(nb, cell)
    assert add(nb) == 5


def test_a_cell_that_computes_holds_up_no_connection(nb, plain):
    connect(nb, plain.url)
    cell = nb.run(
        "import threading, time\n"
        "answers = []\n"
        "work = lambda: answers.append(s.tools.slow(seconds=0.3, steps=3).text)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end: pass\n"
        "done = list(answers)\n"
        "thread.join()"
    )
    assert not cell.error
    assert nb.value("done") == ["done"]


def test_a_time_limit_of_the_person_ends_one_call(nb, plain):
    connect(nb, plain.url)
    cell = nb.run(
        "import asyncio\n"
        "other = asyncio.create_task(s.tools.slow.aio(seconds=0.6, steps=2))\n"
        "async with asyncio.timeout(0.3):\n"
        "    await s.tools.slow.aio(seconds=30)"
    )
    assert "TimeoutError" in cell.error
    plain.wait_until(lambda: plain.cancelled == ["slow"])
    assert nb.run("(await other).text").text == "'done'"
    assert add(nb) == 5


FORK = """
import os, select, warnings
import mcp_notebook
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
def in_a_fork(work):
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(here, said.encode())
        os._exit(0)
    os.close(here)
    if not select.select([there], [], [], 10)[0]:
        os.kill(child, 9)
    os.waitpid(child, 0)
    with open(there, "rb") as answer:
        return answer.read().decode()
"""


def test_a_forked_child_uses_nothing_of_its_parent(nb, notes, authority):
    sign_in(nb, notes)
    assert not nb.run(FORK).error
    inherited = nb.value("in_a_fork(lambda: s.tools.add(a=2, b=3).data)")
    assert "ConnectionFailedError" in inherited
    assert "mcp_notebook.connect(" in inherited  # ... says how to go on, which then works
    assert "forked" in nb.value("in_a_fork(lambda: s.wait(3))")
    anew = "in_a_fork(lambda: mcp_notebook.connect(s.name).wait(9).tools.add(a=2, b=4).data)"
    assert nb.value(anew) == "6"
    assert add(nb) == 5
    assert len(nb.links) == 1


def test_a_kernel_ends_in_two_seconds_whatever_is_open(start, notes, authority, plain, proxy):
    with serve_tools(legacy=True) as older:
        nb = start(person=None)
        for name, url in (("signing", notes.url), ("silent", proxy.url), ("older", older.url)):
            nb.run(f"%mcp add {name} {url}")
            nb.run(f"%mcp connect {name}")
        nb.wait_for_link()
        assert nb.value("silent.wait(30).status") == "connected"
        proxy.next(Hole(), when=calls)
        nb.run(
            "import threading\n"
            "for tool in (silent.tools.slow, older.tools.slow, signing.tools.slow):\n"
            "    threading.Thread(target=tool, kwargs={'seconds': 60}, daemon=True).start()"
        )
        older.wait_for_tool("slow")
        process = nb.process
        began = time.monotonic()
        nb.shut_down()
        assert time.monotonic() - began < 4  # two for us, and what a kernel takes by itself
        assert process.returncode == 0  # it was not killed

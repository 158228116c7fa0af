"""Kernels as real processes: one renews, a killed one harms nobody, a sign-out stays one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest

from mcp_notebook.auth.ledger import entry_key
from mcp_notebook.auth.tokens import TokenKeeper, open_keeper
from mcp_notebook.errors import TokenStoreError
from tests.auth.test_stores import a_record

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
RESOURCE = a_record().resource


class Kernel:
    """A process that keeps to the words of `tests.auth.kernel`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        read = await asyncio.wait_for(self.process.stdout.readline(), 60)
        return read.decode().strip()

    def tell(self) -> None:
        self.process.stdin.write(b"go on\n")


@pytest.fixture
async def start(private_home, tmp_path, monkeypatch):
    """Starts kernels that share a home, and ends what is left of them."""
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "file")
    started: list[Kernel] = []

    async def start(work: str) -> Kernel:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.auth.kernel", work, str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        started.append(Kernel(process))
        return started[-1]

    yield start
    for kernel in started:
        if kernel.process.returncode is None:
            kernel.process.kill()
        await kernel.process.communicate()


async def expired() -> TokenKeeper:
    keeper = TokenKeeper()
    await keeper.save(a_record(access_token="access-1", refresh_token="refresh-1"))
    return keeper


async def test_eight_kernels_with_one_expired_token_spend_it_once(start, tmp_path):
    keeper = await expired()
    kernels = [await start("renew") for _ in range(8)]
    assert [await kernel.line() for kernel in kernels] == ["ready"] * 8
    for kernel in kernels:
        kernel.tell()
    ends = sorted([await kernel.line() for kernel in kernels])
    assert ends == ["adopted access-2"] * 7 + ["spent access-2"]
    assert [path.name for path in tmp_path.glob("spent-*")] == ["spent-refresh-1"]
    assert (await keeper.load("notes", resource=RESOURCE)).refresh_token == "refresh-2"


async def test_a_killed_holder_lets_go(start):
    keeper = await expired()
    kernel = await start("hold")
    assert await kernel.line() == "ready"
    with pytest.raises(TokenStoreError, match="Another kernel") as caught:
        async with keeper.refreshing("notes", seconds=0.1):
            pass
    assert caught.value.hint
    waiting = asyncio.create_task(held(keeper))
    await asyncio.sleep(0)
    assert not waiting.done()
    kernel.process.send_signal(signal.SIGKILL)
    await asyncio.wait_for(waiting, 10)


async def test_a_holder_that_ends_its_work_lets_go(start):
    keeper = await expired()
    kernel = await start("hold")
    assert await kernel.line() == "ready"
    waiting = asyncio.create_task(held(keeper))
    kernel.tell()
    assert await kernel.line() == "released"
    await asyncio.wait_for(waiting, 10)


async def held(keeper: TokenKeeper, name: str = "notes") -> None:
    async with keeper.refreshing(name):
        pass


async def test_another_server_is_not_held_up(start):
    keeper = await expired()
    kernel = await start("hold")
    assert await kernel.line() == "ready"
    await asyncio.wait_for(held(keeper, "other"), 5)


async def test_a_sign_out_is_noticed_and_not_undone_by_a_late_write(start):
    keeper = await expired()
    kernel = await start("late")
    assert await kernel.line() == "ready"
    await keeper.forget("notes")
    kernel.tell()
    assert await kernel.line() == "stale, current None, noticed True"
    assert await keeper.load("notes", resource=RESOURCE, fresh=True) is None


async def test_a_sign_out_does_not_wait_for_a_renewal(start):
    keeper = await expired()
    kernel = await start("hold")
    assert await kernel.line() == "ready"
    await asyncio.wait_for(keeper.forget("notes"), 5)


async def test_many_sign_ins_at_once_leave_one_whole_record(start):
    keeper = await expired()
    kernels = [await start("save") for _ in range(4)]
    assert [await kernel.line() for kernel in kernels] == ["ready"] * 4
    for kernel in kernels:
        kernel.tell()
    assert [await kernel.line() for kernel in kernels] == ["saved"] * 4
    record = await keeper.load("notes", resource=RESOURCE)
    assert record.generation == 5
    assert record.access_token == record.client_id * 500


async def test_the_loop_turns_while_the_lock_is_waited_for(start):
    keeper = await expired()
    kernel = await start("hold")
    assert await kernel.line() == "ready"
    waiting = asyncio.create_task(held(keeper))
    longest = 0.0
    for _ in range(30):
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    assert not waiting.done()
    assert longest < 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    kernel.tell()
    assert await kernel.line() == "released"
    await asyncio.wait_for(held(keeper), 5)  # whoever was cancelled holds nothing


async def test_within_a_process_one_renews_at_a_time_even_in_memory():
    keeper, inside = TokenKeeper(), []

    async def work(number: int) -> None:
        async with keeper.refreshing("notes"):
            inside.append(number)
            await asyncio.sleep(0)
            assert inside == [number]
            inside.clear()

    await asyncio.gather(*(work(number) for number in range(20)))


async def test_who_fails_inside_lets_go():
    keeper = TokenKeeper()
    with pytest.raises(ZeroDivisionError):
        async with keeper.refreshing("notes"):
            raise ZeroDivisionError
    await asyncio.wait_for(held(keeper), 1)


async def test_a_lock_file_that_is_left_or_damaged_holds_nobody_up(private_home, monkeypatch):
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "file")
    locks = private_home / "locks"
    locks.mkdir(parents=True, mode=0o700)
    (locks / f"{entry_key('notes')}.lock").write_bytes(b"\x00garbage")
    (locks / "writing.lock").write_bytes(b"12345")
    keeper = TokenKeeper()
    await keeper.save(a_record())
    assert keeper.describe().survives
    await asyncio.wait_for(held(keeper), 5)


async def test_without_a_lock_nobody_renews(private_home, monkeypatch):
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "file")
    private_home.mkdir()
    (private_home / "locks").write_bytes(b"no directory")
    keeper = TokenKeeper()
    with pytest.raises(TokenStoreError, match="No lock between kernels") as caught:
        await held(keeper)
    assert "%mcp store memory" in caught.value.hint
    await keeper.save(a_record())  # a sign-in works all the same, in this kernel
    assert await keeper.load("notes", resource=RESOURCE) is not None
    assert not keeper.describe().survives


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_has_a_keeper_of_its_own_and_holds_no_lock(private_home, monkeypatch):
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "file")

    async def save() -> None:
        await open_keeper().save(a_record())

    async def works_in_the_child() -> bool:
        async with open_keeper().refreshing("notes", seconds=5):
            record = await open_keeper().load("notes", resource=RESOURCE, fresh=True)
        return record is not None

    asyncio.run(save())
    parent = open_keeper()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the very case
        child = os.fork()
    if child == 0:
        try:
            good = open_keeper() is not parent and asyncio.run(works_in_the_child())
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

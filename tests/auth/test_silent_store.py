"""A keyring that waits for its password, which nobody may see."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from mcp_notebook.auth import current_store
from mcp_notebook.auth.store_thread import SilentStoreError, StoreThread
from mcp_notebook.auth.tokens import StoreReport, TokenKeeper
from tests.auth.keyrings import SilentKeyring, use_keyring
from tests.auth.test_stores import a_record

pytestmark = pytest.mark.anyio

RESOURCE = a_record().resource


@pytest.fixture
def impatient(monkeypatch):
    """A store that is silent for a moment is silent for good."""
    thread = functools.partial(StoreThread, first=0.2, later=0.2)
    monkeypatch.setattr(current_store, "StoreThread", thread)


async def until_the_probe(keeper: TokenKeeper, says: Callable[[StoreReport], bool]) -> None:
    while True:
        if says(await keeper.probe()):
            return
        await asyncio.sleep(0.01)


@pytest.fixture
def silent(monkeypatch):
    backend = SilentKeyring()
    backend.unlocked.set()
    use_keyring(monkeypatch, backend)
    yield backend
    backend.unlocked.set()


async def test_its_calls_are_made_on_one_daemon_thread(silent):
    keeper = TokenKeeper()
    await asyncio.gather(*(keeper.save(a_record(server=f"s{n}")) for n in range(5)))
    assert silent.threads == {"mcp-notebook-store"}
    assert all(thread.daemon for thread in threading.enumerate() if "store" in thread.name)


async def test_the_loop_turns_while_it_waits(silent):
    keeper = TokenKeeper()
    silent.unlocked.clear()
    loading = asyncio.create_task(keeper.load("notes", resource=RESOURCE))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not loading.done()
    silent.unlocked.set()
    assert await loading is None


async def test_when_never_unlocked_memory_takes_its_place(silent, impatient):
    silent.unlocked.clear()
    keeper = TokenKeeper()
    assert await keeper.load("notes", resource=RESOURCE) is None
    record = await keeper.save(a_record())
    assert await keeper.load("notes", resource=RESOURCE) == record
    report = keeper.describe()
    assert (report.kind, report.survives) == ("memory", False)
    assert "has not answered" in report.problem
    assert "%mcp store file" in str(report)


async def test_when_unlocked_later_a_probe_takes_up_what_was_kept_in_memory(silent, impatient):
    silent.unlocked.clear()
    keeper = TokenKeeper()
    await keeper.save(a_record())
    assert (await keeper.probe()).kind == "memory"
    silent.unlocked.set()
    async with asyncio.timeout(5):
        await until_the_probe(keeper, lambda report: report.kind == "keyring")
    assert await TokenKeeper().load("notes", resource=RESOURCE) is not None
    assert keeper.describe().problem == ""


@pytest.mark.parametrize("reads_are_silent", [True, False])
async def test_a_write_that_ends_late_does_not_replace_the_one_after_it(
    silent, impatient, reads_are_silent
):
    silent.reads_are_silent = reads_are_silent
    keeper = TokenKeeper()
    await keeper.save(a_record())
    silent.unlocked.clear()
    second = await keeper.replace(a_record(access_token="second"), after=1)
    third = await keeper.replace(a_record(access_token="third"), after=second.generation)
    assert await keeper.load("notes", resource=RESOURCE) == third
    silent.unlocked.set()
    async with asyncio.timeout(5):
        await until_the_probe(keeper, lambda report: report.survives)
    assert (await TokenKeeper().load("notes", resource=RESOURCE)).access_token == "third"


async def test_it_does_not_delay_the_end_of_the_process(private_home):
    program = (
        "import asyncio, keyring\n"
        "from tests.auth.keyrings import SilentKeyring\n"
        "from mcp_notebook.auth.tokens import TokenKeeper\n"
        "keyring.set_keyring(SilentKeyring())\n"
        "async def main():\n"
        "    load = TokenKeeper().load('notes', resource='https://notes.example/mcp')\n"
        "    try: await asyncio.wait_for(load, 0.2)\n"
        "    except TimeoutError: print('given up')\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "MCP_NOTEBOOK_TOKEN_STORE": "keyring"}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 25)
    assert output == b"given up\n"
    assert time.monotonic() - began < 25  # the keyring would be silent for 30


async def test_many_short_jobs_in_a_row_are_no_silence():
    thread = StoreThread(first=0.3, later=0.3)
    jobs = [thread.run(lambda: threading.Event().wait(0.05)) for _ in range(12)]
    assert await asyncio.gather(*jobs) == [False] * 12


async def test_whoever_comes_while_it_is_silent_is_told_at_once():
    thread, release = StoreThread(first=0.1, later=0.1), threading.Event()
    with pytest.raises(SilentStoreError) as caught:
        await thread.run(release.wait)
    assert "Unlock" in caught.value.hint
    with pytest.raises(SilentStoreError):
        await asyncio.wait_for(thread.run(lambda: 1), 0.05)
    release.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await thread.run(lambda: 2) == 2
            except SilentStoreError:
                await asyncio.sleep(0.01)
            else:
                break

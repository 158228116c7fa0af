"""A thread or a coroutine waits for the loop: it looks, it does jobs, and Stop ends it."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time

import pytest

from mcp_notebook.background import Background
from mcp_notebook.errors import ConnectionFailedError
from mcp_notebook.waiting.wait import Wait, WaitOverError, current_wait
from tests.driving.kernel import Notebook
from tests.peers import serve_tools


@pytest.fixture
def loop():
    loop = Background()
    yield loop
    loop.close()


class Work:
    """Work that begins, goes on until told, and notes how it ended."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.cancelled = False

    async def __call__(self, seconds: float = 60) -> str:
        self.begun.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()
        return "done"


def interrupt_when(event: threading.Event) -> None:
    def press() -> None:
        event.wait(10)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


# -- in a thread ------------------------------------------------------------------------------


def test_the_result_comes_back(loop):
    assert Wait(Work()(0), on=loop).result() == "done"


def test_an_error_comes_back_without_what_it_came_of(loop):
    async def work():
        try:
            raise ValueError("the token is s3cr3t")
        except ValueError:
            raise ConnectionFailedError("It broke.")  # noqa: B904 -- the chain is what is cut

    with pytest.raises(ConnectionFailedError) as caught:
        Wait(work(), on=loop).result()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_timeout_of_the_work_is_not_mistaken_for_a_tick(loop):
    async def work():
        raise TimeoutError("the tool's own")

    with pytest.raises(TimeoutError, match="the tool's own"):
        Wait(work(), on=loop).result()


def test_stop_ends_the_wait_and_cancels_the_work(loop):
    work = Work()
    before = signal.getsignal(signal.SIGINT)
    waiting = threading.Event()
    interrupt_when(waiting)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as stop:
        Wait(work(), look=waiting.set, on=loop, what="notes · slow").result()
    assert time.monotonic() - began < 1
    shown = stop.value._render_traceback_()  # what IPython shows of it
    assert shown == ["KeyboardInterrupt: stopped while waiting for notes · slow"]
    assert work.ended.wait(5)
    assert work.cancelled
    assert signal.getsignal(signal.SIGINT) is before


def test_stop_that_comes_in_a_finalizer_is_not_lost(loop, monkeypatch):
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: lost.append(what.exc_type))
    work = Work()
    with pytest.raises(KeyboardInterrupt):
        Wait(work(), look=lambda: Dropped() and None, on=loop).result()
    assert lost == [KeyboardInterrupt]  # Python prints it and goes on
    assert work.ended.wait(5)
    assert work.cancelled


def test_stop_reaches_a_wait_whose_handler_was_taken_away(loop):
    work = Work()
    before = signal.signal(signal.SIGINT, lambda *_: None)  # as IPython does around `await`
    try:
        waiting = threading.Event()
        interrupt_when(waiting)
        with pytest.raises(KeyboardInterrupt):
            Wait(work(), look=waiting.set, on=loop).result()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_can_wait_too(loop):
    results = []
    thread = threading.Thread(target=lambda: results.append(Wait(Work()(0), on=loop).result()))
    thread.start()
    thread.join(5)
    assert results == ["done"]


def test_who_looks_is_asked_in_the_waiting_thread(loop):
    looked = []
    gate = threading.Event()

    def look():
        looked.append(threading.current_thread())
        gate.set()

    async def work():
        await asyncio.to_thread(gate.wait, 5)

    Wait(work(), look=look, on=loop).result()
    assert set(looked) == {threading.current_thread()}


def test_a_look_that_raises_ends_the_wait_and_the_work(loop):
    work = Work()

    def look():
        raise ConnectionFailedError("Nobody is there.")

    with pytest.raises(ConnectionFailedError):
        Wait(work(), look=look, on=loop).result()
    assert work.ended.wait(5)
    assert work.cancelled


def test_the_end_is_told_however_it_came(loop):
    ended = []

    async def fail():
        raise ValueError

    Wait(Work()(0), at_end=lambda: ended.append(1), on=loop).result()
    with pytest.raises(ValueError):  # noqa: PT011
        Wait(fail(), at_end=lambda: ended.append(2), on=loop).result()
    assert ended == [1, 2]


def test_a_job_runs_in_the_waiting_thread_and_its_error_goes_back(loop):
    async def work():
        wait = current_wait()
        assert wait is not None
        first = await wait.in_waiting_thread(threading.current_thread)
        try:
            await wait.in_waiting_thread(lambda: 1 / 0)
        except ZeroDivisionError:
            return first

    assert Wait(work(), on=loop).result() is threading.current_thread()


def test_stop_in_a_job_ends_the_wait_and_the_loop_goes_on(loop):
    seen = []

    async def work():
        wait = current_wait()
        assert wait is not None

        def job():
            raise KeyboardInterrupt  # as `input()` does

        try:
            await wait.in_waiting_thread(job)
        except (WaitOverError, asyncio.CancelledError) as error:
            seen.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        Wait(work(), on=loop).result()
    assert Wait(Work()(0), on=loop).result() == "done"
    assert seen


def test_a_callback_on_the_loop_cannot_wait_for_it(loop):
    inner = Work()

    async def work():
        return Wait(inner(), on=loop).result()

    with pytest.raises(RuntimeError, match="await it"):
        Wait(work(), on=loop).result()


# -- in a coroutine ---------------------------------------------------------------------------


@pytest.mark.anyio
async def test_awaiting_keeps_other_tasks_running(loop):
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(tick())
    assert await Wait(Work()(0.3), on=loop) == "done"
    task.cancel()
    assert len(ticks) > 5


@pytest.mark.anyio
async def test_a_cancelled_await_cancels_the_work(loop):
    work = Work()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await Wait(work(), on=loop)
    assert await asyncio.to_thread(work.ended.wait, 5)
    assert work.cancelled


@pytest.mark.anyio
async def test_jobs_run_while_a_coroutine_waits(loop):
    async def work():
        wait = current_wait()
        assert wait is not None
        assert wait.asks_forms
        return await wait.in_waiting_thread(threading.current_thread)

    wait = Wait(asyncio_late(work), on=loop)
    assert await wait is threading.current_thread()


async def asyncio_late(work):
    await asyncio.sleep(0.05)
    return await work()


@pytest.mark.anyio
async def test_work_that_nobody_waits_for_goes_on(loop):
    work = Work()
    Wait(work(0.05), on=loop)
    gc.collect()
    assert await asyncio.to_thread(work.ended.wait, 5)
    assert not work.cancelled


# -- in a real kernel -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    environment = {
        "MCP_NOTEBOOK_HOME": str(folder / "home"),
        "MCP_NOTEBOOK_TOKEN_STORE": "memory",
        "IPYTHONDIR": str(folder / "ipython"),
    }
    book = Notebook(env=environment)
    book.run("%load_ext mcp_notebook")
    yield book
    book.close()


STOPPED = {
    "sync": "{}.tools.slow(seconds=60)",
    "await": "await {}.tools.slow.aio(seconds=60)",
    "both": "import asyncio\nawait asyncio.sleep(0)\n{}.tools.slow(seconds=60)",
}


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("how", STOPPED)
def test_stop_ends_a_cell_within_a_second_and_the_call_on_the_server(kernel, how, era):
    name = f"{era}_{how}"
    with serve_tools(unguarded=True, legacy=era == "legacy") as tools:
        begin = f"%mcp add {name} {tools.url}\n%mcp connect {name}\n{name}.wait(20)"
        assert not kernel.run(begin).error
        cell = kernel.start(STOPPED[how].format(name))
        tools.wait_for_tool("slow")
        began = time.monotonic()
        kernel.interrupt()
        cell.wait(10)
        assert time.monotonic() - began < 2  # a second, and the noise of a busy machine
        assert "KeyboardInterrupt" in cell.error or "CancelledError" in cell.error
        assert f"stopped while waiting for {name} · slow" in cell.error
        assert "waiting.py" not in cell.error
        tools.wait_until(lambda: tools.cancelled == ["slow"])
        assert kernel.value(f"{name}.tools.add(a=2, b=3).data") == 5
        assert kernel.value(f"str({name}.status)") == "connected"
        kernel.run(f"{name}.disconnect()")

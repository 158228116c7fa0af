"""One loop on one daemon thread: it closes in time, and a forked child has its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mcp_notebook.background import Background, background


@pytest.fixture
def loop():
    loop = Background()
    yield loop
    loop.close()


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


def test_there_is_one_loop_on_one_daemon_thread():
    async def where():
        return threading.current_thread()

    thread = background().submit(where()).result(5)
    assert background().submit(where()).result(5) is thread
    assert thread.daemon
    assert not background().inside()


def test_what_runs_on_the_loop_knows_it(loop):
    async def inside():
        return loop.inside()

    assert loop.submit(inside()).result(5)


def test_closing_awaits_what_was_named_even_if_one_of_them_fails(loop):
    closed = []

    async def good():
        closed.append("good")

    async def bad():
        closed.append("bad")
        raise ValueError

    loop.at_exit(bad)
    loop.at_exit(good)
    loop.close()
    assert sorted(closed) == ["bad", "good"]
    assert not loop.loop.is_running()
    loop.close()
    loop.post(closed.append, "late")
    assert len(closed) == 2


def test_closing_does_not_wait_longer_than_it_may(loop):
    async def never():
        await asyncio.sleep(60)

    loop.at_exit(never)
    began = time.monotonic()
    loop.close(0.2)
    assert time.monotonic() - began < 1.5


def test_a_process_ends_in_time_though_something_never_does():
    code = """
        import asyncio
        from mcp_notebook.background import background

        async def never():
            await asyncio.sleep(60)

        background().at_exit(never)
        background().submit(never())
        """
    began = time.monotonic()
    ended = python(code)
    assert time.monotonic() - began < 5
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_loop_of_its_own():
    code = """
        import os, threading
        from mcp_notebook import background as module

        async def pid():
            return os.getpid()

        ours = module.background()
        assert ours.submit(pid()).result(5) == os.getpid()
        # A lock that is held at the time of the fork must not stay held in the child.
        module._lock.acquire()
        child = os.fork()
        if child == 0:
            assert module.background() is not ours
            assert module.background().submit(pid()).result(5) == os.getpid()
            os._exit(7)
        module._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert module.background() is ours
        """
    ended = python(code)
    assert ended.returncode == 0, ended.stderr

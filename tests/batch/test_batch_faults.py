"""Batches against servers that are busy, break or go away, and people who press Stop."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from functools import partial

import pandas as pd
import pytest

from mcp_notebook.batch import mapping, pacing
from mcp_notebook.batch.batch import BatchStopped
from mcp_notebook.batch.cache import Answers
from mcp_notebook.batch.pacing import Throttle
from mcp_notebook.batch.rows import Binder
from mcp_notebook.errors import ConnectionFailedError, ToolError
from tests.mapping import Answering, calls, press_stop_when, session_with

# -- politeness -------------------------------------------------------------------------------


def test_retry_after_holds_the_whole_batch_back_and_nothing_is_lost(session, tools):
    tools.fail_next(3, status=429, retry_after=1, when=calls)
    began = time.monotonic()
    batch = session.tools.echo.map([str(n) for n in range(12)], concurrency=4)
    assert batch.done == 12
    assert tools.calls("echo") == 12
    first = min(seen.at for seen in tools.seen if seen.status == 429)
    # What was under way together was sent within a moment; then nobody calls for a second.
    assert [seen.at for seen in tools.seen if seen.tool and 0.3 < seen.at - first < 0.95] == []
    assert time.monotonic() - began >= 0.95


def test_a_tool_that_says_nothing_is_sent_again_after_429_but_not_after_503(
    session, tools, impatient
):
    tools.fail_next(1, status=429, when=calls)
    batch = session.tools.write.map(["a", "b"], concurrency=1, confirm=False)
    assert batch.done == 2
    tools.fail_next(1, status=503, when=calls)
    batch = session.tools.write.map(["a", "b"], concurrency=1, confirm=False)
    assert list(batch.errors) == [0]
    assert batch.errors[0].may_have_run
    assert batch.done == 1


def test_a_read_only_tool_is_sent_again_after_503_and_lost_connections(session, tools, impatient):
    tools.fail_next(3, status=503, when=calls)
    tools.cut_next(3, "after", when=calls)
    batch = session.tools.echo.map([str(n) for n in range(40)])
    assert (batch.done, batch.failed) == (40, 0)


def test_a_refusal_halves_the_calls_of_the_session_and_answers_give_back(session, tools, impatient):
    tools.fail_next(1, status=429, when=calls)
    session.tools.echo.map([str(n) for n in range(8)], concurrency=8)
    assert session.throttle.limit < 8
    before = session.throttle.limit
    session.tools.echo.map([str(n) for n in range(20)], concurrency=8)
    assert session.throttle.limit > before


def test_a_server_that_comes_back_is_waited_for(session, tools, monkeypatch):
    monkeypatch.setattr(pacing, "PAUSE", 0.2)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE", 0.4)

    def away() -> None:
        tools.wait_for_tool("slow", 5)
        tools.stop()
        time.sleep(0.5)
        tools.start()

    thread = threading.Thread(target=away)
    thread.start()
    batch = session.tools.slow.map([0.05] * 60, concurrency=4)
    thread.join()
    assert (batch.done, batch.failed) == (60, 0)


def test_a_server_that_is_gone_ends_the_batch_and_the_rest_goes_on_later(
    session, tools, impatient, monkeypatch
):
    monkeypatch.setattr(mapping, "ATTEMPTS", 3)

    def away() -> None:
        tools.wait_for_tool("slow", 5)
        tools.stop()

    thread = threading.Thread(target=away)
    thread.start()
    with pytest.raises(ConnectionFailedError) as caught:
        session.tools.slow.map([0.05] * 60, concurrency=4)
    thread.join()
    assert "last_batch.resume()" in caught.value.hint
    batch = session.tools.slow.last_batch
    done = batch.done
    assert 0 < done < 60
    tools.start()
    # What failed before it was clear that the server is gone is no outcome one wants.
    assert batch.resume().retry_failed().done == 60


def test_a_wait_that_is_too_long_ends_the_batch(session, tools):
    tools.fail_next(1, status=429, retry_after=4000, when=calls)
    with pytest.raises(ConnectionFailedError):
        session.tools.echo.map(["a", "b", "c"], concurrency=1)
    assert tools.calls("echo") == 0


def test_disconnecting_ends_the_batch_at_once(session, tools):
    batch = session.tools.slow.map([0.05] * 50, concurrency=2, wait=False)
    threading.Timer(0.3, session.disconnect).start()
    with pytest.raises(ConnectionFailedError):
        batch.resume()
    assert batch.done < 50


# -- Stop -------------------------------------------------------------------------------------


def test_stop_keeps_what_is_done_and_resume_finishes_the_rest(session, tools):
    rows = [{"seconds": 0.05, "steps": 1} for _ in range(60)]
    pressing = press_stop_when(lambda: tools.calls("slow") >= 12)
    with pytest.raises(KeyboardInterrupt) as caught:
        session.tools.slow.map(rows, concurrency=4)
    pressing.join()
    assert isinstance(caught.value, BatchStopped)
    batch = caught.value.batch
    assert batch is session.tools.slow.last_batch
    assert 4 <= batch.done < 60
    assert batch.failed == 0
    lines = caught.value._render_traceback_()
    assert f"{batch.done} of 60 rows done" in lines[0]
    assert "peer.tools.slow.last_batch.resume()" in lines[1]
    assert batch.resume().done == 60
    assert tools.calls("slow") <= 64  # what was under way, and nothing else, is called twice


@pytest.mark.parametrize("place", ["to_dict", "arguments"])
def test_stop_while_rows_are_read_loses_none_of_them(session, monkeypatch, place):
    owner = {"to_dict": pd.DataFrame, "arguments": Binder}[place]
    frame = pd.DataFrame({"text": [str(number) for number in range(1500)]})
    monkeypatch.setattr(owner, place, stopped_at(getattr(owner, place), 2))
    with pytest.raises(KeyboardInterrupt):
        session.tools.echo.map(frame, concurrency=32)
    batch = session.tools.echo.last_batch.resume()
    assert [result.data for result in batch.results] == list(frame["text"])


def test_stop_at_any_moment_loses_no_row_and_doubles_none(session):
    texts = [str(number) for number in range(3000)]
    stops = 0  # many: where exactly each of them comes is the machine's choice
    batch = session.tools.echo.map(iter(texts), concurrency=32, wait=False)
    while not batch.is_done:
        enough = batch.done + 150
        pressing = press_stop_when(partial(lambda n: batch.done >= n or batch.is_done, enough))
        try:
            batch.resume()
            pressing.join()
        except KeyboardInterrupt:
            stops += 1
    assert stops > 5
    assert [result.data for result in batch.results] == texts


def test_an_answer_that_cannot_be_looked_up_costs_no_row(session, tmp_path, monkeypatch):
    texts = [str(number) for number in range(20)]
    get = Answers.get
    monkeypatch.setattr(Answers, "get", stopped_at(get, 7, sqlite3.OperationalError("locked")))
    with pytest.raises(sqlite3.OperationalError):
        session.tools.echo.map(iter(texts), cache=tmp_path / "answers.sqlite")
    batch = session.tools.echo.last_batch.resume()
    assert [result.data for result in batch.results] == texts


def stopped_at(function, time, error=KeyboardInterrupt):
    """The function, which is interrupted the n-th time it is called."""
    times = itertools.count(1)

    def called(*given, **named):
        if next(times) == time:
            raise error
        return function(*given, **named)

    return called


def test_a_call_that_stop_cut_off_is_not_made_again_by_itself(tools):
    with session_with(tools.url, Answering(go_on=True)) as session:
        session.wait()
        tool = session.tools.slow
        definition = tool.needed()
        definition.annotations = None  # now it says nothing
        pressing = press_stop_when(lambda: tools.calls("slow") >= 2)
        with pytest.raises(KeyboardInterrupt):
            tool.map([0.3] * 6, concurrency=2)
        pressing.join()
        batch = tool.last_batch
        cut = [number for number, error in batch.errors.items() if error.may_have_run]
        assert len(cut) == 2
        batch.resume()
        assert (batch.done, batch.failed) == (4, 2)
        assert batch.retry_failed().done == 6
        asked = session.front_end.asked
        assert len(asked) == 2
        assert "may have run" in asked[1].message


def test_stop_in_the_middle_of_a_generator_keeps_what_was_read(session, tools):
    def rows():
        for number in range(100):
            if number == 20:
                time.sleep(30)
            yield str(number)

    def answered() -> bool:
        batch = session.tools.echo.last_batch
        return batch is not None and batch.done == 20

    pressing = press_stop_when(answered)
    with pytest.raises(KeyboardInterrupt):
        session.tools.echo.map(rows(), concurrency=2)
    pressing.join()
    batch = session.tools.echo.last_batch
    assert batch.done == 20
    with pytest.raises(ToolError, match="generator"):
        batch.resume()


@pytest.mark.anyio
async def test_cancelling_an_await_keeps_what_is_done(tools):
    with session_with(tools.url) as session:
        batch = session.tools.slow.map([0.05] * 40, concurrency=4, wait=False)
        task = asyncio.ensure_future(batch)
        await asyncio.to_thread(tools.wait_for_tool, "slow", 10)
        with pytest.raises(ToolError, match="under way"):
            batch.retry_failed()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 0 < batch.done < 40
        assert (await batch).done == 40


# -- the throttle by itself -------------------------------------------------------------------


@pytest.mark.anyio
async def test_calls_refused_together_are_one_refusal():
    throttle = Throttle()
    began = [await throttle.enter() for _ in range(16)]
    for start in began:
        throttle.leave()
        throttle.set_back(start, 0)
    assert throttle.limit == 8


@pytest.mark.anyio
async def test_several_turns_are_taken_as_far_as_there_are_any():
    throttle = Throttle(4)
    await throttle.enter()
    assert [throttle.take(2), throttle.take(5), throttle.take(1)] == [2, 1, 0]
    late = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    assert not late.done()
    throttle.leave()
    await asyncio.wait_for(late, 1)


@pytest.mark.anyio
async def test_a_waiter_that_gives_up_passes_its_turn_on():
    throttle = Throttle()
    throttle.limit = 1
    await throttle.enter()
    first = asyncio.create_task(throttle.enter())
    second = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    throttle.leave()
    first.cancel()
    await asyncio.wait_for(second, 1)

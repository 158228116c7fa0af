"""Batches on a dask cluster of several processes, one of which is killed in the middle."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections import Counter

import pytest
from distributed import Client, LocalCluster

from mcp_notebook.background import background
from mcp_notebook.batch import dask_pool
from mcp_notebook.batch.batch import BatchStopped
from mcp_notebook.batch.chunks import Reply
from mcp_notebook.errors import ExecutorError, ToolError
from tests.mapping import Clicking, press_stop_when, session_with
from tests.peers import serve_authority, serve_tools

PATIENCE = 30
WORKERS = 3


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(WORKERS, timeout=PATIENCE)
        yield client


def rows(number: int) -> list[dict[str, float]]:
    """Rows of `slow` that can be told apart."""
    return [{"seconds": 0.05 + n / 1e6} for n in range(number)]


IN_FLIGHT = 6


def connect_all(tool, tools, client: Client) -> None:
    """Maps until every worker has its connection: which of them takes a chunk is the cluster's."""
    end = time.monotonic() + PATIENCE
    while sum(seen.rpc == "tools/list" for seen in tools.seen) <= WORKERS:
        assert time.monotonic() < end
        tool.map(rows(IN_FLIGHT), executor=client, concurrency=IN_FLIGHT, confirm=False)
    tools.ran.clear()


def killing(client: Client, tools, calls: int) -> threading.Thread:
    """Kills a worker in the middle of its calls, once so many were begun."""
    victim = next(iter(client.run(os.getpid).values()))

    def under_way() -> int:
        return sum(bool(seen.tool) and not seen.status for seen in list(tools.seen))

    def kill() -> None:
        tools.wait_for_tool("slow", calls, PATIENCE)
        with tools.hold(tools.knobs.path):
            tools.wait_until(lambda: under_way() == IN_FLIGHT, PATIENCE)
            os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_the_workers_of_a_cluster_make_every_call_once(session, tools, client):
    numbers = [{"a": n, "b": 1} for n in range(300)]
    batch = session.tools.add.map(numbers, executor=client, concurrency=9)
    assert [result.data for result in batch] == list(range(1, 301))
    assert Counter(arguments["a"] for _, arguments in tools.ran) == Counter(range(300))
    assert sum(seen.rpc == "tools/list" for seen in tools.seen) == WORKERS + 1


def test_a_killed_worker_loses_nothing(session, tools, client):
    connect_all(session.tools.slow, tools, client)
    thread = killing(client, tools, tools.calls("slow") + 20)
    batch = session.tools.slow.map(rows(100), executor=client, concurrency=IN_FLIGHT)
    thread.join()
    assert (batch.done, batch.failed) == (100, 0)
    assert [result.data for result in batch] == ["done"] * 100
    again = sum(Counter(arguments["seconds"] for _, arguments in tools.ran).values()) - 100
    assert 1 <= again <= 34  # a third of them is the most that a chunk has


def test_what_a_killed_worker_may_have_called_is_not_called_again_where_that_may_do_harm(
    session, tools, client
):
    tool = session.tools.slow
    tool.needed().annotations = None  # now it says nothing
    connect_all(tool, tools, client)
    thread = killing(client, tools, tools.calls("slow") + 20)
    batch = tool.map(rows(60), executor=client, concurrency=IN_FLIGHT, confirm=False)
    thread.join()
    ran = Counter(arguments["seconds"] for _, arguments in tools.ran)
    assert batch.done + batch.failed == 60
    assert batch.failed == IN_FLIGHT / WORKERS  # what was under way there
    assert all(error.may_have_run for error in batch.errors.values())
    assert set(ran.values()) == {1}
    assert batch.retry_failed().done == 60


def test_stop_keeps_what_is_done_and_the_cluster_goes_on(session, tools, client):
    connect_all(session.tools.slow, tools, client)
    before = tools.calls("slow")
    pressing = press_stop_when(lambda: tools.calls("slow") >= before + 30)
    with pytest.raises(BatchStopped):
        session.tools.slow.map(rows(200), executor=client, concurrency=IN_FLIGHT)
    pressing.join()
    batch = session.tools.slow.last_batch
    assert 24 <= batch.done < 150
    assert batch.resume().done == 200
    assert tools.calls("slow") - before <= 212


def test_no_secret_is_in_keys_logs_or_what_the_cluster_tells_of_its_tasks(cluster, client):
    with (
        serve_authority() as authority,
        serve_tools(authority, json_response=True) as tools,
        session_with(tools.url, Clicking()) as session,
    ):
        session.wait(PATIENCE)
        batch = session.tools.slow.map(rows(40), executor=client)
        assert batch.done == 40
        authority.expire_access()
        assert session.tools.fail.map(["my row"] * 9, executor=client, confirm=False).failed == 9
        told = [client.get_worker_logs(n=1000, nanny=False), client.get_scheduler_logs(n=1000)]
        told += [
            client.run_on_scheduler(_everything_told),
            client.get_events(),
            client.get_task_stream(),
        ]
        shown = repr(told)
        assert "mcp_notebook-" in shown
        assert "my row" not in shown
        assert not any(secret in shown for secret in authority.tokens)


def _everything_told(dask_scheduler) -> list[str]:
    return [repr(list(dask_scheduler.transition_log)), repr(list(dask_scheduler.tasks.items()))]


def test_a_clients_executor_is_refused(session, client):
    with pytest.raises(ToolError, match="Client itself"):
        session.tools.echo.map(["a"], executor=client.get_executor())


@pytest.mark.anyio
async def test_a_client_of_another_event_loop_is_refused(tools, client):
    address = client.scheduler.address
    with session_with(tools.url) as session:
        async with Client(address, asynchronous=True, set_as_default=False) as other:
            with pytest.raises(ToolError, match="asynchronous=True") as caught:
                session.tools.echo.map(["a"], executor=other, wait=False)
    assert "Client(address)" in caught.value.hint


def test_a_reply_that_went_down_with_the_last_worker_is_given_up(monkeypatch):
    monkeypatch.setattr(dask_pool, "REPLY_SECONDS", 0.5)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
        ) as cluster,
        Client(cluster) as client,
    ):
        future = client.submit(Reply, pure=False)

        def end_the_worker() -> None:
            cluster.scale(0)
            end = time.monotonic() + PATIENCE
            while client.nthreads() and time.monotonic() < end:
                time.sleep(0.05)

        async def fetched() -> Reply:
            flight = dask_pool.DaskFlight(future)
            await flight.landed()
            await asyncio.to_thread(end_the_worker)
            return await flight.reply()

        assert background().submit(fetched()).result(PATIENCE).lost


def test_a_client_that_is_closed_ends_the_batch(session, cluster):
    client = Client(cluster)
    client.close()
    with pytest.raises(ExecutorError, match="does not work any more") as caught:
        session.tools.echo.map(["a", "b"], executor=client)
    assert "resume(executor=…)" in caught.value.hint

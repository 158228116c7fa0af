"""Batches spread over threads and processes: all that a batch promises, and what goes out."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import pytest
from mcp_types import URL_ELICITATION_REQUIRED

import mcp_notebook
from mcp_notebook import ExecutorError, MCPNotebookError
from mcp_notebook.auth.handed import Handed
from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.batch import spreading, worker
from mcp_notebook.batch.batch import BatchStopped
from mcp_notebook.batch.chunks import Chunk, Reply
from mcp_notebook.batch.spreading import pool_for
from mcp_notebook.client.faults import TooLargeError
from mcp_notebook.client.lending import Borrowed
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    ConnectionFailedError,
    ServerError,
    SignInNeededError,
    ToolError,
    ToolFailedError,
)
from mcp_notebook.waiting.frontend import FrontEnd
from tests.mapping import Answering, Clicking, Watching, calls, press_stop_when, session_with
from tests.peers import Seen, serve_authority, serve_tools

PATIENCE = 30


def spawning(workers: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def processes():
    with spawning() as pool:
        yield pool


@pytest.fixture
def threads():
    with Watched(3) as pool:
        yield pool


class Watched(ThreadPoolExecutor):
    """Threads, and what they were given.

    Attributes:
        sent: The chunks.
        most: The calls that chunks which were out together made at a time.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.sent: list[Chunk] = []
        self.most = 0
        self._out: dict[Future, int] = {}

    def submit(self, job, chunk):
        self.sent.append(chunk)
        future = super().submit(job, chunk)
        self._out = {future: lanes for future, lanes in self._out.items() if not future.done()}
        self._out[future] = chunk.lanes
        self.most = max(self.most, sum(self._out.values()))
        return future


class Losing(Watched):
    """The replies of the first chunks never come back: their worker has died."""

    def __init__(self, workers: int, *, losses: int) -> None:
        super().__init__(workers)
        self.left = losses

    def submit(self, job, chunk):
        if not self.left:
            return super().submit(job, chunk)
        self.left -= 1
        return super().submit(functools.partial(_lose, job), chunk)


def _lose(job, chunk: Chunk) -> Reply:
    job(chunk)
    return Reply(lost=True)


# -- what a batch promises --------------------------------------------------------------------


def test_processes_make_every_call_once_and_results_are_in_order(session, tools, processes):
    rows = [{"a": n, "b": n % 7} for n in range(300)]
    batch = session.tools.add.map(rows, executor=processes)
    assert [result.data for result in batch] == [n + n % 7 for n in range(300)]
    assert Counter(arguments["a"] for _, arguments in tools.ran) == Counter(range(300))
    assert (batch.done, batch.failed, batch.is_done) == (300, 0, True)


def test_pictures_and_structured_answers_come_back_as_they_were(session, processes):
    there = session.tools.structured.map([{"x": 1.5}], executor=processes, y=2.0)[0]
    assert there.raw == session.tools.structured(x=1.5, y=2.0).raw
    assert session.tools.picture.map([2], executor=processes)[0].images[0].width == 2


def test_a_process_keeps_its_connection_for_the_session(session, tools, processes):
    session.tools.echo.map(["a"] * 40, executor=processes)
    before = len(tools.seen)
    session.tools.echo.map(["b"] * 40, executor=processes)
    assert {seen.rpc for seen in tools.seen[before:]} == {"tools/call"}


def test_threads_share_one_connection_that_is_not_the_sessions(session, tools, threads):
    tools.forget_seen()
    batch = session.tools.echo.map([str(n) for n in range(50)], executor=threads)
    assert [result.data for result in batch] == [str(n) for n in range(50)]
    assert sum(seen.rpc == "tools/list" for seen in tools.seen) == 1


def test_concurrency_is_for_all_workers_together(session, tools, threads):
    def under_way() -> list[Seen]:
        return [seen for seen in tools.seen if seen.tool]

    def look() -> None:
        tools.wait_until(lambda: len(under_way()) >= 5)
        seen.append(len(under_way()))
        tools.release()

    seen: list[int] = []
    session.tools.echo.map(["a"] * 3, executor=threads)  # the workers' connection is open
    tools.forget_seen()
    with tools.hold(tools.knobs.path):
        looking = threading.Thread(target=look)
        looking.start()
        session.tools.echo.map(["a"] * 40, executor=threads, concurrency=5)
        looking.join()
    assert seen == [5]
    assert threads.most == 5


def test_the_rows_of_a_generator_are_read_in_the_callers_thread_as_needed(session, threads):
    read = []

    def rows():
        for number in range(10_000):
            read.append(threading.get_ident())
            yield {"message": str(number)}

    with pytest.raises(ToolFailedError):
        session.tools.fail.map(rows(), on_error="stop", confirm=False, executor=threads)
    assert set(read) == {threading.get_ident()}
    assert len(read) < 500


def test_a_failure_ends_a_batch_that_stops_at_one_and_what_was_done_is_kept(
    session, tools, threads
):
    with pytest.raises(ToolFailedError) as caught:
        session.tools.fail.map(
            ["x"] * 100, on_error="stop", concurrency=3, confirm=False, executor=threads
        )
    batch = session.tools.fail.last_batch
    assert "last_batch.resume()" in caught.value.hint
    assert 1 <= batch.failed <= 6
    assert tools.calls("fail") == batch.failed


def test_failures_come_back_as_the_errors_they_are_here(session, processes):
    batch = session.tools.fail.map(["my reason"], confirm=False, executor=processes)
    error = batch.errors[0]
    assert isinstance(error, ToolFailedError)
    assert "my reason" in error.message
    assert error.hint
    assert error.result.raw.is_error


def test_you_are_asked_once_before_many_calls(tools, threads):
    with session_with(tools.url, Answering(go_on=True)) as session:
        session.wait()
        assert session.tools.delete.map(["a", "b", "c"], executor=threads).done == 3
        assert len(session.front_end.asked) == 1
    with session_with(tools.url, Answering(go_on=False)) as session:
        session.wait()
        sent = len(threads.sent)
        with pytest.raises(ToolError, match="you said no"):
            session.tools.delete.map(["a", "b"], executor=threads)
        assert len(threads.sent) == sent


def test_answers_are_cached_and_written_as_they_come(session, tools, threads, tmp_path):
    rows = [str(n) for n in range(30)]
    path = tmp_path / "out.jsonl"
    batch = session.tools.echo.map(rows, executor=threads, cache=True, sink=path)
    assert len(path.read_text().splitlines()) == 30
    assert session.tools.echo.map(rows, executor=threads, cache=True).done == 30
    assert tools.calls("echo") == 30
    assert batch.to_frame()["result"].tolist() == rows


@pytest.mark.anyio
async def test_a_batch_in_processes_can_be_awaited(tools, processes):
    with session_with(tools.url) as session:
        batch = session.tools.echo.map(["a", "b"], executor=processes, wait=False)
        assert [result.data for result in await batch] == ["a", "b"]


def test_the_bar_tells_that_no_worker_has_begun(tools):
    busy, front_end = threading.Event(), Watching()

    def told() -> bool:
        return any("waiting for the first worker" in str(look) for look in front_end.seen)

    with ThreadPoolExecutor(1) as pool, session_with(tools.url, front_end) as session:
        pool.submit(busy.wait, PATIENCE)
        releasing = when(told, busy.set)
        assert session.tools.echo.map(["a", "b"], executor=pool).done == 2
        releasing.join()
        assert told()
        assert "waiting" not in str(front_end.seen[-1])


def when(condition, act) -> threading.Thread:
    """Acts once the condition holds."""

    def wait() -> None:
        end = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < end:
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


# -- politeness -------------------------------------------------------------------------------


def test_retry_after_holds_all_workers_back_and_nothing_is_lost(session, tools, threads):
    tools.fail_next(3, status=429, retry_after=1, when=calls)
    rows = [str(n) for n in range(12)]
    batch = session.tools.echo.map(rows, concurrency=3, executor=threads)
    assert [result.data for result in batch] == rows
    assert tools.calls("echo") == 12
    first = min(seen.at for seen in tools.seen if seen.status == 429)
    assert [seen.at for seen in tools.seen if seen.tool and 0.3 < seen.at - first < 0.95] == []


def test_what_may_have_run_is_sent_again_only_where_that_does_no_harm(
    session, tools, threads, impatient
):
    tools.fail_next(1, status=503, when=calls)
    tools.cut_next(1, "after", when=calls)
    assert session.tools.echo.map(["a"] * 20, executor=threads).done == 20
    tools.fail_next(1, status=503, when=calls)
    batch = session.tools.write.map(["a"] * 20, executor=threads, confirm=False)
    assert (batch.done, batch.failed) == (19, 1)
    assert next(iter(batch.errors.values())).may_have_run


def test_a_rate_is_a_total(session, tools, threads):
    tools.forget_seen()
    session.tools.echo.map(["a"] * 21, rate="20/s", executor=threads)
    times = [seen.at for seen in tools.seen if seen.tool]
    assert max(times) - min(times) >= 0.8
    assert all(len(chunk.calls) <= 16 for chunk in threads.sent)


def test_a_server_that_is_gone_ends_the_batch_and_the_rest_goes_on_later(
    session, tools, threads, impatient
):
    def away() -> None:
        tools.wait_for_tool("slow", 5)
        tools.stop()

    thread = threading.Thread(target=away)
    thread.start()
    with pytest.raises(ConnectionFailedError) as caught:
        session.tools.slow.map([0.05] * 60, concurrency=4, executor=threads)
    thread.join()
    assert "last_batch.resume()" in caught.value.hint
    batch = session.tools.slow.last_batch
    assert 0 < batch.done < 60
    tools.start()
    assert batch.resume().retry_failed().done == 60


# -- a chunk by itself ------------------------------------------------------------------------


@pytest.fixture
def a_chunk(session, threads):
    """Makes chunks of calls, as a batch would send them."""
    session.tools.echo.map(["a"], executor=threads)

    def make(tool: str, *calls, **facts) -> Chunk:
        return replace(threads.sent[0], tool=tool, calls=calls, **{"lanes": 2, **facts})

    return make


def test_a_worker_begins_no_call_after_the_time_of_the_chunk(a_chunk, tools):
    calls = [{"seconds": 0.05 + n / 1e6} for n in range(40)]
    reply = worker.work_off(a_chunk("slow", *calls, seconds=0.2))
    assert 2 <= len(reply.outcomes) < 40
    assert set(reply.outcomes) == set(range(len(reply.outcomes)))
    assert tools.calls("slow") == len(reply.outcomes)


def test_a_worker_makes_one_call_at_least_whatever_the_time(a_chunk):
    reply = worker.work_off(a_chunk("echo", {"text": "a"}, {"text": "b"}, seconds=0, interval=0.01))
    assert len(reply.outcomes) == 1


def test_a_worker_makes_no_further_call_once_the_server_wants_a_pause(a_chunk, tools):
    tools.fail_next(1, status=429, retry_after=7, when=calls)
    reply = worker.work_off(a_chunk("echo", *[{"text": "a"}] * 40, lanes=1, seconds=PATIENCE))
    [error] = reply.outcomes.values()
    assert (error.status, error.retry_after, error.may_have_run) == (429, 7, False)


def test_a_worker_goes_on_after_a_failure_unless_it_is_to_stop(a_chunk):
    rows = [{"message": "x"}] * 4
    assert len(worker.work_off(a_chunk("fail", *rows)).outcomes) == 4
    assert len(worker.work_off(a_chunk("fail", *rows, lanes=1, until_failure=True)).outcomes) == 1


def test_a_worker_that_cannot_connect_says_that_nothing_ran(a_chunk, tools):
    tools.fail_next(9, status=503)
    chunk = a_chunk("echo", {"text": "a"})
    elsewhere = replace(chunk, access=replace(chunk.access, key="another"))
    reply = worker.work_off(elsewhere)
    assert reply.outcomes == {}
    assert isinstance(reply.trouble, ConnectionFailedError)
    assert (reply.trouble.status, reply.trouble.may_have_run) == (503, False)


def test_an_idle_connection_is_closed(a_chunk, tools, monkeypatch):
    chunk = a_chunk("echo", {"text": "a"})
    chunk = replace(chunk, access=replace(chunk.access, key="idle"))
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.01)
    opened = sum(seen.rpc == "tools/list" for seen in tools.seen)
    closed = threading.Event()
    close = Borrowed.close

    async def closing(self) -> None:
        await close(self)
        closed.set()

    monkeypatch.setattr(Borrowed, "close", closing)
    worker.work_off(chunk)
    assert closed.wait(PATIENCE)
    monkeypatch.setattr(worker, "IDLE_SECONDS", PATIENCE)
    worker.work_off(chunk)
    assert sum(seen.rpc == "tools/list" for seen in tools.seen) == opened + 2


# -- Stop -------------------------------------------------------------------------------------


def test_stop_keeps_what_is_done_and_resume_makes_the_rest(session, tools, processes):
    session.tools.slow.map([0.001] * 8, executor=processes)  # both processes are up
    before = tools.calls("slow")
    pressing = press_stop_when(lambda: tools.calls("slow") >= before + 20)
    with pytest.raises(BatchStopped):
        session.tools.slow.map([0.05] * 200, concurrency=4, executor=processes)
    pressing.join()
    batch = session.tools.slow.last_batch
    assert 16 <= batch.done < 100
    assert batch.resume().done == 200
    assert tools.calls("slow") - before <= 208


def test_a_chunk_that_was_not_begun_when_stop_was_pressed_is_no_failure(session, tools):
    with ThreadPoolExecutor(1) as pool:
        busy = threading.Event()
        pool.submit(busy.wait, PATIENCE)
        pressing = press_stop_when(lambda: pool._work_queue.qsize() == 1)
        with pytest.raises(BatchStopped):
            session.tools.write.map(["a"] * 5, executor=pool, confirm=False)
        pressing.join()
        busy.set()
        batch = session.tools.write.last_batch
        assert (batch.done, batch.failed) == (0, 0)
        assert tools.calls("write") == 0
        assert batch.resume().done == 5
    assert tools.calls("write") == 5


def test_calls_that_stop_leaves_under_way_are_not_made_again_by_themselves(
    session, tools, threads, monkeypatch
):
    monkeypatch.setattr(spreading, "GRACE", 0.01)
    tool = session.tools.slow
    tool.needed().annotations = None  # now it says nothing
    pressing = press_stop_when(lambda: tools.calls("slow") >= 3)
    with pytest.raises(BatchStopped):
        tool.map([0.4] * 9, concurrency=3, executor=threads, confirm=False)
    pressing.join()
    batch = tool.last_batch
    assert len(batch.errors) == 3
    assert all(error.may_have_run for error in batch.errors.values())
    batch.resume()
    assert (batch.done, batch.failed) == (6, 3)
    assert tools.calls("slow") == 9
    assert batch.retry_failed().done == 9


# -- workers that die -------------------------------------------------------------------------


def test_a_pool_that_breaks_ends_the_batch_which_goes_on_with_another(session, tools, processes):
    with spawning() as pool:
        pids = list(pool.map(_pid, range(8)))

        def kill() -> None:
            tools.wait_for_tool("slow", 10)
            os.kill(pids[0], signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        with pytest.raises(ExecutorError, match="A worker has ended") as caught:
            session.tools.slow.map([0.05] * 60, concurrency=4, executor=pool)
        killing.join()
        assert "resume(executor=…)" in caught.value.hint
        batch = session.tools.slow.last_batch
        assert (batch.done < 60, batch.failed) == (True, 0)
        with pytest.raises(ExecutorError):
            batch.resume()
        assert batch.resume(executor=processes).done == 60


def _pid(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_the_rows_of_a_lost_chunk_are_sent_again_if_the_tool_says_it_does_no_harm(session, tools):
    with Losing(2, losses=2) as pool:
        rows = [str(n) for n in range(50)]
        batch = session.tools.echo.map(rows, executor=pool)
        assert [result.data for result in batch] == rows
        lost = len(pool.sent[0].calls) + len(pool.sent[1].calls)
        assert tools.calls("echo") == 50 + lost


def test_the_rows_of_a_lost_chunk_have_failed_if_it_may_do_harm(session, tools):
    with Losing(2, losses=1) as pool:
        batch = session.tools.write.map(
            [str(n) for n in range(50)], concurrency=4, executor=pool, confirm=False
        )
        assert list(batch.errors) == [0, 1]
        assert all(error.may_have_run for error in batch.errors.values())
        assert "worker was lost" in batch.errors[0].message
        assert (batch.done, tools.calls("write")) == (48, 50)


def test_no_row_of_a_lost_chunk_is_called_again_after_a_batch_that_stops_at_a_failure(
    session, tools
):
    with Losing(1, losses=1) as pool:
        with pytest.raises(ConnectionFailedError, match="worker was lost"):
            session.tools.write.map(
                ["a", "b", "c"], concurrency=2, on_error="stop", executor=pool, confirm=False
            )
        batch = session.tools.write.last_batch
        assert list(batch.errors) == [0, 1]
        batch.resume()
        assert (batch.done, tools.calls("write")) == (1, 3)


def test_a_row_whose_workers_die_again_and_again_fails(session):
    with Losing(1, losses=spreading.LOSSES) as pool:
        batch = session.tools.echo.map(["a", "b"], concurrency=1, executor=pool)
        assert list(batch.errors) == [0]
        assert batch.done == 1


class Saying(Executor):
    """Every chunk ends in the same way, and nothing is called."""

    _max_workers = 2

    def __init__(self, end) -> None:
        self.end = end

    def submit(self, job, chunk):
        future: Future = Future()
        outcome = self.end(chunk)
        ended = future.set_exception if isinstance(outcome, Exception) else future.set_result
        ended(outcome)
        return future


def test_workers_that_cannot_import_the_package_are_told_and_no_row_has_failed(session, tools):
    missing = ModuleNotFoundError("No module named 'mcp'", name="mcp")
    with pytest.raises(ExecutorError, match=r"cannot import .*\(mcp\)") as caught:
        session.tools.write.map(["a", "b"], executor=Saying(lambda _: missing), confirm=False)
    assert "where the workers are" in caught.value.hint
    assert session.tools.write.last_batch.failed == 0


def test_what_an_executor_raises_is_not_shown_and_its_rows_may_have_run(session):
    fault = RuntimeError("could not do Chunk(token='s3cret')")
    with pytest.raises(ExecutorError, match=r"\(RuntimeError\)") as caught:
        session.tools.write.map(["a", "b"], executor=Saying(lambda _: fault), confirm=False)
    assert "s3cret" not in str(caught.value)
    errors = session.tools.write.last_batch.errors
    assert errors
    assert all(error.may_have_run for error in errors.values())


def test_a_call_for_which_a_page_has_to_be_opened_is_made_here(session, tools):
    def wants_a_page(chunk: Chunk) -> Reply:
        error = ServerError("Open a page.", code=URL_ELICITATION_REQUIRED)
        return Reply(outcomes=dict.fromkeys(range(len(chunk.calls)), error))

    batch = session.tools.echo.map(["a"] * 6, executor=Saying(wants_a_page))
    assert (batch.done, tools.calls("echo")) == (6, 6)


def test_an_executor_that_is_shut_down_or_works_in_the_callers_thread_is_told(session, tools):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExecutorError, match="does not work any more"):
        session.tools.echo.map(["a", "b"], executor=pool)
    with pytest.raises(ExecutorError, match="the thread that hands it out"):
        session.tools.echo.map(["a", "b"], executor=Inline())
    assert tools.calls("echo") == 0


class Inline(Executor):
    def submit(self, job, chunk):
        future: Future = Future()
        future.set_result(job(chunk))
        return future


def test_a_worker_of_another_version_is_told(session, monkeypatch, threads):
    monkeypatch.setattr(worker, "VERSION", "0.0.1")
    with pytest.raises(ExecutorError, match=r"The workers have mcp_notebook 0\.0\.1"):
        session.tools.echo.map(["a", "b"], executor=threads)


# -- credentials ------------------------------------------------------------------------------


@pytest.fixture
def authority():
    with serve_authority() as authority:
        yield authority


@pytest.fixture
def guarded(authority):
    with serve_tools(authority, json_response=True) as tools:
        yield tools


@pytest.fixture
def signed_in(guarded):
    with session_with(guarded.url, Clicking()) as session:
        yield session.wait(PATIENCE)


def test_a_token_that_ends_in_the_middle_costs_no_row_and_no_second_call(
    signed_in, guarded, authority, processes
):
    def end() -> None:
        for count in (10, 40):
            guarded.wait_for_tool("slow", count, PATIENCE)
            authority.expire_access()

    ending = threading.Thread(target=end)
    ending.start()
    rows = [{"seconds": 0.02 + n / 1e6} for n in range(100)]
    batch = signed_in.tools.slow.map(rows, executor=processes)
    ending.join()
    assert (batch.done, batch.failed) == (100, 0)
    assert guarded.calls("slow") == 100
    assert authority.grants_made.count("refresh_token") == 2
    assert len(signed_in.front_end.links) == 1
    assert sum(seen.status == 401 and bool(seen.tool) for seen in guarded.seen) >= 2


def test_a_worker_gets_the_access_token_and_no_other_secret(signed_in, guarded, authority, threads):
    assert signed_in.tools.echo.map(["a", "b"], executor=threads).done == 2
    [access] = authority.access
    others = [secret for secret in authority.tokens if secret != access]
    assert len(others) >= 1
    for chunk in threads.sent:
        pickled = pickle.dumps(chunk)
        assert access.encode() in pickled
        assert not any(secret.encode() in pickled for secret in others)


def test_nothing_of_a_chunk_or_a_reply_is_shown(signed_in, authority, threads):
    signed_in.tools.echo.map(["my row"], executor=threads)
    [access], chunk = authority.access, threads.sent[0]
    reply = worker.work_off(chunk)
    assert "my row" in reply.outcomes[0]
    for shown in (repr(chunk), str(chunk), repr(chunk.access), f"{[chunk]}", repr(reply)):
        assert access not in shown
        assert "my row" not in shown
    assert repr(chunk) == "<Chunk of 1 calls>"


def test_more_permissions_are_asked_for_here_and_the_rest_goes_out_again(
    signed_in, guarded, threads
):
    batch = signed_in.tools.secret_tool.map([{}] * 30, executor=threads)
    assert (batch.done, batch.failed) == (30, 0)
    assert guarded.calls("secret_tool") == 30
    assert len(signed_in.front_end.links) == 2


def test_a_sign_in_that_nobody_renews_ends_the_batch(guarded, authority, threads):
    keeper = TokenKeeper(MemoryStore())
    with session_with(guarded.url, Clicking(), keeper) as session:
        session.wait(PATIENCE)
        session.front_end = FrontEnd()
        authority.revoke_grants()
        with pytest.raises(SignInNeededError):
            session.tools.echo.map(["a", "b"], executor=threads)
        assert session.tools.echo.last_batch.failed == 0


def test_a_token_that_is_refused_to_workers_only_is_told(signed_in, guarded, threads, monkeypatch):
    monkeypatch.setattr(Handed, "take", lambda self, token, at: _wrong(self))
    with pytest.raises(ExecutorError, match="not from the workers"):
        signed_in.tools.echo.map([str(n) for n in range(40)], executor=threads)
    assert 1 <= signed_in.tools.echo.last_batch.done < 40


def _wrong(handed) -> None:
    handed._record = handed._record.from_json(handed._record.to_json() | {"access_token": "wrong"})


def test_tokens_that_are_bound_to_a_key_do_not_go_out(authority, threads):
    authority.knobs.dpop = True
    with (
        serve_tools(authority, dpop=True) as guarded,
        session_with(guarded.url, Clicking()) as session,
    ):
        session.wait(PATIENCE)
        with pytest.raises(ExecutorError, match=r"DPoP, RFC 9449") as caught:
            session.tools.delete.map(["a", "b"], executor=threads)
        assert "executor=" in caught.value.hint
        assert threads.sent == []


def test_variables_of_headers_and_address_go_along_unseen(tools, monkeypatch):
    monkeypatch.setenv("TEAM_KEY", "s3cret-${HOME}")
    server = Server(
        name="peer", url=f"{tools.url}?key=${{TEAM_KEY}}", headers={"X-Team": "${TEAM_KEY}"}
    )
    with session_with(tools.url) as session, Elsewhere(1) as pool:
        session.wait()
        session.connection.server = server
        session.tools.echo.map(["a"], executor=pool)
    [seen] = [seen for seen in tools.seen if seen.tool]
    assert seen.headers["x-team"] == seen.query["key"] == "s3cret-${HOME}"
    assert "s3cret" not in repr(pool.sent)


class Elsewhere(Watched):
    """Where the variables are that a server names, they are set here only."""

    def submit(self, job, chunk):
        return super().submit(functools.partial(_without, job, list(chunk.access.variables)), chunk)


def _without(job, variables: list[str], chunk: Chunk) -> Reply:
    for name in variables:
        del os.environ[name]
    return job(chunk)


def test_a_program_on_this_machine_and_what_is_no_executor_are_refused(session, threads):
    session.connection.server = Server(name="peer", transport="stdio", command=("x",))
    with pytest.raises(ExecutorError, match="workers cannot share"):
        pool_for(session, threads)
    session.connection.server = Server(name="peer", url="https://peer.example/mcp")
    with pytest.raises(ToolError, match="not used as an executor"):
        session.tools.echo.map(["a"], executor=8)


# -- errors that travel -----------------------------------------------------------------------


ERRORS = [
    kind("what", hint="so")
    for name in mcp_notebook.__all__
    if isinstance(kind := getattr(mcp_notebook, name), type) and issubclass(kind, MCPNotebookError)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_travels_with_its_hint(error):
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert (str(there), vars(there)) == (str(error), vars(error))


def test_what_errors_know_travels_along():
    error = ConnectionFailedError("a", hint="b", status=503, retry_after=2.5, may_have_run=True)
    there = pickle.loads(pickle.dumps(error))
    assert (there.status, there.retry_after, there.may_have_run) == (503, 2.5, True)
    assert "1 MiB" in pickle.loads(pickle.dumps(TooLargeError("x", 2**20))).message
    need = SignInNeededError("a", challenge=Challenge(scheme="bearer", scope="x"), step_up=True)
    assert pickle.loads(pickle.dumps(need)).challenge == need.challenge

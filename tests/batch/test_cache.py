"""Answers kept on disk, and answers written to a file as they come."""

from __future__ import annotations

import gc
import json
import sqlite3
import stat
import sys
import threading
import time

import pandas as pd
import psutil
import pytest

from mcp_notebook.batch.cache import AnswerCache
from mcp_notebook.batch.work import Row
from mcp_notebook.client.status import Status
from mcp_notebook.errors import ToolError, ToolFailedError
from mcp_notebook.results.tool_result import ToolResult
from tests.mapping import session_with
from tests.peers import serve_tools

# -- the cache --------------------------------------------------------------------------------


def test_the_same_rows_are_not_called_again(session, tools):
    frame = pd.DataFrame({"a": range(50)})
    first = session.tools.add.map(frame, b=1, cache=True).to_frame()
    batch = session.tools.add.map(frame, b=1, cache=True)
    assert tools.calls("add") == 50
    assert batch.done == 50
    assert "50 of them known" in repr(batch)
    pd.testing.assert_frame_equal(batch.to_frame(), first)
    assert session.tools.add.map(frame, b=2, cache=True).results[3].data == 5
    assert tools.calls("add") == 100
    assert len(AnswerCache()) == 100


def test_what_is_known_needs_no_server(session, tools):
    rows = [{"x": float(n)} for n in range(5)]
    before = [result.data for result in session.tools.structured.map(rows, cache=True)]
    session.disconnect()
    tools.stop()
    with session_with(tools.url) as offline:
        began = time.monotonic()
        batch = offline.tools.structured.map(rows, cache=True)
        assert [result.data for result in batch] == before
        assert time.monotonic() - began < 1


def test_another_session_and_another_server_have_their_own_answers(session, tools):
    session.tools.echo.map(["a"], cache=True)
    with serve_tools(unguarded=True, json_response=True) as other, session_with(other.url) as two:
        two.tools.echo.map(["a"], cache=True)
        assert other.calls("echo") == 1


def test_signing_out_drops_the_answers_of_that_session_alone(session, tools):
    with session_with(tools.url, name="other") as other:
        other.tools.echo.map(["a"], cache=True)
        session.tools.echo.map(["a", "b"], cache=True)
        assert "2 of its answers kept by cache=True are dropped." in session.sign_out()
        assert [kept["server"] for kept in AnswerCache().tools()] == ["other"]
        assert not any("cache=True" in said for said in session.sign_out())


def test_signing_out_is_done_where_the_answers_cannot_be_dropped(session):
    session.tools.echo.map(["a"], cache=True)
    AnswerCache().path.write_text("no database")
    assert any("cache=True kept of it is still in" in said for said in session.sign_out())
    assert session.status is Status.DISCONNECTED


def test_a_schema_of_another_address_is_no_change_of_this_one(session, tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    session.tools.echo.map(["a"], cache=cache)
    tool = session.tools.echo.needed().model_copy(update={"input_schema": {"type": "object"}})
    assert cache.answers(session.name, "https://other.example/mcp", tool).get({"text": "a"}) is None
    cache.close()


def test_a_changed_schema_is_told_and_the_hint_works(session, tools, tmp_path):
    path = tmp_path / "answers.sqlite"
    session.tools.echo.map(["a", "b"], cache=path)
    session.tools.echo.needed().input_schema = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "loud": {"type": "boolean"}},
        "required": ["text"],
    }
    with pytest.raises(ToolError, match=r"changed its schema.*2 answers") as caught:
        session.tools.echo.map(["a"], cache=path)
    assert f"AnswerCache({str(path)!r}).forget('peer', 'echo')" in caught.value.hint
    assert AnswerCache(path).forget("peer", "echo") == 2
    assert session.tools.echo.map(["a"], cache=path).done == 1


def test_failures_are_not_kept(session, tools):
    for _ in range(2):
        batch = session.tools.fail.map(["x", "y"], cache=True, confirm=False)
        assert batch.failed == 2
    assert tools.calls("fail") == 4


def test_what_was_answered_before_a_failure_is_kept(session, tools):
    rows = [{"text": str(n)} for n in range(20)] + [{"text": 5}]
    batch = session.tools.echo.map(rows, cache=True)
    assert batch.failed == 1
    assert session.tools.echo.map(rows, cache=True)._work.known == 20


def test_the_file_is_private_and_holds_no_arguments(session):
    session.tools.add.map([{"a": 123456789, "b": 1}], cache=True)
    cache = AnswerCache()
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    assert b"123456789" not in cache.path.read_bytes()
    assert "1 answers" in repr(cache)
    [kept] = cache.tools()
    assert (kept["server"], kept["tool"], kept["answers"]) == ("peer", "add", 1)
    assert kept["version"] == "1.0"
    assert kept["at"].startswith("20")


def test_pictures_are_known_again(session):
    first = session.tools.picture.map([{"width": 3}], cache=True)
    again = session.tools.picture.map([{"width": 3}], cache=True)
    assert again[0].images[0].data == first[0].images[0].data
    assert again._work.known == 1


def test_a_file_that_is_none_of_ours_is_told(session, tmp_path):
    path = tmp_path / "other.sqlite"
    path.write_text("no database at all, and long enough to be looked at" * 20)
    with pytest.raises(Exception, match=r"other\.sqlite cannot be read"):
        session.tools.echo.map(["a"], cache=path)


def test_two_kernels_write_at_the_same_time(session, tools):
    def other() -> None:
        with session_with(tools.url) as two:
            two.tools.add.map([{"a": n} for n in range(100)], b=1, cache=True)

    thread = threading.Thread(target=other)
    thread.start()
    session.tools.add.map([{"a": n} for n in range(100, 200)], b=1, cache=True)
    thread.join()
    assert len(AnswerCache()) == 200


def test_the_cache_is_one_file_that_sqlite_reads(session):
    session.tools.echo.map(["a"], cache=True)
    with sqlite3.connect(AnswerCache().path) as database:
        (answer,) = database.execute("select answer from answers").fetchone()
    database.close()
    assert json.loads(answer)["content"][0]["text"] == "a"


def test_the_file_is_closed_with_the_cache(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    assert len(cache) == 0
    database = cache._opened
    del cache
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("select 1")


# -- the sink ---------------------------------------------------------------------------------


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_go_to_the_file_and_nothing_is_kept(session, tmp_path):
    path = tmp_path / "out" / "answers.jsonl"
    batch = session.tools.add.map([{"a": n} for n in range(100)], b=1, sink=path)
    assert {line["row"]: line["result"] for line in lines(path)} == {n: n + 1 for n in range(100)}
    assert lines(path)[0]["arguments"].keys() == {"a", "b"}
    assert batch._work.kept == []
    with pytest.raises(ToolError, match="sink"):
        batch.results  # noqa: B018
    assert batch.to_frame()["result"].tolist() == list(range(1, 101))
    assert "100 of 100 rows done" in batch._repr_mimebundle_()["text/plain"]


def test_a_file_that_is_there_is_gone_on_with(session, tools, tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [{"a": n} for n in range(10)]
    session.tools.add.map(rows[:6], b=1, sink=path)
    with path.open("a") as file:
        file.write('{"row": 6, "argum')  # the kernel died here
    batch = session.tools.add.map(rows, b=1, sink=path)
    assert tools.calls("add") == 10
    assert (batch.done, batch._work.known) == (10, 6)
    assert sorted(line["row"] for line in lines(path)) == list(range(10))


def test_a_file_of_other_rows_is_not_written_to(session, tools, tmp_path):
    path = tmp_path / "answers.jsonl"
    session.tools.echo.map(["a", "b"], sink=path)
    before = path.read_bytes()
    with pytest.raises(ToolError, match="other rows"):
        session.tools.echo.map(["c", "d"], sink=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ['{"mine": 1}', '{"mine": 1}\n{"mine": 2}', "row,text"])
def test_a_file_of_the_persons_own_is_left_as_it_is(session, tools, tmp_path, content):
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    for rows in (["a"], [{"text": 5}]):  # what does not fit the tool is written as well
        with pytest.raises(ToolError, match="not a file of a batch"):
            session.tools.echo.map(rows, sink=path)
    assert path.read_text() == content
    assert tools.calls("echo") == 0


def test_a_failure_is_a_line_and_a_retry_is_another(session, tools, tmp_path):
    path = tmp_path / "answers.jsonl"
    batch = session.tools.fail.map(["x"], sink=path)
    assert "it broke" not in str(lines(path)[0]["error"])
    assert "x" in lines(path)[0]["error"]
    batch.retry_failed()
    assert len(lines(path)) == 2
    assert len(batch.to_frame()) == 1


def test_a_function_gets_every_answer_in_the_callers_thread(session):
    got = []
    session.tools.echo.map(
        ["a", "b"], sink=lambda record: got.append((threading.get_ident(), record["result"]))
    )
    assert {thread for thread, _ in got} == {threading.get_ident()}
    assert sorted(result for _, result in got) == ["a", "b"]


def test_what_a_full_disk_says_comes_out_and_nothing_is_lost(session, tools):
    full, got = [True], []

    def sink(record) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        got.append(record["row"])

    with pytest.raises(OSError, match="No space"):
        session.tools.echo.map([str(n) for n in range(300)], sink=sink)
    full[0] = False
    batch = session.tools.echo.last_batch.resume()
    assert batch.done == 300
    assert sorted(set(got)) == list(range(300))
    assert len(got) == 300


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
def test_a_function_that_raises_is_not_given_again_what_it_had(session):
    got = []

    def sink(record) -> None:
        if len(got) == 3 and not broken:
            broken.append(record["row"])
            raise OSError(28, "No space left on device")
        got.append(record["row"])

    broken = []
    with pytest.raises(OSError, match="No space"):
        session.tools.echo.map([str(number) for number in range(12)], sink=sink)
    session.tools.echo.last_batch.resume()
    assert sorted(got) == list(range(12))


def test_a_file_that_can_grow_no_more_loses_no_line(session, tools, tmp_path):
    import resource

    path = tmp_path / "answers.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            session.tools.echo.map([str(n) * 20 for n in range(50)], sink=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == 1500  # in the middle of a line
    session.tools.echo.last_batch.resume()
    assert {line["row"] for line in lines(path)} == set(range(50))
    assert tools.calls("echo") <= 58  # those under way were cut off, and may be repeated


def test_another_format_is_refused_with_the_way_to_it(session):
    with pytest.raises(ToolError) as caught:
        session.tools.echo.map(["a"], sink="out.csv")
    assert "sink=f" in caught.value.hint


def test_on_error_stop_writes_what_was_answered(session, tmp_path):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(ToolFailedError):
        session.tools.fail.map(["x"] * 9, sink=path, on_error="stop", confirm=False, concurrency=1)
    assert len(lines(path)) == 1


# -- memory -----------------------------------------------------------------------------------


def test_with_a_sink_neither_rows_nor_answers_pile_up(session):
    lag = [0]
    read = [0]

    def rows():
        for number in range(1500):
            read[0] = number
            yield {"text": str(number)}

    def sink(record) -> None:
        batch = session.tools.echo.last_batch
        lag[0] = max(lag[0], read[0] - batch.done)

    batch = session.tools.echo.map(rows(), sink=sink, concurrency=16)
    assert batch.done == 1500
    assert lag[0] < 200
    gc.collect()
    assert sum(isinstance(thing, ToolResult | Row) for thing in gc.get_objects()) < 50


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hundred_thousand_rows_need_no_more_memory_than_ten_thousand(session, tools, tmp_path):
    process = psutil.Process()
    seen = []

    def rows():
        for number in range(100_000):
            if number % 10_000 == 9_999:
                tools.seen.clear()  # the server is in this process and remembers
                tools.ran.clear()
                gc.collect()
                seen.append(process.memory_info().rss)
            yield {"a": number}

    batch = session.tools.add.map(rows(), b=1, sink=tmp_path / "out.jsonl", concurrency=32)
    assert batch.done == 100_000
    print([f"{rss / 2**20:.0f} MB" for rss in seen])
    assert seen[-1] - seen[0] < 30 * 2**20

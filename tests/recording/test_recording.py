"""Whole notebooks recorded and replayed: what is kept, what is answered from it, what is not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import mcp_notebook
from mcp_notebook.background import background
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import (
    MCPNotebookError,
    NotRecordedError,
    ServerError,
    ToolArgumentError,
    ToolFailedError,
)
from mcp_notebook.recording.player import Player
from mcp_notebook.redaction import conceal
from mcp_notebook.workspace import Workspace, workspace
from tests.client.test_tasks import Desk
from tests.connecting import toy
from tests.peers import serve_tools


@pytest.fixture
def tools():
    with serve_tools(unguarded=True) as tools:
        yield tools


@pytest.fixture
def space(tools):
    space = Workspace()
    space.book.add(Server(name="peer", url=tools.url))
    yield space
    space.record(None)
    space.replay(None)
    for session in space.sessions.values():
        session.disconnect()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.jsonl"


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    """Waits for what comes by the way."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def calls(path) -> list[tuple[str, dict]]:
    return [
        (line["params"]["name"], line["params"]["arguments"])
        for line in lines(path)
        if line.get("request") == "tools/call"
    ]


def replay_alone(space, tools, file):
    """Ends the recording and the server, and replays."""
    space.record(None)
    tools.stop()
    space.replay(file)
    return space.connect("peer").wait(30)


# -- what comes back --------------------------------------------------------------------------


def test_a_replay_answers_like_the_server_which_is_gone(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    table, echo = live.tools.table(limit=3), live.tools.echo(text="hi")
    picture = live.tools.picture(width=3)
    listing, docstring = repr(live.tools), live.tools.add.__doc__
    again = replay_alone(space, tools, file)
    assert again is not live
    assert again.tools.table(limit=3).to_frame().equals(table.to_frame())
    assert again.tools.echo(text="hi")._repr_mimebundle_() == echo._repr_mimebundle_()
    assert again.tools.picture(width=3).images[0].data == picture.images[0].data
    assert (repr(again.tools), again.tools.add.__doc__) == (listing, docstring)


def test_the_session_says_that_it_is_a_replay(space, tools, file):
    space.record(file)
    space.connect("peer").wait(30)
    session = replay_alone(space, tools, file)
    assert session.replayed == file
    assert "a replay of run.jsonl, 13 tools" in repr(session)
    assert tools.url in repr(session)


def test_failures_of_a_tool_and_errors_of_the_server_replay_as_such(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    with pytest.raises(ToolFailedError) as failed:
        live.tools.fail(message="broken")
    with pytest.raises(ServerError) as refused:
        live.resources.read("peers://nowhere")
    again = replay_alone(space, tools, file)
    with pytest.raises(ToolFailedError) as caught:
        again.tools.fail(message="broken")
    assert str(caught.value) == str(failed.value)
    with pytest.raises(ServerError) as caught:
        again.resources.read("peers://nowhere")
    assert (str(caught.value), caught.value.code) == (str(refused.value), refused.value.code)


def test_the_same_call_has_its_answers_in_their_order_and_then_the_last_one(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    for text in ("one", "two"):
        tools.note_text = text
        live.resources.read("peers://note")
    again = replay_alone(space, tools, file)
    assert [again.resources.read("peers://note").text for _ in range(3)] == ["one", "two", "two"]


def test_resources_and_prompts_replay(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    listed = [resource.uri for resource in live.resources]
    templates = [template.name for template in live.resources.templates]
    prompts = [prompt.name for prompt in live.prompts]
    text = live.prompts.compare(one="Mars").text
    planet = live.resources.templates.planet(name="Mars").text
    again = replay_alone(space, tools, file)
    assert [resource.uri for resource in again.resources] == listed
    assert [template.name for template in again.resources.templates] == templates
    assert [prompt.name for prompt in again.prompts] == prompts
    assert again.prompts.compare(one="Mars").text == text
    assert again.resources.templates.planet(name="Mars").text == planet


def test_a_batch_replays_row_by_row_and_asks_nobody(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    rows = [{"name": str(n)} for n in range(20)]
    frame = live.tools.delete.map(rows, confirm=False).to_frame()
    again = replay_alone(space, tools, file)
    batch = again.tools.delete.map([*rows, {"name": "new"}], rate="1/min")
    assert batch.to_frame()["result"].tolist()[:20] == frame["result"].tolist()
    assert isinstance(batch.errors[20], NotRecordedError)


def test_answers_from_other_workers_are_recorded_and_a_replay_needs_no_workers(space, tools, file):
    space.record(file)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        live = space.connect("peer").wait(30)
        live.tools.echo.map(["a", "b", "c"], executor=pool)
    assert sorted(arguments["text"] for _, arguments in calls(file)) == ["a", "b", "c"]
    again = replay_alone(space, tools, file)
    batch = again.tools.echo.map(["a", "b", "c"], executor=pool)
    assert [result.data for result in batch] == ["a", "b", "c"]


def test_answers_from_the_cache_are_recorded_as_well_and_a_replay_leaves_the_cache_alone(
    space, tools, file, tmp_path
):
    cache = tmp_path / "answers.sqlite"
    space.connect("peer").wait(30).tools.echo.map(["a", "b"], cache=cache)
    space.record(file)
    space.connect("peer").tools.echo.map(["a", "b"], cache=cache)
    assert tools.calls("echo") == 2
    cache.unlink()
    again = replay_alone(space, tools, file)
    assert [r.data for r in again.tools.echo.map(["a", "b"], cache=cache)] == ["a", "b"]
    assert not cache.exists()


def test_answers_that_workers_bring_are_recorded_and_a_replay_needs_no_workers(space, tools, file):
    space.record(file)
    with ThreadPoolExecutor(2) as workers:
        space.connect("peer").wait(30).tools.echo.map(["a", "b"], executor=workers)
    again = replay_alone(space, tools, file)
    batch = again.tools.echo.map(["a", "b"], executor=workers)
    assert [result.data for result in batch] == ["a", "b"]


def test_what_was_not_recorded_is_told_with_what_was_and_the_way_to_it(space, tools, file):
    space.record(file)
    space.connect("peer").wait(30).tools.echo(text="known")
    again = replay_alone(space, tools, file)
    with pytest.raises(NotRecordedError, match=r'echo of peer .* with \{"text": "new"\}') as caught:
        again.tools.echo(text="new")
    assert '{"text": "known"}' in caught.value.hint
    assert f"%mcp record {file}" in caught.value.hint
    with pytest.raises(NotRecordedError, match="add of peer was not recorded"):
        again.tools.add(a=1, b=2)
    with pytest.raises(ToolArgumentError):
        again.tools.add(a="x")
    with pytest.raises(NotRecordedError, match=r"'other' is not in run\.jsonl, which has 'peer'"):
        space.connect("other")


# -- recording --------------------------------------------------------------------------------


def test_a_session_that_is_open_already_is_recorded_from_then_on(space, tools, file):
    live = space.connect("peer").wait(30)
    live.tools.echo(text="before")
    space.record(file)
    live.tools.echo(text="after")
    space.record(None)
    live.tools.echo(text="later")
    assert calls(file) == [("echo", {"text": "after"})]
    again = replay_alone(space, tools, file)
    assert again.tools.echo(text="after").data == "after"


def test_what_is_recorded_anew_takes_the_place_of_the_older(space, tools, file):
    for text in ("old", "new"):
        space.record(file)
        session = space.connect("peer").wait(30)
        tools.note_text = text
        session.resources.read("peers://note")
        session.tools.echo(text=text)
        space.record(None)
    again = replay_alone(space, tools, file)
    assert again.resources.read("peers://note").text == "new"
    assert again.tools.echo(text="old").data == "old"


def test_two_kernels_may_record_to_one_file(space, tools, file):
    other = Workspace()
    space.record(file)
    other.record(file)
    for number, one in enumerate([space, other] * 5):
        one.connect("peer").wait(30).tools.echo(text=str(number))
    other.record(None)
    other.disconnect("peer")
    again = replay_alone(space, tools, file)
    assert [again.tools.echo(text=str(n)).data for n in range(10)] == [str(n) for n in range(10)]
    assert space.player.contents()[0][-1] == "10"


def test_replace_drops_what_the_file_holds(space, file):
    for text in ("old", "new"):
        space.record(file, replace=True)
        space.connect("peer").wait(30).tools.echo(text=text)
        space.record(None)
    assert calls(file) == [("echo", {"text": "new"})]


def test_a_kernel_that_died_in_the_middle_of_a_line_costs_that_line(space, tools, file):
    space.record(file)
    space.connect("peer").wait(30).tools.echo(text="a")
    space.record(None)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"server": "peer", "requ')
    player = Player(file)
    assert len(player.contents()) == 1
    player.close()
    space.record(file)
    space.record(None)
    assert file.read_bytes().startswith(whole + b'{"kind"')


def test_the_file_is_private_and_says_where_answers_are_from(space, file):
    file.write_text("")
    file.chmod(0o644)
    space.record(file)
    space.connect("peer").wait(30).tools.echo(text="a")
    space.record(None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    header, met, *_ = lines(file)
    assert header["kind"] == "mcp_notebook recording"
    assert met["server"] == "peer"
    assert met["serverInfo"]["version"] == "1.0"
    [call] = [line for line in lines(file) if line.get("request") == "tools/call"]
    assert len(call["schema"]) == 16
    assert call["at"].startswith("20")


def test_a_file_that_is_no_recording_is_left_alone(space, file):
    for text in ("precious\n", '{"row": 1}\n', '{"one line": "without an end"}'):
        file.write_text(text)
        for use in (space.record, space.replay):
            with pytest.raises(MCPNotebookError, match="is no recording"):
                use(file)
        assert file.read_text() == text
    assert space.recorder is space.player is None


def test_a_recording_that_is_not_there_is_told(space, file):
    with pytest.raises(MCPNotebookError, match=r"run\.jsonl cannot be read") as caught:
        space.replay(file)
    assert f"%mcp record {file}" in caught.value.hint


def test_one_does_not_record_what_is_replayed(space, file, tmp_path):
    space.record(file)
    with pytest.raises(MCPNotebookError, match="being recorded"):
        space.replay(file)
    space.record(None)
    space.replay(file)
    with pytest.raises(MCPNotebookError, match="being replayed"):
        space.record(tmp_path / "other.jsonl")


def test_a_disk_that_is_full_costs_the_recording_and_no_call(space, file):
    recorder = space.record(file)
    session = space.connect("peer").wait(30)
    recorder._file.close()

    class Full:
        closed = False

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    recorder._file = Full()
    assert session.tools.echo(text="a").data == "a"
    with pytest.raises(MCPNotebookError, match="No space left"):
        space.record(None)
    assert space.recorder is None


# -- scripts ----------------------------------------------------------------------------------


def test_scripts_record_and_replay_a_block(space, tools, file, monkeypatch):
    monkeypatch.setattr("mcp_notebook.workspace.workspace", lambda: space)
    with mcp_notebook.record(file) as made, mcp_notebook.connect("peer") as session:
        session.tools.echo(text="a")
    assert "1 new answer (peer)" in repr(made)
    assert space.recorder is None
    tools.stop()
    with mcp_notebook.replay(file), mcp_notebook.connect("peer") as session:
        assert session.tools.echo(text="a").data == "a"
    assert space.player is None


def test_a_script_that_uses_no_block_records_from_the_call_on(space, file, monkeypatch):
    monkeypatch.setattr("mcp_notebook.workspace.workspace", lambda: space)
    made = mcp_notebook.record(file)
    space.connect("peer").wait(30).tools.echo(text="a")
    made.stop()
    space.connect("peer").tools.echo(text="b")
    assert calls(made.path) == [("echo", {"text": "a"})]


# -- odd servers, and what only a live one can do ---------------------------------------------


def test_what_a_server_asked_in_the_middle_is_not_asked_again(space, file):
    with serve_tools(unguarded=True) as tools:
        space.book.add(Server(name="shop", url=tools.url))
        space.record(file)
        live = space.connect("shop").wait(30)
        live.on_question = lambda question: {"name": "Ada"}
        said = live.tools.ask().data
        assert said == "Hello Ada"
        space.record(None)
    space.replay(file)
    session = space.connect("shop")
    session.on_question = lambda question: pytest.fail("it was asked")
    assert session.tools.ask().data == said


@pytest.mark.parametrize("legacy", [True, False])
def test_either_era_of_the_protocol_replays(space, file, legacy):
    with serve_tools(unguarded=True, legacy=legacy) as tools:
        space.book.add(Server(name="shop", url=tools.url))
        space.record(file)
        era = space.connect("shop").tools.era().data
        space.record(None)
    space.replay(file)
    session = space.connect("shop")
    assert session.tools.era().data == era
    assert session.connection.client.protocol_version == era


def test_a_program_is_not_started(space, file, tmp_path):
    marker = tmp_path / "started"
    program = (sys.executable, "-m", "tests.peers.program", "--note", str(marker))
    server = Server(name="files", transport="stdio", command=program)
    space.book.add(server)
    space.trusted.trust(server)
    space.record(file)
    assert space.connect("files").wait(20).tools.echo(text="a").text == "a"
    space.record(None)
    assert str(marker) not in file.read_text()
    marker.unlink()
    elsewhere = Workspace()
    elsewhere.replay(file)
    assert elsewhere.connect("files").tools.echo(text="a").text == "a"
    assert not marker.exists()
    elsewhere.replay(None)


def test_a_tool_that_runs_as_a_task_replays(space, file):
    with desk() as url:
        space.book.add(Server(name="desk", url=url))
        space.record(file)
        assert space.connect("desk").tools.t().text == "done"
        space.record(None)
    space.replay(file)
    assert space.connect("desk").tools.t().text == "done"


@contextlib.contextmanager
def desk():
    """The address of a server whose tool runs as a task."""

    async def serve() -> None:
        desk = Desk()
        desk.end.set()
        async with toy(desk) as url:
            address.set_result(url)
            await asyncio.wrap_future(over)

    address, over = concurrent.futures.Future(), concurrent.futures.Future()
    serving = background().submit(serve())
    yield address.result(30)
    over.set_result(None)
    serving.result(30)


def test_a_recording_tells_no_news_and_suggests_nothing(space, tools, file, private_home):
    space.record(file)
    space.connect("peer").wait(30)
    again = replay_alone(space, tools, file)
    with pytest.raises(ServerError, match="does not tell when"):
        again.resources.watch("peers://note").wait(30)
    assert again.suggestions._connection.client.server_capabilities.completions is None


def test_signing_out_of_a_replay_leaves_the_server_as_it_is(space, tools, file):
    space.record(file)
    space.connect("peer").wait(30)
    replay_alone(space, tools, file)
    for leave in (space.sign_out, space.remove):
        [said] = leave("peer")
        assert "stays as it is" in said
    space.replay(None)
    assert space.book.get("peer").url == tools.url


def test_a_session_that_is_held_says_how_to_go_on_when_the_mode_changes(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    replay_alone(space, tools, file)
    with pytest.raises(ConnectionError) as caught:
        live.tools.echo(text="a")
    assert "%mcp connect peer" in caught.value.hint


def test_a_key_that_a_server_repeats_is_not_in_the_file(space, file, monkeypatch):
    monkeypatch.setattr("mcp_notebook.redaction._concealed", ())
    conceal("k3y-of-mine")
    conceal("12345678")
    space.record(file)
    session = space.connect("peer").wait(30)
    with pytest.raises(ToolFailedError):
        session.tools.fail(message="your key is k3y-of-mine")
    session.tools.add(a=12345678, b=0)
    space.record(None)
    assert "k3y-of-mine" not in file.read_text()
    assert len(calls(file)) == 2


def test_an_answer_that_is_too_deep_to_be_written_is_answered_all_the_same(space, file):
    recorder = space.record(file)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    recorder._write({"result": deep})
    assert "too deep" in recorder.summary
    space.record(None)


def test_the_environment_can_say_so_for_a_notebook_as_it_is(space, tools, file, monkeypatch):
    monkeypatch.setattr("mcp_notebook.workspace._current", None)
    monkeypatch.setenv("MCP_NOTEBOOK_RECORD", str(file))
    recording = workspace()
    recording.connect("peer").tools.echo(text="a")
    recording.record(None)
    recording.disconnect("peer")
    tools.stop()
    monkeypatch.setattr("mcp_notebook.workspace._current", None)
    monkeypatch.setenv("MCP_NOTEBOOK_REPLAY", str(file))
    assert workspace().connect("peer").tools.echo(text="a").data == "a"
    workspace().replay(None)


def test_a_session_that_is_open_already_has_its_lists_in_the_recording(space, tools, file):
    live = space.connect("peer").wait(30)
    prompts = [prompt.name for prompt in live.prompts]
    space.record(file)
    wanted = {"tools/list", "prompts/list", "resources/list", "resources/templates/list"}
    until(lambda: wanted <= {line.get("request") for line in lines(file)})
    again = replay_alone(space, tools, file)
    assert [prompt.name for prompt in again.prompts] == prompts


def test_listings_are_as_they_were_in_the_end(space, tools, file):
    space.record(file)
    space.connect("peer").wait(30)
    tools.add_tool("late")
    space.disconnect("peer")
    space.connect("peer").wait(30)
    again = replay_alone(space, tools, file)
    assert "late" in again.tools


def test_what_a_recording_has_is_no_news_of_the_server(space, tools, file):
    space.record(file)
    live = space.connect("peer").wait(30)
    assert live.drift == []
    space.record(None)
    replaced = file.read_text().replace("Says it back.", "Says something else.")
    file.write_text(replaced)
    again = replay_alone(space, tools, file)
    assert "something else" in again.tools.echo.description
    assert again.drift == []


def test_a_second_account_is_replayed_by_its_own_name(space, tools, file):
    space.record(file)
    space.connect("peer", account="work").wait(30).tools.echo(text="a")
    space.record(None)
    tools.stop()
    space.replay(file)
    assert space.connect("peer", account="work").tools.echo(text="a").data == "a"


def test_the_demo_is_not_started_in_a_replay(space, tools, file, monkeypatch):
    monkeypatch.setattr("mcp_notebook.demo.launch.start", lambda: pytest.fail("it was started"))
    space.book.add(Server(name="demo", url=tools.url))
    space.record(file)
    space.connect("demo").wait(30)
    space.record(None)
    space.replay(file)
    assert space.demo().url == tools.url


def test_a_file_that_is_deleted_meanwhile_breaks_nothing(space, file):
    recorder = space.record(file)
    file.unlink()
    assert space.connect("peer").wait(30).tools.echo(text="a").data == "a"
    assert "1 new answer" in recorder.summary
    space.record(None)

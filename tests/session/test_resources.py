"""Resources: listed, read, filled in and watched, with real servers of both eras."""

from __future__ import annotations

import threading

import pytest
from mcp_types import (
    BlobResourceContents,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from mcp_notebook.errors import (
    MCPNotebookError,
    RequestTimeoutError,
    ServerError,
    ToolArgumentError,
    UnknownNameError,
)
from mcp_notebook.results.contents import ResourceResult
from mcp_notebook.session.resources import _expand, _show
from tests.mapping import session_with
from tests.peers import serve_tools


@pytest.fixture(scope="module", params=[False, True], ids=["modern", "legacy"])
def tools(request):
    with serve_tools(unguarded=True, legacy=request.param) as server:
        yield server


@pytest.fixture
def session(tools):
    tools.note_text = "first"
    with session_with(tools.url) as opened:
        yield opened.wait(20)


def test_a_resource_is_read_by_its_address_as_value_table_and_text(session):
    result = session.resources.read("peers://planets")
    assert result.data[2]["name"] == "Earth"
    assert result.text.startswith("[")
    assert list(result.to_frame().columns) == ["name", "radius_km", "moons"]
    assert result.content == result.text.encode()
    assert "Mercury" in result._repr_mimebundle_()["text/plain"]


def test_a_picture_is_shown_by_its_bytes(session):
    result = session.resources.read("peers://flag")
    assert result.data == result.content
    assert result.content.startswith(b"\x89PNG")
    assert [(picture.width, picture.height) for picture in result.images] == [(4, 3)]
    assert 'src="data:image/png;base64,' in result._repr_mimebundle_()["text/html"]


def test_a_mime_type_of_the_server_never_becomes_one_of_the_output(session, tools):
    tools.note_text = "<script>alert(1)</script>"
    shown = session.resources.read("peers://note")._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert "<script" not in shown["text/html"]


def test_reading_again_asks_again(session, tools):
    resource = session.resources["peers://note"]
    assert resource.read().text == "first"
    tools.note_text = "second"
    assert resource.read().text == "second"


def test_an_unknown_resource_is_the_servers_error(session):
    with pytest.raises(ServerError, match="Unknown resource") as caught:
        session.resources.read("peers://nothing")
    assert "resources.list()" in caught.value.hint


def test_a_mistyped_attribute_names_the_nearest_or_the_way(session):
    for typed, meant in (("reed", "Did you mean .read?"), ("planets", ".read(address)")):
        with pytest.raises(AttributeError) as caught:
            getattr(session.resources, typed)
        assert meant in caught.value.hint
    assert not hasattr(session.resources, "_repr_html_")


def test_an_address_is_never_opened_here(session, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("planted")
    with pytest.raises(ServerError):
        session.resources.read(secret.as_uri())


def test_an_address_is_a_text(session):
    with pytest.raises(MCPNotebookError, match="by its address"):
        session.resources.read(None)


def test_the_resources_are_listed_shown_and_completed(session):
    resources = session.resources
    addresses = ["peers://planets", "peers://flag", "peers://note"]
    assert [known.uri for known in resources.list()] == addresses
    assert [resource.uri for resource in resources] == addresses
    assert len(resources) == 3
    assert "peers://flag" in resources
    assert resources._ipython_key_completions_() == addresses
    assert "All planets." in repr(resources)
    assert "planet(name: str)" in repr(resources)
    assert resources["peers://planets"].about.description == "All planets."
    assert resources["peers://nothing"].about is None


def test_a_resource_read_before_the_session_is_connected_waits_for_it(tools):
    with session_with(tools.url) as session:
        assert len(session.resources.read("peers://planets").data) == 4


@pytest.mark.anyio
async def test_a_resource_can_be_awaited(session):
    assert (await session.resources["peers://note"].aio()).text == "first"
    assert (await session.resources.templates.planet.aio("Mars")).data["moons"] == 2


def test_a_template_is_called_with_what_fills_its_gaps(session):
    templates = session.resources.templates
    assert dir(templates) == ["planet", "search"]
    assert templates.planet("Mars").data["radius_km"] == 3389.5
    assert templates.planet.uri("a b/c") == "peers://planets/a%20b%2Fc"
    assert templates.search(query="moon", limit=3).text == "moon 3"
    assert templates.search.uri() == "peers://search"


def test_wrong_arguments_of_a_template_are_told_before_anything_is_sent(session, tools):
    templates = session.resources.templates
    dir(templates)
    before = len(tools.seen)
    with pytest.raises(ToolArgumentError, match="needs 'name'"):
        templates.planet()
    with pytest.raises(UnknownNameError, match="no resource template"):
        templates.planets  # noqa: B018
    assert len(tools.seen) == before


def test_the_server_suggests_what_fills_a_gap(session):
    assert session.resources.templates.planet.suggest("name", "V") == ["Venus"]


def test_a_template_that_cannot_be_filled_in_says_so():
    odd = ResourceTemplate(name="odd", uri_template="x://{a}{b}")
    with pytest.raises(ServerError, match="cannot be filled in"):
        _expand(odd, {})


def test_what_a_server_says_of_resources_is_never_markup():
    evil = "<img src=x onerror=alert(1)>"
    shown = _show(
        [Resource(name=evil, uri=evil, description=evil, mime_type=evil)], source="n", whole=True
    )
    assert "<img" not in shown.markup


def test_a_long_list_is_cut_where_it_is_shown():
    many = [Resource(name=f"r{n}", uri=f"x://{n}") for n in range(10_000)]
    shown = _show(many, source="n", whole=True)
    assert "… 9,700 more" in shown.plain
    assert shown.markup.count("<tr>") <= 301


def test_what_is_not_listed_yet_is_said():
    shown = _show([Resource(name="r", uri="x://1")], source="n", whole=False)
    assert "n: more than 1 resources" in shown.plain
    assert "… more: .list() has them all" in shown.markup


def test_bytes_that_are_no_base64_are_no_error():
    raw = ReadResourceResult(
        contents=[
            BlobResourceContents(uri="x://1", blob="!", mime_type="application/zip"),
            TextResourceContents(uri="x://2", text="[1, 2]"),
            TextResourceContents(uri="x://3", text="plain"),
        ]
    )
    result = ResourceResult(raw, uri="x://", server="n")
    assert result.content == b"[1, 2]plain"
    assert result.data == [[1, 2], "plain"]


# -- watching ---------------------------------------------------------------------------------


def watched(session):
    """A watch the server knows of."""
    watch = session.resources.watch("peers://note")
    session.wait_for(until_begun(watch)).result()
    return watch


async def until_begun(watch) -> None:
    while not watch._begun and watch.is_open:
        await watch._signal.wait()


def test_a_watched_resource_is_read_again_when_the_server_says_so(session, tools):
    with watched(session) as watch:
        assert "no change yet" in repr(watch)
        tools.change_note("second")
        assert watch.wait(30).text == "second"
        assert watch.changes == 1
        assert "1 change" in repr(watch)
        tools.change_note("third")
        assert next(iter(watch)).text == "third"
    assert not watch.is_open
    with pytest.raises(MCPNotebookError, match="not watched any more"):
        watch.wait(30)


def test_going_through_the_changes_ends_when_the_watch_is_closed(session):
    with watched(session) as watch:
        threading.Timer(0.2, watch.close).start()
        assert list(watch) == []


def test_waiting_for_a_change_has_an_end(session):
    with watched(session) as watch, pytest.raises(RequestTimeoutError, match="did not change"):
        watch.wait(0.05)
    session.resources.read("peers://note")


def watches(tools) -> int:
    """How many watches the server knows of."""
    # In the newer era the session itself listens too, for news of the lists.
    return tools.subscriptions if tools.knobs.legacy else tools.listening - 1


def test_closing_tells_the_server(session, tools):
    with watched(session):
        tools.wait_until(lambda: watches(tools) == 1)
    tools.wait_until(lambda: watches(tools) == 0)


def test_two_watches_count_a_change_once_each(session, tools):
    with watched(session) as one, watched(session) as other:
        for text in ("second", "third"):
            tools.change_note(text)
            assert [watch.wait(30).text for watch in (one, other)] == [text, text]
        with pytest.raises(RequestTimeoutError):
            one.wait(0.3)
        assert (one.changes, other.changes) == (2, 2)


def test_closing_one_of_two_watches_leaves_the_other(session, tools):
    with watched(session) as kept:
        with watched(session) as other:
            pass
        session.wait_for(until_closed(other)).result()
        tools.change_note("second")
        assert kept.wait(30).text == "second"
        with watched(session) as again:
            tools.change_note("third")
            assert again.wait(30).text == "third"
    tools.wait_until(lambda: watches(tools) == 0)


async def until_closed(watch) -> None:
    news = watch._connection.news
    while watch._told in news.watchers:
        await watch._signal.wait()
    async with news.subscribing:
        pass


def test_a_watch_ends_with_its_session(session):
    watch = watched(session)
    session.disconnect()
    with pytest.raises(MCPNotebookError, match="disconnected"):
        watch.wait(30)
    assert "not watched" in repr(watch)


def test_a_watch_is_renewed_in_a_new_connection():
    with serve_tools(unguarded=True) as tools, session_with(tools.url) as session:
        session.wait(20)
        with watched(session) as watch:
            session.wait_for(lose(session.connection)).result()
            assert watch.wait(30).text == "first"  # it may have changed meanwhile
            session.wait_for(until_begun(watch)).result()
            tools.change_note("second")
            assert watch.wait(30).text == "second"


async def lose(connection) -> None:
    connection._lose(await connection.ready())

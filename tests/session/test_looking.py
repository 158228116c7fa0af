"""Looking at our objects, copying and probing them asks the server nothing and runs no tool."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from typing import Any

import numpy
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from mcp_notebook.errors import UnknownToolError
from tests.mapping import session_with
from tests.peers import serve_tools

HOSTILE = [
    "__class__",
    "__deepcopy__",
    "__reduce_ex__",
    "__array__",
    "__dataframe__",
    "__len__",
    "__await__",
    "__iter__",
    "_repr_html_",
    "_repr_mimebundle_",
    "_ipython_display_",
    "_ipython_canary_method_should_not_exist_",
    "close",
    "tools",
    "class",
    "a-b",
    "x; import os",
    "<b>bold</b>",
    "n" * 5_000,
]


def trap() -> str:
    raise AssertionError("a tool was run by being looked at")


@pytest.fixture(scope="module")
def served():
    with serve_tools(unguarded=True) as tools:
        for name in HOSTILE:
            tools.mcp.add_tool(trap, name=name)
        yield tools


@pytest.fixture(scope="module")
def session(served):
    with session_with(served.url) as opened:
        opened.wait(20)
        repr(opened.prompts), repr(opened.resources)  # what is fetched by the way has come
        served.wait_until(lambda: any(s.rpc == "subscriptions/listen" for s in served.seen))
        yield opened


@pytest.fixture(scope="module")
def shell():
    # A history would be written at the end of the process, to a folder that may be gone by then.
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield made
    InteractiveShell.clear_instance()


@pytest.fixture
def quiet(served):
    """Fails if the server was asked anything meanwhile."""
    before = len(served.seen)
    yield
    assert [seen.rpc for seen in served.seen[before:]] == []


def objects(session: Any) -> list[Any]:
    return [
        session,
        session.tools,
        session.tools["echo"],
        session.tools["_repr_html_"],
        session.tools.echo.aio,
        session.prompts,
        session.prompts["compare"],
        session.resources,
        session.resources["peers://planets"],
        session.resources.templates,
        session.resources.templates["planet"],
    ]


NAMES = ["Session", "Tools", "Tool", "hostile", "aio", "Prompts", "Prompt", "Resources"]
NAMES += ["Resource", "Templates", "Template"]


@pytest.fixture(params=range(len(NAMES)), ids=NAMES)
def ours(request, session):
    return objects(session)[request.param]


def test_showing_it_asks_nothing(ours, shell, quiet):
    with capture_output() as shown:
        data, _ = shell.display_formatter.format(ours)
    assert data or shown.stdout or shown.outputs
    assert str(ours)
    assert pydoc.render_doc(ours)


def test_explaining_it_asks_nothing(ours, shell, quiet):
    shell.user_ns["ours"] = ours
    assert shell.inspector.info(ours, oname="ours", detail_level=1)["found"]
    shell.object_inspect_mime("ours", detail_level=0)
    inspect.getmembers_static(ours)


def test_completing_it_asks_nothing(ours, shell, quiet):
    shell.user_ns["ours"] = ours
    completer: IPCompleter = shell.Completer
    for typed in ("ours.", "ours[", 'ours["', "ours("):
        with provisionalcompleter():
            list(completer.completions(typed, len(typed)))


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_it_is_not_pickled(ours, quiet, protocol):
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(ours, protocol)


def test_copying_it_asks_nothing(ours, quiet):
    for copied in (copy.copy, copy.deepcopy):
        try:
            copied(ours)
        except TypeError as error:
            assert "not pickled" in str(error) or "cannot pickle" in str(error)  # noqa: PT017


def test_probing_it_asks_nothing(ours, quiet):
    for name in (
        *HOSTILE[:12],
        "__float__",
        "__fspath__",
        "__cuda_array_interface__",
        "_repr_png_",
    ):
        getattr(ours, name, None)
    hash(ours)
    bool(ours is not None)
    assert ours != 1
    assert callable(ours) in {True, False}


def test_turning_it_into_an_array_runs_no_tool(session, served):
    for ours in objects(session):
        try:
            numpy.asarray(ours)
        except (TypeError, ValueError):
            continue
    assert served.ran == []


@pytest.mark.anyio
async def test_awaiting_a_tool_runs_no_tool(session, served):
    for ours in (session.tools, session.tools.echo, session.prompts, session.resources):
        with pytest.raises(TypeError):
            await ours
    assert served.ran == []


def test_a_list_of_the_tools_is_tools(session, quiet):
    listed = list(session.tools)
    assert len(listed) == len(session.tools)
    assert {tool.name for tool in listed} >= set(HOSTILE)


def test_no_attribute_begins_with_an_underscore(session):
    assert not [name for name in dir(session.tools) if name.startswith("_")]
    for name in HOSTILE[:12]:
        with pytest.raises(AttributeError):
            session.tools._missing  # noqa: B018
        assert session.tools[name].name == name


def test_odd_names_are_reached_by_an_identifier_or_by_item(session):
    tools = session.tools
    assert tools.a_b.name == "a-b"
    assert tools.class_.name == "class"
    assert tools["x; import os"].name == "x; import os"
    assert tools["n" * 5_000].name == "n" * 5_000
    assert all(name.isidentifier() for name in dir(tools))


def test_a_wrong_name_is_told_with_the_nearest(session, quiet):
    with pytest.raises(UnknownToolError) as caught:
        session.tools.ecko  # noqa: B018
    assert "echo" in caught.value.hint


def test_names_of_tools_are_never_markup(session, quiet):
    shown = session.tools._repr_mimebundle_()["text/html"]
    assert "<b>bold" not in shown
    assert "&lt;b&gt;bold" in shown


def test_what_can_be_completed_of_ours_is_short(session, quiet):
    for ours in (found for found in objects(session) if not inspect.ismethod(found)):
        names = [name for name in dir(ours) if name.startswith("_")]
        assert names == []
        assert len(dir(ours)) < 15 or ours is session.tools
    assert {"tools", "prompts", "resources", "drift"} <= set(dir(session))
    assert not {"connection", "calls", "throttle", "wait_for"} & set(dir(session))

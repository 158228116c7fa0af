"""A call that fails until a page was opened (the older era's -32042), with a real server."""

from __future__ import annotations

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import URL_ELICITATION_REQUIRED

from mcp_notebook import ServerError
from mcp_notebook.waiting.elicitation import QUEUE
from tests.asking import Noting
from tests.mapping import session_with
from tests.peers import serve_tools


def wanted(*names: str) -> dict:
    return {
        "elicitations": [
            {
                "mode": "url",
                "message": f"Open {name}.",
                "url": f"https://{name}.example.com/",
                "elicitationId": name,
            }
            for name in names
        ]
    }


@pytest.fixture
def shop():
    """A shop whose tool fails with each of `demands`, and then answers."""
    front_end = Noting()
    demands: list[object] = []
    with serve_tools(unguarded=True, legacy=True) as tools:

        def pay() -> str:
            tools.note("pay", {})
            if demands:
                raise MCPError(URL_ELICITATION_REQUIRED, "Not yet.", demands.pop(0))
            return "paid"

        tools.mcp.add_tool(pay)
        with session_with(tools.url, front_end) as session:
            yield session.wait(20), tools, demands, front_end


def test_it_is_made_again_when_every_page_was_opened(shop):
    session, tools, demands, front_end = shop
    demands.append(wanted("one", "two"))
    assert session.tools.pay().data == "paid"
    assert [question.host for question in front_end.asked] == [
        "one.example.com",
        "two.example.com",
    ]
    assert {question.tool for question in front_end.asked} == {"pay"}
    assert tools.calls("pay") == 2


def test_it_is_made_again_only_once(shop):
    session, tools, demands, _ = shop
    demands += [wanted("one"), wanted("two")]
    with pytest.raises(ServerError, match=r"Not yet\."):
        session.tools.pay()
    assert tools.calls("pay") == 2


def test_a_page_that_is_declined_fails_the_call(shop):
    session, tools, demands, _ = shop
    demands.append(wanted("one", "two"))
    asked = []
    session.on_question = asked.append  # returns None
    with pytest.raises(ServerError, match=r"Not yet\.") as caught:
        session.tools.pay()
    assert "page to be opened" in caught.value.hint
    assert len(asked) == 1
    assert tools.calls("pay") == 1


@pytest.mark.parametrize(
    "demand",
    [
        None,
        [],
        {},
        {"elicitations": []},
        {"elicitations": [{"mode": "form", "message": "x", "requestedSchema": {}}]},
        {"elicitations": "https://one.example.com/"},
    ],
)
def test_an_error_that_names_no_page_is_just_an_error(shop, demand):
    session, tools, demands, front_end = shop
    demands.append(demand)
    with pytest.raises(ServerError, match=r"Not yet\."):
        session.tools.pay()
    assert front_end.asked == []
    assert tools.calls("pay") == 1


def test_a_flood_of_pages_is_not_asked_about_to_its_end(shop):
    session, _, demands, front_end = shop
    demands.append(wanted(*(f"n{number}" for number in range(QUEUE + 1))))
    with pytest.raises(ServerError):
        session.tools.pay()
    assert front_end.asked == []


def test_a_page_nobody_should_open_is_not_shown(shop):
    session, tools, demands, front_end = shop
    demand = wanted("one")
    demand["elicitations"][0]["url"] = "file:///etc/passwd"
    demands.append(demand)
    with pytest.raises(ServerError) as caught:
        session.tools.pay()
    assert "no answer" in caught.value.hint
    assert front_end.asked == []
    assert tools.calls("pay") == 1

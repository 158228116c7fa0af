"""A script may end as soon as it is signed in: its browser gets the last page all the same."""

from __future__ import annotations

import concurrent.futures
from http import HTTPStatus
from urllib.parse import urljoin

import httpx2
import pytest

from mcp_notebook.auth.callback import Callback
from mcp_notebook.auth.pages import Page
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.background import background
from mcp_notebook.workspace import Workspace
from tests.peers.person import NAVIGATION


async def _asking() -> Callback:
    callback = await Callback.bind(server="notes", path="/callback")
    callback.expect("st4te")
    return callback


def test_the_end_of_a_process_waits_until_the_browser_has_its_last_page():
    callback = background().submit(_asking()).result(10)
    with httpx2.Client(trust_env=False, headers=NAVIGATION, timeout=20) as browser:
        sent_on = browser.get(f"{callback.redirect_uri}?code=c0de&state=st4te")
        page = Page(HTTPStatus.OK, "Signed in to notes", "", "good")
        background().post(callback.conclude, page)
        closing = background().submit(Workspace(keeper=TokenKeeper(MemoryStore()))._close())
        with pytest.raises(concurrent.futures.TimeoutError):
            closing.result(0.2)
        last = browser.get(urljoin(callback.redirect_uri, sent_on.headers["location"]))
    assert "Signed in to notes" in last.text
    closing.result(10)

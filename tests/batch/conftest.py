"""What the tests of batches have: a server that wants no sign-in, and a session on it."""

from __future__ import annotations

import pytest

from mcp_notebook.batch import pacing
from tests.mapping import session_with
from tests.peers import serve_tools


@pytest.fixture
def tools():
    with serve_tools(unguarded=True, json_response=True) as tools:
        yield tools


@pytest.fixture
def session(tools):
    with session_with(tools.url) as session:
        yield session.wait()


@pytest.fixture
def impatient(monkeypatch):
    """The pauses a server does not name are short."""
    monkeypatch.setattr(pacing, "PAUSE", 0.01)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE", 0.05)

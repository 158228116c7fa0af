"""A kernel with somebody in front of it, servers to sign in to, a home that outlives kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_authority, serve_tools, visit


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    """The environment of a user who keeps sign-ins in files."""
    return {
        "MCP_NOTEBOOK_HOME": str(tmp_path / "home"),
        "MCP_NOTEBOOK_TOKEN_STORE": "file",
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }


@pytest.fixture
def start(home) -> Iterator:
    """Starts kernels of that user; they are ended with the test."""
    started: list[Notebook] = []

    def start(*, person=visit, load: bool = True, **options) -> Notebook:
        book = Notebook(env={**home, **options.pop("env", {})}, person=person, **options)
        started.append(book)
        if load:
            assert not book.run("%load_ext mcp_notebook").error
        return book

    yield start
    for book in started:
        book.close()


@pytest.fixture
def authority() -> Iterator:
    with serve_authority() as server:
        yield server


@pytest.fixture
def notes(authority) -> Iterator:
    """An MCP server that asks for a sign-in."""
    with serve_tools(authority) as server:
        yield server

"""A kernel with somebody in front of it, servers to sign in to, a home that outlives kernels."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.driving.kernel import Notebook
from tests.peers import serve_authority, serve_tools, visit


def environment(directory: Path) -> dict[str, str]:
    """The environment of a user who keeps sign-ins in files, in this directory."""
    return {
        "MCP_NOTEBOOK_HOME": str(directory / "home"),
        "MCP_NOTEBOOK_TOKEN_STORE": "file",
        "IPYTHONDIR": str(directory / "ipython"),
    }


@contextmanager
def kernels(home: dict[str, str]) -> Iterator[Callable[..., Notebook]]:
    """Gives what starts kernels of that user; they are ended with the block."""
    started: list[Notebook] = []

    def start(*, person=visit, load: bool = True, **options) -> Notebook:
        book = Notebook(env={**home, **options.pop("env", {})}, person=person, **options)
        started.append(book)
        if load:
            assert not book.run("%load_ext mcp_notebook").error
        return book

    try:
        yield start
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Notebook.close, started))


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    return environment(tmp_path)


@pytest.fixture
def start(home) -> Iterator[Callable[..., Notebook]]:
    with kernels(home) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory) -> Iterator[Callable[..., Notebook]]:
    """Starts kernels that the tests of a module have in common."""
    with kernels(environment(tmp_path_factory.mktemp("user"))) as start:
        yield start


@pytest.fixture
def authority() -> Iterator:
    with serve_authority() as server:
        yield server


@pytest.fixture
def notes(authority) -> Iterator:
    """An MCP server that asks for a sign-in."""
    with serve_tools(authority) as server:
        yield server


@pytest.fixture
def terminal(home):
    """Terminal IPython, and a function that runs a line and returns what it printed."""
    env = {**os.environ, **home, "TERM": "dumb"}
    options = ["--simple-prompt", "--no-banner", "--colors=NoColor"]
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", *options],
        env=env,
        encoding="utf-8",
        timeout=40,
        dimensions=(50, 120),
    )
    child.expect(r"In \[\d+\]: ")

    def run(line: str) -> str:
        child.sendline(line)
        child.expect(r"In \[\d+\]: ")
        return child.before

    yield child, run
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()

"""One JupyterLab and one browser for a module."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.driving.lab import Lab, jupyterlab, missing


# Not for the whole session: while playwright is open its loop counts as running in this thread,
# and every asynchronous test after it would fail.
@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    lacking = missing()
    if lacking:
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("lab")
    env = {"MCP_NOTEBOOK_HOME": str(folder / "home"), "MCP_NOTEBOOK_TOKEN_STORE": "memory"}
    with jupyterlab(folder, env=env) as running:
        yield running

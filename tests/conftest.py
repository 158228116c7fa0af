"""What every test has: one asyncio backend, and a home of its own on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from platformdirs import user_data_path


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_the_developers_own(tmp_path_factory, request) -> Iterator[None]:
    """Gives a module, its shared fixtures and whatever they start a home of their own.

    It fails where files were written to the place they have by default, which is a decoy on
    Linux, and the developer's own where the platform lets nobody move it.
    """
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCP_NOTEBOOK_HOME", str(folder / "home"))
        patch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "memory")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))  # profiles, and the history
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))  # the decoy; Jupyter's run files
        default = user_data_path("mcp_notebook", appauthor=False)
        before = _files(default)
        yield
        touched = _files(default).items() - before.items()
    assert not touched, f"{request.node.name} wrote to the default place: {sorted(touched)}"


@pytest.fixture(autouse=True)
def private_home(tmp_path, monkeypatch):
    """Nothing a test writes is met by the next one."""
    monkeypatch.setenv("MCP_NOTEBOOK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"

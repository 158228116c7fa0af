"""What every test has: one asyncio backend, and a home of its own on disk."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def private_home(tmp_path, monkeypatch):
    """Nothing a test writes or reads is the developer's own."""
    monkeypatch.setenv("MCP_NOTEBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MCP_NOTEBOOK_TOKEN_STORE", "memory")
    return tmp_path / "home"

"""The guarded server in a process of its own, and a sign-in to it that is kept."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import FileStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.background import background
from mcp_notebook.config.places import home


@contextlib.contextmanager
def server(token: str) -> Iterator[str]:
    """The server for the block; gives its address."""
    command = [sys.executable, "-m", "tests.benchmarks.guarded", token]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


def seen(url: str, token: str) -> list[str]:
    """Returns the methods it was asked for since this was called last."""
    request = urllib.request.Request(url.removesuffix("/mcp") + "/seen")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def kept(name: str, url: str, token: str) -> TokenKeeper:
    """A keeper that has a sign-in to it, in a file."""
    record = TokenRecord(
        server=name,
        resource=url,
        issuer="http://127.0.0.1:1",
        token_endpoint="http://127.0.0.1:1/token",
        client_id="benchmark",
        access_token=token,
        refresh_token="unused",
        expires_at=time.time() + 3600,
    )
    keeper = TokenKeeper(FileStore(home() / "tokens"))
    background().submit(keeper.save(record)).result(30)
    return keeper

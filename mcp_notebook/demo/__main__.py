"""Runs the demo server until its standard input ends, so that it never outlives who started it.

    python -m mcp_notebook.demo --port 0

prints one line of JSON, ``{"url": "http://127.0.0.1:PORT/mcp"}``, once it listens.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mcp_notebook.demo.authority import Authority
from mcp_notebook.demo.ledger import Ledger
from mcp_notebook.demo.tools import make_server

HOST = "127.0.0.1"
PORT_SECONDS = 1.5
"""How long a port is tried that a demo which is just ending may still hold."""


class _Server(uvicorn.Server):
    """Says that it listens, and ends with standard input."""

    def __init__(self, config: uvicorn.Config, *, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(json.dumps({"url": self._url}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while sys.stdin.read(1024):
            pass
        self.should_exit = True


def main() -> None:
    """Reads the command line and serves."""
    options = _options()
    listener = _listen(options.port)
    port = listener.getsockname()[1]
    # On another port these would be tokens for another resource
    kept = options.state if port == options.port else None
    ledger = Ledger(path=kept, access_seconds=options.token_lifetime)
    ledger.load()
    config = uvicorn.Config(
        make_app(f"http://{HOST}:{port}", ledger),
        ws="none",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
        proxy_headers=False,
        server_header=False,
    )
    _Server(config, url=f"http://{HOST}:{port}/mcp").run(sockets=[listener])


def make_app(origin: str, ledger: Ledger) -> Starlette:
    """Returns the authorization server and the MCP server as one application on one origin."""
    resource = f"{origin}/mcp"
    authority = Authority(origin, resource=resource, ledger=ledger)
    app = make_server(authority, resource=resource).streamable_http_app(streamable_http_path="/mcp")
    app.router.routes.extend(authority.routes())
    # Against DNS rebinding: only this very host is served
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST])
    return app


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mcp_notebook.demo",
        description="A small OAuth-protected MCP server on this computer. Ends with its input.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port; another if it is taken")
    parser.add_argument(
        "--state", type=Path, help="keep sign-ins (hashes only) here, if the port could be had"
    )
    parser.add_argument(
        "--token-lifetime", type=float, default=3600, metavar="SECONDS", help="of access tokens"
    )
    return parser.parse_args()


def _listen(port: int) -> socket.socket:
    deadline = time.monotonic() + PORT_SECONDS
    while True:
        listener = socket.socket()
        if sys.platform != "win32":  # there it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            listener.close()
            if time.monotonic() > deadline:
                port = 0
            time.sleep(0.1)
        else:
            return listener


if __name__ == "__main__":
    main()

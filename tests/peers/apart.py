"""The peers in a process of their own, for tests and benchmarks that must not share a GIL.

    with peers_apart(authority={"rotate": True}, tools={"stateless": True}) as peers:
        peers.url                                  # the MCP endpoint
        peers.turn("authority", token_lifetime=3)  # knobs
        peers.ask("tools", "count", "/mcp")        # any method of Authority or ToolServer

The other side reads one JSON request a line and answers each with a line; it ends with its input.
By hand: ``python -m tests.peers.apart '{"tools": {"slow": 0.02}}'``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.peers.authority import serve_authority
from tests.peers.tool_server import serve_tools

Peer = str
"""``"authority"`` or ``"tools"``."""


class Apart:
    """Both peers, in another process.

    Attributes:
        url: The MCP endpoint.
        issuer: The authorization server.
        pid: Their process.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lock = threading.Lock()
        ready = self._line()
        self.url: str = ready["url"]
        self.issuer: str = ready["issuer"]
        self.pid = process.pid

    def ask(self, peer: Peer, method: str, *arguments: Any, **named: Any) -> Any:
        """Calls a method of a peer and gives its answer (None if it is no JSON)."""
        return self._send(peer=peer, method=method, arguments=arguments, named=named)

    def turn(self, peer: Peer, **knobs: Any) -> None:
        """Sets knobs."""
        self._send(peer=peer, knobs=knobs)

    def read(self, peer: Peer, attribute: str) -> Any:
        """Reads an attribute, such as ``reuses`` or ``ran``."""
        return self._send(peer=peer, attribute=attribute)

    def _send(self, **request: Any) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._line()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the peers are gone")
        return json.loads(line)


@contextlib.contextmanager
def peers_apart(
    *, authority: dict[str, Any] | None = None, tools: dict[str, Any] | None = None
) -> Iterator[Apart]:
    """Runs both peers in another process for the block; the dictionaries are knobs."""
    knobs = json.dumps({"authority": authority or {}, "tools": tools or {}})
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.peers.apart", knobs],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield Apart(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _answer(peers: dict[str, Any], request: dict[str, Any]) -> Any:
    peer = peers[request["peer"]]
    if "knobs" in request:
        for name, value in request["knobs"].items():
            if not hasattr(peer.knobs, name):
                raise AttributeError(f"no knob {name}")
            setattr(peer.knobs, name, value)
        return None
    if "attribute" in request:
        return getattr(peer, request["attribute"])
    return getattr(peer, request["method"])(*request["arguments"], **request["named"])


def main() -> None:
    """Serves until the input ends."""
    knobs = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    with (
        serve_authority(**knobs.get("authority", {})) as authority,
        serve_tools(authority, **knobs.get("tools", {})) as tools,
    ):
        peers = {"authority": authority, "tools": tools}
        print(json.dumps({"url": tools.url, "issuer": authority.issuer}), flush=True)
        for line in sys.stdin:
            try:
                answer = {"answer": _answer(peers, json.loads(line))}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer, default=lambda value: None), flush=True)


if __name__ == "__main__":
    main()

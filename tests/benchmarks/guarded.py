"""A server that costs next to nothing, so that what is measured against it is the client.

Raw HTTP/1.1 on asyncio; just enough of MCP 2026-07-28 for a client to open and call one tool,
``nap``, that takes its milliseconds without keeping anybody waiting. It is guarded: requests
without the token are refused with 401 (RFC 6750 §3).

    python -m tests.benchmarks.guarded TOKEN        # prints its address, ends with its input
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import deque
from typing import Any

VERSION = "2026-07-28"
INFO = {"io.modelcontextprotocol/serverInfo": {"name": "guarded", "version": "1"}}
COMPLETE = {"resultType": "complete", "_meta": INFO}
FRESH = {"cacheScope": "private", "ttlMs": 0}
NAP = {
    "name": "nap",
    "inputSchema": {
        "type": "object",
        "properties": {"ms": {"type": "integer"}},
        "required": ["ms"],
    },
    "annotations": {"readOnlyHint": True},
}
RESULTS: dict[str, dict[str, Any]] = {
    "server/discover": {
        "capabilities": {"tools": {}},
        "supportedVersions": [VERSION],
        **FRESH,
        **COMPLETE,
    },
    "tools/list": {"tools": [NAP], **FRESH, **COMPLETE},
    "tools/call": {"content": [{"type": "text", "text": "rested"}], "isError": False, **COMPLETE},
}
SEEN: deque[str] = deque(maxlen=1000)
"""What it was asked for since ``GET /seen`` was answered with it."""

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Guarded(asyncio.Protocol):
    def __init__(self, token: str) -> None:
        self.bearer = f"bearer {token}".lower().encode()
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            self.serve(head, body)

    def serve(self, head: bytes, body: bytes) -> None:
        if self.bearer not in head.lower():
            challenge = 'WWW-Authenticate: Bearer error="invalid_token"'
            self.reply(b"", "401 Unauthorized", challenge)
            return
        if head.startswith(b"GET /seen"):
            self.reply(json.dumps(list(SEEN)).encode())
            SEEN.clear()
            return
        message = json.loads(body) if head.startswith(b"POST") else {}
        SEEN.append(message.get("method", "GET"))
        if "id" not in message:
            self.reply(b"", "202 Accepted" if message else "405 Method Not Allowed")
            return
        found = RESULTS.get(message["method"], {})
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": found}).encode()
        if message["method"] == "tools/call":
            seconds = message["params"]["arguments"]["ms"] / 1000
            asyncio.get_running_loop().call_later(seconds, self.reply, answer)
        else:
            self.reply(answer)

    def reply(self, body: bytes, status: str = "200 OK", header: str = "X: -") -> None:
        if self.transport.is_closing():
            return
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", header]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self.transport.write("\r\n".join(lines).encode() + body)


async def main(token: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Guarded(token), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""Answers of a server, seen from outside: what they begin with, and what they mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from mcp_types import METHOD_NOT_FOUND

from mcp_notebook.client.faults import TooLargeError

ERROR_BYTES = 64 * 1024
"""How much of an error page is read."""


class Bounded(httpx2.AsyncByteStream):
    """The body of an answer as it comes, up to a limit."""

    def __init__(self, response: httpx2.Response, limit: int, name: str) -> None:
        """Takes the body of a response.

        Args:
            response: The response, unread.
            limit: So many bytes.
            name: What the error calls the server.

        Raises:
            TooLargeError: The server says itself that it is longer.
        """
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._stream = response.stream
        self._limit = limit
        self._name = name
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > limit:
            raise TooLargeError(name, limit)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._limit:
                raise TooLargeError(self._name, self._limit)
            yield chunk

    async def aclose(self) -> None:
        """Frees the connection."""
        await self._stream.aclose()


def plain(request: httpx2.Request, status: int, body: bytes) -> httpx2.Response:
    """Returns a JSON answer that is read already."""
    return httpx2.Response(
        status, headers={"Content-Type": "application/json"}, content=body, request=request
    )


def taken(request: httpx2.Request) -> httpx2.Response:
    """Returns the answer to a notification."""
    return httpx2.Response(202, request=request)


async def beginning(response: httpx2.Response) -> str:
    """Returns the beginning of an error page; whatever goes wrong meanwhile does not matter."""
    kept = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            kept += chunk[:ERROR_BYTES]
            if len(kept) >= ERROR_BYTES:
                break
    except httpx2.HTTPError:
        pass
    finally:
        await response.aclose()
    return kept.decode("utf-8", "replace")


def rpc_error(text: str) -> dict[str, Any] | None:
    """Returns the error of a JSON-RPC answer (JSON-RPC 2.0 §5.1), or None where it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if (
        isinstance(error, dict)
        and isinstance(error.get("message"), str)
        and type(error.get("code")) is int
        and document.get("jsonrpc") == "2.0"
    ):
        return error
    return None


def session_lost(
    request: httpx2.Request, response: httpx2.Response, said: dict[str, Any] | None
) -> bool:
    """Tells whether the server no longer knows the session.

    That is a 404 (MCP 2025-11-25, transports, "Session Management"); some servers say it with 400.
    """
    if "mcp-session-id" not in request.headers:
        return False
    if response.status_code == 404:
        return said is None or said["code"] != METHOD_NOT_FOUND
    text = said["message"].lower() if said is not None and response.status_code == 400 else ""
    return "session" in text and any(
        word in text
        for word in ("not found", "no valid", "invalid", "expired", "unknown", "termin")
    )

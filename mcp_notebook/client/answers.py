"""Answers of a server, seen from outside: what they begin with, and what they mean."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from mcp_types import METHOD_NOT_FOUND

ERROR_BYTES = 64 * 1024
"""How much of an error page is read."""


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

"""Servers of the newest revision that leave out what can only mean one thing."""

from __future__ import annotations

import pytest

from tests.connecting import connected, http, result, toy

pytestmark = pytest.mark.anyio

LISTED = {"ttlMs": 0, "cacheScope": "private"}


async def answer(method, message, writer):
    """A server of 2026-07-28 that never sends ``resultType``."""
    members = {
        "server/discover": {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "toy", "version": "1"},
            **LISTED,
        },
        "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}], **LISTED},
        "tools/call": {"content": [{"type": "text", "text": "done"}]},
    }[message["method"]]
    writer.write(http(result(message, **members)))


async def test_an_absent_result_type_means_complete():
    async with toy(answer) as url, connected(url) as connection:
        assert connection.client.protocol_version == "2026-07-28"
        answered = await connection.call_tool("t", {})
        assert answered.content[0].text == "done"

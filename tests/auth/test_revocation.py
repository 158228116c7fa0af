"""Taking tokens back, and saying what remains."""

from __future__ import annotations

import time

import pytest

from mcp_notebook.auth import revocation
from tests.auth.situations import (
    ME,
    a_record,
    asked,
    refreshable,
    soon,
)

pytestmark = pytest.mark.anyio


async def test_the_refresh_token_is_revoked_first(fetch, authority):
    record = refreshable(authority)
    said = await revocation.revoke(fetch, record)
    assert [seen.form["token"] for seen in asked(authority, "/revoke")] == [
        record.refresh_token,
        record.access_token,
    ]
    assert [seen.form["token_type_hint"] for seen in asked(authority, "/revoke")] == [
        "refresh_token",
        "access_token",
    ]
    assert authority.refresh[record.refresh_token].grant.revoked
    assert said == ["The refresh token was revoked.", "The access token was revoked."]


async def test_what_could_not_be_revoked_is_said_to_remain(fetch, authority):
    authority.fail_next(path="/revoke", status=503)
    authority.cut_next(path="/revoke")
    said = await revocation.revoke(fetch, refreshable(authority, expires_at=soon(600)))
    assert "refresh token was not revoked (127.0.0.1: 503)" in said[0]
    assert "for about 10 min" in said[1]
    assert "no connection" in said[1]


async def test_without_a_revocation_endpoint_nothing_is_sent(fetch, authority):
    record = refreshable(authority, revocation_endpoint=None, expires_at=None)
    said = await revocation.revoke(fetch, record)
    assert all("offers no revocation" in sentence for sentence in said)
    assert authority.seen == []


async def test_revocation_has_a_clock_for_all_of_it(fetch, authority, monkeypatch):
    monkeypatch.setattr(revocation, "DEADLINE", 0.2)
    with authority.hold("/revoke"):
        began = time.monotonic()
        said = await revocation.revoke(fetch, refreshable(authority))
        assert time.monotonic() - began < 3
    assert len(said) == 2
    assert all("no answer in time" in sentence for sentence in said)


async def test_a_signed_out_record_has_nothing_to_revoke(fetch, authority):
    assert await revocation.revoke(fetch, a_record(authority, ME)) == []
    assert authority.seen == []


async def test_no_token_is_in_what_is_said_or_in_the_steps(fetch, authority):
    record = refreshable(authority)
    said = await revocation.revoke(fetch, record)
    shown = f"{said} {fetch.steps}"
    assert record.refresh_token not in shown
    assert record.access_token not in shown

"""Signing in on another device."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace

import pytest

from mcp_notebook.auth.device import poll_device, start_device
from mcp_notebook.errors import (
    AuthorizationServerError,
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
)
from tests.auth.situations import (
    ME,
    RESOURCE,
    a_server,
    answer,
    asked,
    guardian,
)
from tests.peers import visit

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("mcp_notebook.auth.device.SHORTEST_INTERVAL", 0.01)
    monkeypatch.setattr("mcp_notebook.auth.device.SLOW_DOWN", 0.05)


async def begin(fetch, authority, **changes):
    there = guardian(authority, **changes)
    return await start_device(
        fetch, a_server(authority), ME, there, scope="tools", resource=RESOURCE
    )


async def poll(fetch, authority, device, **options):
    quick = replace(device, interval=0.01)
    return await poll_device(fetch, ME, guardian(authority), quick, **options)


async def test_a_confirmed_device_is_signed_in(fetch, authority):
    device = await begin(fetch, authority)
    assert asked(authority, "/device_authorization")[0].form == {
        "client_id": "me", "scope": "tools", "resource": RESOURCE,
    }  # fmt: skip
    assert device.verification_uri_complete.endswith(device.user_code)
    authority.knobs.slow_down = 1
    authority.fail_next(status=503)
    answer(authority, {"error": "authorization_pending"}, status=400)
    for entry in authority.devices.values():
        entry.state = "approved"
    tokens = await poll(fetch, authority, device, resource=RESOURCE)
    assert authority.check(tokens.access_token)
    assert authority.count("/token") == 4
    assert {seen.form["resource"] for seen in asked(authority)} == {RESOURCE}


async def test_a_declined_device_is_told(fetch, authority):
    device = await begin(fetch, authority)
    visit(device.verification_uri_complete, decision="deny")
    with pytest.raises(SignInDeniedError):
        await poll(fetch, authority, device)


async def test_an_expired_code_is_told_whoever_notices_first(fetch, authority):
    device = await begin(fetch, authority)
    answer(authority, {"error": "expired_token"}, status=400)
    with pytest.raises(SignInExpiredError):
        await poll(fetch, authority, device)
    asked_so_far = authority.count("/token")
    with pytest.raises(SignInExpiredError):
        await poll(fetch, authority, replace(device, deadline=time.monotonic()))
    assert authority.count("/token") == asked_so_far


async def test_slow_down_lengthens_every_later_interval(fetch, authority, monkeypatch):
    monkeypatch.setattr("mcp_notebook.auth.device.SLOW_DOWN", 0.3)
    device = await begin(fetch, authority)
    authority.knobs.slow_down = 1
    answer_later = {"error": "authorization_pending"}
    authority.fail_next(
        status=400,
        path="/token",
        body=json.dumps(answer_later).encode(),
        when=lambda _: authority.count("/token") == 2,
    )
    for entry in authority.devices.values():
        entry.state = "approved"
    await poll(fetch, authority, device)
    moments = [seen.at for seen in asked(authority)]
    assert len(moments) == 3
    assert all(b - a >= 0.3 for a, b in itertools.pairwise(moments))


async def test_another_refusal_ends_the_polling(fetch, authority):
    device = await begin(fetch, authority)
    answer(authority, {"error": "invalid_grant"}, status=400)
    with pytest.raises(AuthorizationServerError) as caught:
        await poll(fetch, authority, device)
    assert caught.value.code == "invalid_grant"


async def test_without_a_device_endpoint_the_other_way_is_named(fetch, authority):
    with pytest.raises(SignInError) as caught:
        await begin(fetch, authority, device_authorization_endpoint=None)
    assert "--grant device_code" in caught.value.hint


DEVICE = {
    "device_code": "d3vice", "user_code": "ABCD-EFGH", "expires_in": 60,
    "verification_uri": "https://as.example/device",
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": None},
        {"user_code": 1234},
        {"user_code": "A\nB"},
        {"user_code": "A" * 65},
        {"verification_uri": None},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://as.example/device"},
        {"verification_uri_complete": "https://a@b.example/"},
    ],
    ids=str,
)
async def test_a_device_answer_that_cannot_be_shown_is_refused(fetch, authority, changes):
    body = json.dumps({**DEVICE, **changes}).encode()
    authority.fail_next(status=200, path="/device_authorization", body=body)
    with pytest.raises(AuthorizationServerError):
        await begin(fetch, authority)


@pytest.mark.parametrize(
    ("said", "interval"), [(None, 5), (0, 0.01), ("7", 7), (10**9, 60), ("soon", 5)]
)
async def test_an_interval_is_kept_within_reason(fetch, authority, said, interval):
    body = json.dumps({**DEVICE, "interval": said}).encode()
    authority.fail_next(status=200, path="/device_authorization", body=body)
    device = await begin(fetch, authority)
    assert device.interval == interval
    assert "d3vice" not in repr(device)
    assert "ABCD" not in repr(device)

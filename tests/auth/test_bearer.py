"""What goes on a request, and what the answers mean."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx2
import pytest

from mcp_notebook.auth.bearer import Bearer
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import AuthorizationServerError, SignInError, SignInNeededError
from tests.auth.signing import credentials_of, signed_in
from tests.peers import serve_authority, serve_tools

pytestmark = pytest.mark.anyio

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SECRET = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "secret_tool", "arguments": {}},
}


@pytest.fixture
async def credentials(authority, tools):
    credentials = credentials_of(tools)
    await signed_in(credentials)
    authority.forget_seen()
    tools.forget_seen()
    return credentials


async def send(credentials, body=PING, *, url=None, **headers) -> httpx2.Response:
    accept = {"accept": "application/json, text/event-stream", **headers}
    async with httpx2.AsyncClient(auth=Bearer(credentials), trust_env=False) as client:
        return await client.post(url or credentials.server.url, json=body, headers=accept)


def tokens_sent(tools) -> list[str]:
    return [seen.headers.get("authorization", "") for seen in tools.seen if seen.path == "/mcp"]


async def test_the_token_is_on_the_request(tools, credentials):
    assert (await send(credentials)).status_code not in {401, 403}
    token = (await credentials.load()).access_token
    assert tokens_sent(tools) == [f"Bearer {token}"]


async def test_without_a_sign_in_the_401_says_that_one_is_needed(tools):
    with pytest.raises(SignInNeededError, match="asks for a sign-in") as needed:
        await send(credentials_of(tools))
    assert tokens_sent(tools) == [""]
    assert needed.value.challenge.resource_metadata
    assert not needed.value.step_up


async def test_a_server_that_asks_for_nothing_gets_nothing(authority, tools):
    tools.knobs.unguarded = True
    await send(credentials_of(tools))
    assert tokens_sent(tools) == [""]
    assert not authority.seen


async def test_a_refused_token_is_renewed_once_and_the_request_repeated_once(
    authority, tools, credentials
):
    authority.revoke_access()
    assert (await send(credentials)).status_code not in {401, 403}
    sent = tokens_sent(tools)
    assert len(sent) == len(set(sent)) == 2
    assert authority.count("/token") == 1


async def test_a_server_that_refuses_for_ever_ends_after_one_renewal(authority, tools, credentials):
    tools.knobs.always_401 = True
    with pytest.raises(SignInNeededError, match="no longer accepts"):
        await send(credentials)
    assert len(tools.seen) == 2
    assert authority.count("/token") == 1


async def test_a_revoked_sign_in_says_that_a_person_is_needed(authority, tools, credentials):
    authority.revoke_grants()
    with pytest.raises(SignInNeededError) as needed:
        await send(credentials)
    assert "connect notes" in needed.value.hint
    assert len(tools.seen) == 1


async def test_an_authorization_server_in_trouble_is_the_cause_and_no_sign_in(
    authority, tools, credentials, monkeypatch
):
    monkeypatch.setattr("mcp_notebook.auth.grants.BACKOFF", 0.001)
    authority.revoke_access()
    authority.fail_next(times=3, status=503, path="/token")
    with pytest.raises(AuthorizationServerError) as trouble:
        await send(credentials)
    assert trouble.value.passing
    assert (await credentials.load(fresh=True)).refresh_token


async def test_a_slow_request_holds_nobody_up(tools, credentials):
    with tools.hold("/mcp"):
        slow = asyncio.create_task(send(credentials))
        await asyncio.to_thread(tools.wait_for, "/mcp")
        async with asyncio.timeout(2):
            token = (await credentials.load()).access_token
            assert (await credentials.renew(token)).access_token != token
    assert (await slow).status_code not in {401, 403}


async def test_too_few_permissions_are_a_step_up(tools, credentials):
    with pytest.raises(SignInNeededError, match="more permissions: admin") as needed:
        await send(credentials, SECRET)
    assert needed.value.step_up
    assert needed.value.challenge.scope == "admin"


@pytest.mark.parametrize(
    "challenge", ["", 'Bearer error="insufficient_scope"', 'Basic realm="x"', "Bearer"]
)
async def test_a_403_that_names_no_scope_is_a_plain_answer(tools, credentials, challenge):
    tools.knobs.www_authenticate = challenge
    assert (await send(credentials, SECRET)).status_code == 403


async def test_the_scope_of_a_challenge_is_shown_as_a_harmless_line(tools, credentials):
    tools.knobs.www_authenticate = (
        ('Bearer error="insufficient_scope", scope="' + "x" * 3000 + '\u0085\u009b31m"')
        .encode("latin-1")
        .decode("latin-1")
    )
    with pytest.raises(SignInNeededError) as needed:
        await send(credentials, SECRET)
    assert needed.value.message.isprintable()
    assert len(needed.value.message) < 300


async def test_the_token_never_goes_to_another_origin(tools, credentials):
    with serve_tools() as other:
        await send(credentials, url=other.url)
        assert tokens_sent(other) == [""]


async def test_a_persons_own_header_is_left_alone_and_named_when_refused(
    authority, tools, credentials
):
    with pytest.raises(SignInError, match="Authorization header") as refused:
        await send(credentials, Authorization="Bearer of-the-person")
    assert not isinstance(refused.value, SignInNeededError)
    assert tokens_sent(tools) == ["Bearer of-the-person"]
    assert not authority.seen


async def test_a_key_in_the_address_stands_for_the_sign_in_and_is_named_when_refused(
    authority, tools
):
    server = Server(name="notes", url=f"{tools.url}/${{KEY}}")
    keyed = Credentials(server, TokenKeeper(MemoryStore()))
    with pytest.raises(SignInError, match="address it was added with") as refused:
        await send(keyed, url=tools.url)
    assert not isinstance(refused.value, SignInNeededError)
    assert tokens_sent(tools) == [""]
    assert not authority.seen


async def test_a_sign_in_of_another_kernel_in_between_is_used(authority, tools):
    store = MemoryStore()
    credentials, other = credentials_of(tools, store), credentials_of(tools, store)
    assert await credentials.current() is None
    with tools.hold("/mcp"):
        waiting = asyncio.create_task(send(credentials))
        await asyncio.to_thread(tools.wait_for, "/mcp")
        record, _ = await signed_in(other)
        await credentials.load(fresh=True)  # as the marker of a shared store brings about
    assert (await waiting).status_code not in {401, 403}
    assert tokens_sent(tools) == ["", f"Bearer {record.access_token}"]


async def test_every_request_has_a_proof_of_its_own_where_tokens_are_bound():
    with (
        serve_authority(dpop=True, dpop_nonce="as-nonce") as authority,
        serve_tools(authority, dpop=True, dpop_nonce="rs-nonce") as tools,
    ):
        credentials = credentials_of(tools)
        await signed_in(credentials)
        bearer = Bearer(credentials)
        tools.forget_seen()
        async with httpx2.AsyncClient(auth=bearer, trust_env=False) as client:
            for _ in range(2):
                response = await client.post(
                    tools.url, json=PING, headers={"accept": "application/json, text/event-stream"}
                )
                assert response.status_code not in {401, 403}
        proofs = [seen.headers["dpop"] for seen in tools.seen]
        assert len(set(proofs)) == len(proofs) == 3  # the first was refused for its nonce
        assert all(value.startswith("DPoP ") for value in tokens_sent(tools))
        before = await credentials.load()
        await credentials.keeper.save(replace(before, expires_at=1.0))
        after = await credentials.current()
        assert (after.access_token, after.dpop_key) == (after.access_token, before.dpop_key)
        assert after.access_token != before.access_token

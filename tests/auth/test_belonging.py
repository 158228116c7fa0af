"""Clients belong to an issuer and to a port: what happens when either is another than before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.errors import AuthorizationServerError, SignInError
from tests.auth.signing import credentials_of, signed_in
from tests.peers import Authority, serve_authority

pytestmark = pytest.mark.anyio


@pytest.fixture
def second() -> Iterator[Authority]:
    """Another authorization server; the MCP server trusts the tokens of the first alone."""
    with serve_authority() as server:
        yield server


# -- several authorization servers ------------------------------------------------------------


async def test_the_authorization_server_that_was_used_is_asked_first_ever_after(
    authority, tools, second
):
    tools.knobs.authorization_servers = (second.issuer, authority.issuer)
    await asyncio.to_thread(second.stop)
    credentials = credentials_of(tools)
    first_record, _ = await signed_in(credentials)
    assert first_record.issuer == authority.issuer

    await asyncio.to_thread(second.start)  # it is back, and comes first in the list
    second.forget_seen()
    record, _ = await signed_in(credentials)
    assert (record.issuer, record.client_id) == (authority.issuer, first_record.client_id)
    assert second.seen == []


async def test_where_all_are_dead_each_is_named_and_nothing_is_guessed(authority, tools, second):
    tools.knobs.authorization_servers = (second.issuer, authority.issuer)
    authority.knobs.well_known = ()
    await asyncio.to_thread(second.stop)
    sign_in = SignIn(credentials_of(tools))
    with pytest.raises(AuthorizationServerError) as failed:
        await sign_in.run()
    assert failed.value.message.startswith("None of the authorization servers can be used.")
    assert "cannot be reached" in failed.value.message
    assert "no metadata" in failed.value.message
    assert authority.count("/register") == tools.count("/register") == 0


async def test_a_client_of_our_own_moves_with_the_server_and_takes_no_token_along(
    authority, tools, second
):
    credentials = credentials_of(tools)
    before, _ = await signed_in(credentials)
    tools.knobs.authorization_servers = (second.issuer,)
    after, _ = await signed_in(credentials)
    assert after.issuer == second.issuer
    assert after.client_id != before.client_id
    assert second.count("/register") == 1
    sent = b"".join(seen.body for seen in second.seen).decode()
    assert before.refresh_token not in sent
    assert before.access_token not in sent
    assert before.client_id not in sent


async def test_a_persons_client_does_not_move_with_the_server(authority, tools, second):
    authority.add_client("corp", secret="corp-secret", method="client_secret_basic")
    credentials = credentials_of(tools, client_id="corp")
    await credentials.keep_secret("corp-secret")
    before, _ = await signed_in(credentials)
    tools.knobs.authorization_servers = (second.issuer,)
    sign_in = SignIn(credentials)
    with pytest.raises(SignInError, match="now names another authorization server") as moved:
        await sign_in.run()
    assert "%mcp sign-out notes" in moved.value.hint
    assert {seen.method for seen in second.seen} == {"GET"}  # its metadata, and nothing else
    assert await credentials.load(fresh=True) == before


# -- the callback's port ----------------------------------------------------------------------


async def taken(port: int) -> socket.socket:
    """Takes a port as soon as the listener that had it is gone."""
    async with asyncio.timeout(5):
        while True:
            try:
                return socket.create_server(("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("metadata", [True, False])
async def test_a_secret_is_shown_to_no_other_issuer_than_the_person_named(
    authority, tools, second, monkeypatch, metadata
):
    monkeypatch.setenv("SECRET", "s3cret-of-me")
    if metadata:
        tools.knobs.authorization_servers = (second.issuer,)
    else:
        tools.knobs.metadata_at, tools.knobs.challenge_metadata = (), False
    credentials = credentials_of(
        tools, client_id="own", client_secret_env="SECRET", issuer=authority.issuer
    )
    second.forget_seen()
    with pytest.raises(AuthorizationServerError, match="added with") as refused:
        await SignIn(credentials).run()
    assert "--issuer" in refused.value.hint
    assert not second.seen
    assert not authority.seen


@pytest.mark.parametrize(
    "who", [{"client_id": "app"}, {"client_metadata_url": "https://person.example/c.json"}], ids=str
)
async def test_a_client_whose_port_may_differ_takes_another_and_keeps_to_it(authority, tools, who):
    """RFC 8252 §7.3: whoever registered a loopback callback without a port may use any."""
    authority.forget_clients()
    authority.knobs.cimd = True
    authority.add_client("app")
    credentials = credentials_of(tools, **who)
    first, _ = await signed_in(credentials)
    with await taken(urlsplit(first.redirect_uri).port):
        second, _ = await signed_in(credentials)
        assert second.redirect_uri != first.redirect_uri
        third, _ = await signed_in(credentials)
    assert third.redirect_uri == second.redirect_uri
    assert authority.count("/register") == 0


async def test_a_port_that_was_demanded_and_is_free_again_is_used(authority, tools):
    authority.forget_clients()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        uri = f"http://127.0.0.1:{port}/callback"
        authority.add_client("exact", redirect_uris=(uri,))
        credentials = credentials_of(tools, client_id="exact", callback_port=port)
        with pytest.raises(SignInError, match=f"port {port} of notes is taken"):
            await SignIn(credentials).run()
    record, page = await signed_in(credentials)
    assert "Signed in" in page
    assert record.redirect_uri == uri


async def test_a_port_that_is_demanded_of_a_client_of_our_own_is_never_another(authority, tools):
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        with pytest.raises(SignInError, match=f"port {port} of notes is taken"):
            await SignIn(credentials_of(tools, callback_port=port)).run()
    assert authority.count("/register") == 0


async def test_another_callback_than_the_registered_one_is_registered_anew(authority, tools):
    store = MemoryStore()
    first, _ = await signed_in(credentials_of(tools, store))
    second, _ = await signed_in(credentials_of(tools, store, callback_path="/back"))
    assert first.redirect_uri.endswith("/callback")
    assert second.redirect_uri.endswith("/back")
    assert authority.count("/register") == 2

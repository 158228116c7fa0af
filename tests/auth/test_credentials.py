"""Tokens are renewed from the record alone, once for all who wait, and never lost to a hiccup."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import replace

import pytest

from mcp_notebook.auth import grants
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.keyring_store import KeyringStore
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import AuthorizationServerError, TokenStoreError
from tests.auth.keyrings import GoodKeyring
from tests.auth.signing import credentials_of, server_of, signed_in
from tests.peers import serve_authority

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def credentials(authority, tools, store):
    """Those of a kernel in which a person has just signed in."""
    credentials = credentials_of(tools, store)
    await signed_in(credentials)
    authority.forget_seen()
    return credentials


@pytest.fixture
def no_backoff(monkeypatch):
    monkeypatch.setattr(grants, "BACKOFF", 0.001)


async def expires_in(credentials, seconds):
    record = await credentials.load()
    return await credentials.keeper.save(replace(record, expires_at=time.time() + seconds))


def another_kernel(credentials, store) -> Credentials:
    return Credentials(credentials.server, TokenKeeper(store))


async def test_a_good_token_is_used_without_asking_anybody(authority, credentials):
    assert (await credentials.current()).access_token
    assert not authority.seen


async def test_a_fresh_kernel_renews_with_one_request_to_the_token_endpoint(
    authority, tools, credentials, store
):
    before = await expires_in(credentials, -1)
    tools.forget_seen()
    record = await another_kernel(credentials, store).current()
    assert record.access_token != before.access_token
    assert record.refresh_token != before.refresh_token
    assert record.generation == before.generation + 1
    assert [seen.path for seen in authority.seen] == ["/token"]
    assert not tools.seen


async def test_a_token_is_renewed_ahead_of_its_end(authority, credentials):
    before = await expires_in(credentials, 30)
    assert (await credentials.current()).access_token != before.access_token
    assert authority.count("/token") == 1


async def test_a_token_that_never_lives_for_a_minute_is_not_renewed_at_every_request(
    authority, credentials
):
    authority.knobs.token_lifetime = 20
    await expires_in(credentials, 20)
    for _ in range(5):
        await credentials.current()
    assert authority.count("/token") == 1


async def test_a_token_without_an_expiry_is_used_until_it_is_refused(authority, tools):
    authority.knobs.no_expiry = authority.knobs.no_refresh_token = True
    credentials = credentials_of(tools)
    record, _ = await signed_in(credentials)
    authority.forget_seen()
    assert await credentials.current() == record
    assert await credentials.renew(record.access_token) is None
    assert not authority.seen


async def test_an_expired_token_that_cannot_be_renewed_is_still_tried(authority, tools):
    authority.knobs.no_refresh_token = True
    credentials = credentials_of(tools)
    await signed_in(credentials)
    record = await expires_in(credentials, -10)
    assert await credentials.current() == record


async def test_a_hundred_calls_renew_once(authority, credentials):
    used = (await credentials.load()).access_token
    renewed = await asyncio.gather(*(credentials.renew(used) for _ in range(100)))
    assert len({record.access_token for record in renewed}) == 1
    assert authority.count("/token") == 1
    assert authority.reuses == 0


async def test_a_caller_that_is_cancelled_takes_nobody_along(authority, credentials):
    used = (await credentials.load()).access_token
    with authority.hold("/token"):
        first = asyncio.create_task(credentials.renew(used))
        second = asyncio.create_task(credentials.renew(used))
        await asyncio.to_thread(authority.wait_for, "/token")
        first.cancel()
        await asyncio.wait([first])
    assert (await second).access_token != used
    assert authority.count("/token") == 1


async def test_two_kernels_spend_a_rotating_token_once(authority, credentials, store):
    used = (await credentials.load()).access_token
    other = another_kernel(credentials, store)
    one, two = await asyncio.gather(credentials.renew(used), other.renew(used))
    assert one.access_token == two.access_token != used
    assert authority.reuses == 0
    assert authority.count("/token") == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_trouble_that_passes_is_met_with_patience(authority, credentials, no_backoff, status):
    before = await credentials.load()
    authority.fail_next(times=2, status=status, path="/token")
    assert (await credentials.renew(before.access_token)).access_token != before.access_token
    assert authority.count("/token") == 3


async def test_trouble_that_stays_keeps_the_tokens(authority, credentials, no_backoff):
    before = await credentials.load()
    authority.fail_next(times=3, status=503, path="/token")
    with pytest.raises(AuthorizationServerError) as trouble:
        await credentials.renew(before.access_token)
    assert trouble.value.passing
    assert await credentials.load(fresh=True) == before


async def test_trouble_ahead_of_the_end_is_no_trouble_yet(authority, credentials, no_backoff):
    before = await expires_in(credentials, 30)
    authority.fail_next(times=3, status=503, path="/token")
    assert await credentials.current() == before
    assert await credentials.current() == before
    assert authority.count("/token") == 3


async def test_trouble_at_the_end_is_told(authority, credentials, no_backoff):
    before = await expires_in(credentials, -1)
    authority.fail_next(times=3, status=503, path="/token")
    with pytest.raises(AuthorizationServerError):
        await credentials.current()
    assert await credentials.load(fresh=True) == before


async def test_a_spent_refresh_token_is_dropped_and_the_client_kept(authority, credentials):
    before = await credentials.load()
    authority.revoke_grants()
    assert await credentials.renew(before.access_token) is None
    after = await credentials.load(fresh=True)
    assert (after.access_token, after.refresh_token) == (None, None)
    assert after.client_id == before.client_id
    assert await credentials.current() is None
    record, _ = await signed_in(credentials)
    assert record.client_id == before.client_id


async def test_a_sign_in_elsewhere_counts_though_the_token_of_this_kernel_is_spent(
    authority, credentials, store
):
    before = await credentials.load()
    authority.revoke_grants()
    authority.knobs.slow_paths = {"/token": 0.3}
    renewing = asyncio.create_task(credentials.renew(before.access_token))
    await asyncio.to_thread(authority.wait_until, lambda: authority.count("/token") == 1)
    theirs = replace(before, access_token="theirs", refresh_token="theirs too")
    theirs = await another_kernel(credentials, store).keeper.save(theirs)
    assert await renewing == theirs
    assert await credentials.load(fresh=True) == theirs


async def test_a_renewal_elsewhere_is_seen_on_a_disk_where_nothing_can_tell_of_it(
    authority, tools, private_home
):
    private_home.mkdir()
    (private_home / "sign-ins").write_bytes(b"no directory")
    store = KeyringStore(backend=GoodKeyring())
    first, second = credentials_of(tools, store), credentials_of(tools, store)
    before, _ = await signed_in(first)
    assert await second.load() == before
    theirs = await first.renew(before.access_token)
    assert await second.load() == before  # what it remembers
    assert await second.renew(before.access_token) == theirs
    assert authority.reuses == 0


async def test_a_client_that_was_purged_is_forgotten(authority, credentials):
    before = await credentials.load()
    authority.forget_clients()
    assert await credentials.renew(before.access_token) is None
    assert await credentials.load(fresh=True) is None


async def test_a_persons_own_client_that_is_refused_is_told_and_kept(authority, tools):
    authority.add_client("corp")
    credentials = credentials_of(tools, client_id="corp")
    before, _ = await signed_in(credentials)
    authority.forget_clients()
    with pytest.raises(AuthorizationServerError) as refused:
        await credentials.renew(before.access_token)
    assert refused.value.code == "invalid_client"
    assert await credentials.load(fresh=True) == before


async def test_a_refresh_without_a_new_refresh_token_keeps_the_old(authority, credentials):
    authority.knobs.rotate = False
    before = await credentials.load()
    after = await credentials.renew(before.access_token)
    assert after.refresh_token == before.refresh_token
    assert after.scope == before.scope


async def test_a_late_renewal_does_not_undo_a_sign_out(authority, credentials, store):
    used = (await credentials.load()).access_token
    with authority.hold("/token"):
        late = asyncio.create_task(credentials.renew(used))
        await asyncio.to_thread(authority.wait_for, "/token")
        await another_kernel(credentials, store).forget()
    assert await late is None
    assert await credentials.load(fresh=True) is None


async def test_the_refresh_token_goes_to_the_records_own_endpoint_only(
    authority, tools, credentials
):
    tools.knobs.authorization_servers = ("https://evil.example",)
    tools.forget_seen()
    used = (await credentials.load()).access_token
    await credentials.renew(used)
    assert [seen.path for seen in authority.seen] == ["/token"]
    assert not tools.seen


async def test_a_record_of_another_server_is_not_used(tools, credentials, store):
    moved = replace(server_of(tools), url=tools.url.replace("/mcp", "/other"))
    assert await Credentials(moved, TokenKeeper(store)).current() is None


async def test_signing_out_revokes_and_forgets(authority, credentials):
    record = await credentials.load()
    said = await credentials.sign_out()
    assert len(said) == 2
    assert authority.check(record.access_token) is None
    assert [seen.form["token_type_hint"] for seen in authority.seen] == [
        "refresh_token",
        "access_token",
    ]
    assert await credentials.load(fresh=True) is None
    assert await credentials.sign_out() == []


async def test_signing_out_forgets_though_nobody_answers(authority, credentials):
    authority.cut_next(times=9, path="/revoke")
    said = await credentials.sign_out()
    authority._faults.clear()
    assert all("remains valid" in line for line in said)
    assert await credentials.load(fresh=True) is None


async def test_a_token_endpoint_that_has_moved_is_found_again_once(authority, credentials):
    record = await credentials.load()
    await credentials.keeper.save(replace(record, token_endpoint=f"{authority.url}/old/token"))
    authority.forget_seen()
    renewed = await credentials.renew(record.access_token)
    assert renewed.access_token != record.access_token
    assert renewed.token_endpoint == f"{authority.url}/token"
    assert authority.count("/old/token") == authority.count("/token") == 1
    authority.forget_seen()
    await credentials.renew(renewed.access_token)
    assert authority.counts() == {"/token": 1}


@pytest.mark.parametrize("status", [404, 405])
async def test_a_token_endpoint_that_is_gone_is_told_and_the_sign_in_kept(
    authority, credentials, status
):
    record = await credentials.load()
    authority.knobs.statuses["/token"] = status
    with pytest.raises(AuthorizationServerError, match=str(status)) as gone:
        await credentials.renew(record.access_token)
    assert "%mcp doctor notes" in gone.value.hint
    assert authority.count("/token") == 1
    assert await credentials.load(fresh=True) == record


async def test_a_refresh_token_never_follows_to_another_issuer(authority, tools, credentials):
    record = await credentials.load()
    authority.knobs.statuses["/token"] = 404
    with serve_authority() as other:
        tools.knobs.authorization_servers = (other.issuer,)
        with pytest.raises(AuthorizationServerError, match="404"):
            await credentials.renew(record.access_token)
        assert other.count("/token") == 0
        assert record.refresh_token not in str([seen.body for seen in other.seen])


async def test_a_call_whose_token_is_still_good_does_not_wait_for_a_busy_lock(
    authority, credentials, store, monkeypatch
):
    monkeypatch.setattr("mcp_notebook.auth.credentials.AHEAD_PATIENCE", 0.05)
    before = await expires_in(credentials, 30)
    async with asyncio.timeout(5), TokenKeeper(store).refreshing("notes"):
        assert await credentials.current() == before
    renewed = await credentials.renew(before.access_token)  # it went on meanwhile, and is joined
    assert renewed.access_token != before.access_token
    assert authority.count("/token") == 1


async def test_a_lock_that_cannot_be_had_is_told_only_when_the_token_is_over(
    credentials, monkeypatch
):
    @contextlib.asynccontextmanager
    async def busy(name):
        raise TokenStoreError("Another kernel has been renewing this sign-in.")
        yield

    monkeypatch.setattr(credentials.keeper, "refreshing", busy)
    before = await expires_in(credentials, 30)
    assert await credentials.current() == before
    await expires_in(credentials, -1)
    with pytest.raises(TokenStoreError):
        await credentials.current()


@pytest.mark.parametrize(
    "named",
    [{"idp_token_endpoint": "https://10.0.0.8/token"}, {"trusted_issuers": ("https://10.0.0.8",)}],
    ids=str,
)
async def test_a_public_server_leads_to_a_private_address_only_if_the_person_named_it(
    named, monkeypatch
):
    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **more: [row])
    monkeypatch.setenv("NO_PROXY", "*")

    def there(**oauth):
        server = Server(name="n", url="https://notes.test/mcp", oauth=OAuthSettings(**oauth))
        return Credentials(server, TokenKeeper(MemoryStore())).fetch()

    async with there(**named) as fetch:
        await fetch.check("https://10.0.0.8/token", what="token endpoint")
        with pytest.raises(AuthorizationServerError):
            await fetch.check("https://10.0.0.9/token", what="token endpoint")
    async with there() as fetch:
        with pytest.raises(AuthorizationServerError, match="private network"):
            await fetch.check("https://10.0.0.8/token", what="token endpoint")

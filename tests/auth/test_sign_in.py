"""A person signs in, or does not, at a real authorization server."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest

from mcp_notebook.auth import sign_in as module
from mcp_notebook.auth.asker import Offer
from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.auth.sign_in import SignIn, SignInState, Standing
from mcp_notebook.auth.stores import FileStore
from mcp_notebook.errors import (
    SignInDeniedError,
    SignInError,
    SignInExpiredError,
    SignInNeededError,
)
from tests.auth.signing import credentials_of, final_address, link, running, signed_in, until
from tests.peers import visit

pytestmark = pytest.mark.anyio


async def test_a_person_signs_in_and_the_record_holds_all_that_a_refresh_needs(authority, tools):
    credentials = credentials_of(tools)
    record, page = await signed_in(credentials)
    assert "Signed in to notes" in page
    assert record.access_token
    assert record.refresh_token
    assert record.issuer == authority.issuer
    assert record.token_endpoint.endswith("/token")
    assert record.registration == "dcr"
    assert record.redirect_uri.startswith("http://127.0.0.1:")
    assert record.resource_parameter == tools.url
    assert record.expires_at - time.time() == pytest.approx(3600, abs=30)
    assert (await credentials.load(fresh=True)) == record
    assert authority.count("/token") == 1


async def test_the_standing_goes_from_preparing_to_done_and_ends_without_a_link(tools):
    sign_in = SignIn(credentials_of(tools, scope="tools"))
    assert sign_in.standing().state is SignInState.PREPARING
    async with running(sign_in) as task:
        url = await link(sign_in)
        waiting = sign_in.standing()
        assert waiting.url == url
        assert waiting.host == "127.0.0.1"
        assert waiting.scopes == ("tools",)
        assert 590 < waiting.seconds_left <= 600
        assert parse_qs(urlsplit(url).query)["state"][0] not in repr(waiting)
        await asyncio.to_thread(visit, url)
        await task
    done = sign_in.standing()
    assert done.state is SignInState.DONE
    assert (done.url, sign_in.url, done.seconds_left) == (None, None, None)


@pytest.mark.parametrize("kind", [Offer, partial(Standing, state=SignInState.WAITING)])
async def test_what_is_offered_shows_neither_link_nor_code_in_its_repr(kind):
    shown = repr(kind(url="https://as.example/?state=s3cr3t", host="as", user_code="WD-S3CR3T"))
    assert "as" in shown
    assert "s3cr3t" not in shown.lower()


async def test_a_person_who_declines_is_told_so_on_the_page_and_in_the_notebook(authority, tools):
    credentials = credentials_of(tools)
    sign_in = SignIn(credentials)
    async with running(sign_in) as task:
        page = await asyncio.to_thread(visit, await link(sign_in), "deny")
        with pytest.raises(SignInDeniedError) as denied:
            await task
    assert "did not work" in page
    assert "declined" in page
    assert denied.value.code == "access_denied"
    assert "%mcp sign-in notes" in denied.value.hint
    assert sign_in.standing().state is SignInState.DENIED
    assert authority.count("/token") == 0
    record = await credentials.load()
    assert record is None or record.access_token is None


async def test_a_wrong_state_never_ends_the_sign_in(tools):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        url = await link(sign_in)
        right = await final_address(url)
        state = parse_qs(urlsplit(right).query)["state"][0]
        page = await asyncio.to_thread(visit, right.replace(state, "wrong"))
        assert "not the answer" in page
        denial = right.partition("?")[0] + "?error=access_denied&state=wrong"
        await asyncio.to_thread(visit, denial)
        assert sign_in.standing().state is SignInState.WAITING
        assert "Signed in" in await asyncio.to_thread(visit, right)
        assert (await task).access_token


@pytest.mark.parametrize("clock", ["monotonic", "time"])
async def test_a_sign_in_nobody_answers_expires_by_either_clock(tools, monkeypatch, clock):
    monkeypatch.setattr(module, "LOOK_AT_STORE", 0.02)
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        callback = await _callback_of(sign_in)
        true = getattr(time, clock)
        monkeypatch.setattr(module.time, clock, lambda: true() + 601)
        with pytest.raises(SignInExpiredError, match="10 min"):
            await task
    assert sign_in.standing().state is SignInState.EXPIRED
    assert sign_in.url is None
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", callback)


async def _callback_of(sign_in: SignIn) -> int:
    redirect_uri = parse_qs(urlsplit(await link(sign_in)).query)["redirect_uri"][0]
    return urlsplit(redirect_uri).port


async def test_cancelling_from_another_thread_ends_it_and_closes_the_port(authority, tools):
    credentials = credentials_of(tools)
    sign_in = SignIn(credentials)
    async with running(sign_in) as task:
        port = await _callback_of(sign_in)
        await asyncio.to_thread(sign_in.cancel)
        with pytest.raises(SignInDeniedError, match="cancelled") as cancelled:
            await task
    assert cancelled.value.code == "cancelled"
    assert sign_in.standing().state is SignInState.CANCELLED
    assert authority.count("/token") == 0
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", port)
    record, _ = await signed_in(credentials)  # the next one starts clean
    assert record.access_token


async def test_cancelling_before_it_began_asks_nobody(authority, tools):
    sign_in = SignIn(credentials_of(tools))
    sign_in.cancel()
    with pytest.raises(SignInDeniedError, match="cancelled"):
        await asyncio.create_task(sign_in.run())
    assert not authority.seen


async def test_a_cancel_while_the_code_is_exchanged_stores_nothing(authority, tools):
    credentials = credentials_of(tools)
    sign_in = SignIn(credentials)
    async with running(sign_in) as task:
        url = await link(sign_in)
        with authority.hold("/token"):
            going = asyncio.create_task(asyncio.to_thread(_visit_to_any_end, url))
            await until(sign_in, SignInState.FINISHING)
            assert sign_in.url is None
            sign_in.cancel()
            with pytest.raises(SignInDeniedError):
                await task
        await going
    record = await credentials.load(fresh=True)
    assert record is None or record.access_token is None
    assert (await signed_in(credentials))[0].access_token


def _visit_to_any_end(url: str) -> None:
    try:
        visit(url)
    except Exception:  # the callback is closed under the browser
        return


async def test_two_sign_ins_at_once_keep_apart(authority, tools):
    one, other = SignIn(credentials_of(tools)), SignIn(credentials_of(tools, name="work"))
    async with running(one) as first, running(other) as second:
        urls = await link(one), await link(other)
        await asyncio.to_thread(visit, urls[1])
        assert (await second).server == "work"
        assert one.standing().state is SignInState.WAITING
        await asyncio.to_thread(visit, urls[0])
        assert (await first).server == "notes"
    assert (await first).access_token != (await second).access_token


async def test_a_second_kernel_adopts_the_sign_in_of_the_first(
    authority, tools, monkeypatch, private_home
):
    monkeypatch.setattr(module, "LOOK_AT_STORE", 0.02)
    first, second = (credentials_of(tools, FileStore(private_home / "tokens")) for _ in range(2))
    waiting = SignIn(second)
    async with running(waiting) as task:
        await link(waiting)
        record, _ = await signed_in(first)
        async with asyncio.timeout(5):
            assert (await task).access_token == record.access_token
    standing = waiting.standing()
    assert standing.state is SignInState.DONE
    assert any("nother notebook" in note for note in standing.notes)
    assert waiting.url is None
    assert authority.count("/token") == 1


async def test_a_sign_in_of_another_kernel_that_grants_too_little_is_not_adopted(
    tools, monkeypatch, private_home
):
    monkeypatch.setattr(module, "LOOK_AT_STORE", 0.02)
    first, second = (credentials_of(tools, FileStore(private_home / "tokens")) for _ in range(2))
    await signed_in(first)
    challenge = Challenge(error="insufficient_scope", scope="admin")
    waiting = SignIn(second, need=SignInNeededError("more", challenge=challenge, step_up=True))
    async with running(waiting) as task:
        url = await link(waiting)
        await signed_in(first)
        await asyncio.wait([task], timeout=0.2)
        assert waiting.standing().state is SignInState.WAITING
        await asyncio.to_thread(visit, url)
        assert "admin" in (await task).scope


async def test_the_address_of_a_browser_elsewhere_can_be_pasted_from_any_thread(authority, tools):
    sign_in = SignIn(credentials_of(tools))
    with pytest.raises(SignInError, match="not waiting"):
        sign_in.answer("http://127.0.0.1/callback?code=a&state=b")
    async with running(sign_in) as task:
        address = await final_address(await link(sign_in))
        with pytest.raises(SignInError) as refused:
            await asyncio.to_thread(sign_in.answer, address.replace("state=", "state=x"))
        assert "paste" in refused.value.hint
        assert sign_in.standing().state is SignInState.WAITING
        await asyncio.to_thread(sign_in.answer, address)
        assert (await task).access_token
    with pytest.raises(SignInError, match="not waiting"):
        sign_in.answer(address)
    assert authority.count("/token") == 1


async def test_no_secret_of_a_sign_in_is_in_what_can_be_looked_at(tools):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        address = await final_address(await link(sign_in))
        sign_in.answer(address)
        record = await task
    query = parse_qs(urlsplit(address).query)
    shown = repr([sign_in, sign_in.standing(), vars(sign_in), record])
    for secret in (query["code"][0], query["state"][0], record.access_token, record.refresh_token):
        assert secret not in shown


async def test_an_unforeseen_fault_ends_the_sign_in_without_its_text(tools, monkeypatch):
    def broken(asker):
        raise ValueError("s3cret")

    monkeypatch.setattr(module.flows, "sign_in", broken)
    sign_in = SignIn(credentials_of(tools))
    with pytest.raises(SignInError, match="ValueError") as failed:
        await sign_in.run()
    assert "s3cret" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    assert sign_in.standing().state is SignInState.FAILED

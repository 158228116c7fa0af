"""Asking a real token endpoint: codes, refreshes in trouble, key proofs, machines."""

from __future__ import annotations

import time

import jwt
import pytest

from mcp_notebook.auth import grants
from mcp_notebook.auth.assertions import DpopKey
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.config.servers import OAuthSettings
from mcp_notebook.errors import (
    AuthorizationServerError,
    ServerConfigError,
    SignInError,
)
from tests.auth.situations import (
    CODE,
    ME,
    REDIRECT,
    RESOURCE,
    VERIFIER,
    answer,
    asked,
    exchange,
    good,
    guardian,
    refreshable,
    soon,
)
from tests.peers import serve_authority

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(grants, "BACKOFF", 0.0)


# -- a code is spent once


@pytest.mark.parametrize("moment", ["before", "after", "body"])
async def test_a_code_is_never_sent_twice(fetch, authority, moment):
    authority.cut_next(path="/token", moment=moment)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert caught.value.passing
    assert authority.count("/token") == 1


async def test_a_code_is_not_repeated_on_503_either(fetch, authority):
    authority.fail_next(status=503, retry_after=0)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert (caught.value.status, caught.value.passing) == (503, True)
    assert authority.count("/token") == 1


async def test_a_code_goes_with_all_that_it_was_asked_with(fetch, authority):
    answer(authority, good())
    await exchange(fetch, authority)
    assert asked(authority)[0].form == {
        "grant_type": "authorization_code",
        "code": CODE,
        "code_verifier": VERIFIER,
        "redirect_uri": REDIRECT,
        "resource": RESOURCE,
        "client_id": "me",
    }


# -- refresh


async def test_a_refresh_renews_with_the_resource_of_the_record(fetch, authority):
    record = refreshable(authority)
    tokens = await grants.refresh(fetch, record)
    assert authority.check(tokens.access_token)
    assert tokens.refresh_token not in {None, record.refresh_token}
    assert asked(authority)[0].form == {
        "grant_type": "refresh_token",
        "refresh_token": record.refresh_token,
        "resource": record.resource_parameter,
        "client_id": "me",
    }


async def test_a_refresh_leaves_out_a_resource_that_was_never_sent(fetch, authority):
    await grants.refresh(fetch, refreshable(authority, resource_parameter=None))
    assert "resource" not in asked(authority)[0].form


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_a_refresh_outlasts_passing_trouble(fetch, authority, status):
    authority.fail_next(2, status=status)
    await grants.refresh(fetch, refreshable(authority))
    assert authority.count("/token") == 3


@pytest.mark.parametrize("moment", ["before", "body"])
async def test_a_refresh_outlasts_a_cut_connection(fetch, authority, moment):
    authority.knobs.rotate = False
    authority.cut_next(path="/token", moment=moment)
    await grants.refresh(fetch, refreshable(authority))
    assert authority.count("/token") == 2


async def test_a_refresh_gives_up_after_three_attempts_and_says_it_may_pass(fetch, authority):
    authority.fail_next(9, status=503)
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.refresh(fetch, refreshable(authority))
    authority._faults.clear()
    assert caught.value.passing
    assert caught.value.status == 503
    assert authority.count("/token") == 3


async def test_a_lost_answer_under_rotation_ends_as_a_spent_refresh_token(fetch, authority):
    authority.knobs.lose_next_token_answer = 1
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.refresh(fetch, refreshable(authority))
    assert caught.value.code == "invalid_grant"
    assert authority.count("/token") == 2


async def test_a_short_retry_after_is_waited_for(fetch, authority):
    authority.fail_next(status=503, retry_after=1)
    began = time.monotonic()
    await grants.refresh(fetch, refreshable(authority))
    assert time.monotonic() - began >= 1


async def test_a_long_retry_after_is_told_and_not_waited_for(fetch, authority):
    authority.fail_next(status=429, retry_after=31)
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.refresh(fetch, refreshable(authority))
    assert caught.value.retry_after == 31
    assert "31 s" in caught.value.hint
    assert authority.count("/token") == 1


async def test_the_waiting_of_one_refresh_is_bounded_in_all(fetch, authority, monkeypatch):
    monkeypatch.setattr(grants, "REFRESH_WAITING", 1.5)
    authority.fail_next(2, status=503, retry_after=1)
    with pytest.raises(AuthorizationServerError):
        await grants.refresh(fetch, refreshable(authority))
    assert authority.count("/token") == 2


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client"])
async def test_a_refused_refresh_is_not_repeated(fetch, authority, code):
    answer(authority, {"error": code}, status=400)
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.refresh(fetch, refreshable(authority))
    assert (caught.value.code, caught.value.passing) == (code, False)
    assert authority.count("/token") == 1


# -- key proofs


async def test_a_demanded_nonce_costs_one_repetition(fetch, authority):
    authority.knobs.dpop, authority.knobs.dpop_nonce = True, "n0nce-1"
    key = DpopKey.generate()
    tokens = await grants.refresh(fetch, refreshable(authority, jkt=key.thumbprint), dpop=key)
    assert tokens.token_type == "DPoP"
    assert authority.count("/token") == 2
    first, second = (seen.headers["dpop"] for seen in asked(authority))
    assert first != second


async def test_a_nonce_demanded_for_ever_is_given_once(fetch, authority, canned):
    canned.json("/token", {"error": "use_dpop_nonce"}, 400, dpop_nonce="n0nce")
    record = refreshable(authority, token_endpoint=f"{canned.url}/token")
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.refresh(fetch, record, dpop=DpopKey.generate())
    assert caught.value.code == "use_dpop_nonce"
    proofs = [headers["dpop"] for _, _, headers, _ in canned.seen]
    nonces = [
        jwt.decode(proof, options={"verify_signature": False}).get("nonce") for proof in proofs
    ]
    assert nonces == [None, "n0nce"]


@pytest.mark.parametrize(("kind", "with_key"), [("Bearer", True), ("DPoP", False)])
async def test_a_token_is_bound_exactly_if_that_was_asked_for(fetch, authority, kind, with_key):
    answer(authority, good(token_type=kind))
    with pytest.raises(AuthorizationServerError, match="bound"):
        await exchange(fetch, authority, dpop=DpopKey.generate() if with_key else None)


# -- machines


async def test_client_credentials_need_a_client_that_authenticates(fetch, authority):
    with pytest.raises(SignInError, match="authenticates"):
        await grants.client_credentials(fetch, ME, guardian(authority))
    assert authority.seen == []


async def test_client_credentials_are_granted(fetch, authority):
    authority.add_client("robot", secret="s3cret", method="client_secret_basic")
    client = RegisteredClient(
        client_id="robot", client_secret="s3cret", auth_method="client_secret_basic"
    )
    tokens = await grants.client_credentials(
        fetch, client, guardian(authority), scope="read", resource=RESOURCE
    )
    assert authority.check(tokens.access_token)
    assert asked(authority)[0].form == {
        "grant_type": "client_credentials",
        "scope": "read",
        "resource": RESOURCE,
    }


def workload_jwt(audience):
    claims = {"sub": "job", "exp": soon(60)} | ({} if audience is None else {"aud": audience})
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


@pytest.mark.parametrize("audience", ["issuer", "token endpoint", "listed", "api://name", None])
async def test_a_workloads_jwt_goes_to_whom_it_was_made_for(fetch, authority, audience):
    audiences = {
        "issuer": authority.issuer,
        "token endpoint": f"{authority.url}/token",
        "listed": ["https://else.example", authority.issuer],
    }
    assertion = workload_jwt(audiences.get(audience, audience))
    authority.assertions.add(assertion)
    tokens = await grants.jwt_bearer(
        fetch, ME, guardian(authority), assertion=assertion, resource=RESOURCE
    )
    assert authority.check(tokens.access_token)


async def test_a_workloads_jwt_is_never_shown_to_another_authorization_server(fetch, authority):
    assertion = workload_jwt("https://company.example")
    with pytest.raises(SignInError, match="nothing was sent"):
        await grants.jwt_bearer(fetch, ME, guardian(authority), assertion=assertion)
    assert authority.seen == []


@pytest.mark.parametrize("status", [400, 503])
async def test_a_refused_workload_is_not_tried_again_or_otherwise(fetch, authority, status):
    answer(authority, {"error": "invalid_grant"}, status=status)
    assertion = workload_jwt(authority.issuer)
    with pytest.raises(AuthorizationServerError) as caught:
        await grants.jwt_bearer(fetch, ME, guardian(authority), assertion=assertion)
    assert assertion not in str(caught.value)
    assert len(authority.seen) == 1


COMPANY = {"idp_client_id": "notebook-at-idp", "grant": "enterprise"}


async def enterprise(fetch, authority, idp, **oauth):
    settings = OAuthSettings(**{**COMPANY, "idp_token_endpoint": f"{idp.url}/token", **oauth})
    client = RegisteredClient(
        client_id="robot", client_secret="s3cret", auth_method="client_secret_basic"
    )
    authority.add_client("robot", secret="s3cret", method="client_secret_basic")
    return await grants.enterprise(
        fetch,
        client,
        guardian(authority),
        oauth=settings,
        id_token="id-t0ken",
        resource=RESOURCE,
    )


@pytest.fixture
def idp():
    with serve_authority() as provider:
        provider.add_client("notebook-at-idp")
        provider.assertions.add("id-t0ken")
        yield provider


async def test_the_company_vouches_for_its_person(fetch, authority, idp):
    authority.trusted.append(idp)
    tokens = await enterprise(fetch, authority, idp)
    assert authority.check(tokens.access_token)
    assert asked(idp)[0].form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "subject_token": "id-t0ken",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "audience": authority.issuer,
        "resource": RESOURCE,
        "client_id": "notebook-at-idp",
    }
    sent = asked(authority)[0]
    assert sent.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert sent.headers["authorization"].startswith("Basic ")
    assert "id-t0ken" not in sent.body.decode()


async def test_the_companys_refusal_ends_it(fetch, authority, idp):
    idp.assertions.clear()
    with pytest.raises(AuthorizationServerError, match="ID token exchange") as caught:
        await enterprise(fetch, authority, idp)
    assert "id-t0ken" not in str(caught.value)
    assert authority.seen == []


@pytest.mark.parametrize(
    "document",
    [
        {"access_token": "jag", "token_type": "N_A"},
        {"access_token": "a\nb", "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag"},
        {"issued_token_type": "urn:ietf:params:oauth:token-type:id-jag"},
    ],
)
async def test_an_exchange_without_an_identity_assertion_ends_it(fetch, authority, idp, document):
    answer(idp, document)
    with pytest.raises(AuthorizationServerError, match="without an identity assertion"):
        await enterprise(fetch, authority, idp)
    assert authority.seen == []


@pytest.mark.parametrize("missing", ["idp_client_id", "idp_token_endpoint"])
async def test_an_undescribed_provider_is_told(fetch, authority, idp, missing):
    with pytest.raises(ServerConfigError, match="identity provider"):
        await enterprise(fetch, authority, idp, **{missing: None})
    assert idp.seen == authority.seen == []

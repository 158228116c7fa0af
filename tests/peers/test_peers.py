"""The peers themselves: they must be as strict as real ones, or the tests prove nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import threading
import time

import anyio
import httpx2
import jwt
import mcp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from tests.peers import callback_url, serve_authority, serve_tools, visit
from tests.peers.apart import peers_apart
from tests.peers.by_hand import CALLBACK, answer_of, exchange, link, refresh, register, sign_in


@pytest.fixture
def web():
    with httpx2.Client(trust_env=False) as client:
        yield client


def test_a_person_approves_and_the_code_buys_tokens_once(web):
    with serve_authority() as authority:
        client_id = register(web, authority.url).json()["client_id"]
        answer = answer_of(callback_url(link(authority.url, client_id, scope="read")))
        assert answer["state"] == "s1"
        assert answer["iss"] == authority.issuer
        tokens = exchange(web, authority.url, client_id, answer["code"]).json()
        assert tokens["scope"] == "read"
        assert authority.check(tokens["access_token"])
        again = exchange(web, authority.url, client_id, answer["code"])
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert authority.check(tokens["access_token"]) is None
        assert tokens["refresh_token"] in authority.tokens


@pytest.mark.parametrize(
    "wrong", [{"code_verifier": "w" * 43}, {"redirect_uri": CALLBACK + "x"}, {"resource": "x"}]
)
def test_a_code_is_refused_with_anything_wrong(web, wrong):
    with serve_authority() as authority:
        client_id = register(web, authority.url).json()["client_id"]
        code = answer_of(callback_url(link(authority.url, client_id)))["code"]
        assert exchange(web, authority.url, client_id, code, **wrong).status_code == 400
        assert exchange(web, authority.url, client_id, code).status_code == 200


def test_a_person_denies(web):
    with serve_authority() as authority:
        client_id = register(web, authority.url).json()["client_id"]
        answer = answer_of(callback_url(link(authority.url, client_id), "deny"))
        assert answer["error"] == "access_denied"


def test_a_refresh_token_used_twice_revokes_the_family(web):
    with serve_authority() as authority:
        client_id, tokens = sign_in(web, authority.url)
        first = tokens.json()["refresh_token"]
        second = refresh(web, authority.url, client_id, first).json()
        assert refresh(web, authority.url, client_id, first).json()["error"] == "invalid_grant"
        assert authority.reuses == 1
        assert authority.check(second["access_token"]) is None
        assert refresh(web, authority.url, client_id, second["refresh_token"]).status_code == 400


def test_a_lost_answer_was_carried_out(web):
    with serve_authority() as authority:
        client_id, tokens = sign_in(web, authority.url)
        authority.knobs.lose_next_token_answer = 1
        spent = tokens.json()["refresh_token"]
        with pytest.raises(httpx2.TransportError):
            refresh(web, authority.url, client_id, spent)
        assert authority.refresh[spent].spent


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_must_authenticate_as_it_registered(web, method):
    with serve_authority() as authority:
        client = register(web, authority.url, token_endpoint_auth_method=method).json()
        form = {"grant_type": "client_credentials"}
        basic = (client["client_id"], client["client_secret"])
        post = {"client_id": basic[0], "client_secret": basic[1]}
        by = {
            "client_secret_basic": web.post(f"{authority.url}/token", data=form, auth=basic),
            "client_secret_post": web.post(f"{authority.url}/token", data=form | post),
        }
        assert by.pop(method).status_code == 200
        assert [reply.status_code for reply in by.values()] == [401]


def test_faults_strike_the_next_requests_and_then_end(web):
    with serve_authority() as authority:
        authority.fail_next(2, 503, retry_after=1)
        replies = [web.post(f"{authority.url}/token") for _ in range(3)]
        assert [reply.status_code for reply in replies] == [503, 503, 400]
        assert replies[0].headers["retry-after"] == "1"
        assert authority.count("/token") == 3


def test_a_held_request_waits_until_it_is_let_go(web):
    with serve_authority() as authority:
        replies = []
        worker = threading.Thread(
            target=lambda: replies.append(web.post(f"{authority.url}/token").status_code)
        )
        with authority.hold("/token"):
            worker.start()
            authority.wait_for("/token")
            assert replies == []
        worker.join(10)
        assert replies == [400]


def test_a_device_is_connected_by_a_person(web):
    with serve_authority() as authority:
        authority.add_client("tv")
        device = web.post(f"{authority.url}/device_authorization", data={"client_id": "tv"}).json()
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "client_id": "tv",
            "device_code": device["device_code"],
        }
        pending = web.post(f"{authority.url}/token", data=form)
        assert pending.json()["error"] == "authorization_pending"
        visit(device["verification_uri_complete"])
        assert web.post(f"{authority.url}/token", data=form).status_code == 200


@pytest.mark.parametrize("tenant", ["", "/tenant1"])
def test_metadata_is_where_the_standards_say(web, tenant):
    with serve_authority(issuer_path=tenant) as authority:
        for path in (
            f"/.well-known/oauth-authorization-server{tenant}",
            f"/.well-known/openid-configuration{tenant}",
            f"{tenant}/.well-known/openid-configuration",
        ):
            assert web.get(authority.url + path).json()["issuer"] == authority.issuer


def test_the_tools_want_a_token_and_say_where_to_get_one(web):
    with serve_authority() as authority, serve_tools(authority, challenge_scope="tools") as tools:
        refused = web.post(tools.url, json={})
        assert refused.status_code == 401
        challenge = refused.headers["www-authenticate"]
        assert 'scope="tools"' in challenge
        metadata = web.get(f"{tools.origin}/.well-known/oauth-protected-resource/mcp").json()
        assert metadata["authorization_servers"] == [authority.issuer]
        assert metadata["resource"] == tools.url


def dial(tools, token=None, **extra):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    http = httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20)
    return http, mcp.Client(streamable_http_client(tools.url, http_client=http), **extra)


@pytest.mark.anyio
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("json_response", [False, True])
async def test_both_eras_call_tools_with_a_token(web, legacy, json_response):
    async def answer(context, params):
        return ElicitResult(action="accept", content={"name": "Ada"})

    knobs = {"legacy": legacy, "json_response": json_response}
    with serve_authority() as authority, serve_tools(authority, **knobs) as tools:
        _, tokens = sign_in(web, authority.url, resource=tools.url)
        http, client = dial(
            tools, tokens.json()["access_token"], elicitation_callback=answer, mode="auto"
        )
        async with http, client:
            assert len((await client.list_tools()).tools) == 13
            added = await client.call_tool("add", {"a": 2, "b": 3})
            assert added.structured_content == {"result": 5}
            era = (await client.call_tool("era", {})).content[0].text
            assert (era < "2026") is legacy
            if not (legacy and json_response):  # a JSON answer has no room for a question
                asked = await client.call_tool("ask", {})
                assert asked.content[0].text == "Hello Ada"
            assert (await client.call_tool("fail", {})).is_error
            picture = (await client.call_tool("picture", {})).content[0]
            assert base64.b64decode(picture.data).startswith(b"\x89PNG")
        assert tools.calls("add") == 1


def listening(tools):
    return any(seen.method == "GET" and seen.status == 200 for seen in list(tools.seen))


@pytest.mark.anyio
async def test_old_sessions_are_told_that_the_tools_changed():
    told = anyio.Event()

    async def hear(message):
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            told.set()

    with serve_tools(legacy=True) as tools:
        http, client = dial(tools, mode="auto", message_handler=hear)
        async with http, client:
            before = len((await client.list_tools()).tools)
            await anyio.to_thread.run_sync(tools.wait_until, lambda: listening(tools))
            await anyio.to_thread.run_sync(tools.add_tool)
            with anyio.fail_after(10):
                await told.wait()
            assert len((await client.list_tools(cache_mode="bypass")).tools) == before + 1


@pytest.mark.anyio
async def test_listeners_are_told_that_the_tools_changed():
    with serve_tools() as tools:
        http, client = dial(tools, mode="auto")
        async with http, client, client.listen(tools_list_changed=True) as events:
            await anyio.to_thread.run_sync(tools.add_tool)
            with anyio.fail_after(10):
                event = await anext(aiter(events))
            assert type(event).__name__ == "ToolsListChanged"


def test_a_revoked_or_expired_token_is_refused_and_step_up_asks_for_more(web):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "secret_tool"}}
    with serve_authority() as authority, serve_tools(authority) as tools:
        _, tokens = sign_in(web, authority.url)
        headers = {"authorization": f"Bearer {tokens.json()['access_token']}"}
        refused = web.post(tools.url, json=call, headers=headers)
        assert refused.status_code == 403
        assert 'error="insufficient_scope", scope="admin"' in refused.headers["www-authenticate"]
        authority.expire_access()
        assert web.post(tools.url, json=call, headers=headers).status_code == 401
        assert tools.seen[-1].tool == "secret_tool"


@pytest.mark.parametrize("moment", ["before", "after", "body"])
def test_a_cut_connection_gives_no_answer(web, moment):
    with serve_authority() as authority:
        authority.cut_next(1, moment, path="/register")
        with pytest.raises(httpx2.TransportError):
            register(web, authority.url)
        assert len(authority.clients) == (0 if moment == "before" else 1)
        assert register(web, authority.url).status_code == 201


def test_a_server_restarts_on_its_port_and_stops_for_good(web):
    with serve_tools() as tools:
        url = tools.url
        tools.restart()
        assert tools.url == url
        assert web.post(url, json={}).status_code in (400, 406)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", tools.port))


def test_peers_in_another_process_are_turned_and_asked(web):
    with peers_apart(authority={"token_lifetime": 7}) as peers:
        _, tokens = sign_in(web, peers.issuer, resource=peers.url)
        assert tokens.json()["expires_in"] == 7
        peers.turn("authority", token_lifetime=9)
        assert peers.ask("authority", "count", "/token") == 1
        assert peers.read("authority", "grants_made") == ["authorization_code"]
        assert web.post(peers.url, json={}).status_code == 401
        with pytest.raises(RuntimeError, match="no knob"):
            peers.turn("tools", speed=1)


@pytest.mark.parametrize("nonce", [None, "n1"])
def test_a_bound_token_needs_a_fresh_proof_of_its_key(web, nonce):
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))

    def proof(method, url, token=None, **extra):
        claims = {"jti": secrets.token_hex(8), "htm": method, "htu": url, "iat": time.time()}
        if token:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        headers = {"typ": "dpop+jwt", "jwk": jwk}
        return jwt.encode(claims | extra, key, algorithm="ES256", headers=headers)

    fresh = {"nonce": nonce} if nonce else {}
    with (
        serve_authority(dpop=True, dpop_nonce=nonce) as authority,
        serve_tools(authority, dpop=True, dpop_nonce=nonce) as tools,
    ):
        client_id = register(web, authority.url).json()["client_id"]
        code = answer_of(callback_url(link(authority.url, client_id)))["code"]
        endpoint = f"{authority.url}/token"
        assert exchange(web, authority.url, client_id, code).json()["error"] == (
            "invalid_dpop_proof"
        )
        web.headers["dpop"] = proof("POST", endpoint)
        if nonce:
            refused = exchange(web, authority.url, client_id, code)
            assert refused.json()["error"] == "use_dpop_nonce"
            assert refused.headers["dpop-nonce"] == nonce
        web.headers["dpop"] = proof("POST", endpoint, **fresh)
        token = exchange(web, authority.url, client_id, code).json()["access_token"]
        headers = {"authorization": f"DPoP {token}"}
        assert web.post(tools.url, json={}, headers=headers).status_code == 401
        headers["dpop"] = proof("POST", tools.url, token, **fresh)
        assert web.post(tools.url, json={}, headers=headers).status_code in (400, 406)
        assert web.post(tools.url, json={}, headers={"authorization": f"Bearer {token}"}).is_error


def test_an_enterprise_client_trades_an_id_token_for_an_access_token(web):
    with serve_authority() as idp, serve_authority() as authority:
        authority.trusted.append(idp)
        idp.assertions.add("id-token")
        for server in (idp, authority):
            server.add_client("c", secret="s", method="client_secret_post")
        client = {"client_id": "c", "client_secret": "s"}
        exchanged = web.post(
            f"{idp.url}/token",
            data=client
            | {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
                "subject_token": "id-token",
                "audience": authority.issuer,
            },
        ).json()
        form = client | {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
        good = web.post(
            f"{authority.url}/token", data=form | {"assertion": exchanged["access_token"]}
        )
        assert authority.check(good.json()["access_token"])
        bad = web.post(f"{authority.url}/token", data=form | {"assertion": "made-up"})
        assert bad.json()["error"] == "invalid_grant"

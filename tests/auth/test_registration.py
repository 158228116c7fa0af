"""Becoming a client of a real authorization server."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest

from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.registration import obtain_client
from mcp_notebook.errors import AuthorizationServerError, ServerConfigError, SignInError
from tests.auth.situations import REDIRECT, a_record, a_server, found, obtain, soon

pytestmark = pytest.mark.anyio

DOCUMENT = "https://notebook.example/client.json"


def wish(authority, n=-1):
    return [seen for seen in authority.seen if seen.path == "/register"][n].json


# -- the order


async def test_a_registered_client_of_ones_own_comes_first(authority):
    client = await obtain(
        authority,
        client_id="mine",
        client_metadata_url=DOCUMENT,
        changes={"client_id_metadata_document_supported": True},
    )
    assert (client.client_id, client.registration, client.auth_method) == (
        "mine", "preregistered", "none",
    )  # fmt: skip
    assert client.redirect_uri == REDIRECT
    assert authority.seen == []


async def test_the_metadata_document_comes_second_and_costs_no_request(authority):
    offered = {"client_id_metadata_document_supported": True}
    client = await obtain(authority, client_metadata_url=DOCUMENT, changes=offered)
    assert (client.client_id, client.registration) == (DOCUMENT, "cimd")
    assert authority.seen == []


async def test_the_metadata_document_is_not_used_where_it_is_not_offered(authority):
    assert (await obtain(authority, client_metadata_url=DOCUMENT)).registration == "dcr"


async def test_a_refused_metadata_document_gives_way_to_registration(authority):
    offered = {"client_id_metadata_document_supported": True}
    client = await obtain(authority, client_metadata_url=DOCUMENT, changes=offered, again=True)
    assert client.registration == "dcr"


@pytest.mark.parametrize(
    "url",
    [
        "http://notebook.example/c.json",
        "https://notebook.example/",
        "https://notebook.example/a/../c.json",
        "https://notebook.example/%2e/c.json",
    ],
)
async def test_a_metadata_document_needs_an_https_address_with_a_path(authority, url):
    with pytest.raises(ServerConfigError):
        await obtain(
            authority,
            client_metadata_url=url,
            changes={"client_id_metadata_document_supported": True},
        )


# -- dynamic registration


async def test_registration_describes_a_native_public_client_and_asks_for_no_scope(authority):
    client = await obtain(authority)
    assert wish(authority) == {
        "client_name": "mcp_notebook",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
    assert (client.auth_method, client.client_secret, client.redirect_uri) == (
        "none", None, REDIRECT,
    )  # fmt: skip


async def test_a_chosen_name_and_scope_are_registered(authority):
    await obtain(authority, client_name="Lab notebook", scope="read write")
    assert wish(authority)["client_name"] == "Lab notebook"
    assert wish(authority)["scope"] == "read write"


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        (("client_secret_post", "client_secret_basic", "none"), "none"),
        (("client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (("client_secret_post",), "client_secret_post"),
        (None, "client_secret_basic"),
    ],
)
async def test_the_simplest_method_the_metadata_allows_is_asked_for(authority, listed, asked):
    client = await obtain(authority, changes={"token_endpoint_auth_methods_supported": listed})
    assert wish(authority)["token_endpoint_auth_method"] == asked
    assert client.auth_method == asked
    assert bool(client.client_secret) is (asked != "none")


async def test_a_server_with_methods_we_cannot_do_is_not_asked(authority):
    listed = {"token_endpoint_auth_methods_supported": ("tls_client_auth",)}
    with pytest.raises(SignInError, match="tls_client_auth"):
        await obtain(authority, changes=listed)
    assert authority.count("/register") == 0


async def test_a_device_client_registers_without_a_redirect(authority):
    await obtain(authority, grant="device_code")
    assert "redirect_uris" not in wish(authority)
    assert wish(authority)["grant_types"] == [
        "urn:ietf:params:oauth:grant-type:device_code",
        "refresh_token",
    ]


async def test_the_initial_access_token_comes_from_its_variable(authority, monkeypatch):
    authority.knobs.initial_access_token = "init-tok3n"
    monkeypatch.setenv("REGISTRAR", "init-tok3n")
    client = await obtain(authority, initial_access_token_env="REGISTRAR")
    assert client.registration == "dcr"


async def test_a_missing_initial_access_token_is_named_by_its_variable(authority, monkeypatch):
    monkeypatch.delenv("REGISTRAR", raising=False)
    with pytest.raises(ServerConfigError, match="REGISTRAR"):
        await obtain(authority, initial_access_token_env="REGISTRAR")
    assert authority.count("/register") == 0


async def test_a_closed_registration_hints_at_the_initial_access_token(authority):
    authority.knobs.initial_access_token = "init-tok3n"
    with pytest.raises(AuthorizationServerError) as caught:
        await obtain(authority)
    assert caught.value.status == 401
    assert "--initial-access-token-env" in caught.value.hint


async def test_without_registration_the_hint_says_exactly_what_to_type(authority):
    with pytest.raises(SignInError) as caught:
        await obtain(authority, changes={"registration_endpoint": None})
    assert f"%mcp add notes {authority.url}/mcp --client-id ID --client-secret" in caught.value.hint
    assert authority.seen == []


async def test_a_bare_forbidden_is_told_with_the_way_out(authority):
    body = b"Forbidden\x1b[31m"
    authority.fail_next(status=403, path="/register", body=body, content_type="text/plain")
    with pytest.raises(AuthorizationServerError) as caught:
        await obtain(authority)
    assert "client registration (403): Forbidden" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert "--client-id ID --client-secret" in caught.value.hint
    assert "--client-name" in caught.value.hint


async def test_a_page_in_place_of_an_answer_is_not_shown(authority):
    page = b"<html><script>alert(1)</script>"
    authority.fail_next(status=502, path="/register", body=page, content_type="text/html")
    with pytest.raises(AuthorizationServerError) as caught:
        await obtain(authority)
    assert caught.value.passing
    assert "script" not in str(caught.value)


# -- refusals of the description


async def test_a_refused_loopback_redirect_is_tried_once_as_a_web_client(authority):
    def refuse(asked):
        native = asked["application_type"] == "native"
        return (400, {"error": "invalid_redirect_uri"}) if native else None

    authority.knobs.registration_refuses = refuse
    await obtain(authority)
    assert authority.count("/register") == 2
    assert {k: v for k, v in wish(authority).items() if k != "application_type"} == {
        k: v for k, v in wish(authority, 0).items() if k != "application_type"
    }


@pytest.mark.parametrize(
    ("code", "option"),
    [("invalid_redirect_uri", "--callback-host"), ("invalid_client_metadata", "--client-name")],
)
async def test_a_description_refused_twice_says_which_value_to_change(authority, code, option):
    said = {"error": code, "error_description": "not this one"}
    authority.knobs.registration_refuses = (400, said)
    with pytest.raises(AuthorizationServerError, match="not this one") as caught:
        await obtain(authority)
    assert caught.value.code == code
    assert option in caught.value.hint
    assert authority.count("/register") == 2


async def test_other_refusals_are_not_repeated(authority):
    authority.knobs.registration_refuses = (403, {"error": "access_denied"})
    with pytest.raises(AuthorizationServerError):
        await obtain(authority)
    assert authority.count("/register") == 1


async def test_an_error_with_status_200_is_an_error(authority):
    authority.knobs.registration_refuses = (200, {"error": "access_denied", "client_id": "x"})
    with pytest.raises(AuthorizationServerError) as caught:
        await obtain(authority)
    assert caught.value.code == "access_denied"


async def test_a_description_that_repeats_our_secret_is_not_shown(authority, monkeypatch):
    monkeypatch.setenv("REGISTRAR", "init-tok3n-very-long")
    authority.knobs.registration_refuses = (
        400, {"error": "invalid_token", "error_description": "no: init-tok3n-very-long"},
    )  # fmt: skip
    with pytest.raises(AuthorizationServerError) as caught:
        await obtain(authority, initial_access_token_env="REGISTRAR")
    assert "init-tok3n" not in str(caught.value)


# -- the answer is judged


@pytest.mark.parametrize(
    "overrides",
    [
        {"client_id": 7},
        {"client_id": ""},
        {"client_id": "a\r\nb"},
        {"client_secret": ["x"], "token_endpoint_auth_method": "client_secret_basic"},
        {"redirect_uris": ["https://elsewhere.example/callback"]},
        {"redirect_uris": ["http://127.0.0.1:1/callback"]},
        {"redirect_uris": ["http://x@127.0.0.1/callback"]},
        {"grant_types": ["client_credentials"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": 3},
    ],
    ids=str,
)
async def test_an_answer_that_cannot_be_used_is_refused(authority, overrides):
    answer = {"client_id": "abc", "redirect_uris": [REDIRECT]} | overrides
    body = json.dumps(answer).encode()
    authority.fail_next(status=201, path="/register", body=body)
    with pytest.raises(AuthorizationServerError, match="answered the registration with") as caught:
        await obtain(authority)
    assert caught.value.hint


@pytest.mark.parametrize(
    "kept", [None, [], [REDIRECT], ["http://127.0.0.1/callback"], ["https://a.example/", REDIRECT]]
)
async def test_a_kept_callback_is_recognised_also_without_its_port(authority, kept):
    answer = {"client_id": "abc"} | ({} if kept is None else {"redirect_uris": kept})
    authority.fail_next(status=201, path="/register", body=json.dumps(answer).encode())
    assert (await obtain(authority)).redirect_uri == REDIRECT


@pytest.mark.parametrize(
    ("listed", "answer", "method", "kept"),
    [
        # what is answered wins
        (("none",), {"client_secret": "s", "token_endpoint_auth_method": "client_secret_post"},
         "client_secret_post", "s"),
        (("client_secret_basic",), {"token_endpoint_auth_method": "none"}, "none", None),
        # a secret that was asked for is used, whatever is said of it; one that was not is not
        (("client_secret_post",), {"client_secret": "s", "token_endpoint_auth_method": "none"},
         "client_secret_post", "s"),
        (("none",), {"client_secret": "s", "token_endpoint_auth_method": "none"}, "none", None),
        (("none",), {"client_secret": "s"}, "none", None),
        # no secret: public, unless the metadata rules it out
        (("none",), {"token_endpoint_auth_method": "client_secret_basic"}, "none", None),
        (None, {}, "none", None),
    ],
)  # fmt: skip
async def test_the_method_follows_the_answer(authority, listed, answer, method, kept):
    body = json.dumps({"client_id": "abc"} | answer).encode()
    authority.fail_next(status=201, path="/register", body=body)
    client = await obtain(authority, changes={"token_endpoint_auth_methods_supported": listed})
    assert (client.auth_method, client.client_secret) == (method, kept)


async def test_a_confidential_client_without_a_secret_is_unusable(authority):
    authority.fail_next(status=201, path="/register", body=b'{"client_id": "abc"}')
    listed = {"token_endpoint_auth_methods_supported": ("client_secret_basic",)}
    with pytest.raises(AuthorizationServerError):
        await obtain(authority, changes=listed)


async def test_a_secret_that_never_expires_has_no_expiry(authority):
    listed = {"token_endpoint_auth_methods_supported": ("client_secret_basic",)}
    assert (await obtain(authority, changes=listed)).client_secret_expires_at is None
    authority.knobs.secret_lifetime = 900
    client = await obtain(authority, changes=listed)
    assert client.client_secret_expires_at == pytest.approx(soon(900), abs=30)


# -- what is known is used again


async def test_a_known_client_is_used_again_without_a_request(authority):
    first = await obtain(authority)
    again = await obtain(authority, known=a_record(authority, first))
    assert again == first
    assert authority.count("/register") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://elsewhere.example"},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
        {"client_secret_expires_at": soon(-1)},
        {"client_secret_expires_at": soon(200)},
        {"registration": "preregistered"},
        {"registration": "cimd"},
    ],
    ids=str,
)
async def test_a_client_that_does_not_fit_is_registered_anew(authority, change):
    first = await obtain(authority)
    known = replace(a_record(authority, first), **change)
    assert (await obtain(authority, known=known)).client_id != first.client_id


async def test_a_refused_client_is_registered_anew_on_request(authority):
    first = await obtain(authority)
    again = await obtain(authority, known=a_record(authority, first), again=True)
    assert again.client_id != first.client_id


# -- secrets


async def test_a_client_shows_no_secret_and_is_not_pickled(authority):
    client = await obtain(authority, client_id="mine", secret="s3cret-of-mine")
    assert "s3cret" not in repr(client) + str(client)
    with pytest.raises(TypeError):
        pickle.dumps(client)


async def test_the_steps_of_a_registration_hold_no_secret(authority):
    server = a_server(authority)
    listed = {"token_endpoint_auth_methods_supported": ("client_secret_basic",)}
    async with Fetch(server.url) as fetch:
        await obtain_client(
            fetch, server, found(authority, **listed), redirect_uri=REDIRECT, known=None
        )
        assert [step.rfc for step in fetch.steps] == ["RFC 7591 §3.1"]
        assert fetch.steps[0].found == "a client (client_secret_basic)"
        assert not any(secret in repr(fetch.steps) for secret in authority.tokens)

"""Who asks a token endpoint, and what is taken for an answer."""

from __future__ import annotations

import base64
import pickle
from urllib.parse import quote_plus

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mcp_notebook.auth import grants
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.token_endpoint import Tokens
from mcp_notebook.config.servers import OAuthSettings
from mcp_notebook.errors import (
    AuthorizationServerError,
    ServerConfigError,
)
from tests.auth.situations import (
    CODE,
    RESOURCE,
    VERIFIER,
    a_record,
    answer,
    asked,
    exchange,
    good,
    guardian,
    soon,
)

pytestmark = pytest.mark.anyio


# -- exactly one client authentication


def secrets_in(seen):
    return {name for name in seen.form if name in {"client_id", "client_secret"}}, (
        "authorization" in seen.headers
    )


@pytest.mark.parametrize(
    ("method", "fields", "header"),
    [
        ("none", {"client_id"}, False),
        ("client_secret_post", {"client_id", "client_secret"}, False),
        ("client_secret_basic", set(), True),
    ],
)
async def test_exactly_one_authentication_goes_with_a_request(
    fetch, authority, method, fields, header
):
    answer(authority, good())
    client = RegisteredClient(client_id="me", client_secret="s3cret", auth_method=method)
    await exchange(fetch, authority, client)
    assert secrets_in(asked(authority)[0]) == (fields, header)


async def test_basic_encodes_id_and_secret_before_joining_them(fetch, authority):
    answer(authority, good())
    client = RegisteredClient(
        client_id="https://me:1", client_secret="a b%+ü:", auth_method="client_secret_basic"
    )
    await exchange(fetch, authority, client)
    value = asked(authority)[0].headers["authorization"].removeprefix("Basic ")
    pair = base64.b64decode(value).decode()
    assert pair == f"{quote_plus('https://me:1')}:{quote_plus('a b%+ü:')}"


async def test_a_private_key_signs_for_the_issuer(fetch, authority, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    authority.add_client("robot", method="private_key_jwt", public_key=public.decode())
    client = RegisteredClient(client_id="robot", auth_method="private_key_jwt", private_key=pem)
    tokens = await grants.client_credentials(fetch, client, guardian(authority), resource=RESOURCE)
    assert authority.check(tokens.access_token)
    sent = asked(authority)[0]
    claims = jwt.decode(sent.form["client_assertion"], options={"verify_signature": False})
    assert claims["aud"] == authority.issuer
    assert "client_secret" not in sent.form
    # a refresh finds the key by its variable
    monkeypatch.setenv("ROBOT_KEY", pem)
    record = a_record(authority, client, refresh_token="r3fresh")
    answer(authority, good())
    await grants.refresh(fetch, record, oauth=OAuthSettings(private_key_env="ROBOT_KEY"))
    with pytest.raises(ServerConfigError, match="private key"):
        await grants.refresh(fetch, record)


# -- answers are judged


async def test_a_good_answer_becomes_tokens(fetch, authority):
    answer(authority, good(refresh_token="r3fresh", expires_in=60, scope="read write"))
    tokens = await exchange(fetch, authority)
    assert (tokens.access_token, tokens.refresh_token) == ("acc3ss", "r3fresh")
    assert tokens.expires_at == pytest.approx(soon(60), abs=20)
    assert (tokens.scope, tokens.token_type) == ("read write", "Bearer")


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
async def test_the_case_of_the_token_type_does_not_matter(fetch, authority, kind):
    answer(authority, good(token_type=kind))
    assert (await exchange(fetch, authority)).token_type == "Bearer"


async def test_a_form_encoded_answer_is_read(fetch, authority):
    body = b"access_token=gho_abc&scope=repo%2Cgist&token_type=bearer"
    answer(authority, body, content_type="application/x-www-form-urlencoded; charset=utf-8")
    tokens = await exchange(fetch, authority)
    assert (tokens.access_token, tokens.scope) == ("gho_abc", "repo gist")
    assert (tokens.refresh_token, tokens.expires_at) == (None, None)


async def test_an_error_with_status_200_is_an_error(fetch, authority):
    body = b"error=bad_verification_code&error_description=The+code+is+wrong"
    answer(authority, body, content_type="application/x-www-form-urlencoded")
    with pytest.raises(AuthorizationServerError, match="The code is wrong") as caught:
        await exchange(fetch, authority)
    assert caught.value.code == "bad_verification_code"


@pytest.mark.parametrize(
    "document",
    [
        {"token_type": "Bearer"},
        good(access_token=""),
        good(access_token=7),
        good(access_token=["secret-v4lue"]),
        good(access_token=None),
        good(access_token="secret-v4lue\r\nX-Evil: 1"),
        good(access_token="secret-v4lue with space"),
        good(access_token="secret-v4lué"),
        good(access_token="secret-v4lue" * 6000),
        good(token_type="mac", access_token="secret-v4lue"),
        good(token_type="DPoP", access_token="secret-v4lue"),
        good(token_type="N_A", access_token="secret-v4lue"),
        good(token_type=["Bearer"], access_token="secret-v4lue"),
        good(refresh_token="secret-v4lue\n"),
        good(refresh_token={"secret-v4lue": 1}),
        b"<html>secret-v4lue</html>",
        b'["secret-v4lue"]',
        b'"secret-v4lue"',
        b'{"access_token": "secret-v4lue", ',
        b"",
    ],
    ids=lambda value: str(value)[:60],
)
async def test_an_answer_that_cannot_be_used_is_told_without_its_values(fetch, authority, document):
    answer(authority, document)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert "v4lue" not in f"{caught.value} {caught.value.hint} {fetch.steps}"
    assert caught.value.__cause__ is None
    assert not caught.value.passing


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(3599.5, 3599.5), ("3600", 3600), (" 60 ", 60), (1e12, 365 * 86400), (10**400, None)]
    + [(nonsense, None) for nonsense in (0, -5, None, "soon", True, [], "", "inf", "nan")],
)
async def test_a_lifetime_is_read_leniently_and_never_starts_a_storm(
    fetch, authority, said, seconds
):
    answer(authority, good(expires_in=said))
    expires_at = (await exchange(fetch, authority)).expires_at
    if seconds is None:
        assert expires_at is None
    else:
        assert expires_at == pytest.approx(soon(seconds), abs=20)


@pytest.mark.parametrize(
    ("said", "scope"),
    [
        ("read", "read"),
        ("  read   write ", "read write"),
        ("a,b", "a b"),
        ("a,b c", "a,b c"),
        ("", None),
        (None, None),
        (["read"], None),
        ('re"ad', None),
        ("re\nad", None),
        ("x" * 5000, None),
        (" ".join(["x"] * 101), None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_granted_scope_is_words_or_as_asked(fetch, authority, said, scope):
    answer(authority, good(scope=said))
    assert (await exchange(fetch, authority)).scope == scope


async def test_tokens_show_nothing_and_are_not_pickled():
    tokens = Tokens(access_token="acc3ss", refresh_token="r3fresh")
    assert not {"acc3ss", "r3fresh"} & set(repr(tokens).split())
    assert "3" not in repr(tokens)
    with pytest.raises(TypeError):
        pickle.dumps(tokens)


@pytest.mark.parametrize("sent", [CODE, VERIFIER, "c0de%2Dof%2Dthe%2Dperson"])
async def test_a_refusal_that_repeats_what_we_sent_is_not_quoted(fetch, authority, sent):
    said = {"error": "invalid_grant", "error_description": f"{'long ' * 30}{sent} is wrong"}
    answer(authority, said, status=400)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert caught.value.code == "invalid_grant"
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_refusal_that_repeats_the_client_secret_is_not_quoted(fetch, authority, method):
    said = {"error": "invalid_client", "error_description": "s3cret-of-me is wrong"}
    answer(authority, said, status=401)
    client = RegisteredClient(client_id="me", client_secret="s3cret-of-me", auth_method=method)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority, client)
    assert "s3cret" not in f"{caught.value} {fetch.steps}"


async def test_a_description_with_somebody_elses_credential_is_shown_without_it(fetch, authority):
    said = {"error": "invalid_grant", "error_description": "Bearer pl4nted-token is not known"}
    answer(authority, said, status=400)
    with pytest.raises(AuthorizationServerError, match=r"invalid_grant\): Bearer \*\*\* is not"):
        await exchange(fetch, authority)


async def test_a_refusal_is_one_short_printable_line(fetch, authority):
    said = {"error": "invalid_grant", "error_description": "\x1b[31mNo\u202e!\n<b>" + "x" * 9000}
    answer(authority, said, status=400)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 320


async def test_an_error_code_that_is_none_is_not_repeated(fetch, authority):
    answer(authority, {"error": "<script>\x1b[2J"}, status=400)
    with pytest.raises(AuthorizationServerError) as caught:
        await exchange(fetch, authority)
    assert caught.value.code == ""
    assert "script" not in str(caught.value)

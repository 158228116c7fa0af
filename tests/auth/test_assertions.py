"""What a client signs, checked with the public halves of its keys."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mcp_notebook.auth.assertions import DpopKey, assertion_audiences, client_assertion
from mcp_notebook.auth.environment import private_key_from, secret_from
from mcp_notebook.errors import ServerConfigError, SignInError

TOKEN_ENDPOINT = "https://as.example/token"
ISSUER = "https://as.example"


def pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def opened(proof: str):
    header = jwt.get_unverified_header(proof)
    return header, jwt.decode(proof, jwt.PyJWK(header["jwk"]).key, algorithms=["ES256"])


def test_a_proof_names_the_request_without_query_and_fragment():
    header, claims = opened(DpopKey.generate().proof("post", f"{TOKEN_ENDPOINT}?a=1#b"))
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert (claims["htm"], claims["htu"]) == ("POST", TOKEN_ENDPOINT)
    assert abs(claims["iat"] - time.time()) < 30
    assert "ath" not in claims
    assert "nonce" not in claims


def test_a_proof_carries_only_the_public_key():
    header, _ = opened(DpopKey.generate().proof("GET", ISSUER))
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}


def test_a_proof_is_tied_to_token_and_nonce():
    proof = DpopKey.generate().proof("GET", ISSUER, access_token="t0ken", nonce="n0nce")
    _, claims = opened(proof)
    assert claims["ath"] == digest("t0ken")
    assert claims["nonce"] == "n0nce"


def test_no_two_proofs_are_alike():
    key = DpopKey.generate()
    identifiers = {opened(key.proof("GET", ISSUER))[1]["jti"] for _ in range(20)}
    assert len(identifiers) == 20


def test_the_thumbprint_is_that_of_rfc_7638():
    key = DpopKey.generate()
    public = json.loads(key.to_jwk())
    members = {name: public[name] for name in sorted(("crv", "kty", "x", "y"))}
    assert key.thumbprint == digest(json.dumps(members, separators=(",", ":")))


def test_a_stored_key_signs_as_the_same_key():
    key = DpopKey.generate()
    again = DpopKey.from_jwk(key.to_jwk())
    assert again.thumbprint == key.thumbprint
    opened(again.proof("GET", ISSUER))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}',
        # a public key, and one on another curve
        json.dumps({k: v for k, v in json.loads(DpopKey.generate().to_jwk()).items() if k != "d"}),
        json.dumps(
            jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()), as_dict=True)
        ),
    ],
)
def test_what_is_no_key_is_told_without_showing_it(text):
    with pytest.raises(SignInError) as caught:
        DpopKey.from_jwk(text)
    assert "kty" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_key_shows_nothing_private_and_is_not_copied():
    key = DpopKey.generate()
    assert json.loads(key.to_jwk())["d"] not in repr(key) + repr(vars(key))
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["ES256", "RS256", "EdDSA"],
)
def test_an_assertion_says_who_it_is_for_the_issuer_alone(key, algorithm):
    assertion = client_assertion("me", ISSUER, pem(key), algorithm)
    claims = jwt.decode(assertion, key.public_key(), algorithms=[algorithm], audience=ISSUER)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("me", "me", ISSUER)
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert claims["jti"]


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("no key at all", "ES256"),
        (pem(rsa.generate_private_key(65537, 2048)), "ES256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "HS256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "none"),
    ],
    ids=["text", "another kind", "HS256", "none"],
)
def test_a_key_that_cannot_sign_is_told_without_showing_it(key, algorithm):
    with pytest.raises(ServerConfigError) as caught:
        client_assertion("me", ISSUER, key, algorithm)
    assert key not in str(caught.value)
    assert "--signing-algorithm" in caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("aud", "expected"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([1, "b"], ("b",))]
)
def test_the_audiences_of_a_foreign_jwt_are_read(aud, expected):
    made = jwt.encode({} if aud is None else {"aud": aud}, "k" * 32, algorithm="HS256")
    assert assertion_audiences(made) == expected


@pytest.mark.parametrize("text", ["", "a.b", "gho_plainToken", "a.b.c"])
def test_what_is_no_jwt_is_told_without_showing_it(text):
    with pytest.raises(ServerConfigError) as caught:
        assertion_audiences(text)
    assert not text or text not in str(caught.value)


def test_a_private_key_may_be_on_one_line(monkeypatch):
    key = pem(ec.generate_private_key(ec.SECP256R1()))
    monkeypatch.setenv("SIGNER", key.replace("\n", "\\n"))
    client_assertion("me", ISSUER, private_key_from("SIGNER"), "ES256")


@pytest.mark.parametrize("value", ["-----BEGIN CERTIFICATE-----", "s3cret"])
def test_a_variable_without_a_private_key_is_told_by_name_alone(monkeypatch, value):
    monkeypatch.setenv("SIGNER", value)
    with pytest.raises(ServerConfigError, match="SIGNER") as caught:
        private_key_from("SIGNER")
    assert value not in str(caught.value)


@pytest.mark.parametrize("value", ["", "  ", "two\nlines", "schlüssel"])
def test_a_secret_that_cannot_be_sent_is_told_by_name_alone(monkeypatch, value):
    monkeypatch.setenv("HIDDEN", value)
    with pytest.raises(ServerConfigError, match="HIDDEN") as caught:
        secret_from("HIDDEN", "client secret")
    assert not value.strip() or value not in str(caught.value)


def test_a_secret_loses_the_line_break_a_file_left_on_it(monkeypatch):
    monkeypatch.setenv("HIDDEN", "s3cret\n")
    assert secret_from("HIDDEN", "client secret") == "s3cret"

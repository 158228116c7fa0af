"""The sign-in link and its proof key."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from mcp_notebook.auth.authorization import Pkce, authorization_url


def link(endpoint: str = "https://as.example/authorize", **changes) -> str:
    values = {
        "client_id": "me",
        "redirect_uri": "http://127.0.0.1:1234/callback",
        "scope": "read write",
        "state": "st4te",
        "challenge": "ch4llenge",
        "resource": "https://mcp.example/mcp",
    }
    return authorization_url(endpoint, **{**values, **changes})


def query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


def test_a_proof_key_is_s256_and_never_the_same_twice():
    key = Pkce.create()
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", key.verifier)
    digest = hashlib.sha256(key.verifier.encode()).digest()
    assert key.challenge == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert Pkce.create().verifier != key.verifier
    assert key.verifier not in repr(key)


def test_a_link_asks_for_a_code_with_all_that_ties_the_answer_to_it():
    assert dict(query(link())) == {
        "response_type": "code",
        "client_id": "me",
        "redirect_uri": "http://127.0.0.1:1234/callback",
        "scope": "read write",
        "state": "st4te",
        "code_challenge": "ch4llenge",
        "code_challenge_method": "S256",
        "resource": "https://mcp.example/mcp",
    }


def test_what_is_not_asked_for_is_not_in_the_link():
    names = {name for name, _ in query(link(scope=None, resource=None))}
    assert names.isdisjoint({"scope", "resource"})


def test_the_endpoints_own_query_is_kept():
    url = link("https://as.example/authorize?tenant=a%26b&empty=")
    assert url.count("?") == 1
    assert ("tenant", "a&b") in query(url)
    assert ("empty", "") in query(url)


@pytest.mark.parametrize("name", ["state", "client_id", "redirect_uri", "code_challenge_method"])
def test_neither_endpoint_nor_extras_replace_what_the_protocol_needs(name):
    url = link(f"https://as.example/authorize?{name}=evil", extra={name: "evil"})
    names = [key for key, _ in query(url)]
    assert names.count(name) == 1
    assert dict(query(url))[name] != "evil"


def test_extras_are_added_and_encoded():
    url = link(extra={"prompt": "consent", "login_hint": "a+b@example.org"})
    assert dict(query(url))["prompt"] == "consent"
    assert dict(query(url))["login_hint"] == "a+b@example.org"

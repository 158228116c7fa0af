"""OAuth by hand, request by request, to look at a server without any client of ours."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.peers.person import callback_url

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")
CALLBACK = "http://127.0.0.1:9/callback"


def register(web, origin, **extra):
    document = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"} | extra
    return web.post(f"{origin}/register", json=document)


def link(origin, client_id, /, **extra):
    query = {
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "code_challenge": CHALLENGE.decode(),
        "code_challenge_method": "S256",
        "state": "s1",
    } | extra
    return f"{origin}/authorize?{urlencode(query)}"


def answer_of(url):
    return {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}


def sign_in(web, origin, **extra):
    client_id = register(web, origin).json()["client_id"]
    code = answer_of(callback_url(link(origin, client_id, **extra)))["code"]
    return client_id, exchange(web, origin, client_id, code)


def exchange(web, origin, client_id, code, /, **extra):
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": CALLBACK,
    } | extra
    return web.post(f"{origin}/token", data=form)


def refresh(web, origin, client_id, token):
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
    return web.post(f"{origin}/token", data=form)

"""Clients that a person registered by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_notebook.errors import ServerConfigError, SignInError
from tests.auth.situations import a_record, obtain

pytestmark = pytest.mark.anyio


async def test_a_preregistered_client_never_meets_another_issuer(authority):
    client = await obtain(authority, client_id="mine", secret="s3cret-of-mine")
    known = replace(a_record(authority, client), issuer="https://before.example")
    with pytest.raises(SignInError, match="Nothing was sent") as caught:
        await obtain(authority, client_id="mine", secret="s3cret-of-mine", known=known)
    assert "before.example" in caught.value.message
    assert authority.seen == []


async def test_a_preregistered_client_is_never_replaced_by_registration(authority):
    client = await obtain(authority, client_id="mine", again=True)
    assert client.client_id == "mine"
    assert authority.seen == []


@pytest.mark.parametrize(
    ("listed", "method"),
    [
        (None, "client_secret_basic"),
        (("client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (("client_secret_post",), "client_secret_post"),
        (("none", "client_secret_post"), "client_secret_post"),
    ],
)
async def test_a_secret_goes_by_basic_unless_only_post_is_listed(authority, listed, method):
    changes = {"token_endpoint_auth_methods_supported": listed}
    client = await obtain(authority, client_id="mine", secret="s3cret", changes=changes)
    assert (client.auth_method, client.client_secret) == (method, "s3cret")


async def test_the_chosen_method_wins_over_the_metadata(authority):
    client = await obtain(
        authority, client_id="mine", secret="s3cret", auth_method="client_secret_post"
    )
    assert client.auth_method == "client_secret_post"


async def test_the_secret_is_read_from_its_variable_or_taken_from_the_last_sign_in(
    authority, monkeypatch
):
    monkeypatch.setenv("NOTES_SECRET", "from-env")
    client = await obtain(authority, client_id="mine", client_secret_env="NOTES_SECRET")
    assert client.client_secret == "from-env"
    kept = await obtain(authority, client_id="mine", known=a_record(authority, client))
    assert kept.client_secret == "from-env"
    other = await obtain(authority, client_id="other", known=a_record(authority, client))
    assert other.client_secret is None


async def test_an_unset_secret_variable_is_named(authority, monkeypatch):
    monkeypatch.delenv("NOTES_SECRET", raising=False)
    with pytest.raises(ServerConfigError, match="NOTES_SECRET"):
        await obtain(authority, client_id="mine", client_secret_env="NOTES_SECRET")


async def test_a_method_with_a_secret_asks_for_one_where_there_is_none(authority):
    with pytest.raises(SignInError, match="there is none") as caught:
        await obtain(authority, client_id="mine", auth_method="client_secret_basic")
    assert "--client-secret" in caught.value.hint


@pytest.mark.parametrize("grant", ["client_credentials", "jwt_bearer", "enterprise"])
async def test_machines_do_not_register_themselves(authority, grant):
    with pytest.raises(SignInError, match=grant):
        await obtain(authority, grant=grant)
    assert authority.seen == []

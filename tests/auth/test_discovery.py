"""Who signs people in to a server, found out from honest, odd and hostile documents."""

import pytest

from mcp_notebook.auth.authorization_server import same_issuer, well_known
from mcp_notebook.auth.discovery import discover
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import AuthorizationServerError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_pauses")]

RESOURCE = "/.well-known/oauth-protected-resource"
SERVER = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


def server_at(canned, **oauth):
    return Server(name="demo", url=canned.url + "/mcp", oauth=OAuthSettings(**oauth))


async def find(canned, *, address=None, prefer=None, **oauth):
    server = server_at(canned, **oauth)
    challenge = Challenge(resource_metadata=address) if address else None
    async with Fetch(server.url) as fetch:
        return await discover(fetch, server, challenge, prefer_issuer=prefer)


def resource(canned, *issuers, path=RESOURCE + "/mcp", **members):
    document = {"resource": canned.url + "/mcp", "authorization_servers": list(issuers)}
    canned.json(path, {**document, **members})


def authorization(canned, issuer="", path=SERVER, **members):
    issuer = issuer or canned.url
    document = {
        "issuer": issuer,
        "authorization_endpoint": canned.url + "/authorize",
        "token_endpoint": canned.url + "/token",
        "code_challenge_methods_supported": ["S256"],
    }
    merged = {**document, **members}
    canned.json(path, {name: value for name, value in merged.items() if value is not None})


# Protected resource metadata (RFC 9728)


async def test_the_challenges_address_is_final(canned):
    resource(canned, canned.url, path="/custom")
    authorization(canned)
    found = await find(canned, address=canned.url + "/custom")
    assert found.resource.address == canned.url + "/custom"
    assert found.authorization_server.token_endpoint == canned.url + "/token"
    assert canned.paths == ["/custom", SERVER]


async def test_without_a_challenge_the_path_comes_before_the_root(canned):
    resource(canned, canned.url)
    authorization(canned)
    await find(canned)
    assert canned.paths == [RESOURCE + "/mcp", SERVER]


async def test_the_root_is_asked_last(canned):
    resource(canned, canned.url, path=RESOURCE)
    authorization(canned)
    await find(canned)
    assert canned.paths == [RESOURCE + "/mcp", RESOURCE, SERVER]


async def test_what_the_resource_says_is_kept(canned):
    scopes = ["read", "write", "read", 'a"b', "tab\tbed", ""]
    resource(canned, canned.url, scopes_supported=scopes, dpop_bound_access_tokens_required=True)
    authorization(canned)
    found = await find(canned)
    assert found.resource.resource == canned.url + "/mcp"
    assert found.resource.scopes_supported == ("read", "write")
    assert found.resource.dpop_bound


@pytest.mark.parametrize("named", ["https://evil.example/mcp", "", None, 7, "not an address"])
@pytest.mark.parametrize("told", [True, False])
async def test_metadata_about_another_server_is_refused(canned, named, told):
    resource(canned, canned.url, resource=named)
    authorization(canned)
    with pytest.raises(AuthorizationServerError, match="resource metadata"):
        await find(canned, address=canned.url + RESOURCE + "/mcp" if told else None)
    assert canned.paths == [RESOURCE + "/mcp"]


@pytest.mark.parametrize("path", ["/mcp/deeper", "/mc", "/other"])
async def test_metadata_about_another_path_is_refused(canned, path):
    resource(canned, canned.url, resource=canned.url + path)
    with pytest.raises(AuthorizationServerError, match="another server"):
        await find(canned)


async def test_metadata_about_the_whole_host_is_taken_with_a_note(canned):
    resource(canned, canned.url, resource=canned.url + "/")
    authorization(canned)
    found = await find(canned)
    assert found.resource.resource == canned.url + "/"
    assert any("all of" in note for note in found.notes)


async def test_a_trailing_slash_makes_no_other_server(canned):
    resource(canned, canned.url, resource=canned.url + "/mcp/")
    authorization(canned)
    found = await find(canned)
    assert found.resource.resource == canned.url + "/mcp/"
    assert found.notes == ()


async def test_metadata_on_another_host_has_to_be_about_this_very_server(canned, another):
    authorization(canned)
    resource(canned, canned.url)
    another.answers["/meta"] = canned.answers[RESOURCE + "/mcp"]
    found = await find(canned, address=another.url + "/meta")
    assert any("is kept on" in note for note in found.notes)
    resource(canned, canned.url, resource=canned.url)
    another.answers["/meta"] = canned.answers[RESOURCE + "/mcp"]
    with pytest.raises(AuthorizationServerError, match="another server"):
        await find(canned, address=another.url + "/meta")


@pytest.mark.parametrize(
    "address", ["http://evil.example/meta", "https://10.0.0.1/meta", "javascript:x", "/relative"]
)
async def test_a_challenge_with_an_address_that_may_not_be_used_is_noted(canned, address):
    resource(canned, canned.url)
    authorization(canned)
    found = await find(canned, address=address)
    assert any("is not used" in note for note in found.notes)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_trouble_with_the_resource_metadata_stops_the_search(canned, status):
    canned.status(RESOURCE + "/mcp", status)
    authorization(canned)
    with pytest.raises(AuthorizationServerError, match=str(status)) as caught:
        await find(canned)
    assert caught.value.passing
    assert set(canned.paths) == {RESOURCE + "/mcp"}


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]"])
async def test_a_page_in_place_of_resource_metadata_is_no_reason_for_older_ways(canned, body):
    canned.status(RESOURCE + "/mcp", 200, body, content_type="text/html")
    with pytest.raises(AuthorizationServerError, match="cannot be used"):
        await find(canned)
    assert canned.paths == [RESOURCE + "/mcp", RESOURCE]


async def test_a_document_at_the_root_makes_up_for_a_page_at_the_path(canned):
    canned.status(RESOURCE + "/mcp", 200, b"<html>")
    resource(canned, canned.url, path=RESOURCE)
    authorization(canned)
    assert (await find(canned)).resource.address == canned.url + RESOURCE


# Authorization servers


def test_the_well_known_addresses_are_asked_in_the_specifications_order():
    assert [address for address, _ in well_known("https://as.example.com/tenant1")] == [
        "https://as.example.com/.well-known/oauth-authorization-server/tenant1",
        "https://as.example.com/.well-known/openid-configuration/tenant1",
        "https://as.example.com/tenant1/.well-known/openid-configuration",
    ]
    assert [address for address, _ in well_known("https://as.example.com/")] == [
        "https://as.example.com/.well-known/oauth-authorization-server",
        "https://as.example.com/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize("path", [SERVER + "/tenant1", OPENID + "/tenant1", "/tenant1" + OPENID])
async def test_metadata_is_found_at_each_address_of_a_tenant(canned, path):
    resource(canned, canned.url + "/tenant1")
    authorization(canned, canned.url + "/tenant1", path)
    found = await find(canned)
    assert found.authorization_server.issuer == canned.url + "/tenant1"
    assert found.authorization_server.address == canned.url + path


async def test_what_the_authorization_server_says_is_kept(canned):
    resource(canned, canned.url)
    authorization(
        canned,
        registration_endpoint=canned.url + "/register",
        revocation_endpoint=canned.url + "/revoke",
        device_authorization_endpoint=canned.url + "/device",
        token_endpoint_auth_methods_supported=["none", "client_secret_post"],
        grant_types_supported=["authorization_code"],
        dpop_signing_alg_values_supported=["ES256"],
        client_id_metadata_document_supported=True,
        authorization_response_iss_parameter_supported="true",
    )
    server = (await find(canned)).authorization_server
    assert server.registration_endpoint == canned.url + "/register"
    assert server.revocation_endpoint == canned.url + "/revoke"
    assert server.device_authorization_endpoint == canned.url + "/device"
    assert server.token_endpoint_auth_methods_supported == ("none", "client_secret_post")
    assert server.dpop_signing_alg_values_supported == ("ES256",)
    assert server.client_id_metadata_document_supported is True
    assert server.authorization_response_iss_parameter_supported is False


async def test_a_root_issuer_may_differ_by_its_slash_and_is_kept_as_it_is_written(canned):
    resource(canned, canned.url + "/")
    authorization(canned, canned.url)
    assert (await find(canned)).authorization_server.issuer == canned.url


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/t", "https://a.example/t/", False),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "https://a.example:443", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example//", False),
        ("https://a.example", "https://b.example", False),
    ],
)
def test_issuers_are_compared_as_text(one, other, same):
    assert same_issuer(one, other) is same
    assert same_issuer(other, one) is same


@pytest.mark.parametrize("named", ["https://evil.example", None, 7, ""])
async def test_metadata_of_another_issuer_is_refused(canned, named):
    resource(canned, canned.url)
    document = {"token_endpoint": canned.url + "/token"}
    canned.json(SERVER, document if named is None else {**document, "issuer": named})
    with pytest.raises(AuthorizationServerError, match=r"names no issuer|calls itself") as caught:
        await find(canned)
    assert not caught.value.passing


async def test_a_trusted_issuer_is_taken_and_the_refusal_names_the_option(canned):
    resource(canned, canned.url)
    authorization(canned, "https://real.example/")
    with pytest.raises(AuthorizationServerError) as caught:
        await find(canned)
    assert "--trusted-issuer https://real.example/" in caught.value.hint
    found = await find(canned, trusted_issuers=("https://real.example/",))
    assert found.authorization_server.issuer == "https://real.example/"


@pytest.mark.parametrize("methods", [None, [], ["plain"], "S256", [256]])
async def test_without_s256_nobody_is_sent_to_the_browser(canned, methods):
    resource(canned, canned.url)
    authorization(canned, code_challenge_methods_supported=methods)
    with pytest.raises(AuthorizationServerError, match="S256") as caught:
        await find(canned)
    assert "--assume-s256" in caught.value.hint
    await find(canned, assume_s256=True)
    await find(canned, grant="client_credentials")


async def test_openid_configuration_may_say_what_the_other_document_does_not(canned):
    resource(canned, canned.url)
    authorization(canned, code_challenge_methods_supported=None)
    authorization(canned, path=OPENID)
    assert (await find(canned)).authorization_server.address == canned.url + OPENID


@pytest.mark.parametrize(
    "name",
    [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
        "revocation_endpoint",
        "device_authorization_endpoint",
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)",
        "http://evil.example/x",
        "https://me@evil.example/x",
        "https://169.254.169.254/x",
        "https://192.168.1.1/x",
        ["https://as.example.com/x"],
    ],
)
async def test_a_bad_endpoint_stops_the_flow(canned, name, value):
    resource(canned, canned.url)
    authorization(canned, **{name: value})
    with pytest.raises(AuthorizationServerError) as caught:
        await find(canned)
    assert name in str(caught.value) or name.replace("_", " ") in str(caught.value)
    assert not [path for path in canned.paths if not path.startswith("/.well-known")]


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
async def test_a_needed_endpoint_must_be_there(canned, name):
    resource(canned, canned.url)
    authorization(canned, **{name: None})
    with pytest.raises(AuthorizationServerError, match=name.replace("_", " ")):
        await find(canned)


async def test_a_grant_without_a_browser_needs_no_authorization_endpoint(canned):
    resource(canned, canned.url)
    authorization(canned, authorization_endpoint=None, code_challenge_methods_supported=None)
    found = await find(canned, grant="client_credentials")
    assert found.authorization_server.authorization_endpoint is None


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_trouble_with_the_authorization_server_never_falls_back(canned, status):
    resource(canned, canned.url)
    canned.status(SERVER, status, retry_after="0")
    with pytest.raises(AuthorizationServerError, match=str(status)) as caught:
        await find(canned)
    assert caught.value.passing
    assert caught.value.status == status


async def test_an_authorization_server_without_metadata_is_an_error_where_it_was_named(canned):
    resource(canned, canned.url)
    with pytest.raises(AuthorizationServerError, match="no metadata"):
        await find(canned)


# Several authorization servers


async def test_a_dead_authorization_server_is_skipped_with_a_note(canned, another):
    resource(canned, another.url, canned.url)
    authorization(canned)
    another.status(SERVER, 503)
    found = await find(canned)
    assert found.authorization_server.issuer == canned.url
    assert any("Skipped" in note and "503" in note for note in found.notes)


async def test_the_authorization_server_used_before_comes_first(canned, another):
    resource(canned, another.url, canned.url)
    authorization(canned)
    authorization(another)
    assert (await find(canned)).authorization_server.issuer == another.url
    found = await find(canned, prefer=canned.url)
    assert found.authorization_server.issuer == canned.url
    assert found.notes == ()


async def test_an_authorization_server_that_is_no_longer_named_is_not_asked(canned, another):
    resource(canned, canned.url)
    authorization(canned)
    authorization(another)
    found = await find(canned, prefer=another.url)
    assert found.authorization_server.issuer == canned.url
    assert another.seen == []


async def test_when_all_fail_the_error_tells_of_each_and_whether_it_may_pass(canned, another):
    resource(canned, another.url, canned.url)
    another.status(SERVER, 503)
    with pytest.raises(AuthorizationServerError, match=r"503.*no metadata") as caught:
        await find(canned)
    assert caught.value.passing


async def test_at_most_ten_authorization_servers_are_asked_each_once(canned):
    issuers = [f"{canned.url}/t{number}" for number in range(10_000 // 10)]
    resource(canned, issuers[0], *issuers)
    with pytest.raises(AuthorizationServerError):
        await find(canned)
    asked = [path for path in canned.paths if path.startswith(SERVER)]
    assert asked == [f"{SERVER}/t{number}" for number in range(10)]


async def test_an_authorization_server_with_a_bad_address_is_left_out_with_a_note(canned):
    resource(canned, "http://evil.example", "/relative", canned.url)
    authorization(canned)
    found = await find(canned)
    assert found.resource.authorization_servers == (canned.url,)
    assert sum("is not used" in note for note in found.notes) == 2


async def test_only_bad_addresses_are_an_error(canned):
    resource(canned, "http://evil.example", "https://169.254.169.254")
    with pytest.raises(AuthorizationServerError, match="None of the authorization servers"):
        await find(canned)
    resource(canned, "http://evil.example")
    with pytest.raises(AuthorizationServerError, match="plain http"):
        await find(canned)


@pytest.mark.parametrize("listed", [[], None, "x", [1]])
async def test_a_resource_that_names_nobody_is_asked_itself(canned, listed):
    resource(canned, authorization_servers=listed)
    authorization(canned)
    found = await find(canned)
    assert found.authorization_server.issuer == canned.url
    assert any("names no authorization server" in note for note in found.notes)


async def test_letters_that_look_like_others_are_warned_of(canned):
    resource(canned, canned.url)
    authorization(canned, authorization_endpoint="https://xn--pple-43d.example/authorize")
    assert any("xn--pple-43d.example" in note for note in (await find(canned)).notes)


# The 2025-03-26 revision


async def test_a_server_without_resource_metadata_is_its_own_authorization_server(canned):
    authorization(canned, registration_endpoint=canned.url + "/enrol")
    found = await find(canned)
    assert found.authorization_server.registration_endpoint == canned.url + "/enrol"
    assert found.resource.address is None
    assert found.resource.authorization_servers == (canned.url,)


async def test_a_server_without_any_metadata_has_the_default_endpoints(canned):
    found = await find(canned)
    server = found.authorization_server
    assert server.address is None
    assert (server.authorization_endpoint, server.token_endpoint, server.registration_endpoint) == (
        canned.url + "/authorize",
        canned.url + "/token",
        canned.url + "/register",
    )
    assert set(canned.paths) == {RESOURCE + "/mcp", RESOURCE, SERVER, OPENID}


@pytest.mark.parametrize("path", [RESOURCE + "/mcp", RESOURCE, SERVER, OPENID])
@pytest.mark.parametrize("status", [429, 500, 302, 200])
async def test_the_default_endpoints_need_every_address_to_say_that_there_is_nothing(
    canned, path, status
):
    canned.status(path, status, b"<html>")
    with pytest.raises(AuthorizationServerError):
        await find(canned)


async def test_metadata_of_2025_03_26_must_list_s256_too(canned):
    authorization(canned, code_challenge_methods_supported=["plain"])
    with pytest.raises(AuthorizationServerError, match="S256"):
        await find(canned)


async def test_each_request_is_a_step_with_what_it_found(canned):
    resource(canned, canned.url, path=RESOURCE)
    authorization(canned)
    server = server_at(canned)
    async with Fetch(server.url) as fetch:
        await discover(fetch, server, None)
    assert [(step.status, step.found) for step in fetch.steps] == [
        (404, "none there"),
        (200, f"authorization servers: {canned.url}"),
        (200, f"issuer {canned.url}"),
    ]
    assert all(step.rfc for step in fetch.steps)

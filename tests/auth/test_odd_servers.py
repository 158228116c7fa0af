"""Today's providers, each as a local server with its oddities: in, or the sentence that helps.

Every test goes from the `Server` a person would add to a record with tokens, and looks at what was
sent on the way. Where the advice of the catalog counts, the peers answer to the provider's name.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from mcp_notebook._version import USER_AGENT
from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn, SignInState
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.config import catalog
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import AuthorizationServerError, SignInError
from tests.auth.signing import credentials_of, link, running, signed_in
from tests.connecting import connection_to, person
from tests.peers import Authority, Seen, ToolServer, serve_authority, serve_tools, visit

pytestmark = pytest.mark.anyio

Known = Callable[..., Credentials]


@pytest.fixture(autouse=True)
def nobody_known(authority: Authority) -> Iterator[None]:
    """Each provider begins without clients and without a firewall."""
    authority.forget_clients()
    yield
    authority.wall = None


@pytest.fixture
def known_as(authority: Authority, tools: ToolServer, monkeypatch) -> Known:
    """Gives the peers a provider's names; returns credentials for the server under its name."""

    def known_as(server: str, issuer: str, name: str = "notes", **oauth: Any) -> Credentials:
        ours, real = {server, issuer}, socket.getaddrinfo

        def resolved(host: Any, *rest: Any, **more: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            return real("127.0.0.1" if name in ours else host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        monkeypatch.setenv("NO_PROXY", "*")
        authority.knobs.issuer = f"http://{issuer}:{authority.port}"
        tools.knobs.authorization_servers = (authority.knobs.issuer,)
        tools.knobs.resource = f"http://{server}:{tools.port}/mcp"
        settings = OAuthSettings(**oauth)
        there = Server(name=name, url=tools.knobs.resource, insecure=True, oauth=settings)
        return Credentials(there, TokenKeeper(MemoryStore()))

    return known_as


async def refused(credentials: Credentials) -> SignInError:
    """The error of a sign-in that never gets as far as a link."""
    sign_in = SignIn(credentials)
    with pytest.raises(SignInError) as ended:
        await sign_in.run()
    assert sign_in.standing().hint == ended.value.hint
    return ended.value


def requests(authority: Authority, path: str = "/token") -> list[Seen]:
    return [seen for seen in authority.seen if seen.path == path]


def asked(authority: Authority) -> dict[str, str]:
    """The last authorization request."""
    return [seen for seen in requests(authority, "/authorize") if seen.method == "GET"][-1].query


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def secret_of(monkeypatch, secret: str) -> str:
    monkeypatch.setenv("CLIENT_SECRET", secret)
    return "CLIENT_SECRET"


# -- Figma ------------------------------------------------------------------------------------


def figma(authority: Authority) -> None:
    """Registers clients by a list of names, with a secret it needs and says it does not need."""

    def register(wish: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        if wish["client_name"] != "Admitted":
            return None
        client = authority.add_client(
            "admitted", secret="f-secret", method=wish["token_endpoint_auth_method"]
        )
        answer = {"client_id": client.client_id, "client_secret": client.secret}
        return 201, {**wish, **answer, "token_endpoint_auth_method": "none"}

    authority.knobs.registration_refuses = register


async def test_figma_says_what_figma_wants_and_nobody_is_impersonated(authority, known_as):
    authority.fail_next(status=403, path="/register", body=b"Forbidden", content_type="text/plain")
    error = await refused(known_as("mcp.figma.com", "www.figma.com", name="design"))
    assert error.message == "www.figma.com refused the client registration (403): Forbidden"
    assert error.hint == catalog.about("figma") + "."
    assert requests(authority, "/register")[0].json["client_name"] == "mcp_notebook"
    assert authority.count("/register") == 1
    assert authority.count("/authorize") == 0


@pytest.mark.parametrize(
    ("listed", "chosen", "method"),
    [
        (("client_secret_post",), None, "client_secret_post"),
        (("none", "client_secret_post"), "client_secret_post", "client_secret_post"),
    ],
)
async def test_figma_lets_in_an_admitted_name_with_the_secret_it_claims_not_to_need(
    authority, tools, listed, chosen, method
):
    figma(authority)
    authority.knobs.auth_methods = listed
    record, _ = await signed_in(credentials_of(tools, client_name="Admitted", auth_method=chosen))
    assert (record.auth_method, record.client_secret) == (method, "f-secret")
    (request,) = requests(authority)
    assert request.form["client_secret"] == "f-secret"
    assert "authorization" not in request.headers


# -- GitHub -----------------------------------------------------------------------------------


@pytest.fixture
def github(authority: Authority, known_as: Known) -> Known:
    knobs = authority.knobs
    knobs.no_registration = knobs.form_encoded_tokens = knobs.error_with_200 = True
    knobs.no_expiry = knobs.no_refresh_token = True
    knobs.iss_advertised, knobs.iss = False, None
    knobs.token_overrides = {"scope": "repo,read:org"}
    authority.add_client("app", secret="app-secret", method="client_secret_post")
    knobs.auth_methods = ("client_secret_post",)
    return lambda **oauth: known_as("api.githubcopilot.com", "github.com", name="github", **oauth)


async def test_github_without_a_client_says_how_to_get_one(authority, github):
    error = await refused(github())
    assert error.message == "github.com lets no client register itself."
    assert "Register an OAuth app" in error.hint
    assert "%mcp add github http://api.githubcopilot.com:" in error.hint
    assert "--header Authorization='Bearer ${GITHUB_TOKEN}'" in error.hint
    assert authority.count("/register") == 0


async def test_github_signs_in_with_answers_as_forms_and_without_an_end(
    authority, github, monkeypatch
):
    secret = secret_of(monkeypatch, "app-secret")
    credentials = github(client_id="app", client_secret_env=secret)
    record, _ = await signed_in(credentials)
    assert (record.expires_at, record.refresh_token) == (None, None)
    assert record.scope == "repo read:org"
    (request,) = requests(authority)
    assert request.headers["accept"] == "application/json"
    authority.forget_seen()
    assert await credentials.current() == record  # used until it is refused
    assert await credentials.renew(record.access_token) is None
    assert authority.seen == []


async def test_github_tells_its_errors_though_their_status_is_200(authority, github, monkeypatch):
    secret = secret_of(monkeypatch, "not-the-secret")
    sign_in = SignIn(github(client_id="app", client_secret_env=secret))
    async with running(sign_in) as task:
        page = await asyncio.to_thread(visit, await link(sign_in))
        with pytest.raises(AuthorizationServerError) as ended:
            await task
    assert (ended.value.status, ended.value.code) == (200, "invalid_client")
    assert "did not work" in page
    assert authority.count("/token") == 1


# -- Microsoft Entra --------------------------------------------------------------------------


@pytest.fixture
def entra(authority: Authority, known_as: Known) -> Known:
    knobs = authority.knobs
    knobs.well_known = ("oidc_appended",)
    knobs.no_registration = knobs.no_s256 = True
    knobs.iss_advertised, knobs.iss = False, None
    authority.add_client("app")

    def entra(**oauth: Any) -> Credentials:
        return known_as("notes.contoso.com", "login.microsoftonline.com", **oauth)

    return entra


@pytest.fixture
def tenant(authority: Authority, tools: ToolServer, entra: Known) -> Known:
    """The issuer has a path: that of the tenant."""

    def tenant(**oauth: Any) -> Credentials:
        credentials = entra(**oauth)
        authority.knobs.issuer_path = "/contoso/v2.0"
        authority.knobs.issuer += "/contoso/v2.0"
        tools.knobs.authorization_servers = (authority.knobs.issuer,)
        return credentials

    return tenant


async def test_entra_is_not_gone_to_without_s256_but_the_way_is_told(authority, tenant):
    error = await refused(tenant(client_id="app"))
    assert "S256" in error.message
    assert "--assume-s256 --resource off --client-id ID" in error.hint
    assert authority.count("/authorize") == 0


async def test_entra_signs_in_by_openid_metadata_without_a_resource(authority, tenant):
    credentials = tenant(
        client_id="app", assume_s256=True, resource="off", scope="api://n/.default"
    )
    record, _ = await signed_in(credentials)
    assert record.resource_parameter is None
    assert record.issuer.endswith("/contoso/v2.0")
    assert [path for path in authority.counts() if "well-known" in path] == [
        "/.well-known/oauth-authorization-server/contoso/v2.0",
        "/.well-known/openid-configuration/contoso/v2.0",
        "/contoso/v2.0/.well-known/openid-configuration",
    ]
    await credentials.renew(record.access_token)
    assert asked(authority)["code_challenge_method"] == "S256"
    assert asked(authority)["scope"] == "api://n/.default"
    for request in (asked(authority), *(seen.form for seen in requests(authority))):
        assert "resource" not in request


async def test_entras_own_words_for_it_lead_to_the_option(authority, tenant):
    body = b'{"error": "invalid_target", "error_description": "AADSTS9010010: The resource ..."}'
    sign_in = SignIn(tenant(client_id="app", assume_s256=True))
    async with running(sign_in) as task:
        authority.fail_next(status=400, path="/token", body=body)
        await asyncio.to_thread(visit, await link(sign_in))
        with pytest.raises(AuthorizationServerError, match="AADSTS9010010") as ended:
            await task
    assert "--resource off" in ended.value.hint


# -- Google -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("named", "own"), [("/", ""), ("", "/")])
async def test_googles_issuer_may_have_a_slash_or_not(
    authority, tools, known_as, monkeypatch, named, own
):
    authority.knobs.no_registration = True
    authority.add_client("desktop", secret="g-secret", method="client_secret_basic")
    secret = secret_of(monkeypatch, "g-secret")
    credentials = known_as(
        "gmailmcp.googleapis.com",
        "accounts.google.com",
        client_id="desktop",
        client_secret_env=secret,
    )
    bare = authority.knobs.issuer
    tools.knobs.authorization_servers = (bare + named,)
    authority.knobs.issuer = bare + own
    record, _ = await signed_in(credentials)
    assert record.issuer == bare + own  # as it writes itself: RFC 9207 compares to the letter
    assert record.refresh_token
    assert (await credentials.renew(record.access_token)).access_token != record.access_token


async def test_google_without_a_client_says_how_to_get_one(authority, known_as):
    authority.knobs.no_registration = True
    error = await refused(known_as("gmailmcp.googleapis.com", "accounts.google.com"))
    assert "Desktop app" in error.hint


# -- Slack ------------------------------------------------------------------------------------


async def test_slack_gets_its_exact_callback_and_a_sign_in_that_cannot_be_renewed(authority, tools):
    port = free_port()
    uri = f"http://localhost:{port}/callback"
    authority.knobs.no_registration = authority.knobs.no_refresh_token = True
    authority.add_client("slack-app", redirect_uris=(uri,))
    slack = replace(catalog.lookup("slack").oauth, client_id="slack-app", callback_port=port)
    credentials = credentials_of(tools, **{f: getattr(slack, f) for f in slack.__slots__})
    record, page = await signed_in(credentials)
    assert "Signed in" in page
    assert record.redirect_uri == asked(authority)["redirect_uri"] == uri
    assert requests(authority)[0].form["redirect_uri"] == uri
    assert record.refresh_token is None
    over = replace(record, expires_at=time.time() - 1)
    await credentials.keeper.save(over)
    authority.forget_seen()
    assert (await credentials.current()).access_token == record.access_token  # its 401 decides
    assert await credentials.renew(record.access_token) is None
    assert authority.seen == []


async def test_slacks_callback_in_use_is_told_with_slacks_own_rule(known_as):
    with socket.create_server(("127.0.0.1", 0)) as sibling:
        port = sibling.getsockname()[1]
        credentials = known_as(
            "mcp.slack.com",
            "slack.com",
            client_id="slack-app",
            callback_host="localhost",
            callback_port=port,
        )
        error = await refused(credentials)
    assert f"port {port}" in error.message
    assert "no other program is signing in to Slack" in error.hint


# -- HubSpot ----------------------------------------------------------------------------------


async def test_hubspot_gets_the_secret_by_post_beside_pkce(authority, tools, monkeypatch):
    authority.knobs.no_registration = True
    authority.knobs.auth_methods = ("client_secret_post",)
    authority.add_client("hub", secret="hub-secret", method="client_secret_post")
    secret = secret_of(monkeypatch, "hub-secret")
    for method in (None, catalog.lookup("hubspot").oauth.auth_method):
        authority.forget_seen()
        credentials = credentials_of(
            tools, client_id="hub", client_secret_env=secret, auth_method=method
        )
        record, _ = await signed_in(credentials)
        await credentials.renew(record.access_token)
        exchange, renewal = requests(authority)
        assert asked(authority)["code_challenge_method"] == "S256"
        assert exchange.form["code_verifier"]
        for request in (exchange, renewal):
            assert request.form["client_secret"] == "hub-secret"
            assert "authorization" not in request.headers


# -- Atlassian --------------------------------------------------------------------------------


async def test_atlassians_other_issuer_is_refused_until_it_is_trusted(authority, known_as):
    host, other = "mcp.atlassian.com", "https://auth.atlassian.com"
    credentials = known_as(host, "cf.mcp.atlassian.com")
    authority.knobs.issuer = other
    error = await refused(credentials)
    assert f"calls itself {other}" in error.message
    assert "--trusted-issuer" in error.hint
    assert authority.count("/register") == 0

    credentials = known_as(host, "cf.mcp.atlassian.com", trusted_issuers=(other,))
    authority.knobs.issuer = other
    record, _ = await signed_in(credentials)
    assert record.issuer == other
    assert record.token_endpoint.startswith("http://cf.mcp.atlassian.com")


async def test_an_issuer_that_is_trusted_is_no_leave_for_another(authority, known_as):
    credentials = known_as(
        "mcp.atlassian.com", "cf.mcp.atlassian.com", trusted_issuers=("https://auth.atlassian.com",)
    )
    authority.knobs.issuer = "https://evil.example"
    assert "evil.example" in (await refused(credentials)).message


# -- Notion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_notion_gets_exactly_one_authentication_and_each_refresh_token_once(
    authority, tools, method
):
    authority.knobs.auth_methods = (method,)
    credentials = credentials_of(tools)
    record, _ = await signed_in(credentials)
    spent = [record.refresh_token]
    for _ in range(3):
        record = await credentials.renew(record.access_token)
        spent.append(record.refresh_token)
    assert len(set(spent)) == 4
    assert authority.reuses == 0
    for request in requests(authority):
        given = {
            "client_secret_basic": "authorization" in request.headers,
            "client_secret_post": "client_secret" in request.form,
            "none": "client_id" in request.form and "client_secret" not in request.form,
        }
        assert [name for name, there in given.items() if there] == [method]
    assert record.auth_method == method


# -- Okta and Keycloak ------------------------------------------------------------------------


async def test_okta_registers_with_an_administrators_token(authority, tools, monkeypatch):
    authority.knobs.initial_access_token = "admin-token"
    monkeypatch.setenv("ADMIN_TOKEN", "admin-token")
    record, _ = await signed_in(credentials_of(tools, initial_access_token_env="ADMIN_TOKEN"))
    assert record.access_token
    (registration,) = requests(authority, "/register")
    assert registration.headers["authorization"] == "Bearer admin-token"
    assert all("admin-token" not in str(seen.headers) for seen in requests(authority))
    assert "admin-token" not in str(record.to_json())


async def test_okta_without_that_token_says_so(authority, known_as):
    authority.knobs.initial_access_token = "admin-token"
    error = await refused(known_as("mcp.contoso.com", "contoso.okta.com"))
    assert "--initial-access-token-env NAME" in error.hint
    assert "%mcp add notes http://mcp.contoso.com" in error.hint


async def test_keycloak_is_registered_with_without_a_scope(authority, tools):
    tools.knobs.scopes_supported = ("tools", "email")
    await signed_in(credentials_of(tools))
    assert "scope" not in requests(authority, "/register")[0].json
    assert asked(authority)["scope"] == "tools email"


async def test_keycloaks_trusted_hosts_are_told_apart_from_a_list_of_clients(authority, tools):
    said = {
        "error": "insufficient_scope",
        "error_description": "Policy 'Trusted Hosts' rejected request to client-registration "
        "service. Details: Host not trusted.",
    }
    authority.knobs.registration_refuses = (403, said)
    error = await refused(credentials_of(tools))
    assert "administrator can admit this one" in error.hint


@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
async def test_a_refused_offline_access_is_dropped_and_asked_for_without_it(
    authority, tools, grant
):
    tools.knobs.scopes_supported = ("tools",)
    authority.knobs.scopes_supported = ("tools", "offline_access")
    authority.knobs.refused_scopes = ("offline_access",)
    record, _ = await signed_in(credentials_of(tools, grant=grant))
    assert record.scope == "tools"
    path = "/authorize" if grant == "authorization_code" else "/device_authorization"
    sent = [seen.query or seen.form for seen in requests(authority, path)]
    assert [fields.get("scope") for fields in sent if "scope" in fields] == [
        "tools offline_access",
        "tools",
    ]
    assert authority.count("/register") == 1


async def test_a_machine_asks_for_no_offline_access(authority, tools, monkeypatch):
    tools.knobs.scopes_supported = ("tools", "offline_access")
    authority.knobs.refused_scopes = ("offline_access",)
    authority.add_client("robot", secret="robot-secret", method="client_secret_basic")
    credentials = credentials_of(
        tools,
        grant="client_credentials",
        client_id="robot",
        client_secret_env=secret_of(monkeypatch, "robot-secret"),
    )
    record = await SignIn(credentials).run()
    assert record.scope == "tools"
    assert authority.count("/token") == 1


# -- Linear and Sentry ------------------------------------------------------------------------

DOCUMENT = "https://person.example/notebook.json"


async def test_linears_refusal_of_a_document_gives_way_to_registration_for_good(authority, tools):
    authority.knobs.cimd = "refused"
    credentials = credentials_of(tools, client_metadata_url=DOCUMENT)
    first, page = await signed_in(credentials)
    assert "Signed in" in page  # one visit: the browser was sent straight on
    assert first.registration == "dcr"
    clients = [seen.query["client_id"] for seen in requests(authority, "/authorize") if seen.query]
    assert clients == [DOCUMENT, first.client_id]
    authority.forget_seen()
    second, _ = await signed_in(credentials)
    assert second.client_id == first.client_id
    assert asked(authority)["client_id"] == first.client_id
    assert authority.count("/register") == 0


async def test_sentrys_refusal_that_only_the_browser_shows_is_answered_by_registering(
    authority, tools
):
    authority.knobs.metadata_overrides = {"client_id_metadata_document_supported": True}
    credentials = credentials_of(tools, client_metadata_url=DOCUMENT)
    sign_in = SignIn(credentials)
    async with running(sign_in):
        page = await asyncio.to_thread(visit, await link(sign_in))
        assert "Unknown client" in page
        assert sign_in.standing().state is SignInState.WAITING  # nothing came back
    record, _ = await signed_in(credentials, register_again=True)
    assert record.registration == "dcr"


async def test_supabases_forgotten_client_that_only_the_browser_shows(authority, tools):
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    authority.forget_clients()
    sign_in = SignIn(credentials)
    async with running(sign_in):
        assert "Unknown client" in await asyncio.to_thread(visit, await link(sign_in))
    second, _ = await signed_in(credentials, register_again=True)
    assert second.client_id != first.client_id


# -- a firewall -------------------------------------------------------------------------------


async def test_a_firewall_lets_every_request_through_for_its_user_agent():
    """It refuses what names no program, as it would refuse the SDK's own requests."""
    with serve_authority() as authority, serve_tools(authority) as tools:
        for server in (authority, tools):
            server.wall = lambda seen: (
                "mozilla" not in seen.headers.get("user-agent", "").lower()
                and not seen.headers.get("user-agent", "").startswith("mcp_notebook/")
                and "text/html" not in seen.headers.get("accept", "")
            )
        async with connection_to(tools.url) as connection:
            await person(connection)
            result = await connection.call_tool("add", {"a": 2, "b": 3})
            assert not result.is_error
            await connection.sign_out()
        ours = [
            seen
            for seen in (*authority.seen, *tools.seen)
            if "text/html" not in seen.headers.get("accept", "")
        ]
        paths = {seen.path for seen in ours}
        assert {"/register", "/token", "/revoke", tools.knobs.path} <= paths
        assert {seen.headers.get("user-agent") for seen in ours} == {USER_AGENT}


# -- servers of 2025-03-26 --------------------------------------------------------------------


@contextmanager
def of_2025_03_26(**knobs: Any) -> Iterator[tuple[Authority, ToolServer]]:
    """A server that is its own authorization server and describes nothing."""
    with (
        serve_authority(iss_advertised=False, iss=None, **knobs) as authority,
        serve_tools(
            authority, metadata_at=(), challenge_metadata=False, hosts_authority=True
        ) as tools,
    ):
        yield authority, tools


async def test_a_server_without_any_metadata_is_asked_at_its_own_origin():
    with of_2025_03_26(well_known=()) as (authority, tools):
        credentials = credentials_of(tools)
        record, _ = await signed_in(credentials)
        assert (record.issuer, record.token_endpoint) == (tools.origin, f"{tools.origin}/token")
        renewed = await credentials.renew(record.access_token)
        assert renewed.access_token != record.access_token
        assert authority.seen == []  # all of it went to the server's own origin
        assert [seen.path for seen in tools.seen if seen.method == "POST"] == [
            "/register",
            "/authorize",
            "/token",
            "/token",
        ]


async def test_a_server_with_metadata_of_its_own_is_its_own_authorization_server():
    with of_2025_03_26() as (_, tools):
        record, _ = await signed_in(credentials_of(tools))
        assert record.issuer == tools.origin
        assert tools.count("/.well-known/oauth-authorization-server") == 1

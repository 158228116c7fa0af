"""Well-known servers, and the known ways out of their providers' oddities."""

import re

import pytest

from mcp_notebook.commands.parsing import parse
from mcp_notebook.config import catalog
from mcp_notebook.config.servers import Server, check_server
from mcp_notebook.errors import (
    AuthorizationServerError,
    MCPNotebookError,
    SignInError,
    SignInExpiredError,
)


@pytest.mark.parametrize("name", catalog.names())
def test_every_well_known_server_can_be_added_as_it_is(name):
    server = catalog.lookup(name)
    check_server(server)
    assert server.name == name
    assert server.oauth.client_name is None, "nobody is impersonated"
    assert server.oauth.client_id is None


def test_names_are_unique_and_found_in_any_case():
    assert len(set(catalog.names())) == len(catalog.names())
    assert catalog.lookup("Linear").url == "https://mcp.linear.app/mcp"
    assert catalog.lookup("nobody") is None


def test_slack_has_the_callback_it_demands():
    oauth = catalog.lookup("slack").oauth
    assert (oauth.callback_host, oauth.callback_port, oauth.callback_path) == (
        "localhost",
        3118,
        "/callback",
    )


def test_what_must_be_done_first_is_told_with_the_servers_own_address():
    assert "https://api.githubcopilot.com/mcp/" in catalog.about("github")
    assert catalog.about("linear") == ""
    assert catalog.about("nobody") == ""


FORBIDDEN = AuthorizationServerError(
    "api.figma.com refused the client registration (403): Forbidden", status=403
)


def closed(host):
    return SignInError(f"{host} lets no client register itself.")


@pytest.mark.parametrize(
    ("where", "error", "expected"),
    [
        ("mcp.figma.com", FORBIDDEN, "figma-desktop"),
        ("api.githubcopilot.com", closed("github.com"), "personal access token"),
        ("bigquery.googleapis.com", closed("accounts.google.com"), "Desktop app"),
        ("mcp.hubspot.com", closed("mcp.hubspot.com"), "client_secret_post"),
        (
            "mcp.hubspot.com",
            AuthorizationServerError("mcp.hubspot.com refused the token", code="invalid_client"),
            "client_secret_post",
        ),
        ("mcp.slack.com", closed("slack.com"), "http://localhost:3118/callback"),
        ("mcp.slack.com", SignInError("Port 3118 is taken."), "no other program"),
        (
            "tools.corp.example",
            AuthorizationServerError(
                "The metadata of the authorization server login.microsoftonline.com cannot be "
                "used: it does not say that it supports PKCE with S256"
            ),
            "--assume-s256 --resource off",
        ),
        (
            "tools.corp.example",
            AuthorizationServerError("sso refused the token (invalid_request): AADSTS9010010: no"),
            "--resource off",
        ),
        (
            "tools.corp.example",
            AuthorizationServerError("corp.okta.com refused the client registration (403)."),
            "--initial-access-token-env",
        ),
        (
            "tools.corp.example",
            AuthorizationServerError("sso refused the registration: Policy 'Trusted Hosts' said"),
            "Keycloak",
        ),
        (
            "mcp.atlassian.com",
            AuthorizationServerError("It was found for a but calls itself b"),
            "--trusted-issuer",
        ),
        ("mcp.supabase.com", SignInExpiredError("Nobody answered."), "--register-again"),
    ],
)
def test_a_providers_oddity_has_its_known_fix(where, error, expected):
    assert expected in catalog.advice(where, error)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("mcp.linear.app", closed("mcp.linear.app")),
        ("notfigma.com", AuthorizationServerError("refused the client registration (403).")),
        ("mcp.figma.com", AuthorizationServerError("mcp.figma.com cannot be reached.")),
        ("mcp.supabase.com", MCPNotebookError("something else")),
    ],
)
def test_where_nothing_is_known_nothing_is_said(where, error):
    assert catalog.advice(where, error) == ""


def test_advice_names_the_persons_own_server():
    server = Server(name="work", url="https://mcp.slack.com/mcp")
    assert "%mcp add work https://mcp.slack.com/mcp --replace" in catalog.advice(
        server, closed("slack.com")
    )


@pytest.mark.parametrize("name", [name for name in catalog.names() if catalog.about(name)])
def test_every_line_in_an_advice_can_be_typed(name):
    text = catalog.about(name).replace("--client-id ID", "--client-id my-app")
    lines = re.findall(r"%mcp (.*?)(?=[.;,]? (?:Or|Slack|or)\b|[.;]?$)", text)
    assert lines
    for line in lines:
        parse(line.rstrip(".;"))

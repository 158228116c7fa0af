"""A hint can be typed as it stands: it names the person's own server, and knows its provider."""

import dataclasses

import pytest

from mcp_notebook.auth.remedies import helped
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import AuthorizationServerError, ServerConfigError, SignInError

WIKI = Server(name="wiki", url="https://wiki.example/mcp")
SLACK = Server(name="chat", url="https://mcp.slack.com/mcp")


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        ("Sign in again with %mcp sign-in NAME.", "Sign in again with %mcp sign-in wiki."),
        ("%mcp sign-in NAME --register-again", "%mcp sign-in wiki --register-again"),
        ("Use --private-key-env NAME.", "Use --private-key-env NAME."),
        ("--header X-Api-Key='${NAME}'", "--header X-Api-Key='${NAME}'"),
        (
            "%mcp add … --replace --trusted-issuer URL",
            "%mcp add wiki https://wiki.example/mcp --replace --trusted-issuer URL",
        ),
        ("%mcp connect NAMES", "%mcp connect NAMES"),
    ],
)
def test_the_servers_own_name_stands_in_the_line(hint, typed):
    for error in (SignInError("no", hint=hint), ServerConfigError("no", hint=hint)):
        helped(error, WIKI)
        assert error.hint == typed


def test_a_known_provider_has_its_own_way_out():
    error = SignInError("slack.com lets no client register itself.", hint="Register an app.")
    helped(error, SLACK)
    assert "http://localhost:3118/callback" in error.hint
    assert "%mcp add chat https://mcp.slack.com/mcp --replace" in error.hint


def test_an_account_is_signed_in_to_by_its_name_and_added_by_its_servers():
    work = dataclasses.replace(SLACK, name="work", account_of="chat")
    error = SignInError("slack.com lets no client register itself.", hint="Register an app.")
    helped(error, work)
    assert "%mcp add chat https://mcp.slack.com/mcp --replace" in error.hint
    error = SignInError("no", hint="%mcp sign-in NAME. Or: %mcp add … --replace")
    helped(error, dataclasses.replace(WIKI, name="work", account_of="wiki"))
    assert error.hint == ("%mcp sign-in work. Or: %mcp add wiki https://wiki.example/mcp --replace")


def test_trouble_that_passes_is_waited_out_also_at_a_known_provider():
    error = AuthorizationServerError(
        "slack.com refused the client registration (503).", hint="Try again.", passing=True
    )
    helped(error, SLACK)
    assert error.hint == "Try again."


def test_what_is_wrong_on_this_machine_is_no_providers_oddity():
    error = ServerConfigError("The client_id is not text.", hint="Mend it.")
    helped(error, SLACK)
    assert error.hint == "Mend it."

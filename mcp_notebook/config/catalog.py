"""Well-known servers by name, and what is odd about their providers, as data.

`lookup` makes ``%mcp connect linear`` work without an address. `advice` knows the way out where a
provider departs from the specification; the engine itself has no special cases by host. Nothing
here pretends to be another client: where a provider admits a list of clients, the advice says how
to be admitted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import MCPNotebookError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One well-known server.

    Attributes:
        name: What it is called in ``%mcp connect NAME``.
        url: Its MCP endpoint.
        about: What to know before the first sign-in; empty where nothing has to be done.
        oauth: Settings that differ from the defaults.
    """

    name: str
    url: str
    about: str = ""
    oauth: OAuthSettings = field(default_factory=OAuthSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What helps with one kind of trouble at one provider.

    Attributes:
        hosts: The provider's hosts, subdomains included; empty for software that runs anywhere.
        trouble: What the error's class, status, code and message are searched for.
        remedy: What to do. ``{name}`` and ``{url}`` are the server's.
    """

    hosts: tuple[str, ...] = ()
    trouble: re.Pattern[str]
    remedy: str


_OWN_CLIENT = "Register an application there and add the server with --client-id"
_FIGMA = (
    "Figma registers only clients of its MCP catalog and answers all others with 403. Ask Figma to "
    "admit a client of your own and add it with --client-id ID, or with the admitted --client-name "
    "and --auth-method client_secret_post; or use the server of the Figma desktop app, which needs "
    "no sign-in: %mcp connect figma-desktop"
)
_GITHUB = (
    "GitHub lets no client register itself. Register an OAuth app (Settings, Developer settings) "
    "with the callback http://127.0.0.1/callback, then: %mcp add {name} {url} --replace "
    "--client-id ID --client-secret. Or use a personal access token: %mcp add {name} {url} "
    "--replace --header Authorization='Bearer ${{GITHUB_TOKEN}}'"
)
_GOOGLE = (
    "Google lets no client register itself. Create an OAuth client of the kind 'Desktop app' in "
    "the Google Cloud console and enable the service's MCP API there, then: %mcp add {name} {url} "
    "--replace --client-id ID --client-secret"
)
_HUBSPOT = (
    "HubSpot lets no client register itself. Create an MCP auth app there, with a redirect URL "
    "such as http://localhost:8765/callback, then: %mcp add {name} {url} --replace --client-id ID "
    "--client-secret --auth-method client_secret_post --callback-host localhost "
    "--callback-port 8765"
)
_SLACK = (
    "Slack lets no client register itself. Create a Slack app with the redirect URL "
    "http://localhost:3118/callback, then: %mcp add {name} {url} --replace --client-id ID "
    "--callback-host localhost --callback-port 3118. Slack compares that address exactly, so only "
    "one program at a time can sign in; there is no refresh token, and a sign-in lasts an hour"
)

_ENTRIES = (
    Entry(name="asana", url="https://mcp.asana.com/v2/mcp"),
    Entry(name="atlassian", url="https://mcp.atlassian.com/v1/mcp"),
    Entry(name="canva", url="https://mcp.canva.com/mcp"),
    Entry(name="cloudflare", url="https://mcp.cloudflare.com/mcp"),
    Entry(name="figma", url="https://mcp.figma.com/mcp", about=_FIGMA),
    Entry(name="figma-desktop", url="http://127.0.0.1:3845/mcp"),
    Entry(name="github", url="https://api.githubcopilot.com/mcp/", about=_GITHUB),
    Entry(name="google-bigquery", url="https://bigquery.googleapis.com/mcp", about=_GOOGLE),
    Entry(name="google-calendar", url="https://calendarmcp.googleapis.com/mcp/v1", about=_GOOGLE),
    Entry(name="google-drive", url="https://drivemcp.googleapis.com/mcp/v1", about=_GOOGLE),
    Entry(name="google-gmail", url="https://gmailmcp.googleapis.com/mcp/v1", about=_GOOGLE),
    Entry(
        name="hubspot",
        url="https://mcp.hubspot.com",
        about=_HUBSPOT,
        oauth=OAuthSettings(auth_method="client_secret_post"),
    ),
    Entry(name="huggingface", url="https://huggingface.co/mcp"),
    Entry(name="intercom", url="https://mcp.intercom.com/mcp"),
    Entry(name="linear", url="https://mcp.linear.app/mcp"),
    Entry(name="notion", url="https://mcp.notion.com/mcp"),
    Entry(name="paypal", url="https://mcp.paypal.com/mcp"),
    Entry(name="sentry", url="https://mcp.sentry.dev/mcp"),
    Entry(
        name="slack",
        url="https://mcp.slack.com/mcp",
        about=_SLACK,
        oauth=OAuthSettings(callback_host="localhost", callback_port=3118),
    ),
    Entry(name="stripe", url="https://mcp.stripe.com"),
    Entry(name="supabase", url="https://mcp.supabase.com/mcp"),
    Entry(name="vercel", url="https://mcp.vercel.com"),
)

_REGISTRATION = re.compile(r"(?i)regist|unauthorized_client|client_id|--client-id")

_FIXES = (
    Fix(hosts=("figma.com",), trouble=_REGISTRATION, remedy=_FIGMA),
    Fix(hosts=("github.com", "githubcopilot.com"), trouble=_REGISTRATION, remedy=_GITHUB),
    Fix(hosts=("googleapis.com", "accounts.google.com"), trouble=_REGISTRATION, remedy=_GOOGLE),
    Fix(hosts=("hubspot.com", "hubapi.com"), trouble=_REGISTRATION, remedy=_HUBSPOT),
    Fix(
        hosts=("hubspot.com", "hubapi.com"),
        trouble=re.compile(r"invalid_client|invalid_request"),
        remedy="HubSpot takes the client secret in the form of the request, beside PKCE: "
        "%mcp add {name} {url} --replace --client-id ID --client-secret "
        "--auth-method client_secret_post",
    ),
    Fix(hosts=("slack.com",), trouble=_REGISTRATION, remedy=_SLACK),
    Fix(
        hosts=("slack.com",),
        trouble=re.compile(r"(?i)redirect|port|callback"),
        remedy="Slack takes the callback http://localhost:3118/callback and no other: %mcp add "
        "{name} {url} --replace --client-id ID --callback-host localhost --callback-port 3118, "
        "while no other program is signing in to Slack",
    ),
    Fix(
        hosts=("login.microsoftonline.com", "microsoft.com"),
        trouble=re.compile(r"S256"),
        remedy="Microsoft Entra supports S256 without saying so, and takes no resource beside "
        "scopes: %mcp add {name} {url} --replace --assume-s256 --resource off --client-id ID",
    ),
    Fix(
        trouble=re.compile(r"AADSTS(9010010|901002)"),
        remedy="Microsoft Entra takes no resource beside scopes: %mcp add {name} {url} --replace "
        "--assume-s256 --resource off --client-id ID",
    ),
    Fix(
        hosts=("login.microsoftonline.com",),
        trouble=_REGISTRATION,
        remedy="Microsoft Entra lets no client register itself. " + _OWN_CLIENT + " ID "
        "--assume-s256 --resource off",
    ),
    Fix(
        hosts=("okta.com", "oktapreview.com", "okta-emea.com"),
        trouble=_REGISTRATION,
        remedy="Okta registers clients for administrators only. Take a token of one from a "
        "variable: %mcp add {name} {url} --replace --initial-access-token-env NAME. Or have a "
        "client registered, and use --client-id",
    ),
    Fix(
        trouble=re.compile(r"(?i)trusted hosts"),
        remedy="Keycloak's policy 'Trusted Hosts' keeps other machines from registering clients. "
        "Its administrator can admit this one or hand out a token for --initial-access-token-env",
    ),
    Fix(
        hosts=("atlassian.com",),
        trouble=re.compile(r"calls itself"),
        remedy="Atlassian's metadata names another issuer than the address it is found at. If you "
        "trust the one it names: %mcp add {name} {url} --replace --trusted-issuer ISSUER",
    ),
    Fix(
        hosts=("supabase.com",),
        trouble=re.compile(r"SignInExpiredError|invalid_client"),
        remedy="If the browser showed 'Unrecognized client_id', Supabase has forgotten this "
        "client: %mcp sign-in {name} --register-again",
    ),
)

_HOST_IN_TEXT = re.compile(r"\b(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24}\b")


def names() -> tuple[str, ...]:
    """Returns the names of the well-known servers, for completion."""
    return tuple(entry.name for entry in _ENTRIES)


def lookup(name: str) -> Server | None:
    """Returns a well-known server as one would add it, or None where there is none of the name."""
    entry = _entry(name)
    if entry is None:
        return None
    return Server(name=entry.name, url=entry.url, oauth=entry.oauth)


def about(name: str) -> str:
    """Returns what to know before the first sign-in to a well-known server, or ``""``."""
    entry = _entry(name)
    return "" if entry is None else entry.about.format(name=entry.name, url=entry.url)


def advice(where: Server | str, error: MCPNotebookError) -> str:
    """Returns the known fix for an error of a provider, or ``""``.

    Args:
        where: The server, or the host of its provider.
        error: What went wrong; a host that its message names counts too, since the server itself
            may stand anywhere while its provider is Microsoft Entra or Okta.
    """
    name, url = ("NAME", "URL") if isinstance(where, str) else (where.added_as, where.url)
    hosts = {where if isinstance(where, str) else host_of(url)}
    hosts.update(_HOST_IN_TEXT.findall(error.message.lower()))
    facts = [type(error).__name__, getattr(error, "code", ""), getattr(error, "status", "")]
    text = " ".join([*map(str, facts), error.message])
    for fix in _FIXES:
        if fix.trouble.search(text) and (not fix.hosts or _any_of(hosts, fix.hosts)):
            return fix.remedy.format(name=name, url=url) + "."
    return ""


def _entry(name: str) -> Entry | None:
    return next((entry for entry in _ENTRIES if entry.name == name.lower()), None)


def _any_of(hosts: set[str], providers: tuple[str, ...]) -> bool:
    return any(host == known or host.endswith(f".{known}") for host in hosts for known in providers)

"""What ``%mcp doctor`` finds, and that it changes and gives away nothing."""

import time

import pytest

from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.doctor import examine
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import ServerConfigError, TokenStoreError
from tests.peers.authority import serve_authority
from tests.peers.tool_server import serve_tools

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_pauses")]

RESOURCE = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"


@pytest.fixture
def guarded(canned):
    """A server that asks for a sign-in at an authorization server of its own."""
    challenge = f'Bearer resource_metadata="{canned.url}{RESOURCE}"'
    canned.status("/mcp", 401, www_authenticate=challenge)
    canned.json(
        RESOURCE,
        {
            "resource": canned.url + "/mcp",
            "authorization_servers": [canned.url],
            "scopes_supported": ["read", "write"],
        },
    )
    describe(canned)
    return canned


def describe(canned, **members):
    document = {
        "issuer": canned.url,
        "authorization_endpoint": canned.url + "/authorize",
        "token_endpoint": canned.url + "/token",
        "registration_endpoint": canned.url + "/register",
        "code_challenge_methods_supported": ["S256"],
    }
    merged = {**document, **members}
    canned.json(METADATA, {name: value for name, value in merged.items() if value is not None})


def credentials_for(url, *, transport="http", headers=None, **oauth):
    server = Server(
        name="demo",
        url=url,
        transport=transport,
        headers=headers or {},
        oauth=OAuthSettings(**oauth),
    )
    return Credentials(server, TokenKeeper(MemoryStore()))


async def look(url, *, record=None, **settings):
    credentials = credentials_for(url, **settings)
    if record is not None:
        await credentials.keeper.save(record)
    return await examine(credentials.server, credentials)


def record_of(canned, **members):
    values = {
        "server": "demo",
        "resource": canned.url + "/mcp",
        "issuer": canned.url,
        "token_endpoint": canned.url + "/token",
        "client_id": "client-s3cret",
        "client_secret": "s3cret-1",
        "access_token": "s3cret-2",
        "refresh_token": "s3cret-3",
        "expires_at": time.time() + 3600,
        "scope": "read",
    }
    return TokenRecord(**{**values, **members})


def problems(report):
    return [step.problem for step in report.steps if step.problem]


async def test_before_any_sign_in_every_step_is_shown_and_nothing_is_changed(guarded):
    report = await look(guarded.url + "/mcp")
    assert report.healthy
    assert report.verdict == "demo is ready for a sign-in with 127.0.0.1."
    assert report.fix == "%mcp connect demo"
    assert problems(report) == []
    assert [(step.method, step.status) for step in report.steps if step.method] == [
        ("POST", 401),
        ("GET", 200),
        ("GET", 200),
    ]
    assert "read write" in report.text
    assert f"will register itself at {guarded.url}/register" in report.text
    assert set(guarded.paths) == {"/mcp", RESOURCE, METADATA}


async def test_the_rows_are_plain_text(guarded):
    report = await look(guarded.url + "/mcp")
    assert len(report.rows) == len(report.steps)
    assert report.rows[0]["asked"] == f"POST {guarded.url}/mcp"
    assert report.rows[0]["answer"] == "401"
    assert all(isinstance(value, str) for row in report.rows for value in row.values())


async def test_a_stored_sign_in_is_told_without_its_secrets_and_without_being_sent(guarded):
    report = await look(guarded.url + "/mcp", record=record_of(guarded))
    assert report.verdict == "demo is signed in."
    assert "can be renewed" in report.text
    assert "granted: read" in report.text
    assert "s3cret" not in report.text + repr(report) + str(report.rows)
    assert all("authorization" not in headers for _, _, headers, _ in guarded.seen)
    assert "/token" not in guarded.paths


async def test_a_sign_in_at_another_authorization_server_is_a_problem(guarded):
    record = record_of(guarded, issuer="https://old.example")
    report = await look(guarded.url + "/mcp", record=record)
    assert not report.healthy
    assert "belongs to old.example" in report.verdict
    assert "%mcp sign-out demo" in report.fix


async def test_an_expired_sign_in_without_a_way_to_renew_it_is_a_problem(guarded):
    record = record_of(guarded, expires_at=time.time() - 60, refresh_token=None)
    report = await look(guarded.url + "/mcp", record=record)
    assert not report.healthy
    assert report.fix == "Sign in again: %mcp sign-in demo"


async def test_a_client_that_is_signed_out_is_ready(guarded):
    record = record_of(guarded).without_tokens()
    report = await look(guarded.url + "/mcp", record=record)
    assert report.healthy
    assert "signed out" in report.text
    assert "registered with 127.0.0.1 (dcr" in report.text


async def test_a_server_that_asks_for_nothing_is_left_at_that(canned):
    canned.json("/mcp", {"jsonrpc": "2.0", "id": 1, "result": {}})
    report = await look(canned.url + "/mcp")
    assert report.healthy
    assert "without a sign-in" in report.verdict
    assert canned.paths == ["/mcp"]


async def test_an_event_stream_that_never_ends_is_an_open_server(canned, monkeypatch):
    monkeypatch.setattr("mcp_notebook.auth.fetch.DEADLINE", 0.2)

    def stream(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(b"event: endpoint\r\ndata: /messages\r\n\r\n")
        handler.wfile.flush()
        time.sleep(0.5)

    canned.answers["/sse"] = stream
    report = await look(canned.url + "/sse", transport="sse")
    assert report.healthy
    assert "without a sign-in" in report.verdict
    assert problems(report) == []
    assert canned.seen[0][0] == "GET"


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (404, "no MCP server at this address", "/mcp"),
        (405, "no MCP server at this address", "--transport sse"),
        (403, "refuses the request", "--header"),
        (503, "trouble at present", "Try again"),
        (429, "trouble at present", "Try again"),
    ],
)
async def test_a_server_that_answers_otherwise_is_named_with_a_fix(canned, status, said, hint):
    canned.status("/mcp", status)
    report = await look(canned.url + "/mcp")
    assert not report.healthy
    assert said in report.verdict
    assert hint in report.fix
    assert canned.paths == ["/mcp"]


async def test_a_server_that_has_moved_is_told_with_the_new_address(canned):
    canned.status("/mcp", 308, location="https://new.example/mcp?x=1")
    report = await look(canned.url + "/mcp")
    assert report.fix.endswith("%mcp add demo https://new.example/mcp --replace")


async def test_a_server_that_is_down_is_told(canned, unused_port):
    report = await look(f"http://127.0.0.1:{unused_port}/mcp")
    assert not report.healthy
    assert "cannot be reached" in report.verdict


async def test_trouble_in_discovery_stands_at_its_step(guarded):
    describe(guarded, code_challenge_methods_supported=["plain"])
    report = await look(guarded.url + "/mcp")
    assert not report.healthy
    assert "S256" in report.verdict
    assert "--assume-s256" in report.fix
    assert any("S256" in problem for problem in problems(report))


async def test_an_authorization_server_without_metadata_stands_at_the_last_step(guarded):
    del guarded.answers[METADATA]
    report = await look(guarded.url + "/mcp")
    assert "has no metadata" in report.verdict
    assert problems(report) == [report.verdict]


async def test_a_server_that_names_no_metadata_is_found_all_the_same(guarded):
    guarded.status("/mcp", 401)
    report = await look(guarded.url + "/mcp")
    assert report.healthy
    assert "names no metadata" in report.text


async def test_closed_registration_is_told_before_a_sign_in_is_tried(guarded):
    describe(guarded, registration_endpoint=None)
    report = await look(guarded.url + "/mcp")
    assert not report.healthy
    assert "lets no client register itself" in report.verdict
    assert "--client-id" in report.fix
    assert (await look(guarded.url + "/mcp", client_id="mine")).healthy


async def test_a_metadata_document_is_named_where_it_counts(guarded):
    describe(guarded, client_id_metadata_document_supported=True, registration_endpoint=None)
    address = "https://you.example/notebook.json"
    report = await look(guarded.url + "/mcp", client_metadata_url=address)
    assert report.healthy
    assert f"the metadata document {address}" in report.text


async def test_a_variable_that_is_not_set_is_named(guarded, monkeypatch):
    monkeypatch.delenv("DEMO_SECRET", raising=False)
    settings = {"client_id": "mine", "client_secret_env": "DEMO_SECRET"}
    report = await look(guarded.url + "/mcp", **settings)
    assert not report.healthy
    assert "DEMO_SECRET" in report.verdict
    monkeypatch.setenv("DEMO_SECRET", "hunter2")
    report = await look(guarded.url + "/mcp", **settings)
    assert report.healthy
    assert "DEMO_SECRET" in report.text
    assert "hunter2" not in report.text


async def test_a_header_with_a_variable_goes_to_the_server_alone(guarded, monkeypatch):
    monkeypatch.setenv("TEAM_KEY", "hunter2")
    report = await look(guarded.url + "/mcp", headers={"X-Api-Key": "${TEAM_KEY}"})
    sent = {path: headers.get("x-api-key") for _, path, headers, _ in guarded.seen}
    assert sent == {"/mcp": "hunter2", RESOURCE: None, METADATA: None}
    assert "hunter2" not in report.text


async def test_a_header_whose_variable_is_missing_is_a_problem(guarded, monkeypatch):
    monkeypatch.delenv("TEAM_KEY", raising=False)
    report = await look(guarded.url + "/mcp", headers={"X-Api-Key": "${TEAM_KEY}"})
    assert not report.healthy
    assert "TEAM_KEY" in report.verdict


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grant": "device_code"}, "no sign-in by a code"),
        ({"grant": "client_credentials"}, "registered already"),
    ],
)
async def test_a_grant_that_cannot_work_is_told(guarded, settings, said):
    report = await look(guarded.url + "/mcp", **settings)
    assert not report.healthy
    assert said in report.verdict


async def test_a_server_that_demands_bound_tokens_and_a_person_who_does_not(guarded):
    guarded.json(
        RESOURCE,
        {
            "resource": guarded.url + "/mcp",
            "authorization_servers": [guarded.url],
            "dpop_bound_access_tokens_required": True,
        },
    )
    assert "RFC 9449" in (await look(guarded.url + "/mcp")).text
    report = await look(guarded.url + "/mcp", dpop=False)
    assert not report.healthy
    assert "--dpop" in report.fix


async def test_a_store_that_cannot_be_read_is_a_problem_but_not_the_end(guarded, monkeypatch):
    credentials = credentials_for(guarded.url + "/mcp")

    async def locked(**_):
        raise TokenStoreError("The keyring is locked.", hint="Unlock it.")

    monkeypatch.setattr(credentials, "load", locked)
    report = await examine(credentials.server, credentials)
    assert not report.healthy
    assert (report.verdict, report.fix) == ("The keyring is locked.", "Unlock it.")
    assert len(report.steps) > 3


async def test_a_program_has_nothing_to_sign_in_to(canned):
    credentials = credentials_for(canned.url)
    with pytest.raises(ServerConfigError, match="is a program"):
        await examine(Server(name="x", transport="stdio", command=("python",)), credentials)


async def test_real_peers_are_found_healthy():
    with serve_authority() as authority, serve_tools(authority) as tools:
        report = await look(tools.url)
        assert report.healthy, report.text
        assert authority.count("/register") == 0
        assert authority.count("/authorize") == 0
        assert authority.count("/token") == 0


async def test_a_real_authority_without_registration_is_told():
    with serve_authority(no_registration=True) as authority, serve_tools(authority) as tools:
        report = await look(tools.url)
    assert "lets no client register itself" in report.verdict

"""Every option of ``%mcp add`` changes what goes over the wire, or is refused where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mcp_notebook.auth.credentials import Credentials
from mcp_notebook.auth.sign_in import SignIn
from mcp_notebook.auth.stores import MemoryStore
from mcp_notebook.auth.tokens import TokenKeeper
from mcp_notebook.client.connection import Connection
from mcp_notebook.commands import command, parsing
from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.config.book import ServerBook
from mcp_notebook.config.servers import Server
from mcp_notebook.errors import MCPNotebookError, ServerConfigError
from tests.auth.signing import signed_in
from tests.peers import Authority, Seen, ToolServer, serve_authority

pytestmark = pytest.mark.anyio

OPTIONS = {option.name: option for verb in VERBS if verb.name == "add" for option in verb.options}
DOCUMENT = "https://person.example/notebook.json"


def added(tools: ToolServer, options: str) -> Server:
    """The server of a line, as the magic makes it."""
    made = parsing.parse(f"add notes {tools.url} {options}")
    assert isinstance(made, command.Add)
    return made.server


@dataclass
class Stage:
    """What a case may turn before, and look at afterwards."""

    authority: Authority
    tools: ToolServer
    company: Authority
    environ: pytest.MonkeyPatch
    public_key: str = ""
    record: Any = None
    before: dict[str, Any] = field(default_factory=dict)

    def last(self, path: str, method: str | None = None) -> Seen:
        found = [
            seen
            for seen in self.authority.seen
            if seen.path == path and method in (None, seen.method)
        ]
        return found[-1]

    @property
    def asked(self) -> dict[str, str]:
        return self.last("/authorize", "GET").query

    @property
    def token(self) -> Seen:
        return self.last("/token")

    @property
    def registered(self) -> dict[str, Any]:
        return self.last("/register").json


def use_key(stage: Stage, key: Any) -> None:
    stage.public_key = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    stage.environ.setenv("KEY", private.decode())


@pytest.fixture
def stage(authority, tools, monkeypatch) -> Iterator[Stage]:
    monkeypatch.setenv("SECRET", "s3cret")
    authority.forget_clients()
    with serve_authority() as company:
        stage = Stage(authority, tools, company, monkeypatch)
        use_key(stage, ec.generate_private_key(ec.SECP256R1()))
        yield stage
    authority.trusted.clear()


def own(**values: Any) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        known = (
            {"public_key": stage.public_key} if values.get("method") == "private_key_jwt" else {}
        )
        stage.authority.add_client("own", **values, **known)

    return prepare


def turn(**knobs: Any) -> Callable[[Stage], None]:
    return lambda stage: vars(stage.authority.knobs).update(knobs)


def an_assertion(stage: Stage) -> None:
    own()(stage)
    made = jwt.encode({"sub": "job", "aud": stage.authority.issuer}, "k" * 32, algorithm="HS256")
    stage.environ.setenv("JWT", made)
    stage.authority.assertions.add(made)


def a_company(stage: Stage) -> None:
    own()(stage)
    stage.environ.setenv("ID_TOKEN", "id-token-of-ann")
    stage.company.assertions.add("id-token-of-ann")
    stage.company.add_client("at-idp")
    stage.authority.trusted.append(stage.company)
    stage.before["idp"] = f"{stage.company.url}/token"


def an_administrators_token(stage: Stage) -> None:
    stage.authority.knobs.initial_access_token = "admin-token"
    stage.environ.setenv("IAT", "admin-token")


def the_issuer(stage: Stage) -> None:
    stage.before["issuer"] = stage.authority.issuer
    stage.tools.knobs.authorization_servers = (stage.company.issuer, stage.authority.issuer)


def a_port(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        stage.before["port"] = probe.getsockname()[1]


def an_rsa_key(stage: Stage) -> None:
    use_key(stage, rsa.generate_private_key(65537, 2048))
    own(method="private_key_jwt")(stage)


def nothing(stage: Stage) -> None:
    pass


COMPANY = (
    "--grant enterprise --client-id own --idp-client-id at-idp --idp-token-endpoint {idp} "
    "--idp-id-token-env ID_TOKEN"
)
ROBOT = "--grant client_credentials --client-id own --private-key-env KEY"

Sent = Callable[[Stage], bool]

CASES: dict[str, tuple[Callable[[Stage], None], str, Sent]] = {
    "--client-id": (own(), "--client-id own", lambda p: p.asked["client_id"] == "own"),
    "--client-secret-env": (
        own(secret="s3cret", method="client_secret_basic"),
        "--client-id own --client-secret-env SECRET",
        lambda p: p.token.headers["authorization"].startswith("Basic "),
    ),
    "--auth-method": (
        own(secret="s3cret", method="client_secret_post"),
        "--client-id own --client-secret-env SECRET --auth-method client_secret_post",
        lambda p: p.token.form["client_secret"] == "s3cret",
    ),
    "--client-name": (
        nothing,
        "--client-name 'Lab book'",
        lambda p: p.registered["client_name"] == "Lab book",
    ),
    "--client-metadata-url": (
        turn(cimd=True),
        f"--client-metadata-url {DOCUMENT}",
        lambda p: p.asked["client_id"] == DOCUMENT,
    ),
    "--initial-access-token-env": (
        an_administrators_token,
        "--initial-access-token-env IAT",
        lambda p: p.last("/register").headers["authorization"] == "Bearer admin-token",
    ),
    "--private-key-env": (
        own(method="private_key_jwt"),
        ROBOT,
        lambda p: "client_assertion" in p.token.form,
    ),
    "--signing-algorithm": (
        an_rsa_key,
        f"{ROBOT} --signing-algorithm RS256",
        lambda p: jwt.get_unverified_header(p.token.form["client_assertion"])["alg"] == "RS256",
    ),
    "--scope": (nothing, "--scope 'tools more'", lambda p: p.asked["scope"] == "tools more"),
    "--grant": (
        nothing,
        "--grant device_code",
        lambda p: p.token.form["grant_type"].endswith("device_code"),
    ),
    "--callback-host": (
        nothing,
        "--callback-host localhost",
        lambda p: p.asked["redirect_uri"].startswith("http://localhost:"),
    ),
    "--callback-port": (
        a_port,
        "--callback-port {port}",
        lambda p: f":{p.before['port']}/" in p.asked["redirect_uri"],
    ),
    "--callback-path": (
        nothing,
        "--callback-path /oauth/back",
        lambda p: p.registered["redirect_uris"][0].endswith("/oauth/back"),
    ),
    "--resource": (
        nothing,
        "--resource off",
        lambda p: "resource" not in p.asked and "resource" not in p.token.form,
    ),
    "--authorize-param": (
        nothing,
        "--authorize-param access_type=offline --authorize-param hd=a.example",
        lambda p: (p.asked["access_type"], p.asked["hd"]) == ("offline", "a.example"),
    ),
    "--issuer": (
        the_issuer,
        "--issuer {issuer}",
        lambda p: p.record.issuer == p.authority.issuer,
    ),
    "--trusted-issuer": (
        turn(issuer="https://other.example"),
        "--trusted-issuer https://other.example",
        lambda p: p.record.issuer == "https://other.example",
    ),
    "--assume-s256": (
        turn(no_s256=True),
        "--assume-s256",
        lambda p: p.asked["code_challenge_method"] == "S256",
    ),
    "--dpop": (turn(dpop=True), "--dpop on", lambda p: "dpop" in p.token.headers),
    "--assertion-env": (
        an_assertion,
        "--grant jwt_bearer --client-id own --assertion-env JWT",
        lambda p: p.token.form["assertion"] in p.authority.assertions,
    ),
    "--idp-client-id": (
        a_company,
        COMPANY,
        lambda p: p.company.seen[-1].form["client_id"] == "at-idp",
    ),
    "--idp-token-endpoint": (a_company, COMPANY, lambda p: p.company.count("/token") == 1),
    "--idp-id-token-env": (
        a_company,
        COMPANY,
        lambda p: p.company.seen[-1].form["subject_token"] == "id-token-of-ann",
    ),
}
"""For each option: what is prepared, what is typed, what is to be seen on the wire."""

ELSEWHERE = {
    "--client-secret",
    "--cwd",
    "--env",
    "--header",
    "--insecure",
    "--replace",
    "--transport",
}
"""Those that are not about the authorization server; each has a test below."""


def test_no_option_is_forgotten():
    assert set(CASES) | ELSEWHERE == set(OPTIONS)
    assert not set(CASES) & ELSEWHERE


@pytest.mark.parametrize("option", CASES)
async def test_an_option_is_seen_on_the_wire(stage, option):
    prepare, line, is_sent = CASES[option]
    assert option in line
    prepare(stage)
    server = added(stage.tools, line.format(**stage.before))
    credentials = Credentials(server, TokenKeeper(MemoryStore()))
    if server.oauth.grant in {"authorization_code", "device_code"}:
        stage.record, _ = await signed_in(credentials)
    else:
        stage.record = await SignIn(credentials).run()
    assert stage.record.access_token
    assert is_sent(stage)


@pytest.mark.parametrize(
    "option", ["--trusted-issuer", "--assume-s256", "--initial-access-token-env"]
)
async def test_without_the_option_there_is_no_way_in(stage, option):
    CASES[option][0](stage)
    sign_in = SignIn(Credentials(added(stage.tools, ""), TokenKeeper(MemoryStore())))
    with pytest.raises(MCPNotebookError) as refusal:
        await sign_in.run()
    assert option in refusal.value.hint


async def test_a_key_of_another_kind_than_the_algorithm_is_told(stage):
    own(method="private_key_jwt")(stage)
    server = added(stage.tools, f"{ROBOT} --signing-algorithm RS256")
    with pytest.raises(ServerConfigError):
        await SignIn(Credentials(server, TokenKeeper(MemoryStore()))).run()
    assert stage.authority.count("/token") == 0


# -- those that are about something else ------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Connection]:
    connection = Connection(server, TokenKeeper(MemoryStore()))
    connection.open()
    try:
        yield connection
    finally:
        await connection.close()


async def test_headers_go_with_every_request(tools, monkeypatch):
    tools.knobs.unguarded = True
    monkeypatch.setenv("WIKI_KEY", "k3y")
    server = added(tools, "--header X-Team=design --header X-Api-Key=${WIKI_KEY}")
    async with opened(server) as connection:
        await connection.call_tool("add", {"a": 2, "b": 3})
    given = {(seen.headers.get("x-team"), seen.headers.get("x-api-key")) for seen in tools.seen}
    assert given == {("design", "k3y")}


async def test_the_older_transport_begins_with_a_get(tools):
    tools.knobs.unguarded = True
    async with opened(added(tools, "--transport sse")):
        await asyncio.to_thread(tools.wait_for, "/mcp")
    assert {seen.method for seen in tools.seen} == {"GET"}
    assert "text/event-stream" in tools.seen[0].headers["accept"]


def test_plain_http_to_another_machine_needs_the_option():
    line = "add notes http://notes.example/mcp"
    with pytest.raises(ServerConfigError) as refusal:
        parsing.parse(line)
    assert "--insecure" in str(refusal.value)
    assert parsing.parse(f"{line} --insecure").server.insecure


def test_another_address_under_a_known_name_needs_the_option():
    book = ServerBook()
    book.add(parsing.parse("add notes https://one.example/mcp").server)
    other = parsing.parse("add notes https://two.example/mcp")
    with pytest.raises(ServerConfigError):
        book.add(other.server, replace=other.replace)
    other = parsing.parse("add notes https://two.example/mcp --replace")
    assert book.add(other.server, replace=other.replace) == "changed"


async def test_a_secret_that_is_typed_is_sent(stage):
    own(secret="s3cret", method="client_secret_basic")(stage)
    made = parsing.parse(f"add notes {stage.tools.url} --client-id own --client-secret")
    assert made.ask_secret
    credentials = Credentials(made.server, TokenKeeper(MemoryStore()))
    await credentials.keep_secret("s3cret")
    record, _ = await signed_in(credentials)
    assert record.client_secret == "s3cret"
    assert stage.token.headers["authorization"].startswith("Basic ")


async def test_a_program_gets_its_variables_and_its_folder(tmp_path):
    code = "import os; open(os.environ['OUT'], 'w').write(os.getcwd())"
    line = f"add here --env OUT={tmp_path}/out --cwd {tmp_path} -- {sys.executable} -c {code!r}"
    made = parsing.parse(line)
    async with opened(made.server) as connection:
        with pytest.raises(MCPNotebookError):  # it says nothing, and ends
            await connection.ready()
    assert (tmp_path / "out").read_text() == str(tmp_path)


@pytest.mark.parametrize("option", sorted(set(OPTIONS) - {"--env", "--cwd", "--replace"}))
def test_an_option_of_a_web_server_is_refused_for_a_program(option):
    value = "x=1" if OPTIONS[option].value else ""
    with pytest.raises(MCPNotebookError):
        parsing.parse(f"add here {option} {value} -- npx y")

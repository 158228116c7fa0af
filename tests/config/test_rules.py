"""What may be written down about a server."""

from __future__ import annotations

import time

import pytest

from mcp_notebook.config import rules
from mcp_notebook.errors import ServerConfigError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abcdef"),
        ("X-Api-Key", "anything"),
        ("FIGMA_TOKEN", "x"),
        ("password", "hunter2"),
        ("", "ghp_abcdef"),
        ("", "sk-proj-abc123def456"),
        ("", "sk_live_51Habcdef"),
        ("", "eyJhbGciOiJSUzI1NiJ9.x.y"),
        ("", "Bearer abcdef123"),
        ("", "0123456789abcdef0123456789abcdef"),
        ("X-Team", "Basic dXNlcjpwYXNz"),
        ("Authorization", "Bearer ${PART}abcdef"),
        ("key", "x"),
        ("", "-----BEGIN PRIVATE KEY-----"),
        ("X-Api-Key", "${KEY:-abcdef}"),
        ("X-Team", "${KEY:-ghp_abcdef}"),
    ],
)
def test_a_credential_is_recognised(name, value):
    assert rules.looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer ${TOKEN}"),
        ("X-Api-Key", "${env:KEY}"),
        ("X-Api-Key", "${KEY:-}"),
        ("X-Team", "design"),
        ("LOG_LEVEL", "info"),
        ("token-file", "/run/secrets/token"),
        ("auth", "none"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json"),
        ("", "sk-learn-server"),
        ("", "/home/user1/projects/some-long-folder-name/data"),
        ("", "src/project1/servers/filesystem/main"),
        ("", "123e4567-e89b-12d3-a456-426614174000"),
        ("", "@modelcontextprotocol/server-filesystem"),
        ("monkey", "banana"),
    ],
)
def test_what_is_no_credential_is_let_pass(name, value):
    assert not rules.looks_secret(name, value)


def test_looking_for_secrets_takes_linear_time():
    started = time.perf_counter()
    for text in ("a" * 200_000, "a1-" * 100_000, "${" * 100_000, "/." * 100_000):
        rules.looks_secret("x", text)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", ".x", "a/b", "x" * 65, "a\n", "na\u00efve", "x;import os"]
)
def test_a_name_that_cannot_be_typed_safely_is_refused(name):
    with pytest.raises(ServerConfigError):
        rules.check_name(name)


@pytest.mark.parametrize("name", ["figma", "a", "_x", "my-server.2", "x" * 64])
def test_a_plain_name_is_taken(name):
    rules.check_name(name)


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.figma.com/mcp",
        "https://a.example:8443/mcp?tenant=7",
        "http://localhost:3000/mcp",
        "http://127.0.0.1:3000/mcp",
        "http://[::1]:3000/mcp",
        "https://a.example/mcp?api_key=${KEY}",
        "https://a.example/mcp?code=${env:CODE}&key=${KEY:-}",
        "https://a.example/s/${KEY}/mcp",
        "https://a.example/mcp/123e4567-e89b-12d3-a456-426614174000",
        "https://a.example/api/2.0/mcp/genie/01ef0123456789abcdef0123456789ab",
        "https://a.example/token-service/pypi-server/npm_server/mcp",
        "https://a.example/v1/arn%3Aaws%3Aagents%3Aeu-west-1%3A123456789012%3Aruntime%2Fx-Ab1/mcp",
    ],
)
def test_a_server_address_is_taken(url):
    rules.check_server_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mcp.figma.com",
        "ftp://a.example/",
        "javascript:alert(1)",
        "https://",
        "https://a b/",
        "https://a.example:0/",
        "https://a.example:x/",
        "https://a.example/#x",
        "https://a.example/#",
        "https://u@a.example/",
        "https://u:p@a.example/",
        "https://a.example/?api_key=abc",
        "https://a.example/?key=abc",
        "https://a.example/?code=abc",
        "https://a.example/\n",
        "https://a.example\\@evil.example/",
        "https://${HOST}/mcp",
        "${ADDRESS}",
        "https://a.example:${PORT}/mcp",
        "https://${USER}@a.example/mcp",
        "https://a.example/${",
        "https://a.example/${a b}",
        "https://a.example/mcp?api_key=${KEY:-abc}",
        "https://a.example/mcp?api_key=${KEY}abc",
        "https://a.example/s/abcNGI5YjY5ZTQ0YzQ4NS1hYzEwLTJkMmE/mcp",
        "https://a.example/s/%61bcNGI5YjY5ZTQ0YzQ4NS1hYzEwLTJkMmE/mcp",
        "https://a.example/sk-proj-abc123def456ghi789/mcp",
        "https://a.example/s/${KEY:-abcNGI5YjY5ZTQ0YzQ4NS1hYzEwLTJkMmE}/mcp",
        "http://a.example/mcp",
        "http://localhost.evil.example/mcp",
        "http://127.0.0.1.evil.example/mcp",
        "https://[::1",
        "https://a.example/" + "x" * 2048,
    ],
)
def test_another_address_is_refused_without_being_repeated(url):
    with pytest.raises(ServerConfigError) as caught:
        rules.check_server_url(url)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://a.example/mcp", ""),
        ("https://a.example/a-long-path-with-2-numbers-of-2025/mcp", ""),
        ("https://a.example/s/${KEY}/mcp?key=${KEY}", ""),
        ("https://a.example/mcp/123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b"),
        ("https://a.example/genie/01ef0123456789abcdef0123456789ab", "01ef"),
        ("https://a.example/mcp?customer=123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    ],
)
def test_what_may_be_a_key_or_an_identifier_is_found(url, part):
    rules.check_server_url(url)
    found = rules.doubtful(url)
    assert found.startswith(part)
    assert bool(found) == bool(part)


def test_plain_http_to_another_machine_is_taken_on_request():
    rules.check_server_url("http://a.example/mcp", insecure=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X Y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Host", "a"),
        ("mcp-session-id", "a"),
        ("X", "a\r\nEvil: 1"),
        ("X", "na\u00efve"),
        ("X", "${input:key}"),
        ("X", "${"),
        ("Authorization", "Bearer literal"),
    ],
)
def test_a_header_that_must_not_be_sent_or_kept_is_refused(name, value):
    with pytest.raises(ServerConfigError) as caught:
        rules.check_header(name, value)
    assert "literal" not in str(caught.value)


def test_a_header_that_names_a_variable_is_taken():
    rules.check_header("Authorization", "Bearer ${env:TOKEN}")
    rules.check_header("X-Team", "design")


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("",),
        ("a", "b\0c"),
        ("npx", "x", "--api-key", "planted"),
        ("npx", "x", "--token=planted"),
        ("npx", "mcp-remote", "https://a", "--header", "Authorization: Bearer planted"),
        ("docker", "run", "-e", "API_KEY=planted", "image"),
        ("npx", "x", "${HOME}"),
        ("server.cmd", "a&calc"),
        ("SERVER.BAT", "a%PATH%"),
    ],
)
def test_a_program_that_must_not_be_kept_is_refused(command):
    with pytest.raises(ServerConfigError) as caught:
        rules.check_command(command)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        ("npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/data"),
        ("docker", "run", "-i", "--rm", "-e", "API_KEY", "image"),
        ("python", "server.py", "--token-file", "/run/token", "--port", "8080"),
        ("server.cmd", "plain"),
        ("npx", "a&b"),
    ],
)
def test_a_plain_program_is_taken(command):
    rules.check_command(command)


def test_a_secret_in_the_place_of_a_variables_name_is_refused():
    rules.check_variable_name("--client-secret-env", "CRM_SECRET")
    for word in ("s3cret!", "sk-planted1234567", "0123456789abcdef0123456789abcdef"):
        with pytest.raises(ServerConfigError) as caught:
            rules.check_variable_name("--client-secret-env", word)
        assert word not in str(caught.value)


@pytest.mark.parametrize("name", ["state", "redirect_uri", "code_challenge", "client_id", "scope"])
def test_a_person_cannot_set_what_the_sign_in_sets(name):
    with pytest.raises(ServerConfigError):
        rules.check_authorize_param(name, "x")


def test_scopes_are_words():
    rules.check_scope("read files:write")
    for scope in ("", "a  b", 'a"b', "a\nb", "x" * 5000):
        with pytest.raises(ServerConfigError):
            rules.check_scope(scope)

"""Which address may be used for what."""

import ipaddress

import pytest

from mcp_notebook.config.urls import (
    canonical_resource,
    check_web_address,
    may_reach,
    origin,
    reach,
    shown,
)
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import conceal

PUBLIC = "https://mcp.example.com/mcp"


def check(url, *, server_url=PUBLIC, insecure=False):
    check_web_address(url, server_url=server_url, insecure=insecure, what="token endpoint")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Example.COM:443/Path?q#f", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("https://example.com:8443/x", "https://example.com:8443"),
        ("http://[::1]:8080/mcp", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_lower_case_without_its_default_port(url, expected):
    assert origin(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://MCP.example.com/", "https://mcp.example.com"),
        ("https://mcp.example.com:443/mcp?team=1#x", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com/mcp/", "https://mcp.example.com/mcp/"),
        ("https://mcp.example.com/Server%20One", "https://mcp.example.com/Server%20One"),
    ],
)
def test_a_resource_has_no_query_no_fragment_and_no_bare_slash(url, expected):
    assert canonical_resource(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://as.example.com/token",
        "https://as.example.com:8443/token?tenant=1",
        "https://xn--bcher-kva.example/token",
        "https://8.8.8.8/token",
        "https://[2606:4700:4700::1111]/token",
        "http://localhost:9000/token",
    ],
)
def test_an_ordinary_address_passes(url):
    check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example.com/token",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "vscode://x/y",
        "-flag",
        "/relative",
        "//as.example.com/token",
        "https://",
        "https://accounts.google.com@evil.example/token",
        "https://:pw@evil.example/token",
        "https://as.example.com/token#part",
        "https://as.example.com/token#",
        "https://as.example.com/to\nken",
        "https://as.example.com/ token",
        "https://as.example.com/$(calc.exe)`x`",
        "https://as.example.com\\@evil.example/",
        "https://bücher.example/token",
        "https://as.example.com:0/token",
        "https://as.example.com:99999/token",
        "https://as.example.com/" + "a" * 2048,
        "https://2130706433/token",
        "https://0x7f.0.0.1/token",
        "https://0177.0.0.1/token",
        "https://127.1/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/token",
        "https://[::ffff:169.254.169.254]/token",
        "https://0.0.0.0/token",
        "https://[::]/token",
    ],
)
def test_a_dangerous_address_is_refused(url):
    with pytest.raises(AuthorizationServerError) as caught:
        check(url)
    assert caught.value.hint
    assert not caught.value.passing


def test_a_refusal_shows_neither_query_nor_user_name():
    with pytest.raises(AuthorizationServerError) as caught:
        check("http://me:hunter2@as.example.com/token?code=s3cret")
    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert shown("https://a.example/x?code=1#y") == "https://a.example/x"


def test_a_key_that_was_filled_into_an_address_is_not_shown():
    conceal("pl4nted/k3y")
    assert shown("https://a.example/s/pl4nted%2Fk3y/mcp") == "https://a.example/s/***/mcp"


def test_plain_http_passes_where_the_person_allowed_it_and_is_named_in_the_refusal():
    check("http://as.example.com/token", insecure=True)
    with pytest.raises(AuthorizationServerError, match="--insecure"):
        check("http://as.example.com/token")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700:4700::1111", "public"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("198.18.0.5", "private"),
        ("fc00::1", "private"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::808:808", "public"),
        ("2002:7f00:1::", "loopback"),
        ("fec0::1", "private"),
        ("64:ff9b:1::a9fe:a9fe", "private"),
        ("::10.0.0.1", "private"),
        ("::ffff:0:10.0.0.1", "private"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "private"),
        ("169.254.169.254", "forbidden"),
        ("::ffff:169.254.169.254", "forbidden"),
        ("fe80::1", "forbidden"),
        ("0.0.0.0", "forbidden"),
        ("0.1.2.3", "forbidden"),
        ("::", "forbidden"),
        ("224.0.0.1", "forbidden"),
    ],
)
def test_an_ip_address_tells_where_it_leads(address, expected):
    assert reach(ipaddress.ip_address(address)) == expected


@pytest.mark.parametrize(
    ("server", "allowed"),
    [
        ("public", {"public"}),
        ("private", {"public", "private"}),
        ("loopback", {"public", "loopback"}),
        ("forbidden", {"public"}),
    ],
)
def test_a_server_may_send_us_to_the_internet_or_to_where_it_stands(server, allowed):
    kinds = {"public", "private", "loopback", "forbidden"}
    assert {kind for kind in kinds if may_reach(kind, server=server)} == allowed


@pytest.mark.parametrize("url", ["https://10.0.0.1/token", "http://127.0.0.1:80/token"])
def test_a_server_with_a_public_ip_address_may_not_name_private_ones(url):
    with pytest.raises(AuthorizationServerError, match="where the server is not"):
        check(url, server_url="https://8.8.8.8/mcp")

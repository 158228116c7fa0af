"""The HTTP client of OAuth errands: bounds, addresses, and what is told of faults."""

import datetime
import email.utils
import gzip
import socket
import ssl
import threading
import time
import tracemalloc

import httpx2
import pytest

from mcp_notebook._version import USER_AGENT
from mcp_notebook.auth.fetch import Fetch, retry_after
from mcp_notebook.auth.reply import MAX_BYTES, parse_json
from mcp_notebook.auth.route import addresses, proxy_for, ssl_context
from mcp_notebook.errors import AuthorizationServerError
from tests.peers.certificates import self_signed

pytestmark = pytest.mark.anyio


async def get(canned, path, **settings):
    async with Fetch(canned.url, **settings) as fetch:
        return await fetch.get(canned.url + path, what="metadata", rfc="RFC 8414")


async def test_a_document_is_asked_for_plainly_and_leaves_a_step(canned):
    canned.json("/doc", {"issuer": "x"})
    async with Fetch(canned.url) as fetch:
        reply = await fetch.get(canned.url + "/doc?secret=1", what="metadata", rfc="RFC 8414 §3")
    assert reply.document == {"issuer": "x"}
    method, path, headers, _ = canned.seen[0]
    assert (method, path) == ("GET", "/doc?secret=1")
    assert headers["user-agent"] == USER_AGENT
    assert headers["accept"] == "application/json"
    assert "authorization" not in headers
    (step,) = fetch.steps
    assert (step.what, step.rfc, step.method, step.status) == (
        "metadata",
        "RFC 8414 §3",
        "GET",
        200,
    )
    assert step.address == canned.url + "/doc"


async def test_a_cookie_is_not_carried_to_the_next_request(canned):
    canned.json("/doc", {}, set_cookie="id=1; Path=/")
    async with Fetch(canned.url) as fetch:
        await fetch.get(canned.url + "/doc", what="metadata", rfc="")
        await fetch.get(canned.url + "/doc", what="metadata", rfc="")
    assert "cookie" not in canned.seen[1][2]


async def test_netrc_credentials_are_not_sent(canned, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await get(canned, "/doc")
    assert "authorization" not in canned.seen[0][2]


async def test_a_form_is_posted_and_may_be_answered_by_a_form(canned):
    body = b"access_token=s3cret&scope=repo&token_type=bearer"
    canned.status("/token", 200, body, content_type="application/x-www-form-urlencoded")
    async with Fetch(canned.url) as fetch:
        reply = await fetch.post_form(
            canned.url + "/token", {"code": "a b&c"}, headers={"X-Y": "1"}, what="token", rfc=""
        )
    assert reply.document == {"access_token": "s3cret", "scope": "repo", "token_type": "bearer"}
    method, _, headers, sent = canned.seen[0]
    assert (method, sent) == ("POST", b"code=a+b%26c")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["x-y"] == "1"
    assert "s3cret" not in repr(reply) + str(fetch.steps) + reply.text


async def test_json_is_posted(canned):
    canned.json("/register", {"client_id": "c"}, status=201)
    async with Fetch(canned.url) as fetch:
        reply = await fetch.post_json(
            canned.url + "/register", {"client_name": "é"}, what="registration", rfc="RFC 7591"
        )
    assert (reply.status, reply.document) == (201, {"client_id": "c"})
    assert parse_json(canned.seen[0][3]) == {"client_name": "é"}


async def test_a_form_is_no_document_where_json_is_due(canned):
    canned.status("/doc", 200, b"issuer=x", content_type="application/x-www-form-urlencoded")
    assert (await get(canned, "/doc")).document is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        b"[]",
        b'"text"',
        b"null",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": 1} trailing',
    ],
)
async def test_what_is_no_clean_json_object_is_no_document(canned, body):
    canned.json("/doc", body)
    async with Fetch(canned.url) as fetch:
        reply = await fetch.get(canned.url + "/doc", what="metadata", rfc="")
    assert reply.status == 200
    assert reply.document is None
    assert reply.problem
    assert fetch.steps[0].problem


async def test_a_byte_order_mark_is_forgiven(canned):
    canned.json("/doc", b'\xef\xbb\xbf{"a": 1}')
    assert (await get(canned, "/doc")).document == {"a": 1}


@pytest.mark.parametrize("status", [204, 302, 400, 404, 429, 500, 503])
async def test_a_status_is_an_answer(canned, status):
    canned.status("/doc", status)
    reply = await get(canned, "/doc")
    assert reply.status == status
    assert reply.absent == (status in {400, 404})
    assert reply.passing == (status in {429, 500, 503})


async def test_the_text_of_an_answer_is_one_harmless_line(canned):
    canned.status("/doc", 403, b"\x1b[31mForbidden\x1b[0m\r\n\xff" + b"x" * 10_000)
    reply = await get(canned, "/doc")
    assert reply.text.startswith("Forbidden ")
    assert len(reply.text) <= 4096


async def test_a_long_body_is_cut_off(canned):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b" " * 65_536)

    canned.answers["/doc"] = endless
    with pytest.raises(AuthorizationServerError, match="256 KiB"):
        await get(canned, "/doc")


async def test_a_bomb_is_not_inflated(canned):
    canned.json("/doc", gzip.compress(b" " * 50_000_000), content_encoding="gzip")
    with pytest.raises(AuthorizationServerError, match="256 KiB"):
        await get(canned, "/doc")


async def test_a_bomb_costs_no_memory_on_its_way_to_being_refused(canned):
    canned.json("/doc", gzip.compress(b" " * 50_000_000), content_encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(AuthorizationServerError, match="256 KiB"):
            await get(canned, "/doc")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000


async def test_a_body_compressed_unasked_is_read_all_the_same(canned):
    canned.json("/doc", gzip.compress(b'{"a": 1}'), content_encoding="gzip")
    assert (await get(canned, "/doc")).document == {"a": 1}
    assert canned.seen[0][2]["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_a_body_that_cannot_be_decoded_is_a_named_error(canned, coding):
    canned.json("/doc", b"not compressed", content_encoding=coding)
    with pytest.raises(AuthorizationServerError, match="decoded"):
        await get(canned, "/doc")


async def test_the_greatest_body_is_read(canned):
    canned.json("/doc", b'{"a": 1}'.ljust(MAX_BYTES))
    assert (await get(canned, "/doc")).document == {"a": 1}


async def test_a_dripping_body_ends_at_the_deadline(canned, monkeypatch):
    monkeypatch.setattr("mcp_notebook.auth.fetch.DEADLINE", 0.3)
    over = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    canned.answers["/doc"] = drip
    before = time.perf_counter()
    try:
        with pytest.raises(AuthorizationServerError, match="did not answer within") as caught:
            await get(canned, "/doc")
    finally:
        over.set()
    assert caught.value.passing
    assert time.perf_counter() - before < 2


async def test_nobody_listening_passes(canned, unused_port):
    async with Fetch(canned.url) as fetch:
        with pytest.raises(AuthorizationServerError, match="cannot be reached") as caught:
            await fetch.get(f"http://127.0.0.1:{unused_port}/doc", what="metadata", rfc="")
    assert caught.value.passing
    assert fetch.steps[0].problem


async def test_a_broken_answer_passes(canned):
    def garbage(handler):
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")

    canned.answers["/doc"] = garbage
    with pytest.raises(AuthorizationServerError, match="cannot be reached"):
        await get(canned, "/doc")


async def test_an_unknown_name_is_told_fast(canned):
    async with Fetch(canned.url) as fetch:
        with pytest.raises(AuthorizationServerError, match=r"nowhere\.invalid cannot") as gone:
            await fetch.get("https://nowhere.invalid/doc", what="metadata", rfc="")
        assert gone.value.passing  # whoever is offline keeps the sign-in


async def test_trouble_that_passes_is_asked_about_again(canned, no_pauses):
    def once(handler):
        canned.json("/doc", {"a": 1})
        handler.send_response(503)
        handler.send_header("content-length", "0")
        handler.end_headers()

    canned.answers["/doc"] = once
    async with Fetch(canned.url) as fetch:
        reply = await fetch.document(canned.url + "/doc", what="metadata", rfc="")
    assert reply.document == {"a": 1}
    assert [step.status for step in fetch.steps] == [503, 200]


async def test_trouble_that_stays_is_answered_after_three_tries(canned, no_pauses):
    canned.status("/doc", 503)
    async with Fetch(canned.url) as fetch:
        reply = await fetch.document(canned.url + "/doc", what="metadata", rfc="")
    assert reply.status == 503
    assert len(canned.seen) == 3


async def test_a_server_that_asks_for_a_long_wait_is_not_asked_again(canned):
    canned.status("/doc", 429, retry_after="3600")
    async with Fetch(canned.url) as fetch:
        reply = await fetch.document(canned.url + "/doc", what="metadata", rfc="")
    assert (reply.status, reply.retry_after) == (429, 3600.0)
    assert len(canned.seen) == 1


async def test_redirects_on_the_same_origin_are_followed_to_three(canned):
    for number in range(3):
        canned.status(f"/{number}", 302, location=f"/{number + 1}")
    canned.json("/3", {"a": 1})
    assert (await get(canned, "/0")).document == {"a": 1}
    canned.status("/3", 307, location="/4")
    canned.json("/4", {"a": 1})
    assert (await get(canned, "/0")).status == 307


async def test_a_redirect_to_another_origin_is_not_followed(canned, another):
    another.json("/doc", {"a": 1})
    canned.status("/doc", 302, location=another.url + "/doc")
    async with Fetch(canned.url) as fetch:
        reply = await fetch.get(canned.url + "/doc", what="metadata", rfc="")
    assert reply.status == 302
    assert "another host" in fetch.steps[0].problem
    assert another.seen == []


async def test_a_redirect_with_a_user_name_is_refused(canned):
    canned.status("/doc", 302, location=canned.url.replace("//", "//me:pw@") + "/other")
    with pytest.raises(AuthorizationServerError, match="user name"):
        await get(canned, "/doc")
    assert canned.paths == ["/doc"]


async def test_a_post_is_never_redirected(canned):
    canned.status("/token", 307, location="/other")
    async with Fetch(canned.url) as fetch:
        reply = await fetch.post_form(canned.url + "/token", {"code": "x"}, what="token", rfc="")
    assert reply.status == 307
    assert canned.paths == ["/token"]


@pytest.fixture
def names(monkeypatch):
    """A resolver that answers from a table; each answer of a list is given once, the last stays."""
    table = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in table:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    table["asked"] = asked
    return table


def port_of(canned):
    return canned.url.rpartition(":")[2]


async def test_a_name_that_leads_to_this_machine_is_not_asked_for_a_public_server(canned, names):
    names["mcp.example.com"] = [["93.184.215.14"]]
    names["as.example.com"] = [["127.0.0.1"]]
    async with Fetch("https://mcp.example.com/mcp", insecure=True) as fetch:
        with pytest.raises(AuthorizationServerError, match="leads to this machine"):
            await fetch.get(f"http://as.example.com:{port_of(canned)}/x", what="metadata", rfc="")
    assert canned.seen == []


async def test_a_person_may_trust_a_host_on_a_private_network(canned, names):
    names["mcp.example.com"] = [["93.184.215.14"]]
    names["as.example.com"] = [["127.0.0.1"]]
    address = f"http://as.example.com:{port_of(canned)}/x"
    async with Fetch("https://mcp.example.com/mcp", insecure=True, trusted=[address]) as fetch:
        reply = await fetch.get(address, what="metadata", rfc="")
    assert reply.status == 404
    assert canned.seen[0][2]["host"] == f"as.example.com:{port_of(canned)}"


async def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(canned, names):
    names["mcp.example.com"] = [["93.184.215.14"]]
    names["as.example.com"] = [["169.254.169.254"], ["127.0.0.1"]]
    async with Fetch("https://mcp.example.com/mcp", insecure=True) as fetch:
        with pytest.raises(AuthorizationServerError, match="never used"):
            await fetch.get(f"http://as.example.com:{port_of(canned)}/x", what="metadata", rfc="")
    assert names["asked"].count("as.example.com") == 1
    assert canned.seen == []


async def test_the_next_address_is_tried_and_a_forbidden_one_left_out(canned, names):
    names["mcp.home.example"] = [["127.0.0.1"]]
    names["as.home.example"] = [["169.254.169.254", "127.0.0.9", "127.0.0.1"]]
    address = f"http://as.home.example:{port_of(canned)}/x"
    async with Fetch("https://mcp.home.example/mcp", insecure=True) as fetch:
        assert (await fetch.get(address, what="metadata", rfc="")).status == 404


async def test_localhost_is_never_asked_of_the_network(canned, names):
    names["localhost"] = [["93.184.215.14"]]
    assert str((await addresses("localhost", 80))[0]) == "127.0.0.1"
    async with Fetch(canned.url) as fetch:
        reply = await fetch.get(f"http://localhost:{port_of(canned)}/x", what="metadata", rfc="")
    assert reply.status == 404


async def test_a_proxy_is_used_but_never_for_this_machine(canned, another, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", another.url)
    canned.json("/doc", {"direct": True})
    assert (await get(canned, "/doc")).document == {"direct": True}
    another.json("http://as.example.com/doc", {"proxied": True})
    async with Fetch("http://as.example.com/mcp", insecure=True) as fetch:
        reply = await fetch.get("http://as.example.com/doc", what="metadata", rfc="")
    assert reply.document == {"proxied": True}


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1", "169.254.169.254"])
async def test_a_proxy_is_not_sent_to_addresses_that_the_server_may_not_name(
    another, monkeypatch, host
):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", another.url)
    async with Fetch("http://mcp.example.com/mcp", insecure=True) as fetch:
        with pytest.raises(AuthorizationServerError, match="is not used"):
            await fetch.get(f"http://{host}/doc", what="metadata", rfc="")
    assert another.seen == []


def test_the_environments_exceptions_from_the_proxy_are_kept(monkeypatch):
    for name in ("NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    assert proxy_for(httpx2.URL("https://as.example.com/")) == "http://proxy.example:3128"
    assert proxy_for(httpx2.URL("https://sso.internal.example/")) is None


def test_the_tls_settings_are_made_once_for_each_choice_of_certificates(monkeypatch):
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    system = ssl_context()
    assert ssl_context() is system
    monkeypatch.setenv("SSL_CERT_DIR", ssl.get_default_verify_paths().openssl_capath)
    assert ssl_context() is not system


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("12", 12.0),
        (" 12 ", 12.0),
        ("1000000", 86_400.0),
        ("9" * 400, 86_400.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(value, expected):
    headers = httpx2.Headers([(b"retry-after", value.encode())])
    assert retry_after(headers) == expected


def test_retry_after_reads_a_date_to_come():
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    headers = httpx2.Headers({"retry-after": email.utils.format_datetime(then, usegmt=True)})
    assert 50 < retry_after(headers) <= 60


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed("as.example.com", tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def secure(canned, certificate):
    """The port of a TLS front of the canned server, and the server names it was asked for."""
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            raw, _ = listener.accept()
            try:
                with context.wrap_socket(raw, server_side=True) as tls:
                    tls.recv(65_536)
                    tls.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{"a": 1}')
            except OSError:
                raw.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], asked
    thread.join(5)


async def test_tls_names_the_host_though_a_checked_address_is_connected_to(
    secure, certificate, names, monkeypatch
):
    port, asked = secure
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    names["as.example.com"] = [["127.0.0.1"]]
    async with Fetch(f"https://as.example.com:{port}/mcp") as fetch:
        reply = await fetch.get(f"https://as.example.com:{port}/x", what="metadata", rfc="")
    assert reply.document == {"a": 1}
    assert asked == ["as.example.com"]


async def test_an_untrusted_certificate_is_named_with_the_way_out(secure, names, monkeypatch):
    port, _ = secure
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    names["as.example.com"] = [["127.0.0.1"]]
    async with Fetch(f"https://as.example.com:{port}/mcp") as fetch:
        with pytest.raises(AuthorizationServerError, match="not trusted") as caught:
            await fetch.get(f"https://as.example.com:{port}/x", what="metadata", rfc="")
    assert "SSL_CERT_FILE" in caught.value.hint
    assert not caught.value.passing

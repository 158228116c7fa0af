"""The bytes of a connection, between httpcore and a server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct

import httpcore2
import pytest

from mcp_notebook.client import sockets
from mcp_notebook.client.sockets import Backend
from mcp_notebook.client.transport import GuardedClient
from tests.peers.certificates import self_signed

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def serving(handle, **options):
    """A server on 127.0.0.1 that does `handle(reader, writer)` for the block; gives its port."""
    tasks = []

    async def served(reader, writer):
        tasks.append(asyncio.current_task())
        try:
            await handle(reader, writer)
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    server = await asyncio.start_server(served, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def connected(port, host="127.0.0.1"):
    stream = await Backend().connect_tcp(host, port, timeout=20)
    try:
        yield stream
    finally:
        await stream.aclose()


async def until_over(stream):
    async with asyncio.timeout(20):
        while not stream.get_extra_info("is_readable"):  # noqa: ASYNC110 -- httpcore asks as well
            await asyncio.sleep(0.005)


async def test_the_head_and_the_body_of_a_request_leave_together():
    async def handle(reader, writer):
        first = await reader.read(65_536)
        writer.write(b"%d" % len(first))

    async with serving(handle) as port, connected(port) as stream:
        await stream.write(b"head")
        await stream.write(b"body")
        await stream.write(b"")
        assert await stream.read(100, timeout=20) == b"8"


async def test_a_large_request_leaves_before_an_answer_is_asked_for():
    got = asyncio.Event()

    async def handle(reader, writer):
        await reader.readexactly(3_000_000)
        got.set()
        await reader.read()

    async with serving(handle) as port, connected(port) as stream:
        await stream.write(b"x" * 3_000_000, timeout=20)
        await asyncio.wait_for(got.wait(), 20)


async def test_a_request_that_the_server_does_not_take_is_given_up():
    async def handle(reader, writer):
        reader._transport.pause_reading()
        await asyncio.Event().wait()

    async with serving(handle) as port, connected(port) as stream:
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(b"x" * 50_000_000, timeout=0.1)


async def test_nothing_of_a_request_is_sent_to_a_server_that_has_hung_up():
    async def handle(reader, writer):
        return

    async with serving(handle) as port, connected(port) as stream:
        await until_over(stream)
        await stream.write(b"request")
        with pytest.raises(httpcore2.WriteError):
            await stream.read(100, timeout=20)


async def test_what_the_server_said_before_it_hung_up_is_heard():
    async def handle(reader, writer):
        writer.write(b"too large")

    async with serving(handle) as port, connected(port) as stream:
        await until_over(stream)
        await stream.write(b"request")
        assert await stream.read(100, timeout=20) == b"too large"
        assert await stream.read(100, timeout=20) == b""


async def test_a_connection_that_is_reset_says_so():
    async def handle(reader, writer):
        await reader.read(1)
        abrupt = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)

    async with serving(handle) as port, connected(port) as stream:
        await stream.write(b"request")
        with pytest.raises(httpcore2.ReadError):
            await stream.read(100, timeout=20)


async def test_silence_ends_with_the_time_for_reading():
    async def handle(reader, writer):
        await reader.read()

    async with serving(handle) as port, connected(port) as stream:
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(100, timeout=0.05)


async def test_a_server_that_says_more_than_is_read_has_to_wait():
    said = asyncio.Event()

    async def handle(reader, writer):
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"x" * 50_000_000)
        await writer.drain()
        said.set()

    async with serving(handle) as port, connected(port) as stream:
        await until_over(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(said.wait(), 0.3)
        size = 0
        while chunk := await stream.read(65_536, timeout=20):
            assert len(chunk) <= 65_536
            size += len(chunk)
        assert size == 50_000_000
        assert said.is_set()


# -- connecting -------------------------------------------------------------------------------


async def test_a_host_whose_first_address_refuses_is_reached_at_the_next(monkeypatch):
    async def handle(reader, writer):
        writer.write(b"here")

    async def getaddrinfo(host, port, **options):
        return [(socket.AF_INET, 1, 6, "", (f"127.0.0.{n}", port)) for n in (2, 1)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with serving(handle) as port, connected(port, "mcp.example.com") as stream:
        assert await stream.read(100, timeout=20) == b"here"


async def test_a_host_whose_first_address_is_silent_is_reached_at_the_next(monkeypatch):
    loop, connect = asyncio.get_running_loop(), asyncio.get_running_loop().create_connection

    async def handle(reader, writer):
        writer.write(b"here")

    async def getaddrinfo(host, port, **options):
        return [(socket.AF_INET, 1, 6, "", (f"127.0.0.{n}", port)) for n in (2, 1)]

    async def create_connection(factory, host, port):
        if host == "127.0.0.2":
            await asyncio.Event().wait()
        return await connect(factory, host, port)

    monkeypatch.setattr(sockets, "NEXT_ADDRESS", 0.01)
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(loop, "create_connection", create_connection)
    async with serving(handle) as port, connected(port, "mcp.example.com") as stream:
        assert await stream.read(100, timeout=20) == b"here"


async def test_a_host_that_nobody_listens_on_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(httpcore2.ConnectError) as caught:
        await Backend().connect_tcp("127.0.0.1", port, timeout=20)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_connecting_ends_in_its_time(monkeypatch):
    async def getaddrinfo(*rest, **options):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(httpcore2.ConnectTimeout):
        await Backend().connect_tcp("mcp.example.com", 1, timeout=0.05)


# -- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed("localhost", tmp_path_factory.mktemp("tls") / "certificate.pem")


def encrypted(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return {"ssl": context}


async def answering(reader, writer):
    for _ in range(2):
        await reader.readuntil(b'"x"}')
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )


async def test_calls_go_through_tls_on_one_connection(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    async with serving(answering, **encrypted(certificate)) as port:
        url = f"https://localhost:{port}/mcp"
        async with GuardedClient(url) as client:
            for _ in range(2):
                answer = await client.post(url, json={"id": 1, "method": "x"})
                assert answer.content == b"{}"


async def test_a_proxy_that_wants_a_password_is_passed_through_to_the_server(tmp_path, monkeypatch):
    certificate = self_signed("mcp.example.com", tmp_path / "certificate.pem")
    asked = []

    async def pump(reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def proxy(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()
            await asyncio.sleep(0)

    async with serving(answering, **encrypted(certificate)) as port, serving(proxy) as between:
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{between}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        async with GuardedClient("https://mcp.example.com/mcp") as client:
            for _ in range(2):
                answer = await client.post(
                    "https://mcp.example.com/mcp", json={"id": 1, "method": "x"}
                )
                assert answer.content == b"{}"
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT mcp.example.com:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked[0]


async def test_plain_http_through_a_proxy_names_the_whole_address(monkeypatch):
    asked = []

    async def proxy(reader, writer):
        asked.append(await reader.readuntil(b'"x"}'))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )

    async with serving(proxy) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        url = "http://mcp.example.com/mcp"
        async with GuardedClient(url, insecure=True) as client:
            answer = await client.post(url, json={"id": 1, "method": "x"})
            assert answer.content == b"{}"
    assert asked[0].startswith(b"POST http://mcp.example.com/mcp HTTP/1.1\r\n")


async def test_a_refusal_is_heard_from_a_server_that_does_not_read_on():
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        while await reader.read(65_536):
            pass

    async with serving(handle) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        async with GuardedClient(url) as client:
            message = {"id": 1, "method": "x", "params": {"text": "x" * 3_000_000}}
            answer = await client.post(url, json=message)
            assert "finds the request too large" in answer.text


async def test_a_certificate_that_nobody_vouches_for_ends_the_connection(certificate):
    async with serving(answering, **encrypted(certificate)) as port:
        url = f"https://localhost:{port}/mcp"
        async with GuardedClient(url) as client:
            answer = await client.post(url, json={"id": 1, "method": "x"})
            assert "is not trusted: self-signed certificate" in answer.text


async def test_a_server_that_does_not_greet_back_is_given_up():
    async def handle(reader, writer):
        await asyncio.Event().wait()

    async with serving(handle) as port:
        stream = await Backend().connect_tcp("127.0.0.1", port, timeout=20)
        with pytest.raises(httpcore2.ConnectTimeout):
            await stream.start_tls(ssl.create_default_context(), "localhost", timeout=0.1)

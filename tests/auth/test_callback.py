"""The loopback listener, asked by raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from http import HTTPStatus

import pytest

from mcp_notebook.auth import callback as module
from mcp_notebook.auth.callback import Callback
from mcp_notebook.auth.loopback import PortTakenError
from mcp_notebook.auth.pages import Page
from mcp_notebook.errors import SignInError

pytestmark = pytest.mark.anyio

STATE = "st4te-of-this-sign-in"
GOOD = Page(HTTPStatus.OK, "Signed in to notes", "All is well.", "good")


@pytest.fixture
async def callback():
    bound = await Callback.bind(server="notes", path="/callback")
    bound.expect(STATE)
    yield bound
    bound.close()


class Answer:
    """What came back on one connection."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1]) if first else None
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.text = self.body.decode()


async def send(callback: Callback, raw: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    try:
        writer.write(raw)
        got = b""
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            async with asyncio.timeout(8):
                while b"\r\n\r\n" not in got:
                    piece = await reader.read(65536)
                    if not piece:
                        break
                    got += piece
                if b"\r\n\r\n" in got:
                    head, _, body = got.partition(b"\r\n\r\n")
                    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                    got += await reader.readexactly(length - len(body))
        return Answer(got)
    finally:
        writer.close()


def request(callback: Callback, target: str, *headers: str, method: str = "GET") -> bytes:
    host = f"Host: 127.0.0.1:{callback.port}"
    return "\r\n".join([f"{method} {target} HTTP/1.1", host, *headers, "", ""]).encode()


async def get(callback: Callback, target: str, *headers: str, method: str = "GET") -> Answer:
    return await send(callback, request(callback, target, *headers, method=method))


async def still_answers(callback: Callback) -> None:
    """The sign-in lives: the right answer still gets through."""
    answer = await get(callback, f"/callback?code=right&state={STATE}")
    assert answer.status == 303
    async with asyncio.timeout(1):
        assert (await callback.answer()).code == "right"


async def test_the_right_answer_is_handed_over_once_and_the_headers_are_strict(callback):
    waiting = asyncio.create_task(callback.answer())
    first = await get(callback, f"/callback?code=c0de&state={STATE}&iss=https%3A%2F%2Fas.example")
    response = await waiting
    assert (response.code, response.iss, response.error) == ("c0de", "https://as.example", None)
    assert first.status == 303
    assert first.headers["Location"] == "/callback/done"

    last = asyncio.create_task(get(callback, "/callback/done"))
    callback.conclude(GOOD)
    page = await last
    assert page.status == 200
    assert "Signed in to notes" in page.text
    for answer in (first, page):
        headers = dict(answer.headers)
        policy = headers.pop("Content-Security-Policy")
        assert policy.startswith(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        assert "unsafe" not in policy
        headers.pop("Content-Length")
        headers.pop("Location", None)
        assert headers == {
            "Content-Type": "text/html; charset=utf-8",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "close",
        }


async def test_the_last_page_is_held_back_until_the_outcome_is_known(callback):
    await get(callback, f"/callback?code=c&state={STATE}")
    last = asyncio.create_task(get(callback, "/callback/done"))
    await asyncio.wait([last], timeout=0.2)
    assert not last.done()
    callback.conclude(
        Page(HTTPStatus.OK, "Signing in did not work", "The code was refused.", "bad")
    )
    assert "Signing in did not work" in (await last).text


async def test_whoever_ends_can_wait_until_the_last_page_has_been_fetched(callback):
    await Callback.delivered()  # there is nothing to wait for
    await get(callback, f"/callback?code=right&state={STATE}")
    callback.conclude(GOOD)
    delivered = asyncio.create_task(Callback.delivered())
    await asyncio.sleep(0)
    assert not delivered.done()
    assert "Signed in to notes" in (await get(callback, "/callback/done")).text
    async with asyncio.timeout(module.LINGER_SECONDS):
        await delivered


async def test_the_last_page_stays_neutral_when_the_outcome_takes_too_long(callback, monkeypatch):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.05)
    await get(callback, f"/callback?code=c&state={STATE}")
    page = await get(callback, "/callback/done")
    assert page.status == 200
    assert "Your notebook has the answer" in page.text
    assert "Signed in" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?code=evil",
        "?code=evil&state=wrong",
        "?code=evil&state=",
        "?code=evil&state=%C3%A9t%C3%A9",
        "?code=evil&state=%ff%fe",
        "?error=access_denied",
        "?error=access_denied&state=wrong",
        f"?code=evil&state={STATE}&state={STATE}",
        f"?code=evil&code=evil&state={STATE}",
        f"?code=evil&state={STATE}&iss=a&iss=b",
        f"?state={STATE}",
        f"?code=evil&error=access_denied&state={STATE}",
        f"?code=%ff&state={STATE}",
        f"?code={'x' * 4097}&state={STATE}",
        f"?code=a%0d%0ab&state={STATE}",
        f"?code=evil&state={STATE}&" + "&".join(f"p{n}=1" for n in range(50)),
    ],
)
async def test_an_answer_that_does_not_belong_here_never_ends_the_sign_in(callback, query):
    answer = await get(callback, f"/callback{query}")
    assert answer.status == 400
    assert "evil" not in answer.text
    await still_answers(callback)


@pytest.mark.parametrize("code", ["first", "other"])
async def test_a_replay_gets_a_neutral_page_and_the_first_code_is_kept(callback, code):
    await get(callback, f"/callback?code=first&state={STATE}")
    answer = await get(callback, f"/callback?code={code}&state={STATE}")
    assert answer.status == 409
    assert (await callback.answer()).code == "first"
    callback.conclude(GOOD)
    assert (await get(callback, f"/callback?code={code}&state={STATE}")).status == 409


async def test_after_closing_the_port_refuses(callback):
    callback.close()
    with pytest.raises(ConnectionRefusedError):
        await get(callback, f"/callback?code=late&state={STATE}")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "DELETE"])
async def test_other_methods_are_refused_without_cors(callback, method):
    answer = await get(
        callback,
        f"/callback?code=c&state={STATE}",
        "Origin: https://evil.example",
        "Access-Control-Request-Private-Network: true",
        "Content-Length: 0",
        method=method,
    )
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET"
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    await still_answers(callback)


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example:PORT"],
        ["127.0.0.1"],
        ["localhost:PORT"],
        [],
        ["127.0.0.1:PORT", "127.0.0.1:PORT"],
    ],
)
async def test_another_host_is_misdirected(callback, hosts):
    for version in ("1.0", "1.1"):
        lines = [f"GET /callback?code=c&state={STATE} HTTP/{version}"]
        lines += [f"Host: {host}".replace("PORT", str(callback.port)) for host in hosts]
        assert (await send(callback, "\r\n".join([*lines, "", ""]).encode())).status == 421
    await still_answers(callback)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("http://127.0.0.1/callback?code=c&state=" + STATE, ()),
        ("/callback?code=c&state=" + STATE, ("Content-Length: 3",)),
        ("/callback?code=c&state=" + STATE, ("Transfer-Encoding: chunked",)),
        ("/callback?code=c&state=" + STATE, ("no colon here",)),
    ],
)
async def test_requests_no_browser_makes_are_refused(callback, target, headers):
    assert (await get(callback, target, *headers)).status == 400
    await still_answers(callback)


@pytest.mark.parametrize(
    "header",
    [
        "Sec-Fetch-Dest: image",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Dest: iframe",
        "Sec-Purpose: prefetch",
        "Purpose: prefetch",
    ],
)
async def test_probes_and_prefetches_do_not_spend_the_code(callback, header):
    assert (await get(callback, f"/callback?code=c&state={STATE}", header)).status == 403
    await still_answers(callback)


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/robots.txt", "/../callback", "//callback", "/callback/done"]
)
async def test_other_paths_are_not_found(callback, path):
    assert (await get(callback, f"{path}?code=c&state={STATE}")).status == 404
    await still_answers(callback)


@pytest.mark.parametrize("size", [10 * 1024, 40 * 1024])
async def test_a_header_that_is_too_long_is_refused(callback, size):
    answer = await get(callback, f"/callback?code=c&state={STATE}", "X-Long: " + "x" * size)
    assert answer.status == 431
    await still_answers(callback)


async def test_a_peer_that_drips_is_given_up(callback, monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(2):
            writer.write(b"GET /callback")
            assert await reader.read() == b""
    writer.close()
    await still_answers(callback)


async def test_idle_connections_do_not_keep_the_browser_out(callback):
    idle = [await asyncio.open_connection("127.0.0.1", callback.port) for _ in range(60)]
    async with asyncio.timeout(2):
        await still_answers(callback)
    assert len(callback._connections) <= module.CONNECTIONS
    for _, writer in idle:
        writer.close()


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\0" * 50 + b"\r\n\r\n"]
)
async def test_garbage_is_answered_without_a_trace(callback, garbage, capfd, caplog):
    assert (await send(callback, garbage)).status == 400
    await still_answers(callback)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


async def test_a_thousand_wrong_states_do_not_end_the_sign_in(callback):
    answers = []
    for number in range(0, 1000, 20):
        answers += await asyncio.gather(
            *(get(callback, f"/callback?code=c&state={number + n}") for n in range(4))
        )
    assert answers[0].status == 400
    assert answers[-1].status is None
    assert sum(answer.status == 400 for answer in answers) <= module.WRONG_STATES
    await still_answers(callback)


async def test_what_is_shown_cannot_break_out_of_the_page(callback):
    await get(callback, f"/callback?error=x&error_uri=javascript:alert(1)&state={STATE}")
    last = asyncio.create_task(get(callback, "/callback/done"))
    nasty = "\"'><script>alert(1)</script>\x1b[31m\u202e" + "A" * 100_000
    callback.conclude(Page(HTTPStatus.OK, "No", nasty, "bad"))
    page = await last
    assert "<script" not in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    assert "href" not in page.text
    assert len(page.text) < 4000


async def test_nothing_of_a_request_is_logged_or_printed(callback, capfd, caplog):
    caplog.set_level("DEBUG")
    await get(callback, f"/callback?code=s3cret-code&state={STATE}", "Cookie: s3cret-cookie")
    out, err = capfd.readouterr()
    for word in ("s3cret", STATE):
        assert word not in out + err + caplog.text


async def test_nobody_else_can_bind_the_port(callback):
    for option in (None, socket.SO_REUSEADDR, getattr(socket, "SO_REUSEPORT", None)):
        with socket.socket() as squatter:
            if option is not None:
                squatter.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
                squatter.bind(("127.0.0.1", callback.port))


async def test_only_this_machine_can_knock(callback):
    assert [bound.getsockname()[0] for bound in callback._sockets] == ["127.0.0.1"]
    with pytest.raises(ConnectionRefusedError):  # another address, as a neighbour would use
        await asyncio.open_connection("127.0.0.2", callback.port)


async def test_localhost_holds_both_address_families_or_refuses():
    with socket.socket(socket.AF_INET6) as squatter:
        try:
            squatter.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        port = squatter.getsockname()[1]
        with pytest.raises(PortTakenError):
            await Callback.bind(server="notes", host="localhost", port=port, path="/callback")
    bound = await Callback.bind(server="notes", host="localhost", port=port, path="/callback")
    assert bound.redirect_uri == f"http://localhost:{port}/callback"
    with socket.socket(socket.AF_INET6) as squatter, pytest.raises(OSError, match="Errno"):
        squatter.bind(("::1", port))
    bound.close()


async def test_a_host_that_is_not_this_machine_is_refused():
    with pytest.raises(SignInError, match="not this machine"):
        await Callback.bind(server="notes", host="0.0.0.0", path="/callback")


async def test_a_taken_port_is_named(callback):
    with pytest.raises(PortTakenError) as taken:
        await Callback.bind(server="notes", port=callback.port, path="/callback")
    assert taken.value.port == callback.port


async def test_the_port_can_be_bound_again_at_once_after_a_sign_in(callback):
    await get(callback, f"/callback?code=c&state={STATE}")
    callback.conclude(GOOD)  # nobody fetches the last page, so the listener lingers
    again = await Callback.bind(server="notes", port=callback.port, path="/callback")
    assert again.redirect_uri == callback.redirect_uri
    again.close()


async def test_a_peer_that_never_closes_does_not_keep_the_port(callback):
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    writer.write(request(callback, "/favicon.ico"))
    await reader.readuntil(b"</html>")
    callback.close()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    again = await Callback.bind(server="notes", port=callback.port, path="/callback")
    again.close()
    writer.close()


async def test_two_sign_ins_at_once_keep_their_answers_apart(callback):
    other = await Callback.bind(server="tasks", path="/callback")
    other.expect("the-other-state")
    assert (await get(other, f"/callback?code=a&state={STATE}")).status == 400
    assert (await get(callback, "/callback?code=b&state=the-other-state")).status == 400
    assert (await get(other, "/callback?code=b&state=the-other-state")).status == 303
    assert (await other.answer()).code == "b"
    other.close()
    await still_answers(callback)


async def test_the_browser_is_sent_on_when_the_person_is_asked_once_more(callback):
    await get(callback, f"/callback?error=invalid_scope&state={STATE}")
    assert (await callback.answer()).error == "invalid_scope"
    last = asyncio.create_task(get(callback, "/callback/done"))
    callback.expect("second", onward="https://as.example/authorize?state=second")
    page = await last
    assert page.status == 303
    assert page.headers["Location"] == "https://as.example/authorize?state=second"
    assert (await get(callback, f"/callback?code=old&state={STATE}")).status == 400
    assert (await get(callback, "/callback?code=new&state=second")).status == 303
    assert (await callback.answer()).code == "new"


@pytest.mark.parametrize("form", ["{uri}?{query}", " <{uri}?{query}#_> \n", "?{query}", "{query}"])
async def test_a_pasted_address_is_taken_like_the_browsers(callback, form):
    query = f"code=pasted&state={STATE}&iss=https://as.example"
    callback.paste(form.format(uri=callback.redirect_uri, query=query))
    async with asyncio.timeout(1):
        response = await callback.answer()
    assert (response.code, response.iss) == ("pasted", "https://as.example")
    with pytest.raises(SignInError, match="already there"):
        callback.paste(f"code=again&state={STATE}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "just-a-c0de",
        "code=c0de",
        "code=c0de&state=wrong",
        f"http://evil.example/callback?code=c0de&state={STATE}",
        f"https://127.0.0.1/callback?code=c0de&state={STATE}",
        f"http://127.0.0.1:PORT/other?code=c0de&state={STATE}",
        f"http://127.0.0.1:PORT/callback?code=c0de&code=c0de&state={STATE}",
        f"http://127.0.0.1:PORT/callback?code=c0de&state={STATE} and more",
        f"http://127.0.0.1:PORT/callback?code=c0de other&state={STATE}",
        f"http://[::1/callback?code=c0de&state={STATE}",
    ],
)
async def test_a_wrong_paste_is_refused_unrepeated_and_the_sign_in_goes_on(callback, text):
    with pytest.raises(SignInError) as refused:
        callback.paste(text.replace("PORT", str(callback.port)))
    assert "c0de" not in str(refused.value)
    assert refused.value.hint
    await still_answers(callback)

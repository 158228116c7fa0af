"""The demo server: a real authorization server, tools worth trying, and a life tied to ours."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
import subprocess
import sys
import textwrap
import time
from urllib.parse import urlsplit

import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult
from PIL import Image

from mcp_notebook.demo.elements import elements, find, heat_map
from mcp_notebook.demo.launch import own_port, start
from mcp_notebook.demo.ledger import Grant, Ledger, digest
from mcp_notebook.errors import ConnectionFailedError
from tests.peers.by_hand import CALLBACK, answer_of, exchange, link, refresh, register, sign_in
from tests.peers.person import callback_url


@pytest.fixture(scope="module")
def demo():
    server = start(port=0)
    yield server
    server.stop()


@pytest.fixture
def origin(demo):
    return origin_of(demo)


@pytest.fixture
def web():
    with httpx2.Client(trust_env=False) as client:
        yield client


def origin_of(server):
    return server.url.removesuffix("/mcp")


def status(web, server, token):
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return web.post(server.url, json=ping, headers=headers).status_code


# -- signing in


def test_it_says_where_to_sign_in(web, demo, origin):
    refused = web.post(demo.url, json={})
    assert refused.status_code == 401
    where = f'resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp"'
    assert where in refused.headers["www-authenticate"]
    resource = web.get(f"{origin}/.well-known/oauth-protected-resource/mcp").json()
    assert resource["resource"] == demo.url
    assert resource["authorization_servers"] == [origin]
    assert resource["scopes_supported"] == ["explore"]
    metadata = web.get(f"{origin}/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == origin
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_approving_gives_tokens_that_open_the_tools(web, demo, origin):
    _, tokens = sign_in(web, origin, resource=demo.url)
    answer = tokens.json()
    assert (answer["token_type"], answer["scope"]) == ("Bearer", "explore")
    assert status(web, demo, answer["access_token"]) != 401
    assert status(web, demo, answer["refresh_token"]) == 401
    assert status(web, demo, answer["access_token"] + "x") == 401


def test_denying_is_said_with_state_and_issuer(web, origin):
    client_id = register(web, origin).json()["client_id"]
    answer = answer_of(callback_url(link(origin, client_id), "deny"))
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "s1", origin)


def test_the_consent_page_shows_who_asks_as_text_and_runs_no_script(web, origin):
    evil = "<script>alert(1)</script>"
    client_id = register(web, origin, client_name=evil).json()["client_id"]
    page = web.get(link(origin, client_id))
    assert "&lt;script&gt;" in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:9;" in policy


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"resource": "http://127.0.0.1:9/mcp"}, "invalid_target"),
        ({"scope": "explore admin"}, "invalid_scope"),
    ],
)
def test_a_wrong_authorization_request_is_sent_back(web, origin, wrong, error):
    client_id = register(web, origin).json()["client_id"]
    answer = answer_of(web.get(link(origin, client_id, **wrong)).headers["location"])
    assert (answer["error"], answer["state"]) == (error, "s1")


@pytest.mark.parametrize("wrong", [{"client_id": "x"}, {"redirect_uri": "http://127.0.0.1:9/x"}])
def test_an_unknown_client_or_address_is_sent_nowhere(web, origin, wrong):
    client_id = register(web, origin).json()["client_id"]
    page = web.get(link(origin, client_id, **wrong))
    assert page.status_code == 400
    assert "location" not in page.headers


@pytest.mark.parametrize(
    "uri", ["https://evil.example/cb", "http://10.0.0.1/cb", "http://127.0.0.1:1/cb#x", 7, ""]
)
def test_only_addresses_of_this_computer_can_register(web, origin, uri):
    refused = register(web, origin, redirect_uris=[uri])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri")


def test_a_page_elsewhere_cannot_register_without_asking(web, origin):
    refused = web.post(
        f"{origin}/register",
        content=json.dumps({"redirect_uris": [CALLBACK]}),
        headers={"content-type": "text/plain"},
    )
    assert refused.status_code == 400


def test_another_host_name_is_not_served(web, origin):
    path = f"{origin}/.well-known/oauth-authorization-server"
    port = urlsplit(origin).port
    assert web.get(path, headers={"host": f"rebound.example:{port}"}).status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_verifier": "w" * 43},
        {"redirect_uri": CALLBACK + "x"},
        {"resource": "http://127.0.0.1:9/mcp"},
        {"client_id": "x"},
    ],
)
def test_a_code_is_refused_with_anything_wrong(web, origin, wrong):
    client_id = register(web, origin).json()["client_id"]
    code = answer_of(callback_url(link(origin, client_id)))["code"]
    assert exchange(web, origin, client_id, code, **wrong).status_code in (400, 401)
    assert exchange(web, origin, client_id, code).status_code == 200


def test_what_another_client_was_given_is_refused(web, demo, origin):
    thief = register(web, origin).json()["client_id"]
    client_id = register(web, origin).json()["client_id"]
    code = answer_of(callback_url(link(origin, client_id)))["code"]
    assert exchange(web, origin, thief, code).json()["error"] == "invalid_grant"
    tokens = exchange(web, origin, client_id, code).json()
    assert refresh(web, origin, thief, tokens["refresh_token"]).json()["error"] == "invalid_grant"
    stolen = {"client_id": thief, "token": tokens["refresh_token"]}
    assert web.post(f"{origin}/revoke", data=stolen).status_code == 200
    assert status(web, demo, tokens["access_token"]) != 401
    assert refresh(web, origin, client_id, tokens["refresh_token"]).status_code == 200


def test_a_form_that_is_too_long_or_says_a_thing_twice_is_refused(web, origin):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    twice = web.post(f"{origin}/token", content="grant_type=a&grant_type=b", headers=headers)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")  # RFC 6749 §3.2
    long = web.post(f"{origin}/token", content="grant_type=" + "a" * 70_000, headers=headers)
    assert (long.status_code, long.json()["error"]) == (413, "invalid_request")


def test_a_page_of_consent_is_answered_once(web, origin):
    page = web.get(link(origin, register(web, origin).json()["client_id"]))
    form = {"page": re.search(r'name="page" value="([^"]+)"', page.text)[1], "decision": "approve"}
    assert "code" in answer_of(web.post(f"{origin}/authorize", data=form).headers["location"])
    again = web.post(f"{origin}/authorize", data=form)
    assert "location" not in again.headers
    assert "Too late" in again.text


def test_a_code_used_twice_ends_what_it_gave(web, demo, origin):
    client_id = register(web, origin).json()["client_id"]
    code = answer_of(callback_url(link(origin, client_id)))["code"]
    token = exchange(web, origin, client_id, code).json()["access_token"]
    assert exchange(web, origin, client_id, code).json()["error"] == "invalid_grant"
    assert status(web, demo, token) == 401


def test_a_refresh_token_is_spent_once_and_a_second_use_ends_the_sign_in(web, demo, origin):
    client_id, tokens = sign_in(web, origin)
    first = tokens.json()["refresh_token"]
    second = refresh(web, origin, client_id, first).json()
    assert status(web, demo, second["access_token"]) != 401
    assert refresh(web, origin, client_id, first).json()["error"] == "invalid_grant"
    assert status(web, demo, second["access_token"]) == 401
    assert refresh(web, origin, client_id, second["refresh_token"]).status_code == 400


def test_revoking_the_refresh_token_ends_the_sign_in(web, demo, origin):
    client_id, tokens = sign_in(web, origin)
    form = {"client_id": client_id, "token": tokens.json()["refresh_token"]}
    assert web.post(f"{origin}/revoke", data=form | {"client_id": "other"}).status_code == 401
    assert status(web, demo, tokens.json()["access_token"]) != 401
    assert web.post(f"{origin}/revoke", data=form).status_code == 200
    assert status(web, demo, tokens.json()["access_token"]) == 401


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_with_a_secret_must_show_it_as_it_registered(web, origin, method):
    client = register(web, origin, token_endpoint_auth_method=method).json()
    both = (client["client_id"], client["client_secret"])
    form = {"token": "unknown"}
    by = {
        "client_secret_basic": web.post(f"{origin}/revoke", data=form, auth=both),
        "client_secret_post": web.post(
            f"{origin}/revoke", data=form | {"client_id": both[0], "client_secret": both[1]}
        ),
    }
    assert by.pop(method).status_code == 200
    assert [reply.status_code for reply in by.values()] == [401]
    assert web.post(f"{origin}/revoke", data=form | {"client_id": both[0]}).status_code == 401
    guessed = (both[0], "guessed")
    posted = form | {"client_id": both[0], "client_secret": "guessed"}
    assert web.post(f"{origin}/revoke", data=form, auth=guessed).status_code == 401
    assert web.post(f"{origin}/revoke", data=posted).status_code == 401


# -- what it remembers


def test_the_ledger_keeps_hashes_and_goes_on_after_a_restart(tmp_path):
    path = tmp_path / "state.json"
    ledger = Ledger(path=path)
    client_id, secret = ledger.register(name="n", method="client_secret_post", redirect_uris=[])
    _, answer = ledger.issue(Grant(client_id=client_id, scope="explore", resource="r"))
    text = path.read_text()
    for hidden in (secret, answer["access_token"], answer["refresh_token"]):
        assert hidden not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = Ledger(path=path)
    later.load()
    assert later.access(answer["access_token"])
    assert later.clients[client_id].secret == digest(secret)
    assert later.rotate(answer["refresh_token"], client_id)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"clients": 1, "grants": {}, "tokens": {}}'])
def test_a_damaged_ledger_reads_as_empty(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    ledger = Ledger(path=path)
    ledger.load()
    assert ledger.tokens == {}


def test_an_access_token_ends_with_its_time(tmp_path):
    ledger = Ledger(access_seconds=-1)
    _, answer = ledger.issue(Grant(client_id="c", scope="explore", resource="r"))
    assert ledger.access(answer["access_token"]) is None
    assert ledger.rotate(answer["refresh_token"], "c")


def test_a_token_that_is_still_written_down_is_no_good_after_its_time(monkeypatch):
    ledger = Ledger()
    _, answer = ledger.issue(Grant(client_id="c", scope="explore", resource="r"))
    now = time.time()
    monkeypatch.setattr("mcp_notebook.demo.ledger.time.time", lambda: now + 31 * 86_400)
    assert ledger.access(answer["access_token"]) is None
    assert ledger.rotate(answer["refresh_token"], "c") is None


# -- its life


def test_a_restart_keeps_the_address_and_the_sign_in(web):
    first = start()
    _, tokens = sign_in(web, origin_of(first))
    first.stop()
    assert not first.running
    first.stop()
    second = start()
    try:
        assert second.url == first.url == f"http://127.0.0.1:{own_port()}/mcp"
        assert status(web, second, tokens.json()["access_token"]) != 401
        other = start()
        assert other.url != second.url
        other.stop()
    finally:
        second.stop()


def test_it_ends_when_the_process_that_started_it_is_killed(web):
    code = """
        import os, signal
        from mcp_notebook.demo.launch import start
        server = start(port=0)
        print(server._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    psutil = pytest.importorskip("psutil")
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, timeout=60
    )
    pid = int(parent.stdout)
    try:
        psutil.Process(pid).wait(10)
    except psutil.NoSuchProcess:
        return
    assert not psutil.pid_exists(pid)


def test_what_hinders_its_start_is_said(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConnectionFailedError) as caught:
        start(port=0)
    assert "did not start" in str(caught.value)
    assert caught.value.hint


def test_the_launcher_is_light():
    code = "import sys, mcp_notebook.demo.launch as l; print('mcp' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# -- the data


def test_the_elements_are_in_order_and_whole():
    assert [e.number for e in elements()] == list(range(1, 119))
    assert len({e.symbol for e in elements()}) == 118
    gold = find("au")
    assert gold is not None
    assert (gold.name, gold.mass_u, gold.period, gold.group) == ("Gold", 196.97, 6, 11)
    assert find("Uranium") == find("92") == find(" u ")
    assert find("Xx") is None


def test_the_heat_map_is_a_picture_in_which_fluorine_is_lightest():
    picture = Image.open(io.BytesIO(heat_map("electronegativity")))
    picture.verify()
    picture = Image.open(io.BytesIO(heat_map("electronegativity"))).convert("L")
    assert picture.size == (18 * 28 + 2, 9 * 28 + 2)

    def shade(column, row):
        return picture.getpixel((column * 28 + 15, row * 28 + 15))

    assert shade(16, 1) > shade(15, 1) > shade(13, 1) > shade(0, 1)  # F, O, C, Li
    assert shade(5, 0) == 255  # nothing stands between H and He


# -- the tools


@pytest.mark.anyio
async def test_its_tools_answer_as_they_say(web, demo, origin):
    asked, steps = [], []

    async def answer(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"symbol": "Hg"})

    async def progress(now, total, message):
        steps.append((now, total))

    _, tokens = sign_in(web, origin)
    bearer = {"authorization": f"Bearer {tokens.json()['access_token']}"}
    http = httpx2.AsyncClient(headers=bearer, trust_env=False, timeout=30)
    transport = streamable_http_client(demo.url, http_client=http)
    async with http, mcp.Client(transport, mode="auto", elicitation_callback=answer) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["table"].annotations.read_only_hint
        assert tools["forget_all"].annotations.destructive_hint
        assert tools["table"].output_schema

        rows = (await client.call_tool("table", {})).structured_content["result"]
        assert len(rows) == 118
        assert rows[25]["name"] == "Iron"
        assert rows[25]["discovered"] is None
        found = await client.call_tool("search", {"block": "f", "discovered_after": 1940})
        names = [row["name"] for row in found.structured_content["result"]]
        assert names[0] == "Promethium"
        assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content["result"] == 5
        assert (await client.call_tool("element", {"symbol": "Xx"})).is_error
        assert "Hi" in (await client.call_tool("fail", {"message": "Hi"})).content[0].text

        picture = (await client.call_tool("picture", {"quantity": "density_g_cm3"})).content[0]
        assert picture.mime_type == "image/png"
        Image.open(io.BytesIO(base64.b64decode(picture.data))).verify()

        await client.call_tool("slow", {"seconds": 0.05, "steps": 3}, progress_callback=progress)
        assert steps[-1] == (3, 3)
        assert "Right" in (await client.call_tool("ask", {})).content[0].text
        assert asked == ["Which metal is liquid at room temperature?"]

        await client.call_tool("remember", {"symbol": "gold"})
        assert (await client.call_tool("forget_all", {})).structured_content == {"result": 1}

        table = (await client.read_resource("elements://table")).contents[0]
        assert table.text.startswith("number,symbol,name")
        one = (await client.read_resource("elements://element/Fe")).contents[0]
        assert json.loads(one.text)["name"] == "Iron"
        prompt = await client.get_prompt("compare", {"one": "Au", "other": "Ag"})
        assert "Silver" in prompt.messages[0].content.text

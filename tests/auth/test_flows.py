"""From nothing to a record, by every grant and around what authorization servers refuse."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcp_notebook.auth.metadata import Challenge
from mcp_notebook.auth.sign_in import SignIn, SignInState
from mcp_notebook.errors import (
    AuthorizationServerError,
    ServerConfigError,
    SignInDeniedError,
    SignInError,
    SignInNeededError,
)
from tests.auth.signing import credentials_of, final_address, link, running, signed_in, until
from tests.peers import Authority, serve_authority, serve_tools, visit

pytestmark = pytest.mark.anyio


def asked(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def link_of(credentials, **options) -> dict[str, str]:
    """The parameters of the authorization request a sign-in would make."""
    sign_in = SignIn(credentials, **options)
    async with running(sign_in):
        return asked(await link(sign_in))


def step_up(scope: str) -> SignInNeededError:
    challenge = Challenge(error="insufficient_scope", scope=scope)
    return SignInNeededError("more", challenge=challenge, step_up=True)


def refused(scope: str | None = None) -> SignInNeededError:
    return SignInNeededError("none yet", challenge=Challenge(scope=scope))


# -- the request ------------------------------------------------------------------------------


async def test_the_request_has_pkce_state_resource_and_the_persons_parameters(authority, tools):
    credentials = credentials_of(tools, authorize_params={"audience": "api", "state": "mine"})
    first, second = await link_of(credentials), await link_of(credentials)
    assert first["response_type"] == "code"
    assert first["code_challenge_method"] == "S256"
    assert first["resource"] == tools.url
    assert first["audience"] == "api"
    assert first["state"] not in {"mine", second["state"]}
    assert first["code_challenge"] != second["code_challenge"]
    assert len(first["state"]) >= 43


async def test_the_resource_is_the_same_in_every_request_of_a_sign_in(authority, tools):
    credentials = credentials_of(tools)
    record, _ = await signed_in(credentials)
    await credentials.renew(record.access_token)
    sent = [seen.form["resource"] for seen in authority.seen if seen.path == "/token"]
    assert sent == [tools.url, tools.url]


@pytest.mark.parametrize(
    ("resource", "sent"), [("off", None), ("api://notes", "api://notes"), (None, "TOOLS")]
)
async def test_the_resource_can_be_left_out_or_replaced(authority, tools, resource, sent):
    tools.knobs.check_audience = False
    record, _ = await signed_in(credentials_of(tools, resource=resource))
    sent = tools.url if sent == "TOOLS" else sent
    assert record.resource_parameter == sent
    assert [s.form.get("resource") for s in authority.seen if s.path == "/token"] == [sent]


@pytest.mark.parametrize(
    ("chosen", "challenged", "listed", "expected"),
    [
        ("read", "write", ("admin",), "read"),
        (None, "write", ("admin",), "write"),
        (None, None, ("a", "b"), "a b"),
        (None, None, None, None),
        (None, 'wr"ite ok', ("admin",), "ok"),
    ],
)
async def test_scopes_are_the_persons_else_the_challenges_else_the_servers(
    authority, tools, chosen, challenged, listed, expected
):
    authority.knobs.scopes_supported = ("everything", "admin")
    tools.knobs.scopes_supported = listed
    request = await link_of(credentials_of(tools, scope=chosen), need=refused(challenged))
    assert request.get("scope") == expected


async def test_offline_access_is_asked_for_only_where_it_is_offered(authority, tools):
    tools.knobs.scopes_supported = ("read",)
    assert (await link_of(credentials_of(tools)))["scope"] == "read"
    authority.knobs.scopes_supported = ("read", "offline_access")
    request = await link_of(credentials_of(tools))
    assert (request["scope"], request["prompt"]) == ("read offline_access", "consent")
    request = await link_of(credentials_of(tools, scope="read"))
    assert (request["scope"], request.get("prompt")) == ("read", None)
    tools.knobs.scopes_supported = None
    assert "scope" not in await link_of(credentials_of(tools))
    tools.knobs.scopes_supported = ("read", "offline_access")
    authority.knobs.scopes_supported = ("read",)
    assert (await link_of(credentials_of(tools)))["scope"] == "read"


async def test_a_refused_offline_access_is_dropped_and_the_browser_sent_straight_on(
    authority, tools
):
    tools.knobs.scopes_supported = ("read",)
    authority.knobs.scopes_supported = ("read", "offline_access")
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        first = asked(await link(sign_in))
        answer = f"error=invalid_scope&state={first['state']}&iss={quote(authority.issuer)}"
        page = await asyncio.to_thread(visit, f"{first['redirect_uri']}?{answer}")
        record = await task
    assert "Signed in to notes" in page
    assert record.scope == "read"
    assert authority.count("/register") == 1


async def test_an_invalid_scope_of_another_kind_ends_the_sign_in(authority, tools):
    sign_in = SignIn(credentials_of(tools, scope="odd"))
    async with running(sign_in) as task:
        first = asked(await link(sign_in))
        answer = f"error=invalid_scope&state={first['state']}&iss={quote(authority.issuer)}"
        page = await asyncio.to_thread(visit, f"{first['redirect_uri']}?{answer}")
        with pytest.raises(AuthorizationServerError) as ended:
            await task
    assert ended.value.code == "invalid_scope"
    assert "--scope" in ended.value.hint
    assert "did not work" in page


async def test_a_step_up_asks_for_both_and_shows_what_is_new(authority, tools):
    credentials = credentials_of(tools, scope="tools read")
    before, _ = await signed_in(credentials)
    sign_in = SignIn(credentials, need=step_up("admin read"))
    async with running(sign_in) as task:
        url = await link(sign_in)
        standing = sign_in.standing()
        assert standing.scopes == ("tools", "read", "admin")
        assert standing.added == ("admin",)
        assert asked(url)["scope"] == "tools read admin"
        await asyncio.to_thread(visit, url)
        after = await task
    assert after.scope == "tools read admin"
    assert after.client_id == before.client_id
    assert authority.count("/register") == 1


async def test_a_step_up_keeps_what_was_granted_though_nobody_chose_it(tools):
    credentials = credentials_of(tools)
    before, _ = await signed_in(credentials, need=refused("tools"))
    assert before.scope == "tools"
    parameters = await link_of(credentials, need=step_up("admin"))
    assert parameters["scope"] == "tools admin"


async def test_a_declined_step_up_keeps_the_tokens_there_are(tools):
    credentials = credentials_of(tools)
    before, _ = await signed_in(credentials)
    with pytest.raises(SignInDeniedError):
        await signed_in(credentials, "deny", need=step_up("admin"))
    assert (await credentials.load(fresh=True)).access_token == before.access_token


async def test_a_smaller_grant_than_asked_is_what_is_kept(authority, tools):
    authority.knobs.granted_scope = "read"
    record, _ = await signed_in(credentials_of(tools, scope="read write"))
    assert record.scope == "read"


# -- the answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("iss", [None, "https://evil.example", "SLASH", "CASE"])
async def test_an_answer_of_another_issuer_is_refused_and_no_token_asked_for(authority, tools, iss):
    odd = {"SLASH": authority.issuer + "/", "CASE": authority.issuer.replace("http", "HTTP")}
    authority.knobs.iss = odd.get(iss, iss)
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        page = await asyncio.to_thread(visit, await link(sign_in))
        with pytest.raises(AuthorizationServerError) as refusal:
            await task
    assert refusal.value.code == "iss_mismatch"
    assert "evil" not in str(refusal.value) + page
    assert authority.count("/token") == 0


async def test_an_error_of_another_issuer_is_not_shown(authority, tools):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        first = asked(await link(sign_in))
        answer = (
            f"error=call_us&error_description=call+0900+666&state={first['state']}"
            "&iss=https%3A%2F%2Fevil.example"
        )
        page = await asyncio.to_thread(visit, f"{first['redirect_uri']}?{answer}")
        with pytest.raises(AuthorizationServerError) as refusal:
            await task
    shown = f"{page}{refusal.value}{sign_in.standing()}"
    assert refusal.value.code == "iss_mismatch"
    for word in ("call", "0900", "evil"):
        assert word not in shown


async def test_an_issuer_that_was_not_promised_may_be_left_out(authority, tools):
    authority.knobs.iss_advertised, authority.knobs.iss = False, None
    record, _ = await signed_in(credentials_of(tools))
    assert record.access_token


async def test_a_foreign_description_is_shown_as_one_harmless_line(authority, tools):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        first = asked(await link(sign_in))
        said = quote('"><img src=x onerror=alert(1)>\x1b[2J\u202e\n' + "A" * 5000)
        answer = (
            f"error=%3Cscript%3E&error_description={said}&error_uri=javascript:alert(1)"
            f"&state={first['state']}&iss={quote(authority.issuer)}"
        )
        page = await asyncio.to_thread(visit, f"{first['redirect_uri']}?{answer}")
        with pytest.raises(AuthorizationServerError) as refusal:
            await task
    assert refusal.value.code == ""
    message = refusal.value.message
    assert len(message) < 400
    assert message.rstrip("…").isascii()
    assert message.isprintable()
    for text in ("<img", "<script", "javascript:", "href"):
        assert text not in page


async def test_a_code_is_never_sent_twice(authority, tools):
    authority.cut_next(moment="after", path="/token")
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        page = await asyncio.to_thread(visit, await link(sign_in))
        with pytest.raises(AuthorizationServerError) as lost:
            await task
    assert lost.value.passing
    assert "did not work" in page
    assert authority.count("/token") == 1


# -- the client and its port ------------------------------------------------------------------


async def test_the_client_and_its_port_are_used_again(authority, tools):
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    second, _ = await signed_in(credentials)
    assert (second.client_id, second.redirect_uri) == (first.client_id, first.redirect_uri)
    assert second.access_token != first.access_token
    assert authority.count("/register") == 1


async def test_a_client_registered_by_a_sign_in_that_was_given_up_is_used_again(authority, tools):
    credentials = credentials_of(tools)
    first = await link_of(credentials)
    assert await link_of(credentials) != first
    record, _ = await signed_in(credentials)
    assert (record.client_id, record.redirect_uri) == (first["client_id"], first["redirect_uri"])
    assert authority.count("/register") == 1


async def occupying(port: int) -> socket.socket:
    """Takes a port as soon as the listener that had it is gone."""
    async with asyncio.timeout(5):
        while True:
            try:
                return socket.create_server(("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0.01)


async def test_a_port_that_is_taken_means_a_new_one_and_a_new_registration(authority, tools):
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    with await occupying(urlsplit(first.redirect_uri).port):
        second, _ = await signed_in(credentials)
    assert second.redirect_uri != first.redirect_uri
    assert second.client_id != first.client_id
    assert authority.count("/register") == 2


async def test_a_new_registration_does_not_cost_the_tokens_before_it_is_used(authority, tools):
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    with await occupying(urlsplit(first.redirect_uri).port), pytest.raises(SignInDeniedError):
        await signed_in(credentials, "deny")
    assert authority.count("/register") == 2
    assert await credentials.load(fresh=True) == first


async def test_a_taken_port_that_was_chosen_is_named(authority, tools):
    authority.add_client("ours")
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        sign_in = SignIn(credentials_of(tools, client_id="ours", callback_port=port))
        with pytest.raises(SignInError, match=f"port {port} .*another program") as taken:
            await sign_in.run()
    assert taken.value.hint
    assert authority.count("/authorize") == 0


async def test_the_callback_is_where_the_registration_demands_it(authority, tools):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    uri = f"http://localhost:{port}/oauth/back"
    authority.add_client("slack", redirect_uris=(uri,))
    record, page = await signed_in(
        credentials_of(
            tools,
            client_id="slack",
            callback_host="localhost",
            callback_port=port,
            callback_path="/oauth/back",
        )
    )
    assert record.redirect_uri == uri
    assert "Signed in" in page


async def test_a_client_that_is_no_longer_known_is_registered_again_once(authority, tools):
    """The authorization server purges its clients while the person reads the consent page."""
    credentials = credentials_of(tools)
    sign_in = SignIn(credentials)
    async with running(sign_in) as task:
        url = await link(sign_in)
        address = await final_address(url)
        authority.forget_clients()
        page = await asyncio.to_thread(visit, address)
        record = await task
    assert "Signed in to notes" in page
    assert record.client_id != asked(url)["client_id"]
    assert authority.count("/register") == 2


async def test_a_client_that_is_refused_for_ever_ends_the_sign_in(authority, tools):
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in) as task:
        address = await final_address(await link(sign_in))
        authority.fail_next(times=5, status=401, path="/token", body=b'{"error": "invalid_client"}')
        page = await asyncio.to_thread(visit, address)
        with pytest.raises(AuthorizationServerError) as ended:
            await task
    authority._faults.clear()
    assert ended.value.code == "invalid_client"
    assert "did not work" in page
    assert authority.count("/register") == 2
    assert authority.count("/token") == 2


async def test_a_persons_own_client_is_never_replaced(authority, tools):
    authority.add_client("corp")
    sign_in = SignIn(credentials_of(tools, client_id="corp"))
    async with running(sign_in) as task:
        address = await final_address(await link(sign_in))
        authority.forget_clients()
        await asyncio.to_thread(visit, address)
        with pytest.raises(AuthorizationServerError) as ended:
            await task
    assert ended.value.code == "invalid_client"
    assert authority.count("/register") == 0


async def test_registering_again_passes_over_the_client_that_is_known(authority, tools):
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    second, _ = await signed_in(credentials, register_again=True)
    assert second.client_id != first.client_id
    assert authority.count("/register") == 2


async def test_a_refused_metadata_document_gives_way_to_registration(authority, tools):
    authority.knobs.cimd = "refused"
    document = "https://person.example/notebook.json"
    sign_in = SignIn(credentials_of(tools, client_metadata_url=document))
    async with running(sign_in) as task:
        url = await link(sign_in)
        assert asked(url)["client_id"] == document
        page = await asyncio.to_thread(visit, url)
        record = await task
    assert "Signed in to notes" in page
    assert record.registration == "dcr"


async def test_a_secret_that_was_typed_before_is_used_and_kept(authority, tools):
    authority.add_client("corp", secret="typed-secret", method="client_secret_basic")
    credentials = credentials_of(tools, client_id="corp")
    record, _ = await signed_in_with_secret(credentials, authority)
    assert record.client_secret == "typed-secret"
    assert record.registration == "preregistered"


async def signed_in_with_secret(credentials, authority: Authority):
    """The workspace keeps what was typed at its prompt as a record without tokens."""
    from mcp_notebook.auth.record import TokenRecord

    await credentials.keeper.save(
        TokenRecord(
            server="notes",
            resource=credentials.resource,
            issuer=authority.issuer,
            token_endpoint=f"{authority.url}/token",
            client_id="corp",
            client_secret="typed-secret",
            registration="preregistered",
        )
    )
    return await signed_in(credentials)


async def test_a_secret_that_is_about_to_expire_is_renewed_before_the_browser_opens(
    authority, tools
):
    authority.knobs.auth_methods = ("client_secret_post",)
    authority.knobs.secret_lifetime = 200
    credentials = credentials_of(tools)
    first, _ = await signed_in(credentials)
    assert first.client_secret_expires_at - time.time() < 300
    authority.knobs.secret_lifetime = None
    second, _ = await signed_in(credentials)
    assert second.client_id != first.client_id


async def test_a_kernel_killed_in_a_sign_in_leaves_its_port_and_client_to_the_next(
    authority, tools, private_home
):
    program = (
        "import asyncio, sys\n"
        "from tests.auth.signing import link\n"
        "from mcp_notebook.auth.credentials import Credentials\n"
        "from mcp_notebook.auth.sign_in import SignIn\n"
        "from mcp_notebook.auth.tokens import open_keeper\n"
        "from mcp_notebook.config.servers import Server\n"
        "async def main():\n"
        "    sign_in = SignIn(Credentials(Server(name='notes', url=sys.argv[1]), open_keeper()))\n"
        "    task = asyncio.create_task(sign_in.run())\n"
        "    print(await link(sign_in), flush=True)\n"
        "    while await sign_in.credentials.load() is None: await asyncio.sleep(0.01)\n"
        "    print('kept', flush=True)\n"
        "    await task\n"
        "    await asyncio.to_thread(sys.stdin.read)\n"
        "asyncio.run(main())\n"
    )
    environ = os.environ | {"MCP_NOTEBOOK_TOKEN_STORE": "file"}
    command = [sys.executable, "-c", program, tools.url]

    def start() -> tuple[subprocess.Popen[str], str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        kernel = subprocess.Popen(command, text=True, env=environ, **pipes)
        return kernel, kernel.stdout.readline().strip()

    def kill_one_and_ask_the_next() -> tuple[str, str, str]:
        kernel, first = start()
        with kernel:
            assert kernel.stdout.readline() == "kept\n"
            kernel.send_signal(signal.SIGKILL)
        kernel, second = start()
        with kernel:
            page = visit(second)
        return first, second, page

    first, second, page = await asyncio.to_thread(kill_one_and_ask_the_next)
    assert "Signed in to notes" in page
    for name in ("client_id", "redirect_uri"):
        assert asked(second)[name] == asked(first)[name]


# -- other grants -----------------------------------------------------------------------------


async def test_a_person_types_a_code_on_any_device(authority, tools):
    sign_in = SignIn(credentials_of(tools, grant="device_code", scope="tools"))
    async with running(sign_in) as task:
        await until(sign_in, SignInState.WAITING)
        standing = sign_in.standing()
        assert standing.user_code
        assert standing.user_code in standing.url
        assert standing.user_code not in repr(standing)
        assert standing.seconds_left <= 600
        with pytest.raises(SignInError, match="by itself") as told:
            sign_in.answer("http://127.0.0.1/?code=x")
        assert standing.user_code not in str(told.value)  # an error is saved with the notebook
        await asyncio.to_thread(visit, standing.url)
        record = await task
    assert (record.scope, record.redirect_uri) == ("tools", None)
    assert record.refresh_token
    polls = [seen.form for seen in authority.seen if seen.path == "/token"]
    assert {form["resource"] for form in polls} == {tools.url}
    assert sign_in.standing().user_code is None


async def test_a_device_sign_in_that_is_declined_says_so(authority, tools):
    with pytest.raises(SignInDeniedError):
        await signed_in(credentials_of(tools, grant="device_code"), "deny")


async def test_a_device_client_that_is_no_longer_known_is_registered_again(authority, tools):
    credentials = credentials_of(tools, grant="device_code")
    first, _ = await signed_in(credentials)
    authority.forget_clients()
    second, _ = await signed_in(credentials)
    assert second.client_id != first.client_id


async def test_a_client_signs_itself_in_and_again_when_its_token_ends(
    authority, tools, monkeypatch
):
    authority.add_client("robot", secret="robot-secret", method="client_secret_basic")
    monkeypatch.setenv("ROBOT_SECRET", "robot-secret")
    credentials = credentials_of(
        tools,
        grant="client_credentials",
        client_id="robot",
        client_secret_env="ROBOT_SECRET",
        scope="tools",
    )
    record = await SignIn(credentials).run()
    assert authority.grants_made[-1] == "client_credentials"
    assert (record.scope, record.refresh_token) == ("tools", None)
    await credentials.keeper.save(replace(record, expires_at=time.time() - 1))
    authority.forget_seen()
    renewed = await credentials.current()
    assert renewed.access_token != record.access_token
    assert {seen.path for seen in authority.seen} == {"/token"}


async def test_a_client_signs_itself_in_with_its_key(authority, tools, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    authority.add_client("robot", method="private_key_jwt", public_key=public.decode())
    monkeypatch.setenv("ROBOT_KEY", private.decode())
    credentials = credentials_of(
        tools, grant="client_credentials", client_id="robot", private_key_env="ROBOT_KEY"
    )
    record = await SignIn(credentials).run()
    assert record.auth_method == "private_key_jwt"
    assert (await credentials.renew(record.access_token)).access_token != record.access_token


async def test_a_workload_signs_in_with_its_own_jwt(authority, tools, monkeypatch):
    assertion = jwt.encode({"sub": "job", "aud": authority.issuer}, "k" * 32, algorithm="HS256")
    authority.assertions.add(assertion)
    authority.add_client("job")
    monkeypatch.setenv("JOB_JWT", assertion)
    credentials = credentials_of(
        tools, grant="jwt_bearer", client_id="job", assertion_env="JOB_JWT"
    )
    record = await SignIn(credentials).run()
    assert record.access_token
    assert authority.grants_made[-1].endswith("jwt-bearer")


async def test_a_variable_that_is_not_named_or_not_set_is_told(authority, tools, monkeypatch):
    monkeypatch.delenv("JOB_JWT", raising=False)
    authority.add_client("job")
    for variable in (None, "JOB_JWT"):
        sign_in = SignIn(
            credentials_of(tools, grant="jwt_bearer", client_id="job", assertion_env=variable)
        )
        with pytest.raises(ServerConfigError) as missing:
            await sign_in.run()
        assert missing.value.hint
        assert sign_in.standing().state is SignInState.FAILED


async def test_a_company_signs_its_people_in(authority, tools, monkeypatch):
    with serve_authority() as company:
        company.assertions.add("id-token-of-ann")
        company.add_client("notebook-at-idp")
        authority.trusted.append(company)
        authority.add_client("notebook")
        monkeypatch.setenv("ID_TOKEN", "id-token-of-ann")
        credentials = credentials_of(
            tools,
            grant="enterprise",
            client_id="notebook",
            idp_client_id="notebook-at-idp",
            idp_token_endpoint=f"{company.url}/token",
            idp_id_token_env="ID_TOKEN",
        )
        record = await SignIn(credentials).run()
        authority.trusted.remove(company)
        exchange = company.seen[-1].form
    assert record.access_token
    assert exchange["audience"] == authority.issuer
    assert exchange["resource"] == tools.url


async def test_tokens_are_bound_to_a_key_where_the_server_demands_it():
    with serve_authority(dpop=True) as authority, serve_tools(authority, dpop=True) as tools:
        record, _ = await signed_in(credentials_of(tools))
        assert record.dpop_key
        assert record.access_token not in record.dpop_key
        assert '"d"' not in repr(record)


async def test_a_dead_authorization_server_is_skipped_with_a_note(authority, tools):
    with serve_authority() as dead:
        gone = dead.issuer
    tools.knobs.authorization_servers = (gone, authority.issuer)
    sign_in = SignIn(credentials_of(tools))
    async with running(sign_in):
        await link(sign_in)
        assert any("kipped" in note for note in sign_in.standing().notes)

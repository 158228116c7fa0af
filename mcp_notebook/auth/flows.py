"""From nothing to a stored record: one coroutine for each grant.

Each finds the authorization server, gets a client, asks for tokens and stores them with all that
a later refresh needs. A flow knows no card and no terminal: it makes an `Offer` to its `Asker`,
who also keeps the clock while a person is waited for.
"""

from __future__ import annotations

import time

from mcp_notebook.auth import unattended
from mcp_notebook.auth.asker import (
    Asker,
    Offer,
    challenge_of,
    discovered,
    forgotten,
    granted_so_far,
    is_unknown,
    newly_asked,
    remember,
)
from mcp_notebook.auth.asking import (
    OFFLINE,
    dpop_key,
    record_of,
    resource_parameter,
    scopes_to_ask,
    with_offline,
    without_offline,
)
from mcp_notebook.auth.browser import authorization_code
from mcp_notebook.auth.client import RegisteredClient
from mcp_notebook.auth.device import DeviceCode, poll_device, start_device
from mcp_notebook.auth.fetch import Fetch
from mcp_notebook.auth.metadata import Discovery
from mcp_notebook.auth.record import TokenRecord
from mcp_notebook.auth.registration import obtain_client
from mcp_notebook.config.urls import host_of
from mcp_notebook.errors import AuthorizationServerError


async def sign_in(asker: Asker) -> TokenRecord:
    """Signs in by the grant the person chose, and returns the stored record.

    Raises:
        SignInError: It did not work; its hint says what to do.
        ServerConfigError: The server's settings do not allow it.
        TokenStoreError: The tokens could not be kept.
    """
    match asker.server.oauth.grant:
        case "authorization_code":
            return await authorization_code(asker)
        case "device_code":
            return await device_code(asker)
        case _:
            return await without_person(asker)


async def without_person(asker: Asker) -> TokenRecord:
    """Signs in by a grant of `auth.unattended`."""
    credentials = asker.credentials
    known = await credentials.load(fresh=True)
    async with credentials.fetch() as fetch:
        record = await unattended.sign_in(
            fetch, asker.server, known=known, challenge=challenge_of(asker)
        )
    return await credentials.keeper.save(record)


async def device_code(asker: Asker) -> TokenRecord:
    """Signs in with a code typed on any device (RFC 8628)."""
    server, credentials = asker.server, asker.credentials
    known = await credentials.load(fresh=True)
    discovery = await discovered(asker, known)
    granted = granted_so_far(asker, known)
    scopes = scopes_to_ask(server, discovery, challenge_of(asker), granted=granted)
    resource, key = resource_parameter(server, discovery), dpop_key(server, discovery)
    async with credentials.fetch() as fetch:
        client, device, scopes = await _begun(
            fetch, asker, discovery, known, with_offline(server, discovery, scopes), resource
        )
        asker.offer(
            Offer(
                url=device.verification_uri_complete or device.verification_uri,
                host=host_of(device.verification_uri),
                scopes=scopes,
                added=newly_asked(scopes, granted),
                user_code=device.user_code,
                seconds=device.deadline - time.monotonic(),
                notes=discovery.notes,
            )
        )
        await remember(credentials, discovery, client)
        there = discovery.authorization_server
        tokens = await asker.wait(
            poll_device(fetch, client, there, device, resource=resource, dpop=key)
        )
    asker.finishing()
    record = record_of(server, discovery, client, tokens, scopes=scopes, resource=resource, key=key)
    return await credentials.keeper.save(record)


async def _begun(
    fetch: Fetch,
    asker: Asker,
    discovery: Discovery,
    known: TokenRecord | None,
    scopes: tuple[str, ...],
    resource: str | None,
) -> tuple[RegisteredClient, DeviceCode, tuple[str, ...]]:
    """Gets a client and its codes; once more with what the authorization server refused put right.

    Returns:
        The client, its codes, and the scopes that were asked for.
    """
    server, there = asker.server, discovery.authorization_server
    register_again = asker.register_again
    client: RegisteredClient | None = None
    while True:
        client = client or await obtain_client(
            fetch, server, discovery, redirect_uri=None, known=known, register_again=register_again
        )
        try:
            asked = " ".join(scopes) or None
            device = await start_device(
                fetch, server, client, there, scope=asked, resource=resource
            )
        except AuthorizationServerError as error:
            if error.code == "invalid_scope" and OFFLINE in scopes:
                scopes = without_offline(scopes)
            elif is_unknown(client, there, error) and not register_again:
                await forgotten(asker.credentials, client)
                client, register_again = None, True
            else:
                raise
        else:
            return client, device, scopes

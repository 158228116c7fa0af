"""Which address may be used for what.

Every address that a server or an authorization server names passes here before it is asked or
shown. `check_web_address` looks at the text alone; `reach` and `may_reach` judge the IP address
that a name turned out to stand for, so that a server on the internet cannot send this machine to
its own network (server-side request forgery: a kernel on a JupyterHub stands inside one).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import httpx2

from mcp_notebook.config.rules import is_loopback
from mcp_notebook.errors import AuthorizationServerError
from mcp_notebook.redaction import printable, redact

Reach = Literal["public", "private", "loopback", "forbidden"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_LENGTH = 2048
"""The greatest length of an address in metadata, in characters."""

_NOT_IN_URLS = re.compile(r"[^\x21-\x7e]|[\\<>\"`{}|^]")  # RFC 3986 §2, and nothing invisible
_DOMAIN = re.compile(r"(?i)(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMERIC = re.compile(r"(?i)(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out (RFC 4291 §2.4)


def origin(url: str | httpx2.URL) -> str:
    """Returns ``scheme://host[:port]`` in lower case, without a default port (RFC 6454 §6.2)."""
    parts = httpx2.URL(url)
    return f"{parts.scheme}://{_netloc(parts)}"


def canonical_resource(url: str) -> str:
    """Returns a server's address as a resource indicator (RFC 8707 §2; MCP, "Canonical URI").

    Scheme and host in lower case; no query, fragment or default port; no bare trailing slash.
    """
    path = httpx2.URL(url).raw_path.partition(b"?")[0].decode("ascii")
    return origin(url) + ("" if path == "/" else path)


def _netloc(parts: httpx2.URL) -> str:
    host = parts.raw_host.decode("ascii").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in {None, default} else f"{host}:{parts.port}"


def shown(url: str) -> str:
    """Returns an address for a person: without its query, its fragment and any user name."""
    bare = url.partition("#")[0].partition("?")[0]
    return printable(redact(re.sub(r"//[^/]*@", "//***@", bare)), 200)


def host_of(url: str) -> str:
    """Returns the host of an address in lower case, for a person; ``""`` where it has none."""
    try:
        return printable((urlsplit(url).hostname or "").lower(), 100)
    except ValueError:
        return ""


def as_ip(host: str) -> Address | None:
    """Returns a host that is written as an IP address, or None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def reach(address: Address) -> Reach:
    """Returns where an IP address leads.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) count as what they lead to. Link-local
    addresses (a cloud's metadata service), unspecified and multicast ones are never used.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return reach(inner)
    if address.is_loopback:
        return "loopback"
    this_network = isinstance(address, ipaddress.IPv4Address) and address.packed[0] == 0
    if address.is_link_local or address.is_unspecified or address.is_multicast or this_network:
        return "forbidden"
    # Site-local addresses, local translators to IPv4 and the like are global to some Pythons.
    placed = isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST
    return "public" if address.is_global and placed else "private"


def may_reach(target: Reach, *, server: Reach) -> bool:
    """Tells whether a server that stands here may send us there.

    Everybody may name public addresses; a private server private ones, one on this machine this
    machine; nobody a forbidden one.
    """
    return target == "public" or (target != "forbidden" and target == server)


def check_web_address(url: str, *, server_url: str, insecure: bool, what: str) -> None:
    """Checks an address that came from metadata, by its text.

    Args:
        url: The address.
        server_url: The MCP server on whose behalf it would be used.
        insecure: The person allowed plain http to other machines for this server.
        what: What the address is for, for the message, such as ``"token endpoint"``.

    Raises:
        AuthorizationServerError: It is no https address (http on this machine), holds a user
            name, a fragment or characters that no URL has, is too long, or leads where the
            server may not send us (RFC 9700 §4, MCP security best practices).
    """
    problem = _problem(url, server_url, insecure=insecure)
    if problem:
        raise refused(url, what, problem)


def refused(url: str, what: str, problem: str, hint: str = "") -> AuthorizationServerError:
    """Returns the error for an address that is not used."""
    return AuthorizationServerError(
        f"The {what} {shown(url)!r} is not used: {problem}.",
        hint=hint or "Ask who runs the server to correct its OAuth metadata.",
    )


def _problem(url: str, server_url: str, *, insecure: bool) -> str:
    if len(url) > MAX_LENGTH:
        return f"it has more than {MAX_LENGTH} characters"
    if _NOT_IN_URLS.search(url):
        return "it holds a character that a URL cannot hold"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is not a web address"
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        return "it is not an https address"
    if "@" in parts.netloc:
        return "it holds a user name"
    if "#" in url:
        return "it has a fragment"
    if problem := _host_problem(host, server_url):
        return problem
    return _scheme_problem(parts, insecure=insecure)


def _host_problem(host: str, server_url: str) -> str:
    address = as_ip(host)
    if address is None:
        # 0x7f.1, 2130706433 and 017700000001 are 127.0.0.1 to some resolvers and not to others.
        if _NUMERIC.search(host) or not _DOMAIN.fullmatch(host):
            return "its host is neither a name nor an IP address"
        return ""
    target = reach(address)
    server = as_ip(host_of(server_url))
    if target == "forbidden" or (server and not may_reach(target, server=reach(server))):
        return not_reached(target)
    return ""


def not_reached(target: Reach) -> str:
    """Returns why an address of this kind is not used, as the end of a sentence."""
    if target == "loopback":
        return "it leads to this machine, where the server is not"
    if target == "private":
        return "it leads into a private network, where the server is not"
    return "it leads to an address that is never used"


def _scheme_problem(parts: SplitResult, *, insecure: bool) -> str:
    if parts.scheme == "https" or is_loopback(parts.hostname or "") or insecure:
        return ""
    return "it is plain http to another machine (--insecure on %mcp add allows that)"

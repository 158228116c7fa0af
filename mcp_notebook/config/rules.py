"""What may be written down about a server: names, addresses, headers, variables, and no secrets.

Pure checks on single values. Each raises `ServerConfigError`; none repeats a value that may be a
secret, because the message is saved with the notebook.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from mcp_notebook.errors import ServerConfigError
from mcp_notebook.redaction import printable

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2, token
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")  # RFC 6749 §3.3
REFERENCE = re.compile(r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")

_TELLING_NAME = re.compile(
    r"(?i)(^|[^a-z])(api[-_]?key|apikey|access[-_]?key|secret|token|passw(or)?d|pwd|pat|"
    r"auth(orization)?|credentials?|cookie|bearer|jwt|private[-_]?key|sig(nature)?)($|[^a-z])"
    r"|(apikey|token|secret|password)$|^key$|[-_]key$"
)
_TELLING_QUERY = re.compile(r"(?i)^(code|access|assertion)$")
_ISSUED = re.compile(  # prefixes that providers give their secrets so that scanners find them
    r"^(sk|rk|pk)[-_](?=[\w-]*\d)[\w-]{8}|^gh[pousr]_|^github_pat_|^glpat-|^xox[a-z]-|^xapp-|^hf_\w{8}|^fig[du]_"
    r"|^lin_(api|oauth)_|^ntn_|^shpat_|^AKIA[0-9A-Z]{12}|^AIza[\w-]{20}|^ya29\.|^eyJ[\w-]{8}"
    r"|^SG\.|^npm_|^pypi-|^dop_v1_|^sbp_|^ATATT|^ATCTT|^-----BEGIN "
)
_POINTER = re.compile(  # a name of this kind says where the secret is, or what kind it is of
    r"(?i)[-_](file|path|dir|env|var|url|uri|endpoint|type|method|name|ttl|id|mode)$"
)
_FILE = re.compile(r"(~|\.{0,2}|[A-Za-z]:)[/\\]\S*\.[A-Za-z]{2,4}")
_PLAIN_WORDS = frozenset(
    {
        "none",
        "null",
        "off",
        "on",
        "true",
        "false",
        "yes",
        "no",
        "auto",
        "default",
        "oauth",
        "oauth2",
        "basic",
        "bearer",
        "0",
        "1",
    }
)
_SCHEME = re.compile(r"(?i)^(bearer|basic|dpop|token|apikey|api-key|digest)\b[\s:]*")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MIXED = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])")
_OPAQUE = re.compile(rf"{_MIXED.pattern}[A-Za-z0-9+/=_-]{{32,}}")
_LONG = re.compile(rf"{_MIXED.pattern}[A-Za-z0-9+/=._-]{{20,}}")
_HEXADECIMAL = re.compile(r"(?i)[0-9a-f]+")
_AUTHORITY = re.compile(r"^([^/?#]*//[^/?#]*).*", re.DOTALL)
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "mcp-protocol-version",
        "mcp-session-id",
        "transfer-encoding",
    }
)
_AUTHORIZE_OURS = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "request",
        "request_uri",
        "resource",
        "response_type",
        "scope",
        "state",
    }
)
_SCHEMELESS = re.compile(
    r"(?i)((?P<local>localhost|127\.0\.0\.1)|(?:[a-z0-9-]+\.)+[a-z]{2,})(:\d{1,5})?(/[a-z0-9._/-]*)?"
)
_BATCH_UNSAFE = re.compile(r'[&|<>^%"!\r\n]')

_FROM_A_VARIABLE = "Put it into an environment variable and write ${NAME} in its place."


def looks_secret(name: str, value: str) -> bool:
    """Tells whether a value looks like a credential.

    ``${NAME}`` references do not count, but for what they have as a default.

    Args:
        name: What the value is called (a header, a variable, a query key), or ``""``.
        value: The value. Any text at all is a secret under a telling name such as ``X-Api-Key``.
    """
    plain = REFERENCE.sub(lambda match: match["default"] or "", value).strip()
    schemed = _SCHEME.match(plain)
    rest = _SCHEME.sub("", plain).strip()
    if not rest or rest.lower() in _PLAIN_WORDS or _FILE.fullmatch(rest):
        return False
    if _ISSUED.search(rest) or (_TELLING_NAME.search(name) and not _POINTER.search(name)):
        return True
    if schemed and len(rest) >= 6 and " " not in rest:
        return True
    return bool(_OPAQUE.fullmatch(rest)) and not _is_worded(rest)


def _is_worded(text: str) -> bool:
    """Tells whether an opaque looking text is made of short pieces, as paths and UUIDs are."""
    if _UUID.fullmatch(text):
        return True
    return not any(len(piece) >= 16 and _MIXED.match(piece) for piece in re.split("[/_-]", text))


def check_name(name: str) -> None:
    """Checks the name of a server: 1 to 64 ASCII letters, digits, ``-``, ``_`` and ``.``."""
    if not _NAME.fullmatch(name):
        what = "This name" if looks_secret("", name) else f"The name {printable(name, 40)!r}"
        raise ServerConfigError(
            f"{what} cannot be a server's name.",
            hint="A name has 1 to 64 letters (a to z), digits, '-', '_' or '.', and begins with "
            "a letter, a digit or '_'.",
        )


def is_loopback(host: str) -> bool:
    """Tells whether a host is this machine (RFC 6761 §6.3, RFC 8252 §8.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_server_url(url: str, *, insecure: bool = False) -> None:
    """Checks the address of a server: https (http on this machine), and no credential in it.

    Behind the host it may hold ``${NAME}`` references: some services have their keys there.
    """
    _check_references("the server's address", url)
    if "${" in _AUTHORITY.sub(r"\1", url):
        raise ServerConfigError(
            "The host of the server's address is a ${…} reference.",
            hint="Write scheme and host out; a reference may stand in the path and the query.",
        )
    parts = _parse(REFERENCE.sub("x", url))
    if parts.username is not None or parts.password is not None:
        raise ServerConfigError(
            "The server's address holds a user name or password (before the '@').",
            hint="Leave it out, and renew the password: the address was written down. "
            "%mcp sign-in or a --header with ${NAME} carries credentials.",
        )
    if parts.fragment or url.endswith("#"):
        raise ServerConfigError(
            "The server's address has a fragment ('#…').", hint="Leave the fragment out."
        )
    for key, _ in keys_in(url)[:1]:
        where = f"{printable(key, 40)}=…" if key else "a part of its path"
        raise ServerConfigError(
            f"The server's address holds what looks like a secret ({where}).",
            hint="Renew it where it was issued, put it into an environment variable, and write "
            "${NAME} in its place; or send it as a header: --header X-Api-Key='${NAME}'.",
        )
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname or ""):
        raise ServerConfigError(
            "The server's address is plain http to another machine: tokens and answers could be "
            "read on the way.",
            hint="Use https://, or add --insecure if you know the network.",
        )


def keys_in(url: str) -> list[tuple[str, str]]:
    """Returns the parts of an address that look like credentials.

    Returns:
        The name of each in the query, or ``""`` for a part of the path; and the part, as it is
        written.
    """
    found = []
    for key, written in _pieces(url):
        value = unquote_plus(written) if key else unquote(written)
        telling = _TELLING_QUERY.search(key) and REFERENCE.sub("", value)
        if (telling or looks_secret(key, value)) if key else _is_key(value):
            found.append((key, written))
    return found


def doubtful(url: str) -> str:
    """Returns a part of an address that may be a key or a mere identifier, or ``""``."""
    for _, value in _pieces(url):
        if _UUID.fullmatch(value) or (_LONG.fullmatch(value) and not _is_worded(value)):
            return value
    return ""


def _pieces(url: str) -> list[tuple[str, str]]:
    """The parts of an address behind its host, as written: of its path, of its query by name."""
    try:
        parts = urlsplit(url)
    except ValueError:  # told by whoever checks the whole
        return []
    pairs = (piece.partition("=") for piece in parts.query.split("&"))
    path = [("", piece) for piece in parts.path.split("/") if piece]
    return path + [(unquote_plus(key), value) for key, _, value in pairs if key and value]


def _is_key(piece: str) -> bool:
    """Tells whether a part of a path can only be a key; a hexadecimal number may be an id."""
    plain = REFERENCE.sub(lambda match: match["default"] or "", piece)
    if not _LONG.fullmatch(plain) or _HEXADECIMAL.fullmatch(plain):
        return False
    return bool(_ISSUED.search(plain) or _OPAQUE.fullmatch(plain)) and not _is_worded(plain)


def _parse(url: str) -> SplitResult:
    bare = None if looks_secret("", url) else _SCHEMELESS.fullmatch(url)
    scheme = "http" if bare is not None and bare["local"] else "https"
    meant = f"{scheme}://{url}" if bare else "https://mcp.example.com/mcp"
    wrong = ServerConfigError(
        "This is not a web address.",
        hint=f"{'Did you mean' if bare else 'One looks like'} {meant}{'?' if bare else '.'} "
        "For a program on this machine: %mcp add NAME -- COMMAND ARGS",
    )
    if len(url) > 2048 or re.search(r"[\x00-\x20\x7f\\<>\"]", url):
        raise wrong
    if not url.isprintable():
        raise ServerConfigError(
            "The address holds an invisible letter.",
            hint="It came with copying: type the address, at least its end.",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise wrong
    return parts


def check_web_url(url: str) -> None:
    """Checks another address of a sign-in, such as an issuer: absolute, https off this machine."""
    parts = _parse(url)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ServerConfigError(
            "An address for the sign-in holds a user name, a password or a fragment.",
            hint="Leave it out.",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ServerConfigError(
            f"{printable(url, 80)} is plain http to another machine.", hint="Use https://."
        )


def check_authorize_param(name: str, value: str) -> None:
    """Checks a parameter a person adds to the sign-in link: not one of ours, and no secret."""
    if name in _AUTHORIZE_OURS:
        raise ServerConfigError(
            f"{name} is set by the sign-in and cannot be given.", hint="Leave it out."
        )
    if not name.isascii() or not name.isprintable() or looks_secret(name, value):
        raise ServerConfigError(
            "A parameter of the sign-in link is not fit to be written down.",
            hint="It looks like --authorize-param prompt=consent, and holds no secret.",
        )


def check_header(name: str, value: str) -> None:
    """Checks one extra HTTP header: a name and a value that may be sent, and no literal secret."""
    if not _FIELD_NAME.fullmatch(name):
        raise ServerConfigError(
            "A header's name is not one.", hint="It looks like --header X-Team=design."
        )
    if name.lower() in _OURS:
        raise ServerConfigError(
            f"The header {name} is set by the transport and cannot be given.", hint="Leave it out."
        )
    if not value.isascii() or not value.isprintable():
        raise ServerConfigError(
            f"The value of the header {name} holds a character that a header cannot carry.",
            hint="Only printable ASCII can be sent (RFC 9110 §5.5).",
        )
    _check_references(f"the header {name}", value)
    if looks_secret(name, value):
        sample = "Bearer ${NAME}" if name.lower() == "authorization" else "${NAME}"
        raise ServerConfigError(
            f"The header {name} looks like a secret, and would be kept in plain text.",
            hint=f"{_FROM_A_VARIABLE} For instance: --header {name}='{sample}'.",
        )


def check_variable(name: str, value: str) -> None:
    """Checks one environment variable for a program: a name, and no literal secret."""
    if not _VARIABLE.fullmatch(name):
        raise ServerConfigError(
            "An environment variable's name is not one.", hint="It looks like --env LOG_LEVEL=info."
        )
    if "\0" in value:
        raise ServerConfigError(f"The variable {name} holds a NUL character.", hint="Leave it out.")
    _check_references(f"the variable {name}", value)
    if looks_secret(name, value):
        raise ServerConfigError(
            f"The variable {name} looks like a secret, and would be kept in plain text.",
            hint=f"{_FROM_A_VARIABLE} For instance: --env {name}=${{{name}}}.",
        )


def _check_references(where: str, value: str) -> None:
    if "${" in REFERENCE.sub("", value):
        raise ServerConfigError(
            f"A ${{…}} in {where} is none that can be filled in.",
            hint="An environment variable is written ${NAME}, or ${NAME:-default}.",
        )


def check_variable_name(option: str, name: str) -> None:
    """Checks that what should name a variable is a name, not the secret itself."""
    if not _VARIABLE.fullmatch(name) or looks_secret("", name):
        raise ServerConfigError(
            f"{option} takes the name of an environment variable; what was given is none.",
            hint="If it was the secret itself: take it out of the cell, renew it where it was "
            f"issued, put it into a variable and write {option} NAME.",
        )


def check_scope(scope: str) -> None:
    """Checks a space separated list of scopes (RFC 6749 §3.3)."""
    if not _SCOPE.fullmatch(scope) or len(scope) > 4096:
        raise ServerConfigError(
            "The scope is not a list of words.", hint='It looks like --scope "read write".'
        )


def check_command(command: tuple[str, ...]) -> None:
    """Checks a program and its arguments: there is one, and nothing in it is a secret."""
    if not command or not command[0].strip() or any("\0" in word for word in command):
        raise ServerConfigError(
            "There is no program to start.", hint="%mcp add NAME -- COMMAND ARGS"
        )
    if any("${" in word for word in command):
        raise ServerConfigError(
            "An argument of the program holds a ${…} reference, which is not filled in there.",
            hint="Write the value, or hand it over as a variable: --env NAME=${NAME}.",
        )
    if any(_secret_arguments(command)):
        raise ServerConfigError(
            "An argument of the program looks like a secret; every process could read it there.",
            hint=f"Hand it over as a variable: --env NAME=${{NAME}}. {_FROM_A_VARIABLE}",
        )
    unsafe_batch = command[0].lower().endswith((".cmd", ".bat"))
    if unsafe_batch and any(_BATCH_UNSAFE.search(word) for word in command[1:]):
        # cmd.exe reads the arguments of a batch file a second time (CVE-2024-24576).
        raise ServerConfigError(
            "A batch file's argument holds one of & | < > ^ % \" !, which cmd.exe would carry out.",
            hint="Start the program behind the batch file directly.",
        )


def _secret_arguments(command: tuple[str, ...]) -> list[bool]:
    found = []
    for before, word in pairwise(command):
        name, _, value = word.partition("=")
        if word.startswith("-"):
            found.append(bool(value) and looks_secret(name.lstrip("-"), value))
        else:
            header = re.match(r"([\w-]+):\s*(.+)", word)
            label = before.lstrip("-") if before.startswith("-") and "=" not in before else ""
            found.append(
                looks_secret(label, word)
                or bool(header and looks_secret(header[1], header[2]))
                or bool(value and _VARIABLE.fullmatch(name) and looks_secret(name, value))
            )
    return found

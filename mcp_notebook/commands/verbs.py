"""The commands of ``%mcp``, as data."""

from __future__ import annotations

from dataclasses import replace

from mcp_notebook.commands.grammar import Option, Place, Verb

_NAME = Place("NAME", "server")

_WHERE = (
    Option("--transport", "how to speak to the URL; http unless told", "KIND", ("http", "sse")),
    Option("--header", "sent with every request; repeatable", "NAME=VALUE", repeated=True),
    Option("--insecure", "allow plain http to another machine"),
    Option("--env", "for a program: an environment variable; repeatable", "K=V", repeated=True),
    Option("--cwd", "for a program: where it runs", "FOLDER"),
    Option("--replace", "take the place of another server of this name"),
)
_WHO = (
    Option("--client-id", "a client you registered with the provider", "ID"),
    Option("--client-secret", "ask for its secret, masked"),
    Option("--client-secret-env", "the variable that holds its secret", "NAME"),
    Option("--client-name", "the name to register under", "TEXT"),
    Option("--client-metadata-url", "a client ID metadata document of yours", "URL"),
    Option("--initial-access-token-env", "for registration, where it is closed", "NAME"),
    Option(
        "--auth-method",
        "how the client authenticates",
        "METHOD",
        ("none", "client_secret_basic", "client_secret_post", "private_key_jwt"),
    ),
    Option("--private-key-env", "the variable that holds its private key", "NAME"),
    Option(
        "--signing-algorithm",
        "of the private key; ES256 unless told",
        "ALG",
        ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "EdDSA"),
    ),
)
_HOW = (
    Option("--scope", "what to ask for; the server's wish unless told", '"A B"'),
    Option(
        "--grant",
        "how to get a token; authorization_code unless told",
        "GRANT",
        ("authorization_code", "device_code", "client_credentials", "jwt_bearer", "enterprise"),
    ),
    Option("--callback-host", "127.0.0.1 unless told", "HOST", ("127.0.0.1", "localhost", "::1")),
    Option("--callback-port", "a free one unless told", "PORT"),
    Option("--callback-path", "/callback unless told", "PATH"),
    Option("--resource", "another RFC 8707 resource, or off for none", "VALUE|off"),
    Option("--authorize-param", "added to the sign-in link; repeatable", "K=V", repeated=True),
    Option("--issuer", "the one authorization server to sign in with", "URL"),
    Option("--trusted-issuer", "an issuer to accept though it differs", "URL", repeated=True),
    Option("--assume-s256", "go on though S256 is not announced"),
    Option("--dpop", "bind tokens to a key (RFC 9449)", "CHOICE", ("on", "off")),
    Option("--assertion-env", "for jwt_bearer: the variable with the JWT", "NAME"),
    Option("--idp-client-id", "for enterprise: the client at the identity provider", "ID"),
    Option("--idp-token-endpoint", "for enterprise: the identity provider's address", "URL"),
    Option("--idp-id-token-env", "for enterprise: the variable with the ID token", "NAME"),
)


def _section(title: str, options: tuple[Option, ...]) -> tuple[Option, ...]:
    return tuple(replace(option, section=title) for option in options)


VERBS: tuple[Verb, ...] = (
    Verb(
        name="add",
        group="Servers",
        summary="remember a server; nothing is contacted or started",
        places=(Place("NAME"), Place("URL")),
        options=(
            *_section("The server", _WHERE),
            *_section("Signing in, as whom", _WHO),
            *_section("Signing in, how", _HOW),
        ),
        program=True,
        cell="the JSON that a server's README shows",
        cell_instead=("NAME", "URL"),
        notes="A program on this machine: %mcp add NAME -- COMMAND ARGS.\n"
        "Several at once: %%mcp add, with the mcpServers JSON of a README in the cell.\n"
        "Secrets are never on the line: name a variable, as ${NAME} in --header and --env,\n"
        "and in the address behind its host, where a service has its key there.",
        examples=(
            "add linear https://mcp.linear.app/mcp",
            "add crm https://crm.example/mcp --client-id abc --client-secret",
            "add wiki https://wiki.example/mcp --header X-Api-Key=${WIKI_KEY}",
            "add files -- npx -y @modelcontextprotocol/server-filesystem .",
        ),
    ),
    Verb(
        name="import",
        group="Servers",
        summary="take servers from another client's file",
        places=(Place("SOURCE", "source"), Place("NAME", needed=False, repeated=True)),
        options=(
            Option("--all", "take every server that was shown"),
            Option("--replace", "take the place of other servers of these names"),
        ),
        notes="SOURCE is claude, claude-code, vscode, cursor, gemini, windsurf, or a file.\n"
        "Without names it shows what is there, and takes nothing.",
        examples=("import vscode", "import vscode github sentry", "import ./.mcp.json --all"),
    ),
    Verb(
        name="list",
        group="Servers",
        summary="the servers you know, and how each stands",
        examples=("list",),
    ),
    Verb(
        name="trust",
        group="Servers",
        summary="allow a server's program to be started on this machine",
        places=(_NAME,),
        notes="Asked for again when the command, its arguments, folder or variables change.",
        examples=("trust files",),
    ),
    Verb(
        name="remove",
        group="Servers",
        summary="forget a server, and sign out of it",
        places=(_NAME,),
        examples=("remove linear",),
    ),
    Verb(
        name="connect",
        group="Work",
        summary="open a server as a variable; a card offers the sign-in",
        places=(_NAME,),
        options=(Option("--as", "another variable; also another account", "VARIABLE"),),
        notes="The cell is done at once; the first call waits for the sign-in. Then:\n"
        "  NAME.tools.TOOL(…)           also .aio(…), .submit(…) and .map(rows)\n"
        "  NAME.resources, .prompts     to read, to watch; to fill in\n"
        "  NAME.on_question = f         answers what the server asks in a call\n"
        "  NAME.drift                   how its tools differ from what they were\n"
        "An account has its own sign-in, and is a server by its name from then on.",
        examples=("connect linear", "connect jira --as work"),
    ),
    Verb(
        name="tools",
        group="Work",
        summary="what a server can do",
        places=(_NAME, Place("WORD", needed=False, repeated=True)),
        notes="With words only the tools whose name or description has all of them.",
        examples=("tools linear", "tools github issue"),
    ),
    Verb(
        name="call",
        group="Work",
        summary="use one tool",
        places=(
            _NAME,
            Place("TOOL", "tool"),
            Place("key=value", "pair", needed=False, repeated=True),
        ),
        options=(Option("--out", "put the result into this variable", "VARIABLE", short="-o"),),
        cell="the arguments as a JSON object",
        examples=(
            'call github search_issues query="is:open bug" limit=5',
            'call crm find filter={"stage": "won"} -o won',
        ),
    ),
    Verb(
        name="record",
        group="Work",
        summary="keep every answer in a file, to replay the notebook from",
        places=(Place("FILE|off", "recording", needed=False),),
        options=(Option("--replace", "drop what the file holds, rather than go on with it"),),
        notes="Kept are servers, arguments and answers as they are, and nothing of a sign-in.\n"
        "Only you can read the file; whoever you give it to reads what is in it.\n"
        "What is recorded anew takes the place of older answers to the same call.\n"
        "Without FILE it tells how the recording stands.",
        examples=("record study.jsonl", "record", "record off"),
    ),
    Verb(
        name="replay",
        group="Work",
        summary="answer from a recording, without network and sign-in",
        places=(Place("FILE|off", "recording", needed=False),),
        notes="No server is contacted and no program started until %mcp replay off.\n"
        "A call made several times has its answers in their order, then the last one.\n"
        "Without FILE it tells what is in the recording.",
        examples=("replay study.jsonl", "replay", "replay off"),
    ),
    Verb(
        name="disconnect",
        group="Work",
        summary="close the connection; the sign-in is kept",
        places=(_NAME,),
        examples=("disconnect linear",),
    ),
    Verb(
        name="sign-in",
        group="Signing in",
        summary="sign in anew, for instance with another account",
        places=(_NAME,),
        options=(
            Option("--register-again", "forget the registered client first"),
            Option("--paste", "ask for the address that a browser elsewhere ended on"),
        ),
        notes="--paste asks for the address with a masked prompt: it holds a one-time code.",
        examples=("sign-in linear", "sign-in linear --register-again", "sign-in linear --paste"),
    ),
    Verb(
        name="sign-out",
        group="Signing in",
        summary="revoke the tokens and forget them",
        places=(_NAME,),
        examples=("sign-out linear",),
    ),
    Verb(
        name="store",
        group="Signing in",
        summary="where sign-ins are kept, or another place for them",
        places=(Place("PLACE", "store", needed=False),),
        notes="PLACE is keyring, file or memory.",
        examples=("store", "store memory"),
    ),
    Verb(
        name="status",
        group="Help",
        summary="connections, sign-ins and the token store",
        examples=("status",),
    ),
    Verb(
        name="doctor",
        group="Help",
        summary="every step of discovery and sign-in, with known fixes",
        places=(_NAME,),
        examples=("doctor linear",),
    ),
    Verb(
        name="demo",
        group="Help",
        summary="start a server on this machine to try it all with",
        places=(Place("stop", "stop", needed=False),),
        examples=("demo", "demo stop"),
    ),
    Verb(
        name="help",
        group="Help",
        summary="this, or more about one command",
        places=(Place("COMMAND", "topic", needed=False),),
        examples=("help add",),
    ),
)

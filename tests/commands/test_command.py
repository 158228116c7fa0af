"""What a ``%mcp`` line asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcp_notebook
from mcp_notebook.commands import command
from mcp_notebook.commands.grammar import find_verb
from mcp_notebook.commands.manual import help_text
from mcp_notebook.commands.parsing import parse
from mcp_notebook.commands.verbs import VERBS
from mcp_notebook.config.servers import OAuthSettings, Server
from mcp_notebook.errors import CommandError, MCPNotebookError, ServerConfigError

PACKAGE = Path(mcp_notebook.__file__).parent


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", command.List()),
        ("list", command.List()),
        ("tools a", command.Tools("a")),
        ("tools a issue 'new one'", command.Tools("a", ("issue", "new one"))),
        ("disconnect a", command.Disconnect("a")),
        ("record", command.Record()),
        ("record off", command.Record(off=True)),
        ('record "my run.jsonl" --replace', command.Record("my run.jsonl", replace=True)),
        ("replay ./run.jsonl", command.Replay("./run.jsonl")),
        ("replay off", command.Replay(off=True)),
        ("sign-in a --register-again", command.SignIn("a", register_again=True)),
        ("sign-in a --paste", command.SignIn("a", paste=True)),
        ("sign-out a", command.SignOut("a")),
        ("remove a", command.Remove("a")),
        ("trust a", command.Trust("a")),
        ("store", command.Store()),
        ("store file", command.Store("file")),
        ("status", command.Status()),
        ("doctor a", command.Doctor("a")),
        ("demo", command.Demo()),
        ("demo stop", command.Demo(stop=True)),
        ("import vscode", command.Import("vscode")),
        ("import ./x.json a b", command.Import("./x.json", ("a", "b"))),
        ("import cursor --all --replace", command.Import("cursor", (), True, True)),
        ("help", command.Help()),
        ("--help", command.Help()),
        ("help add", command.Help("add")),
        ("add --help", command.Help("add")),
        ("connect x -h", command.Help("connect")),
    ],
)
def test_each_command_becomes_its_value(line, expected):
    assert parse(line) == expected


def test_every_command_of_the_table_can_be_typed_as_its_examples_say():
    for verb in VERBS:
        assert verb.examples
        for example in verb.examples:
            parse(example)


class TestAdd:
    def test_a_url_becomes_an_http_server(self):
        made = parse("add figma https://mcp.figma.com/mcp")
        assert made == command.Add(server=Server(name="figma", url="https://mcp.figma.com/mcp"))

    def test_every_option_reaches_its_setting(self):
        made = parse(
            "add a https://a.example/mcp --transport sse --header X-Team=design --replace "
            "--client-id id --client-secret --client-name N --auth-method client_secret_post "
            '--scope "read write" --callback-port 3118 --callback-path /cb '
            "--callback-host localhost "
            "--resource off --authorize-param prompt=consent --trusted-issuer https://i.example/ "
            "--issuer https://o.example "
            "--assume-s256 --dpop off --signing-algorithm RS256 --private-key-env KEY "
            "--initial-access-token-env IAT --client-metadata-url https://me.example/client.json"
        )
        assert made == command.Add(
            replace=True,
            ask_secret=True,
            server=Server(
                name="a",
                url="https://a.example/mcp",
                transport="sse",
                headers={"X-Team": "design"},
                oauth=OAuthSettings(
                    client_id="id",
                    client_name="N",
                    client_metadata_url="https://me.example/client.json",
                    initial_access_token_env="IAT",
                    private_key_env="KEY",
                    signing_algorithm="RS256",
                    auth_method="client_secret_post",
                    scope="read write",
                    authorize_params={"prompt": "consent"},
                    callback_host="localhost",
                    callback_port=3118,
                    callback_path="/cb",
                    resource="off",
                    issuer="https://o.example",
                    trusted_issuers=("https://i.example/",),
                    assume_s256=True,
                    dpop=False,
                ),
            ),
        )

    def test_a_program_becomes_a_stdio_server(self):
        made = parse("add files --env LOG=info --cwd /tmp -- npx -y @scope/server --help .")
        assert made.server == Server(
            name="files",
            transport="stdio",
            command=("npx", "-y", "@scope/server", "--help", "."),
            env={"LOG": "info"},
            cwd="/tmp",
        )

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("add https://mcp.figma.com/mcp", "needs a name"),
            ("add a https://a.b --env X=1", "--env is for a program"),
            ("add a --scope x -- npx y", "for a server with a URL"),
            ("add a https://a.b -- npx y", "either a URL or a program"),
            ("add a https://a.b --client-secret", "belongs to a --client-id"),
            ("add a https://a.b --client-id i --client-secret --client-secret-env X", "take one"),
            ("add a https://a.b --as x", "--as belongs to 'connect'"),
            ("add a https://a.b --header X", "needs NAME=VALUE"),
            ("add a https://a.b --header X=1 --header X=2", "twice"),
            ("add a https://a.b --callback-port 99999", "not a port"),
            ("add a https://a.b --callback-port x", "not a port"),
            ("add a https://a.b --grant jwt_bearer", "needs --assertion-env"),
            ("add a https://a.b --assertion-env J", "is for --grant jwt_bearer"),
            ("add a https://a.b --idp-client-id i", "is for --grant enterprise"),
            (
                "add a https://a.b --grant device_code --callback-port 1",
                "for --grant authorization",
            ),
            ("add a https://a.b --grant device_code --authorize-param a=b", "--authorize-param is"),
            ("add a https://a.b --client-secret-env S", "belongs to --client-id"),
            ("add a https://a.b --private-key-env K", "--client-id or --client-metadata-url"),
            ("add a https://a.b --signing-algorithm ES384", "belongs to --private-key-env"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, line, says):
        with pytest.raises(MCPNotebookError) as caught:
            parse(line)
        assert says in caught.value.message
        assert caught.value.hint

    def test_a_missing_name_is_proposed_from_the_address(self):
        with pytest.raises(CommandError) as caught:
            parse("add https://mcp.figma.com/mcp")
        assert "%mcp add figma URL" in caught.value.hint

    @pytest.mark.parametrize(
        "line",
        [
            "add a https://a.example/mcp --token sk-planted1234567",
            "add a https://a.example/mcp --header Authorization=sk-planted1234567",
            'add a https://a.example/mcp --header "X-Api-Key=planted-words"',
            "add a https://a.example/mcp?api_key=sk-planted1234567",
            "add a https://u:sk-planted1234567@a.example/mcp",
            "add a https://a.example/mcp --client-secret-env sk-planted1234567",
            "add a https://a.example/mcp sk-planted1234567",
            "add a --env API_KEY=sk-planted1234567 -- npx x",
            "add a -- npx x --api-key sk-planted1234567",
            "add sk-planted1234567 https://a.example/mcp --bogus",
        ],
    )
    def test_a_secret_on_the_line_is_refused_and_not_repeated(self, line):
        with pytest.raises(MCPNotebookError) as caught:
            parse(line)
        assert "planted" not in str(caught.value)


class TestPastedJSON:
    def test_an_mcp_servers_document_becomes_its_servers(self):
        made = parse(
            "add",
            '{"mcpServers": {"a": {"url": "https://a.example/mcp"}, '
            '"b": {"command": "uvx", "args": ["b-server"]}}}',
        )
        assert made.servers == (
            Server(name="a", url="https://a.example/mcp"),
            Server(name="b", transport="stdio", command=("uvx", "b-server")),
        )

    def test_a_bare_definition_takes_its_name_from_the_line(self):
        made = parse("add mine", '{"url": "https://a.example/mcp"}')
        assert [server.name for server in made.servers] == ["mine"]

    def test_nothing_is_taken_where_one_server_holds_a_secret(self):
        with pytest.raises(ServerConfigError) as caught:
            parse(
                "add",
                '{"mcpServers": {"a": {"url": "https://a.example/mcp"}, "b": {"url": '
                '"https://b.example/mcp", "headers": {"Authorization": "Bearer planted123"}}}}',
            )
        assert "planted" not in str(caught.value)
        assert "${NAME}" in caught.value.hint

    def test_what_was_translated_is_told(self):
        made = parse("add", '"x y": {"command": "npx", "args": ["mcp-remote", "https://a.b/mcp"]}')
        assert made.servers[0].url == "https://a.b/mcp"
        assert any("mcp-remote" in note for note in made.notes)
        assert any("'x y'" in note for note in made.notes)


class TestConnect:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("connect figma", command.Connect("figma", "figma")),
            ("connect my-server", command.Connect("my-server", "my_server")),
            ("connect class", command.Connect("class", "class_")),
            ("connect list", command.Connect("list", "list_")),
            ("connect jira --as work", command.Connect("jira", "work", "work")),
        ],
    )
    def test_the_variable_is_an_identifier(self, line, expected):
        assert parse(line) == expected

    @pytest.mark.parametrize("variable", ["1b", "a-b", "class", "a.b", '""'])
    def test_as_takes_a_variable_only(self, variable):
        with pytest.raises(MCPNotebookError):
            parse(f"connect jira --as {variable}")


class TestCall:
    def test_pairs_stay_text_until_the_schema_is_known(self):
        made = parse('call gh search q="a b" limit=5 filter={"x": 1} q=c --out won')
        assert made == command.Call(
            name="gh",
            tool="search",
            pairs=(("q", "a b"), ("limit", "5"), ("filter", '{"x": 1}'), ("q", "c")),
            out="won",
        )
        assert parse("call gh t -o won").out == "won"

    def test_a_cell_is_the_json_body(self):
        assert parse("call gh t", '\n{"limit": 5}\n').body == {"limit": 5}
        assert parse("call gh t", "  \n").body is None

    @pytest.mark.parametrize("cell", ["{'a': 1}", "[1]", '{"a": 1', "[" * 100_000])
    def test_a_cell_that_is_no_json_object_is_refused(self, cell):
        with pytest.raises(CommandError):
            parse("call gh t", cell)

    def test_a_word_without_equals_is_refused(self):
        with pytest.raises(CommandError, match="key=value"):
            parse("call gh t word")


class TestHelp:
    def test_the_overview_names_every_command_in_few_columns(self):
        text = help_text()
        for verb in VERBS:
            assert f"%mcp {verb.name}" in text
            assert verb.summary in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 81

    def test_a_page_names_every_option_and_example(self):
        for verb in VERBS:
            page = help_text(verb.name)
            assert max(map(len, page.splitlines())) <= 81
            for option in verb.options:
                assert option.usage in page
            for example in verb.examples:
                assert f"%mcp {example}" in page

    def test_an_unknown_topic_is_refused(self):
        with pytest.raises(CommandError):
            parse("help nonsense")


def test_another_variable_without_its_option_is_shown_with_it():
    with pytest.raises(CommandError) as caught:
        parse("connect notes as mine")
    assert "%mcp connect notes --as mine" in caught.value.hint


@pytest.mark.parametrize("line", ["connect notes --as print", "call notes look --out list"])
def test_a_name_of_pythons_own_is_not_taken_away(line):
    with pytest.raises(CommandError, match=r"Python's own; '(print|list)_' would do"):
        parse(line)


def test_renaming_is_not_mistaken_for_removing():
    with pytest.raises(CommandError) as caught:
        parse("rename a b")
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize("words", ["text=hello world", '{"text": 1}', "1"])
def test_a_loose_word_of_a_call_tells_of_quotes_and_of_the_cell(words):
    with pytest.raises(CommandError) as caught:
        parse(f"call notes echo {words}")
    assert 'query="a b"' in caught.value.hint
    assert "%%mcp call notes echo" in caught.value.hint


def test_an_address_without_its_scheme_is_completed_in_the_hint():
    with pytest.raises(ServerConfigError) as caught:
        parse("add figma mcp.figma.com/mcp")
    assert "Did you mean https://mcp.figma.com/mcp?" in caught.value.hint
    with pytest.raises(ServerConfigError) as caught:
        parse("add here localhost:8000/mcp")
    assert "Did you mean http://localhost:8000/mcp?" in caught.value.hint
    for odd in ("here", "mcp.figma.com/mcp?token=sk-proj-abc123def456", "a b", "/mcp"):
        with pytest.raises(ServerConfigError) as caught:
            parse(f'add figma "{odd}"')
        assert "Did you mean" not in caught.value.hint


def test_every_command_that_is_written_in_a_message_is_one():
    """What a hint says can be typed: its command exists, and so do its options."""
    names = {verb.name for verb in VERBS}
    written = [
        (path.name, words)
        for path in sorted(PACKAGE.rglob("*.py"))
        for words in re.findall(r"%%?mcp ([a-z-]+[^.;,:()`\"\n]*)", path.read_text("utf-8"))
    ]
    assert len(written) > 100
    for where, words in written:
        name, *rest = words.split()
        if name in {"lists", "line", "lines"}:  # `%mcp` alone, in a sentence
            continue
        assert name in names, (where, words)
        known = {option.name for option in find_verb(name, VERBS).options} | {"--help"}
        options = {word.strip("`'") for word in rest if re.match("--[a-z]", word)}
        assert "or" in rest or options <= known, (where, words)


def test_an_invisible_letter_of_an_address_is_found():
    with pytest.raises(ServerConfigError, match="invisible"):
        parse("add notes https://a.example/mcp\u200b")


def test_a_header_may_be_written_as_http_writes_it():
    made = parse('add notes https://a.example/mcp --header "X-Api-Key: ${KEY}" --header A=b:c')
    assert isinstance(made, command.Add)
    assert made.server.headers == {"X-Api-Key": "${KEY}", "A": "b:c"}
    with pytest.raises(ServerConfigError, match="looks like a secret"):
        parse('add notes https://a.example/mcp --header "X-Api-Key: abc"')


@pytest.mark.parametrize("program", ["npx -y @some/server .", "uvx mcp-server-git", "node x.js"])
def test_a_program_without_its_dashes_is_shown_with_them(program):
    with pytest.raises(CommandError) as caught:
        parse(f"add notes {program}")
    assert f"%mcp add NAME -- {program.split()[0]} …" in caught.value.hint
    assert isinstance(parse(f"add notes -- {program}"), command.Add)
